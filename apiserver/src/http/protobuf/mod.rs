//! Request bodies in protobuf, which kubectl's typed commands send and do not retry as JSON (`kubectl create namespace`).
//!
//! A body is `k8s\0` and a `runtime.Unknown` around the message. The field numbers stand in `tags.txt`, the types in the
//! facts; together they make JSON, and from there on a body is a body. Answers are always JSON, which every such client takes.
//!
//! Go writes fields that are no pointers even when they are zero, and JSON's `omitempty` would have left those out: the lists
//! below say which zeros mean something.

mod wire;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};
use timonel_api::decode::Decoded;
use timonel_api::facts::{self, Field, Scalar, Schema, Type};

use crate::error::ApiError;
use wire::{Payload, Reader};

const MAGIC: &[u8] = b"k8s\0";
/// How deep messages may nest.
const DEPTH: usize = 64;

static TABLE: LazyLock<HashMap<&'static str, Vec<Tag>>> = LazyLock::new(|| {
    include_str!("tags.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let (name, tags) = line.split_once(' ')?;
            Some((name, parse_tags(tags).0))
        })
        .collect()
});

/// A field's number and what it is.
struct Tag {
    number: u64,
    what: What,
}

enum What {
    Field(&'static str),
    /// A message whose fields stand in the outer object.
    Inline(Vec<Tag>),
}

/// Reads `1:a 2:(1:b 2:c) 3:d`, up to the end or to the closing parenthesis; returns what follows it.
fn parse_tags(mut text: &'static str) -> (Vec<Tag>, &'static str) {
    let mut tags = Vec::new();
    loop {
        text = text.trim_start();
        if let Some(rest) = text.strip_prefix(')') {
            return (tags, rest);
        }
        let Some((number, rest)) = text.split_once(':') else {
            return (tags, "");
        };
        let number = number.parse().unwrap_or_default();
        let what = if let Some(inner) = rest.strip_prefix('(') {
            let (inner, rest) = parse_tags(inner);
            text = rest;
            What::Inline(inner)
        } else {
            let end = rest.find([' ', ')']).unwrap_or(rest.len());
            text = &rest[end..];
            What::Field(&rest[..end])
        };
        tags.push(Tag { number, what });
    }
}

/// Strings whose emptiness means something: pointers in Go.
const EMPTY_STRINGS: &[&str] = &["storageClassName", "volumeAttributesClassName"];

/// Numbers whose zero means something: pointers in Go.
const ZERO_NUMBERS: &[&str] = &[
    "activeDeadlineSeconds",
    "averageUtilization",
    "backoffLimit",
    "backoffLimitPerIndex",
    "completions",
    "defaultMode",
    "deletionGracePeriodSeconds",
    "expirationSeconds",
    "failedJobsHistoryLimit",
    "fsGroup",
    "gracePeriodSeconds",
    "maxFailedIndexes",
    "minReplicas",
    "mode",
    "parallelism",
    "partition",
    "priority",
    "progressDeadlineSeconds",
    "replicas",
    "revisionHistoryLimit",
    "runAsGroup",
    "runAsUser",
    "stabilizationWindowSeconds",
    "startingDeadlineSeconds",
    "successfulJobsHistoryLimit",
    "terminationGracePeriodSeconds",
    "timeoutSeconds",
    "tolerationSeconds",
    "ttlSecondsAfterFinished",
];

/// Flags that are no pointers in Go, so that false is nothing said.
const PLAIN_FLAGS: &[&str] = &[
    "hostIPC",
    "hostNetwork",
    "hostPID",
    "paused",
    "publishNotReadyAddresses",
    "readOnly",
    "stdin",
    "stdinOnce",
    "tty",
    "unschedulable",
];

/// Decodes a protobuf body.
pub(crate) fn decode(bytes: &[u8]) -> Result<Decoded, ApiError> {
    let refuse = |why: &str| ApiError::bad_request(format!("the protobuf body cannot be decoded: {why}"));
    let body = bytes.strip_prefix(MAGIC).ok_or_else(|| {
        refuse("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    })?;
    let (mut api_version, mut kind, mut raw): (String, String, &[u8]) = Default::default();
    let broken = || refuse("unexpected end");
    let mut unknown = Reader::new(body);
    while let Some((number, payload)) = unknown.next().ok_or_else(broken)? {
        match (number, payload) {
            (1, Payload::Bytes(meta)) => {
                let mut meta = Reader::new(meta);
                while let Some((number, payload)) = meta.next().ok_or_else(broken)? {
                    let text = payload.text().ok_or_else(broken)?;
                    match number {
                        1 => api_version = text,
                        2 => kind = text,
                        _ => {}
                    }
                }
            }
            (2, Payload::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let schema = facts::schema_for(group, version, &kind)
        .filter(|schema| TABLE.contains_key(schema.name))
        .ok_or_else(|| ApiError::bad_request(format!("no kind {kind:?} is registered for version {api_version:?}")))?;
    let mut map = message(schema, raw, 0).ok_or_else(|| refuse("a field does not fit its type"))?;
    map.insert("apiVersion".to_owned(), api_version.into());
    map.insert("kind".to_owned(), kind.into());
    Ok(Decoded {
        value: Value::Object(map),
        duplicates: Vec::new(),
    })
}

fn message(schema: &'static Schema, bytes: &[u8], depth: usize) -> Option<Map<String, Value>> {
    let mut map = Map::new();
    // A kind whose numbers are not known loses its fields rather than getting wrong ones.
    let tags = TABLE.get(schema.name).map_or(&[][..], Vec::as_slice);
    fields(schema, tags, bytes, depth, &mut map)?;
    Some(map)
}

fn fields(
    schema: &'static Schema,
    tags: &[Tag],
    bytes: &[u8],
    depth: usize,
    map: &mut Map<String, Value>,
) -> Option<()> {
    if depth > DEPTH {
        return None;
    }
    let mut reader = Reader::new(bytes);
    while let Some((number, payload)) = reader.next()? {
        let Some(tag) = tags.iter().find(|tag| tag.number == number) else {
            continue;
        };
        let name = match &tag.what {
            What::Field(name) => *name,
            What::Inline(tags) => {
                fields(schema, tags, payload.bytes()?, depth + 1, map)?;
                continue;
            }
        };
        let Some(field) = schema.field(name) else { continue };
        match &field.ty {
            Type::List { item, .. } => {
                let list = map.entry(name).or_insert_with(|| Value::Array(Vec::new()));
                let list = list.as_array_mut()?;
                match (&**item, payload) {
                    (Type::Scalar(Scalar::Int32 | Scalar::Int64), Payload::Bytes(packed)) => {
                        let mut packed = Reader::new(packed);
                        while let Some(number) = packed.varint() {
                            list.push(number.cast_signed().into());
                        }
                    }
                    (item, payload) => list.push(value(item, payload, depth)?),
                }
            }
            Type::Map { value: of, .. } => {
                let (key, entry) = map_entry(of, payload.bytes()?, depth)?;
                let entries = map.entry(name).or_insert_with(|| Value::Object(Map::new()));
                entries.as_object_mut()?.insert(key, entry);
            }
            single => {
                let value = value(single, payload, depth)?;
                if says_something(field, &value) {
                    map.insert(name.to_owned(), value);
                }
            }
        }
    }
    Some(())
}

fn map_entry(of: &Type, bytes: &[u8], depth: usize) -> Option<(String, Value)> {
    let mut key = String::new();
    let mut entry = None;
    let mut reader = Reader::new(bytes);
    while let Some((number, payload)) = reader.next()? {
        match (number, of) {
            (1, _) => key = payload.text()?,
            // A map to lists is written as a map to messages that hold a list: ExtraValue.
            (2, Type::List { item, .. }) => {
                let mut items = Vec::new();
                let mut inner = Reader::new(payload.bytes()?);
                while let Some((_, payload)) = inner.next()? {
                    items.push(value(item, payload, depth)?);
                }
                entry = Some(Value::Array(items));
            }
            (2, _) => entry = Some(value(of, payload, depth)?),
            _ => {}
        }
    }
    let zero = || match of {
        Type::Scalar(Scalar::String | Scalar::Bytes | Scalar::Quantity) => "".into(),
        Type::Scalar(Scalar::Bool) => false.into(),
        Type::Scalar(_) => 0.into(),
        Type::List { .. } => Value::Array(Vec::new()),
        _ => Value::Object(Map::new()),
    };
    Some((key, entry.unwrap_or_else(zero)))
}

fn says_something(field: &Field, value: &Value) -> bool {
    let name = field.name;
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty() || EMPTY_STRINGS.contains(&name),
        Value::Bool(flag) => *flag || !PLAIN_FLAGS.contains(&name),
        Value::Number(number) => number.as_f64() != Some(0.0) || field.required || ZERO_NUMBERS.contains(&name),
        // Structs that are no pointers have the default `{}`.
        Value::Object(map) => !map.is_empty() || field.default != Some("{}"),
        Value::Array(_) => true,
    }
}

fn value(ty: &Type, payload: Payload<'_>, depth: usize) -> Option<Value> {
    Some(match ty {
        Type::Ref(schema) => Value::Object(message(schema.schema(), payload.bytes()?, depth + 1)?),
        Type::RawObject | Type::Any => {
            let mut raw = Reader::new(payload.bytes()?);
            match raw.next()? {
                Some((1, Payload::Bytes(json))) => serde_json::from_slice(json).ok()?,
                _ => Value::Null,
            }
        }
        Type::Scalar(scalar) => scalar_value(*scalar, payload)?,
        Type::List { .. } | Type::Map { .. } => return None,
    })
}

fn scalar_value(scalar: Scalar, payload: Payload<'_>) -> Option<Value> {
    Some(match scalar {
        Scalar::String => payload.text()?.into(),
        Scalar::Bytes => STANDARD.encode(payload.bytes()?).into(),
        Scalar::Bool => (payload.varint()? != 0).into(),
        Scalar::Int32 | Scalar::Int64 => payload.varint()?.cast_signed().into(),
        Scalar::Double => payload.double()?.into(),
        Scalar::Quantity => {
            let mut inner = Reader::new(payload.bytes()?);
            match inner.next()? {
                Some((1, text)) => text.text()?.into(),
                _ => Value::Null,
            }
        }
        Scalar::Time => time(payload.bytes()?, false)?,
        Scalar::MicroTime => time(payload.bytes()?, true)?,
        Scalar::IntOrString => {
            let (mut is_text, mut number, mut text) = (false, 0, String::new());
            let mut inner = Reader::new(payload.bytes()?);
            while let Some((tag, payload)) = inner.next()? {
                match tag {
                    1 => is_text = payload.varint()? == 1,
                    2 => number = payload.varint()?.cast_signed(),
                    3 => text = payload.text()?,
                    _ => {}
                }
            }
            if is_text { text.into() } else { number.into() }
        }
    })
}

/// A time is seconds and nanoseconds; the zero time is an empty message.
fn time(bytes: &[u8], micro: bool) -> Option<Value> {
    let (mut seconds, mut nanos) = (None, 0);
    let mut inner = Reader::new(bytes);
    while let Some((tag, payload)) = inner.next()? {
        match tag {
            1 => seconds = Some(payload.varint()?.cast_signed()),
            2 => nanos = payload.varint()?.cast_signed(),
            _ => {}
        }
    }
    let Some(seconds) = seconds else {
        return Some(Value::Null);
    };
    let time = Timestamp::new(seconds, i32::try_from(nanos).ok()?).ok()?;
    let format = if micro {
        "%Y-%m-%dT%H:%M:%S.%6fZ"
    } else {
        "%Y-%m-%dT%H:%M:%SZ"
    };
    Some(time.strftime(format).to_string().into())
}
