//! How answers are printed: `-o table|wide|yaml|json|name|jsonpath|go-template|custom-columns`.

pub(crate) mod columns;
pub(crate) mod table;

use std::io::Write;
use std::str::FromStr;

use serde_json::Value;

use crate::error::Failure;

/// What `-o` asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    /// The server's table.
    #[default]
    Table,
    /// The table with its wide columns.
    Wide,
    /// JSON, indented by four spaces as kubectl's.
    Json,
    /// YAML.
    Yaml,
    /// `pod/web-0`
    Name,
    /// A JSONPath template.
    JsonPath(String),
    /// `HEADER:.path,...`
    CustomColumns(String),
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, argument) = text
            .split_once('=')
            .map_or((text, None), |(name, rest)| (name, Some(rest.to_owned())));
        let from_file = |argument: Option<String>| {
            let path = argument.ok_or("a file is missing after the equals sign")?;
            std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))
        };
        match (name, argument) {
            ("wide", None) => Ok(Self::Wide),
            ("json", None) => Ok(Self::Json),
            ("yaml", None) => Ok(Self::Yaml),
            ("name", None) => Ok(Self::Name),
            ("jsonpath", Some(template)) => Ok(Self::JsonPath(template)),
            ("jsonpath-file", argument) => from_file(argument).map(Self::JsonPath),
            ("custom-columns", Some(columns)) => Ok(Self::CustomColumns(columns)),
            ("custom-columns-file", argument) => {
                from_file(argument).map(|text| Self::CustomColumns(columns::from_file(&text)))
            }
            ("jsonpath" | "custom-columns", None) => Err(format!(
                "template format specified but no template given (-o {name}=...)"
            )),
            _ => Err(format!(
                "unable to match a printer suitable for the output format {text:?}, allowed formats are: custom-columns,custom-columns-file,json,jsonpath,jsonpath-file,name,wide,yaml"
            )),
        }
    }
}

impl Format {
    /// Whether the server's table is what is wanted.
    pub(crate) fn is_table(&self) -> bool {
        matches!(self, Self::Table | Self::Wide)
    }
}

/// Prints one object, or a list, in a format that is no table.
pub(crate) fn print(out: &mut impl Write, format: &Format, value: &Value) -> Result<(), Failure> {
    match format {
        Format::Table | Format::Wide | Format::Json => {
            let mut buffer = Vec::new();
            let mut serializer = serde_json::Serializer::with_formatter(
                &mut buffer,
                serde_json::ser::PrettyFormatter::with_indent(b"    "),
            );
            serde::Serialize::serialize(value, &mut serializer)?;
            buffer.push(b'\n');
            out.write_all(&buffer)?;
        }
        Format::Yaml => out.write_all(yaml(value)?.as_bytes())?,
        Format::Name => {
            for item in items(value) {
                writeln!(out, "{}", name_of(item))?;
            }
        }
        Format::JsonPath(template) => {
            let path = timonel_api::jsonpath::Template::parse(template)
                .map_err(|error| Failure::usage(format!("error parsing jsonpath {template}, {error}")))?;
            let text = path
                .render(value)
                .map_err(|error| Failure::usage(format!("error executing jsonpath {template:?}: {error}")))?;
            write!(out, "{text}")?;
        }
        Format::CustomColumns(spec) => columns::print(out, spec, &items(value))?,
    }
    Ok(())
}

/// A path as people write it, as a template: `.a.b`, `a.b` and `{a.b}` are `{.a.b}`.
pub(crate) fn relaxed(path: &str) -> Result<String, String> {
    let inner = path
        .strip_prefix('{')
        .and_then(|inner| inner.strip_suffix('}'))
        .unwrap_or(path);
    let inner = inner.strip_prefix('.').unwrap_or(inner);
    if inner.is_empty() || inner.contains(['{', '}']) {
        return Err(format!(
            "unexpected path string, expected a 'name1.name2' or '.name1.name2' or '{{name1.name2}}' or '{{.name1.name2}}', got {path:?}"
        ));
    }
    Ok(format!("{{.{inner}}}"))
}

/// Writes YAML that kubectl reads back as the same object.
pub(crate) fn yaml(value: &Value) -> Result<String, Failure> {
    Ok(timonel_api::decode::to_yaml(value))
}

/// The items of a list, or the object itself.
pub(crate) fn items(value: &Value) -> Vec<&Value> {
    match value["items"].as_array() {
        Some(items) if value["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) => items.iter().collect(),
        _ => vec![value],
    }
}

/// `pod/web-0`, `deployment.apps/web`
pub(crate) fn name_of(object: &Value) -> String {
    let api_version = object["apiVersion"].as_str().unwrap_or("");
    let group = api_version
        .split_once('/')
        .map_or(String::new(), |(group, _)| format!(".{group}"));
    let kind = object["kind"].as_str().unwrap_or("").to_lowercase();
    format!("{kind}{group}/{}", object["metadata"]["name"].as_str().unwrap_or(""))
}

/// Prints `pod/web-0 created`, or the object as `-o` asks.
pub(crate) fn report(object: &Value, what: &str, format: Option<&Format>, dry_run: &str) -> Result<(), Failure> {
    match format {
        None | Some(Format::Table | Format::Wide) => {
            println!("{} {what}{}", name_of(object), dry_run_note(dry_run));
            Ok(())
        }
        Some(format) => {
            let mut object = object.clone();
            strip_managed_fields(&mut object);
            print(&mut std::io::stdout().lock(), format, &object)
        }
    }
}

/// Removes what is rarely worth reading.
pub(crate) fn strip_managed_fields(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
}

/// What kubectl adds to a message when nothing was changed.
pub(crate) fn dry_run_note(dry_run: &str) -> &'static str {
    match dry_run {
        "server" => " (server dry run)",
        "client" => " (dry run)",
        _ => "",
    }
}
