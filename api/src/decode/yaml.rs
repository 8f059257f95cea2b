//! YAML, as kubectl and the API server read it: events of a YAML parser, built into JSON with go-yaml v2's meanings.
//!
//! The parser is the one below `serde-saphyr`; its serde layer reads YAML 1.2 and cannot say where a duplicate stood
//! (`docs/decisions/0005-yaml.md`).

use std::collections::{HashMap, HashSet};

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, Tag};
use serde_json::{Map, Value};

use super::scalar::{Meaning, resolve, resolve_tagged};
use super::{DecodeError, Decoded, MAX_BYTES, MAX_DEPTH, MAX_VALUES, note};

/// How much anchors and aliases may add to a document, in values and in bytes of text: more is an attack, not a manifest.
const MAX_COPIED: Size = Size {
    values: 100_000,
    bytes: 2 * MAX_BYTES,
};

/// Decodes the first YAML document (JSON is YAML, too). Nothing at all is null.
///
/// A key that stands twice is reported by its path, as JSON's duplicates are. Upstream's words for YAML bodies name the
/// line instead (`line 8: key "x" already set in map`), which says less.
///
/// # Errors
/// Refuses what is not YAML or has no JSON equivalent, and what is larger or deeper than allowed or expands too far.
pub fn yaml(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    if bytes.len() > MAX_BYTES {
        return Err(DecodeError::TooLarge { limit: MAX_BYTES });
    }
    let text = std::str::from_utf8(bytes).map_err(|_| DecodeError::Utf8)?;
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text.trim_start_matches('\u{feff}')) {
        let (event, span) = event.map_err(|error| match error.kind() {
            ErrorKind::RecursionLimitExceeded => DecodeError::TooDeep { limit: MAX_DEPTH },
            _ => DecodeError::Yaml(format!("line {}: {}", error.marker().line(), error.info())),
        })?;
        let step = builder.take(event).map_err(|failure| match failure {
            Failure::Said(words) => DecodeError::Yaml(format!("line {}: {words}", span.start.line())),
            Failure::TooDeep => DecodeError::TooDeep { limit: MAX_DEPTH },
            Failure::TooMany => DecodeError::TooMany { limit: MAX_VALUES },
        })?;
        if let Some(value) = step {
            return Ok(Decoded {
                value,
                duplicates: builder.duplicates,
            });
        }
    }
    Ok(Decoded {
        value: Value::Null,
        duplicates: Vec::new(),
    })
}

/// Splits a stream of documents where kubectl does (lines that start with `---`) and decodes each; empty ones are left out.
///
/// # Errors
/// As [`yaml`], for the first document that is wrong; also for a separator line with something after the `---`.
pub fn yaml_documents(bytes: &[u8]) -> Result<Vec<Decoded>, DecodeError> {
    let text = std::str::from_utf8(bytes).map_err(|_| DecodeError::Utf8)?;
    let mut documents = Vec::new();
    let mut current = String::new();
    let mut finish = |document: &mut String| -> Result<(), DecodeError> {
        let decoded = yaml(document.as_bytes())?;
        if !decoded.value.is_null() {
            documents.push(decoded);
        }
        document.clear();
        Ok(())
    };
    for line in text.split_inclusive('\n') {
        match line.strip_prefix("---").map(str::trim) {
            Some(rest) if rest.is_empty() || rest.starts_with('#') => finish(&mut current)?,
            Some(_) => {
                return Err(DecodeError::Yaml(format!(
                    "invalid Yaml document separator: {}",
                    line.trim()
                )));
            }
            None => current.push_str(line),
        }
    }
    finish(&mut current)?;
    Ok(documents)
}

enum Failure {
    Said(String),
    TooDeep,
    TooMany,
}

impl From<String> for Failure {
    fn from(words: String) -> Self {
        Self::Said(words)
    }
}

/// Builds a value from events without recursion.
#[derive(Default)]
struct Builder {
    stack: Vec<Open>,
    anchors: HashMap<usize, (Value, Size)>,
    copied: Size,
    values: usize,
    duplicates: Vec<String>,
}

/// How much a value holds.
#[derive(Clone, Copy, Default)]
struct Size {
    values: usize,
    bytes: usize,
}

impl Size {
    fn of_scalar(value: &Value) -> Self {
        Self {
            values: 1,
            bytes: value.as_str().map_or(0, str::len),
        }
    }

    fn add(&mut self, other: Self) {
        self.values += other.values;
        self.bytes += other.bytes;
    }
}

/// A collection whose end has not come yet.
struct Open {
    anchor: usize,
    size: Size,
    content: Content,
}

enum Content {
    List(Vec<Value>),
    Map {
        map: Map<String, Value>,
        own: HashSet<String>,
        key: Option<Key>,
    },
}

enum Key {
    Named(String),
    Merge,
}

