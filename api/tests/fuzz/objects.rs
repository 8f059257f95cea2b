//! Objects of the built-in kinds, made from the facts, and objects that differ from others a little.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};
use timonel_api::facts::{Field, ListType, Scalar, Schema, Type, schema_for};
use timonel_api::resources;

use crate::input::Choices;

/// A kind that is stored.
pub(crate) struct Kind {
    pub(crate) schema: &'static Schema,
    pub(crate) api_version: String,
    pub(crate) name: &'static str,
}

static KINDS: LazyLock<Vec<Kind>> = LazyLock::new(|| {
    // What has the richest lists and structs comes again and again.
    let rich = [
        ("", "Pod"),
        ("apps", "Deployment"),
        ("", "Service"),
        ("", "Pod"),
        ("apps", "StatefulSet"),
        ("", "Node"),
    ];
    let rich = rich
        .iter()
        .cycle()
        .take(48)
        .filter_map(|(group, kind)| resources::by_kind(group, "v1", kind));
    let kinds = rich.chain(resources::all().iter().filter(|resource| resource.storage));
    kinds
        .map(|resource| Kind {
            schema: schema_for(resource.group, resource.version, resource.kind).unwrap(),
            api_version: resource.api_version(),
            name: resource.kind,
        })
        .collect()
});

pub(crate) fn kind(from: &mut Choices<'_>) -> &'static Kind {
    &KINDS[from.below(KINDS.len().min(256))]
}

/// An object of a kind: whatever its schema can hold.
pub(crate) fn object(from: &mut Choices<'_>, kind: &Kind) -> Value {
    let mut object = fields(from, kind.schema, 6, 4);
    object.remove("metadata");
    for _ in 0..from.below(3) {
        if let Some(field) = kind.schema.field("metadata") {
            object.insert("metadata".to_owned(), value_of(from, field, 3));
        }
    }
    identified(object, kind)
}

/// Gives an object the fields that say which one it is; what the server keeps is not in it.
fn identified(mut object: Map<String, Value>, kind: &Kind) -> Value {
    object.insert("apiVersion".to_owned(), json!(kind.api_version));
    object.insert("kind".to_owned(), json!(kind.name));
    let metadata = object.entry("metadata").or_insert_with(|| json!({}));
    if let Some(metadata) = metadata.as_object_mut() {
        for gone in [
            "managedFields",
            "creationTimestamp",
            "deletionTimestamp",
            "resourceVersion",
            "uid",
            "generation",
            "selfLink",
        ] {
            metadata.remove(gone);
        }
        metadata.insert("name".to_owned(), json!("it"));
        metadata.insert("namespace".to_owned(), json!("there"));
    }
    Value::Object(object)
}

fn fields(from: &mut Choices<'_>, schema: &'static Schema, depth: usize, most: usize) -> Map<String, Value> {
    let mut map = Map::new();
    if schema.fields.is_empty() {
        return map;
    }
    let deep: Vec<&Field> = schema
        .fields
        .iter()
        .filter(|field| !matches!(field.ty, Type::Scalar(_)))
        .collect();
    let spec = schema.field("spec");
    for _ in 0..from.below(most) + usize::from(!from.is_used_up()) {
        let field = match from.below(3) {
            0 if spec.is_some() => spec.unwrap(),
            1 if !deep.is_empty() => deep[from.below(deep.len())],
            _ => &schema.fields[from.below(schema.fields.len())],
        };
        if depth > 0 || matches!(field.ty, Type::Scalar(_)) {
            map.insert(field.name.to_owned(), value_of(from, field, depth.saturating_sub(1)));
        }
    }
    map
}

fn value_of(from: &mut Choices<'_>, field: &'static Field, depth: usize) -> Value {
    let mut value = of_type(from, &field.ty, depth);
    if let Value::Array(items) = &mut value {
        identify_items(from, field, items);
    }
    value
}

/// The keys by which the items of a list are told apart, by any of the merging rules.
fn keys_of(field: &Field) -> Vec<&'static str> {
    let mut keys: Vec<&'static str> = field.patch_merge_key.into_iter().collect();
    if let Type::List {
        list_type: ListType::Map,
        map_keys,
        ..
    } = &field.ty
    {
        keys.extend(
            map_keys
                .iter()
                .filter(|key| !keys.contains(key))
                .copied()
                .collect::<Vec<_>>(),
        );
    }
    keys
}

/// Gives each item its keys, and keeps one of several that are alike by any of them.
fn identify_items(from: &mut Choices<'_>, field: &'static Field, items: &mut Vec<Value>) {
    let keys = keys_of(field);
    if let (Type::List { item, .. }, false) = (&field.ty, keys.is_empty()) {
        for value in items.iter_mut() {
            let (Type::Ref(schema), Some(map)) = (&**item, value.as_object_mut()) else {
                continue;
            };
            for key in &keys {
                if let Some(field) = schema.schema().field(key)
                    && !map.contains_key(*key)
                {
                    map.insert((*key).to_owned(), of_type(from, &field.ty, 0));
                }
            }
        }
    }
    let merges = field.patch_strategy.is_some_and(|strategy| strategy.contains("merge"));
    let set = matches!(
        field.ty,
        Type::List {
            list_type: ListType::Set | ListType::Map,
            ..
        }
    );
    if merges || set {
        let mut seen: Vec<String> = Vec::new();
        items.retain(|item| {
            let id = match (field.patch_merge_key, keys.as_slice()) {
                (Some(key), _) => item[key].to_string(),
                (None, []) => item.to_string(),
                (None, keys) => keys
                    .iter()
                    .map(|key| item[*key].to_string())
                    .collect::<Vec<_>>()
                    .join(","),
            };
            let new = !seen.contains(&id);
            seen.push(id);
            new
        });
    }
}

