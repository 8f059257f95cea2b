//! `explain`: a kind and its fields, from the server's OpenAPI v3 document.

use std::fmt::Write as _;

use clap::Args;
use serde_json::{Map, Value};

use crate::error::Failure;
use crate::resolve::{self, Resource};
use crate::session::Session;

/// Terminal columns that a description fills, less its indent of four.
const WIDTH: usize = 76;

/// `explain`'s flags.
#[derive(Clone, Debug, Args)]
pub(crate) struct Explain {
    /// TYPE or TYPE.FIELD.FIELD
    path: String,
    /// All fields below, without their descriptions
    #[arg(short = 'R', long)]
    recursive: bool,
    /// How deep --recursive goes; 0 for all the way
    #[arg(long, default_value_t = 0)]
    max_depth: usize,
    /// Of this API group and version, for example apps/v1
    #[arg(long)]
    api_version: Option<String>,
    /// plaintext; openapiv2 is the same here
    #[arg(short, long, default_value = "plaintext", value_parser = ["plaintext", "plaintext-openapiv2"])]
    output: String,
}

impl Explain {
    /// Carries the command out.
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let (mut resource, fields) = find(session, &self.path).await?;
        if let Some(api_version) = &self.api_version {
            resource = resolve::by_kind(session, api_version, &resource.kind).await?;
        }
        let api = if resource.group.is_empty() { "api" } else { "apis" };
        let place = format!("{api}/{}", resource.api_version());
        let index = session.get("/openapi/v3").await?;
        let url = index["paths"][&place]["serverRelativeURL"].as_str().ok_or_else(|| {
            Failure::usage(format!(
                "couldn't find resource for {:?}: the server describes no {place}",
                self.path
            ))
        })?;
        let document = session.get(url).await?;
        let page = Page::new(&document, &resource, &self);
        let (text, failure) = page.print(&fields)?;
        print!("{text}");
        failure.map_or(Ok(()), Err)
    }
}

/// The type that a dotted path begins with, and the fields after it: `pods.spec`, `deployments.apps.spec`.
async fn find(session: &Session, path: &str) -> Result<(Resource, Vec<String>), Failure> {
    let parts: Vec<&str> = path.trim_matches('.').split('.').collect();
    // The longest beginning that names a type with its group, else the first word.
    for end in (2..=parts.len()).rev() {
        let word = parts[..end].join(".");
        let known = timonel_api::resources::all()
            .iter()
            .map(Resource::from)
            .find(|r| r.plural_name() == word || r.singular_name() == word);
        if let Some(resource) = known {
            return Ok((resource, parts[end..].iter().map(|&part| part.to_owned()).collect()));
        }
    }
    let resource = resolve::one(session, parts[0]).await?;
    Ok((resource, parts[1..].iter().map(|&part| part.to_owned()).collect()))
}

struct Page<'a> {
    schemas: &'a Map<String, Value>,
    resource: &'a Resource,
    flags: &'a Explain,
}

impl<'a> Page<'a> {
    fn new(document: &'a Value, resource: &'a Resource, flags: &'a Explain) -> Self {
        static NONE: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
        let schemas = document["components"]["schemas"].as_object().unwrap_or(&NONE);
        Self {
            schemas,
            resource,
            flags,
        }
    }

    /// The page; where a field does not exist, its beginning and the failure, as kubectl does it.
    fn print(&self, fields: &[String]) -> Result<(String, Option<Failure>), Failure> {
        let r = self.resource;
        let is_ours = |schema: &&Value| {
            let kinds = schema["x-kubernetes-group-version-kind"].as_array();
            kinds.is_some_and(|kinds| {
                kinds.iter().any(|k| {
                    k["group"] == r.group.as_str() && k["version"] == r.version.as_str() && k["kind"] == r.kind.as_str()
                })
            })
        };
        let Some(root) = self.schemas.values().find(is_ours) else {
            return Err(Failure::usage(format!(
                "GVR ({}/{}, Resource={}) not found in OpenAPI schema",
                r.group, r.version, r.plural
            )));
        };
        let mut out = String::new();
        if !r.group.is_empty() {
            let _ = writeln!(out, "GROUP:      {}", r.group);
        }
        let _ = writeln!(out, "KIND:       {}\nVERSION:    {}\n", r.kind, r.version);
        let mut schema = root;
        for field in fields {
            match self.properties(schema).and_then(|properties| properties.get(field)) {
                Some(next) => schema = next,
                None => {
                    let failure = Failure::usage(format!("field {field:?} does not exist"));
                    return Ok((out, Some(failure)));
                }
            }
        }
        if let Some(name) = fields.last() {
            let _ = writeln!(out, "FIELD: {name} <{}>\n\n", self.type_name(schema));
        }
        out.push_str("DESCRIPTION:\n");
        let descriptions = self.descriptions(schema);
        let all = if descriptions.is_empty() {
            "<empty>\n".to_owned()
        } else {
            descriptions.iter().map(|text| wrap(text, WIDTH) + "\n").collect()
        };
        out.push_str("    ");
        out.push_str(&all.replace('\n', "\n    "));
        out.push('\n');
        if let Some(properties) = self.properties(schema) {
            out.push_str("FIELDS:\n");
            let required = self.required(schema);
            if self.flags.recursive {
                let mut above: Vec<&str> = self.reference(schema).into_iter().collect();
                self.tree(&mut out, properties, &required, &mut above, 1);
            } else {
                for (name, property) in properties {
                    self.heading(&mut out, name, property, &required, 1);
                    let text = self
                        .descriptions(property)
                        .first()
                        .copied()
                        .unwrap_or("<no description>");
                    let _ = writeln!(out, "    {}\n", wrap(text, WIDTH).replace('\n', "\n    "));
                }
            }
        }
        out.push('\n');
        Ok((out, None))
    }

