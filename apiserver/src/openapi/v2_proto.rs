//! OpenAPI v2 in protobuf, which is the only form that Go's discovery client reads.
//!
//! The messages are those of `google/gnostic-models`, `openapiv2/OpenAPIv2.proto`; only the fields that our document has
//! are written. Extensions (`x-kubernetes-...`) are carried as YAML text, for which JSON does.

use serde_json::{Map, Value};

/// Encodes the document that [`super::v2::document`] makes.
pub(super) fn encode(document: &Value) -> Vec<u8> {
    let mut out = Message::default();
    out.text(1, &document["swagger"]);
    let mut info = Message::default();
    info.text(1, &document["info"]["title"]);
    info.text(2, &document["info"]["version"]);
    out.message(2, info);
    out.message(8, named(2, &document["paths"], path_item));
    out.message(9, named(1, &document["definitions"], schema));
    for requirement in document["security"].as_array().into_iter().flatten() {
        out.message(
            12,
            named(1, requirement, |scopes| {
                let mut list = Message::default();
                list.texts(1, scopes);
                list
            }),
        );
    }
    out.message(
        13,
        named(1, &document["securityDefinitions"], |definition| {
            let mut key = Message::default();
            for (number, name) in [(1, "type"), (2, "name"), (3, "in"), (4, "description")] {
                key.text(number, &definition[name]);
            }
            wrap(2, key)
        }),
    );
    out.0
}

fn path_item(item: &Value) -> Message {
    let mut out = Message::default();
    for (number, method) in [
        (2, "get"),
        (3, "put"),
        (4, "post"),
        (5, "delete"),
        (6, "options"),
        (7, "head"),
        (8, "patch"),
    ] {
        if item[method].is_object() {
            out.message(number, operation(&item[method]));
        }
    }
    for one in list(&item["parameters"]) {
        out.message(9, parameter(one));
    }
    out
}

fn operation(operation: &Value) -> Message {
    let mut out = Message::default();
    out.texts(1, &operation["tags"]);
    out.text(3, &operation["description"]);
    out.text(5, &operation["operationId"]);
    out.texts(6, &operation["produces"]);
    out.texts(7, &operation["consumes"]);
    for one in list(&operation["parameters"]) {
        out.message(8, parameter(one));
    }
    out.message(9, named(1, &operation["responses"], response));
    out.texts(10, &operation["schemes"]);
    out.extensions(13, operation);
    out
}

fn parameter(parameter: &Value) -> Message {
    let mut inner = Message::default();
    let place = parameter["in"].as_str().unwrap_or_default();
    if place == "body" {
        inner.text(1, &parameter["description"]);
        inner.text(2, &parameter["name"]);
        inner.text(3, &parameter["in"]);
        inner.flag(4, &parameter["required"]);
        inner.message(5, schema(&parameter["schema"]));
        return wrap(1, wrap(1, inner));
    }
    // A query parameter has `allowEmptyValue` before its type, a path parameter has not.
    let (variant, kind, unique) = if place == "query" { (3, 6, 20) } else { (4, 5, 19) };
    inner.flag(1, &parameter["required"]);
    inner.text(2, &parameter["in"]);
    inner.text(3, &parameter["description"]);
    inner.text(4, &parameter["name"]);
    inner.text(kind, &parameter["type"]);
    inner.flag(unique, &parameter["uniqueItems"]);
    wrap(1, wrap(2, wrap(variant, inner)))
}

fn response(response: &Value) -> Message {
    let mut out = Message::default();
    out.text(1, &response["description"]);
    if response["schema"].is_object() {
        out.message(2, wrap(1, schema(&response["schema"])));
    }
    wrap(1, out)
}

fn schema(value: &Value) -> Message {
    let mut out = Message::default();
    out.text(1, &value["$ref"]);
    out.text(2, &value["format"]);
    out.text(4, &value["description"]);
    out.texts(19, &value["required"]);
    if value["additionalProperties"].is_object() {
        out.message(21, wrap(1, schema(&value["additionalProperties"])));
    }
    if value["type"].is_string() {
        let mut kind = Message::default();
        kind.text(1, &value["type"]);
        out.message(22, kind);
    }
    if value["items"].is_object() {
        out.message(23, wrap(1, schema(&value["items"])));
    }
    if value["properties"].is_object() {
        out.message(25, named(1, &value["properties"], schema));
    }
    out.extensions(31, value);
    out
}

/// A message of named things: a repeated field of `{ name = 1, value = 2 }`.
fn named(number: u32, map: &Value, encode: impl Fn(&Value) -> Message) -> Message {
    let mut out = Message::default();
    let empty = Map::new();
    for (name, value) in map.as_object().unwrap_or(&empty) {
        let mut pair = Message::default();
        pair.bytes(1, name.as_bytes());
        pair.message(2, encode(value));
        out.message(number, pair);
    }
    out
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn wrap(number: u32, inner: Message) -> Message {
    let mut out = Message::default();
    out.message(number, inner);
    out
}

/// The bytes of a message.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }

    fn bytes(&mut self, number: u32, bytes: &[u8]) {
        self.varint(u64::from(number) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn message(&mut self, number: u32, inner: Message) {
        self.bytes(number, &inner.0);
    }

    fn text(&mut self, number: u32, value: &Value) {
        if let Some(text) = value.as_str().filter(|text| !text.is_empty()) {
            self.bytes(number, text.as_bytes());
        }
    }

    fn texts(&mut self, number: u32, value: &Value) {
        list(value).for_each(|one| self.text(number, one));
    }

    fn flag(&mut self, number: u32, value: &Value) {
        if value.as_bool() == Some(true) {
            self.varint(u64::from(number) << 3);
            self.varint(1);
        }
    }

    fn extensions(&mut self, number: u32, value: &Value) {
        for (name, value) in value
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(name, _)| name.starts_with("x-"))
        {
            let mut any = Message::default();
            any.bytes(2, value.to_string().as_bytes());
            let mut pair = Message::default();
            pair.bytes(1, name.as_bytes());
            pair.message(2, any);
            self.message(number, pair);
        }
    }
}