fn of_type(from: &mut Choices<'_>, ty: &'static Type, depth: usize) -> Value {
    match ty {
        Type::Ref(schema) => Value::Object(fields(from, schema.schema(), depth, 4)),
        Type::List { item, .. } => (0..from.below(4))
            .map(|_| of_type(from, item, depth.saturating_sub(1)))
            .collect(),
        Type::Map { value, .. } => (0..from.below(4))
            .map(|_| {
                (
                    from.pick(&["a", "b", "c.d/e"]).to_owned(),
                    of_type(from, value, depth.saturating_sub(1)),
                )
            })
            .collect(),
        Type::Scalar(scalar) => scalar_of(from, *scalar),
        Type::RawObject => json!({from.pick(&["a", "b"]): from.below(2)}),
        Type::Any => [json!(true), json!({"type": "string"}), json!(1)][from.below(3)].clone(),
    }
}

fn scalar_of(from: &mut Choices<'_>, scalar: Scalar) -> Value {
    match scalar {
        Scalar::String => Value::from(from.pick(&["a", "b", "c", "", "TCP", "UDP"])),
        Scalar::Bool => Value::from(from.chance(50)),
        Scalar::Int32 | Scalar::Int64 => Value::from(from.below(4)),
        Scalar::Double => [json!(0), json!(1.5), json!(0.1)][from.below(3)].clone(),
        Scalar::IntOrString => [json!(80), json!("http"), json!("50%")][from.below(3)].clone(),
        Scalar::Quantity => Value::from(from.pick(&["1", "500m", "1Gi", "0"])),
        Scalar::Time => Value::from(from.pick(&["2026-01-01T00:00:00Z", "2026-01-02T03:04:05Z"])),
        Scalar::MicroTime => Value::from(from.pick(&["2026-01-01T00:00:00.000000Z", "2026-01-02T03:04:05.000006Z"])),
        Scalar::Bytes => Value::from(from.pick(&["", "YQ==", "Yg=="])),
    }
}

/// An object of the same kind that differs here and there.
pub(crate) fn varied(from: &mut Choices<'_>, kind: &Kind, object: &Value) -> Value {
    let mut map = object.as_object().cloned().unwrap_or_default();
    vary_fields(from, kind.schema, &mut map, 6);
    identified(map, kind)
}

fn vary_fields(from: &mut Choices<'_>, schema: &'static Schema, map: &mut Map<String, Value>, depth: usize) {
    let names: Vec<String> = map.keys().cloned().collect();
    for name in names {
        let Some(field) = schema.field(&name) else { continue };
        match from.below(10) {
            7 => drop(map.remove(&name)),
            8 => drop(map.insert(name, value_of(from, field, depth.saturating_sub(1)))),
            2..=6 => {
                if let Some(value) = map.get_mut(&name) {
                    vary(from, field, value, depth.saturating_sub(1));
                }
            }
            _ => {}
        }
    }
    if from.chance(25) {
        for (name, value) in fields(from, schema, depth.min(3), 2) {
            map.entry(name).or_insert(value);
        }
    }
}

fn vary(from: &mut Choices<'_>, field: &'static Field, value: &mut Value, depth: usize) {
    match (&field.ty, value) {
        (Type::Ref(schema), Value::Object(map)) => vary_fields(from, schema.schema(), map, depth),
        (Type::Map { value: ty, .. }, Value::Object(map)) => {
            for key in ["a", "b", "c.d/e"] {
                match from.below(4) {
                    1 => drop(map.remove(key)),
                    2 => drop(map.insert(key.to_owned(), of_type(from, ty, depth))),
                    _ => {}
                }
            }
        }
        (Type::List { item, .. }, Value::Array(items)) => {
            items.retain(|_| !from.chance(20));
            if let Type::Ref(schema) = &**item {
                let keys = keys_of(field);
                for value in items.iter_mut().filter_map(Value::as_object_mut) {
                    let own: Vec<(String, Value)> = keys
                        .iter()
                        .filter_map(|key| Some(((*key).to_owned(), value.get(*key)?.clone())))
                        .collect();
                    vary_fields(from, schema.schema(), value, depth);
                    value.extend(own);
                }
            }
            for _ in 0..from.below(3) {
                let at = from.below(items.len() + 1);
                items.insert(at, of_type(from, item, depth));
            }
            if items.len() > 1 && from.chance(30) {
                let (a, b) = (from.below(items.len()), from.below(items.len()));
                items.swap(a, b);
            }
            identify_items(from, field, items);
        }
        (Type::Scalar(scalar), value) => *value = scalar_of(from, *scalar),
        _ => {}
    }
}