impl Builder {
    /// Takes one event; answers the document when it is whole.
    fn take(&mut self, event: Event<'_>) -> Result<Option<Value>, Failure> {
        match event {
            Event::SequenceStart(_, anchor, _) => self.open(anchor, Content::List(Vec::new()))?,
            Event::MappingStart(_, anchor, _) => {
                self.open(
                    anchor,
                    Content::Map {
                        map: Map::new(),
                        own: HashSet::new(),
                        key: None,
                    },
                )?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.stack.pop() else { return Ok(None) };
                let value = match open.content {
                    Content::List(items) => Value::Array(items),
                    Content::Map { map, .. } => Value::Object(map),
                };
                return self.place(value, open.anchor, open.size);
            }
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                if plain && text == "<<" && self.wants_key() && tag.is_none() {
                    self.set_key(Key::Merge);
                    return Ok(None);
                }
                let meaning = meaning(&text, plain, tag.as_deref())?;
                if self.wants_key() {
                    let key = meaning.clone().into_key()?;
                    if anchor != 0 {
                        let value = meaning.into_value()?;
                        let size = Size::of_scalar(&value);
                        self.anchors.insert(anchor, (value, size));
                    }
                    self.name_key(key);
                    return Ok(None);
                }
                let value = meaning.into_value()?;
                let size = Size::of_scalar(&value);
                return self.place(value, anchor, size);
            }
            Event::Alias(anchor) => {
                let (value, size) = self
                    .anchors
                    .get(&anchor)
                    .ok_or_else(|| "anchor value contains itself".to_owned())?;
                let size = *size;
                charge(&mut self.copied, size)?;
                let value = value.clone();
                if self.stack.len() + depth(&value) > MAX_DEPTH {
                    return Err(Failure::TooDeep);
                }
                if self.wants_key() {
                    let key = value
                        .as_str()
                        .map(str::to_owned)
                        .or_else(|| value.as_i64().map(|n| n.to_string()));
                    self.name_key(key.ok_or_else(|| "unsupported map key".to_owned())?);
                    return Ok(None);
                }
                return self.place(value, 0, size);
            }
            _ => {}
        }
        Ok(None)
    }

    fn open(&mut self, anchor: usize, content: Content) -> Result<(), Failure> {
        if self.wants_key() {
            return Err("unsupported map key: a key must be a scalar".to_owned().into());
        }
        if self.stack.len() >= MAX_DEPTH {
            return Err(Failure::TooDeep);
        }
        self.stack.push(Open {
            anchor,
            size: Size { values: 1, bytes: 0 },
            content,
        });
        Ok(())
    }

    fn wants_key(&self) -> bool {
        matches!(
            self.stack.last(),
            Some(Open {
                content: Content::Map { key: None, .. },
                ..
            })
        )
    }

    fn set_key(&mut self, new: Key) {
        if let Some(Open {
            content: Content::Map { key, .. },
            ..
        }) = self.stack.last_mut()
        {
            *key = Some(new);
        }
    }

    fn name_key(&mut self, name: String) {
        let path = match self.stack.last() {
            Some(Open {
                content: Content::Map { own, .. },
                ..
            }) if own.contains(&name) => Some(self.path(&name)),
            _ => None,
        };
        if let Some(path) = path {
            note(&mut self.duplicates, path);
        }
        if let Some(Open {
            content: Content::Map { own, .. },
            ..
        }) = self.stack.last_mut()
        {
            own.insert(name.clone());
        }
        self.set_key(Key::Named(name));
    }

    fn path(&self, last: &str) -> String {
        let mut path = String::new();
        for open in &self.stack {
            match &open.content {
                Content::List(items) => path.push_str(&format!("[{}]", items.len())),
                Content::Map {
                    key: Some(Key::Named(name)),
                    ..
                } => {
                    path.push_str(if path.is_empty() { "" } else { "." });
                    path.push_str(name);
                }
                Content::Map { .. } => {}
            }
        }
        if path.is_empty() {
            last.to_owned()
        } else {
            format!("{path}.{last}")
        }
    }

    /// Puts a finished value where it belongs; at the top it is the document.
    fn place(&mut self, value: Value, anchor: usize, size: Size) -> Result<Option<Value>, Failure> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(Failure::TooMany);
        }
        if anchor != 0 {
            // Anchors within anchors hold the same values again and again.
            charge(&mut self.copied, size)?;
            self.anchors.insert(anchor, (value.clone(), size));
        }
        let Some(open) = self.stack.last_mut() else {
            return Ok(Some(value));
        };
        open.size.add(size);
        match &mut open.content {
            Content::List(items) => items.push(value),
            Content::Map { map, key, .. } => match key.take() {
                Some(Key::Named(name)) => {
                    open.size.bytes += name.len();
                    map.insert(name, value);
                }
                Some(Key::Merge) => merge(map, value)?,
                None => {}
            },
        }
        Ok(None)
    }
}

/// Counts a copy.
fn charge(copied: &mut Size, size: Size) -> Result<(), Failure> {
    copied.add(size);
    if copied.values > MAX_COPIED.values || copied.bytes > MAX_COPIED.bytes {
        return Err("document contains excessive aliasing".to_owned().into());
    }
    Ok(())
}

/// go-yaml v2 merges at once and lets the merged keys win over those that stand before the `<<`.
fn merge(map: &mut Map<String, Value>, value: Value) -> Result<(), Failure> {
    let wrong = || Failure::Said("map merge requires map or sequence of maps as the value".to_owned());
    match value {
        Value::Object(other) => map.extend(other),
        Value::Array(items) => {
            for item in items.into_iter().rev() {
                let Value::Object(other) = item else {
                    return Err(wrong());
                };
                map.extend(other);
            }
        }
        _ => return Err(wrong()),
    }
    Ok(())
}

fn meaning(text: &str, plain: bool, tag: Option<&Tag>) -> Result<Meaning, String> {
    match tag {
        None if plain => Ok(resolve(text)),
        None => Ok(Meaning::Text(text.to_owned())),
        Some(tag) => match tag.suffix_in_namespace("tag:yaml.org,2002:") {
            Some(suffix) => {
                resolve_tagged(&suffix, text).ok_or_else(|| format!("cannot decode !!str `{text}` as a !!{suffix}"))
            }
            None => Ok(Meaning::Text(text.to_owned())),
        },
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}