    fn heading(&self, out: &mut String, name: &str, property: &Value, required: &[&str], level: usize) {
        let must = if required.contains(&name) { " -required-" } else { "" };
        let indent = "  ".repeat(level);
        let _ = writeln!(out, "{indent}{name}\t<{}>{must}", self.type_name(property));
        let values: Vec<String> = property["enum"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
            .collect();
        if !values.is_empty() {
            let _ = writeln!(out, "{indent}enum: {}", values.join(", "));
        }
    }

    /// All fields below; a schema within itself is not opened again.
    fn tree<'v>(
        &'v self,
        out: &mut String,
        properties: &'v Map<String, Value>,
        required: &[&str],
        above: &mut Vec<&'v str>,
        level: usize,
    ) {
        for (name, property) in properties {
            self.heading(out, name, property, required, level);
            if self.flags.max_depth > 0 && level >= self.flags.max_depth {
                continue;
            }
            let reference = self.reference(property);
            if reference.is_some_and(|name| above.contains(&name)) {
                continue;
            }
            if let Some(inner) = self.properties(property) {
                above.extend(reference);
                self.tree(out, inner, &self.required(property), above, level + 1);
                above.truncate(above.len() - usize::from(reference.is_some()));
            }
        }
    }

    /// The name of the schema that a property holds, through lists and maps.
    fn reference<'v>(&self, property: &'v Value) -> Option<&'v str> {
        let own = property["$ref"]
            .as_str()
            .or_else(|| property["allOf"][0]["$ref"].as_str())
            .map(|path| path.rsplit('/').next().unwrap_or(path));
        own.or_else(|| property.get("items").and_then(|items| self.reference(items)))
            .or_else(|| {
                property
                    .get("additionalProperties")
                    .and_then(|values| self.reference(values))
            })
    }

    fn target<'v>(&'v self, property: &'v Value) -> &'v Value {
        self.reference(property)
            .and_then(|name| self.schemas.get(name))
            .unwrap_or(property)
    }

    fn properties<'v>(&'v self, property: &'v Value) -> Option<&'v Map<String, Value>> {
        self.target(property)["properties"]
            .as_object()
            .filter(|map| !map.is_empty())
    }

    fn required<'v>(&'v self, property: &'v Value) -> Vec<&'v str> {
        let list = self.target(property)["required"].as_array();
        list.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// What a property itself says; what stands beside a bare reference does not count.
    fn own_description<'v>(&self, property: &'v Value) -> Option<&'v str> {
        property["description"]
            .as_str()
            .filter(|_| property.get("$ref").is_none())
    }

    /// The property's own description, then that of its schema.
    fn descriptions<'v>(&'v self, property: &'v Value) -> Vec<&'v str> {
        let own = self.own_description(property);
        let target = self.target(property);
        let theirs = target["description"]
            .as_str()
            .filter(|_| !std::ptr::eq(target, property));
        own.into_iter().chain(theirs).filter(|text| !text.is_empty()).collect()
    }

    fn type_name(&self, property: &Value) -> String {
        if let Some(items) = property.get("items") {
            return format!("[]{}", self.type_name(items));
        }
        if let Some(values) = property.get("additionalProperties").filter(|values| values.is_object()) {
            return format!("map[string]{}", self.type_name(values));
        }
        if let Some(name) = self.reference(property) {
            // Times are texts; quantities and int-or-strings, which have no one type, go by their name.
            return match self.target(property)["type"].as_str() {
                Some(scalar) if scalar != "object" => scalar.to_owned(),
                _ => name.rsplit('.').next().unwrap_or(name).to_owned(),
            };
        }
        match property["type"].as_str() {
            Some("object") | None => "Object".to_owned(),
            Some(scalar) => scalar.to_owned(),
        }
    }
}

/// Breaks lines at spaces; words longer than a line stay whole.
fn wrap(text: &str, limit: usize) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / limit);
    let (mut space, mut word) = (String::new(), String::new());
    let (mut space_len, mut word_len, mut current) = (0, 0, 0);
    for c in text.chars() {
        if c == '\n' {
            if word_len > 0 || current + space_len <= limit {
                out.push_str(&space);
            }
            out.push_str(&word);
            out.push('\n');
            space.clear();
            word.clear();
            (space_len, word_len, current) = (0, 0, 0);
        } else if c.is_whitespace() {
            if space_len == 0 || word_len > 0 {
                current += space_len + word_len;
                out.push_str(&space);
                out.push_str(&word);
                space.clear();
                word.clear();
                (space_len, word_len) = (0, 0);
            }
            space.push(c);
            space_len += 1;
        } else {
            word.push(c);
            word_len += 1;
            if current + word_len + space_len > limit && word_len < limit {
                out.push('\n');
                space.clear();
                (space_len, current) = (0, 0);
            }
        }
    }
    if word_len > 0 || current + space_len <= limit {
        out.push_str(&space);
    }
    out.push_str(&word);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_spaces_and_long_words_stay_whole() {
        assert_eq!(wrap("aa bb  cc", 6), "aa bb\ncc");
        assert_eq!(wrap("a https://long.example/x b", 6), "a\nhttps://long.example/x\nb");
    }
}
