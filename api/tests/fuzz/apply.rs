//! Server-side apply: the laws of KEP-555.

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use timonel_api::decode;
use timonel_api::facts::{ListType, MapType, Schema, Type};
use timonel_api::patch::apply::{ApplyError, apply, update_managed_fields};

use crate::input::{Choices, bytes, cases};
use crate::objects::{self, Kind};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + second).unwrap()
}

fn put(
    kind: &Kind,
    live: Option<&Value>,
    config: &Value,
    manager: &str,
    force: bool,
    second: i64,
) -> Result<Value, ApplyError> {
    apply(
        kind.schema,
        live,
        config,
        manager,
        force,
        &kind.api_version,
        "",
        at(second),
    )
}

/// The object without what says who owns it.
fn content(object: &Value) -> Value {
    let mut object = object.clone();
    object["metadata"].as_object_mut().unwrap().remove("managedFields");
    object
}

/// What may be applied through the main resource, all but the status; with one field at least that can be owned, and nothing empty, which
/// may be owned and yet go.
fn config(from: &mut Choices<'_>, kind: &Kind) -> Value {
    without_status(objects::object(from, kind))
}

fn varied(from: &mut Choices<'_>, kind: &Kind, config: &Value) -> Value {
    without_status(objects::varied(from, kind, config))
}

fn without_status(mut object: Value) -> Value {
    object.as_object_mut().unwrap().remove("status");
    object["metadata"]["labels"] = json!({"own": "a"});
    without_empty(&object)
}

fn owned<'a>(object: &'a Value, manager: &str) -> Option<&'a Value> {
    let entries = object.pointer("/metadata/managedFields")?.as_array()?;
    entries
        .iter()
        .find(|entry| entry["manager"] == manager)
        .map(|entry| &entry["fieldsV1"])
}

/// The first path of `fieldsV1` that leads nowhere in the value.
fn astray(fields: &Value, value: &Value, ty: Option<&Type>, path: &str) -> Option<String> {
    for (element, below) in fields.as_object().into_iter().flatten() {
        let here = format!("{path}/{element}");
        let (letter, name) = element.split_once(':').unwrap_or((element, ""));
        let mut items = value.as_array().into_iter().flatten();
        let item_type = match ty {
            Some(Type::List { item, .. }) => Some(&**item),
            _ => None,
        };
        let (found, ty) = match letter {
            "." => continue,
            "f" => {
                let field = match ty {
                    Some(Type::Ref(schema)) => schema.schema().field(name),
                    _ => None,
                };
                // Go writes such fields whether they are there or not.
                let always = |default: &str| default.starts_with('{');
                if field.is_some_and(|field| field.required || field.default.is_some_and(always))
                    && value.get(name).is_none()
                {
                    continue;
                }
                let values = match ty {
                    Some(Type::Map { value, .. }) => Some(&**value),
                    _ => None,
                };
                (value.get(name), field.map(|field| &field.ty).or(values))
            }
            "v" => {
                let wanted: Value = serde_json::from_str(name).unwrap();
                (items.find(|item| **item == wanted), item_type)
            }
            "k" => {
                let keys: Map<String, Value> = serde_json::from_str(name).unwrap();
                // A key that is not written has its default.
                let same = |item: &&Value| {
                    keys.iter()
                        .all(|(key, wanted)| item.get(key).is_none_or(|have| have == wanted))
                };
                (items.find(same), item_type)
            }
            _ => return Some(here),
        };
        match found {
            None => return Some(here),
            Some(value) => {
                if let Some(astray) = astray(below, value, ty, &here) {
                    return Some(astray);
                }
            }
        }
    }
    None
}

/// Whether Go writes a top-level field whether it is there or not.
fn always_there(kind: &Kind, element: &str) -> bool {
    let field = element.strip_prefix("f:").and_then(|name| kind.schema.field(name));
    field.is_some_and(|field| field.required || field.default.is_some_and(|default| default.starts_with('{')))
}

fn all_owners_own_what_is_there(kind: &Kind, object: &Value) -> Result<(), TestCaseError> {
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    for entry in entries.into_iter().flatten() {
        let fields = entry["fieldsV1"].as_object().into_iter().flatten();
        let astray = fields
            .filter(|(key, _)| !always_there(kind, key))
            .find_map(|(key, below)| {
                let (_, name) = key.split_once(':')?;
                let ty = kind.schema.field(name).map(|field| &field.ty);
                object
                    .get(name)
                    .map_or_else(|| Some(key.clone()), |value| astray(below, value, ty, key))
            });
        prop_assert!(astray.is_none(), "{} owns {:?} of {}", entry["manager"], astray, object);
    }
    Ok(())
}

/// Cuts a configuration in two that have no leaf in common.
fn halves(
    from: &mut Choices<'_>,
    schema: &'static Schema,
    whole: &Map<String, Value>,
) -> (Map<String, Value>, Map<String, Value>) {
    let (mut left, mut right) = (Map::new(), Map::new());
    for (key, value) in whole {
        if matches!(key.as_str(), "apiVersion" | "kind") {
            left.insert(key.clone(), value.clone());
            right.insert(key.clone(), value.clone());
            continue;
        }
        let field = schema.field(key);
        let inner = field
            .filter(|field| !field.is_atomic())
            .and_then(|field| match &field.ty {
                Type::Ref(schema) if schema.map_type != Some(MapType::Atomic) => Some(schema.schema()),
                _ => None,
            });
        match (inner, value.as_object()) {
            (Some(inner), Some(map)) if !map.is_empty() => {
                let (a, b) = halves(from, inner, map);
                left.insert(key.clone(), Value::Object(a));
                right.insert(key.clone(), Value::Object(b));
            }
            _ if from.chance(50) => drop(left.insert(key.clone(), value.clone())),
            _ => drop(right.insert(key.clone(), value.clone())),
        }
    }
    (left, right)
}

/// The fields of an object that hold one value each and are owned each for itself: how to reach them, and how a conflict names them.
fn leaves(schema: &'static Schema, map: &Map<String, Value>, to: &str, path: &str, found: &mut Vec<(String, String)>) {
    for (key, value) in map {
        let Some(field) = schema.field(key).filter(|field| !field.is_atomic()) else {
            continue;
        };
        let (to, path) = (format!("{to}/{key}"), format!("{path}.{key}"));
        match (&field.ty, value) {
            (Type::Ref(inner), Value::Object(map)) if inner.map_type != Some(MapType::Atomic) => {
                leaves(inner.schema(), map, &to, &path, found);
            }
            (_, Value::Bool(_) | Value::String(_) | Value::Number(_))
                if !path.starts_with(".metadata") && !matches!(to.as_str(), "/apiVersion" | "/kind") =>
            {
                found.push((to, path));
            }
            _ => {}
        }
    }
}

/// Another value of the same type.
fn another(value: &Value) -> Value {
    match value {
        Value::Bool(is) => json!(!is),
        Value::String(text) => json!(format!("{text}x")),
        number => json!(number.as_i64().unwrap_or_default() ^ 1),
    }
}

fn named(mut map: Map<String, Value>) -> Value {
    let metadata = map.entry("metadata").or_insert_with(|| json!({}));
    metadata["name"] = json!("it");
    metadata["namespace"] = json!("there");
    Value::Object(map)
}

/// Drops what says nothing: objects and lists that are empty. Apply leaves containers where their content went.
fn without_empty(value: &Value) -> Value {
    let empty = |value: &Value| value == &json!({}) || value == &json!([]);
    match value {
        Value::Object(map) => Value::Object(
            map.iter()
                .map(|(key, value)| (key.clone(), without_empty(value)))
                .filter(|(_, value)| !empty(value))
                .collect(),
        ),
        Value::Array(items) => items.iter().map(without_empty).collect(),
        other => other.clone(),
    }
}

/// Whether everything that a configuration says holds in an object.
fn says(ty: Option<&Type>, config: &Value, object: &Value) -> bool {
    match (config, object) {
        (Value::Object(config), Value::Object(object)) => config.iter().all(|(key, value)| {
            let below = match ty {
                Some(Type::Ref(schema)) => schema.schema().field(key).map(|field| &field.ty),
                Some(Type::Map { value, .. }) => Some(&**value),
                _ => None,
            };
            object.get(key).is_some_and(|there| says(below, value, there))
        }),
        (Value::Array(config), Value::Array(object)) => match ty {
            Some(Type::List {
                list_type: ListType::Set,
                ..
            }) => config.iter().all(|item| object.contains(item)),
            Some(Type::List {
                item: ty,
                list_type: ListType::Map,
                map_keys,
            }) => config.iter().all(|item| {
                let same = |there: &&Value| map_keys.iter().all(|key| there.get(*key) == item.get(*key));
                object
                    .iter()
                    .find(same)
                    .is_some_and(|there| says(Some(ty), item, there))
            }),
            _ => config == object,
        },
        _ => config == object,
    }
}

fn config_holds(kind: &Kind, config: &Value, object: &Value) -> bool {
    config.as_object().unwrap().iter().all(|(key, value)| {
        let ty = kind.schema.field(key).map(|field| &field.ty);
        object.get(key).is_some_and(|there| says(ty, value, there))
    })
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn what_is_applied_holds_and_applying_again_changes_nothing(bytes in bytes(500)) {
        let mut from = Choices::new(&bytes);
        let kind = objects::kind(&mut from);
        let config = config(&mut from, kind);
        let first = put(kind, None, &config, "one", false, 1).unwrap();
        prop_assert_eq!(content(&first), config.clone());
        all_owners_own_what_is_there(kind, &first)?;
        prop_assert_eq!(put(kind, Some(&first), &config, "one", false, 2), Ok(first.clone()));
        let theirs = varied(&mut from, kind, &config);
        let second = put(kind, Some(&first), &theirs, "two", true, 3).unwrap();
        prop_assert!(config_holds(kind, &theirs, &second), "{} in {}", theirs, second);
        all_owners_own_what_is_there(kind, &second)?;
        prop_assert_eq!(put(kind, Some(&second), &theirs, "two", true, 4), Ok(second));
    }

    #[test]
    fn the_only_manager_gets_what_it_says_and_nothing_of_what_it_said(bytes in bytes(500)) {
        let mut from = Choices::new(&bytes);
        let kind = objects::kind(&mut from);
        let before = config(&mut from, kind);
        let after = varied(&mut from, kind, &before);
        let object = put(kind, None, &before, "one", false, 1).unwrap();
        let object = put(kind, Some(&object), &after, "one", false, 2).unwrap();
        all_owners_own_what_is_there(kind, &object)?;
        prop_assert_eq!(without_empty(&content(&object)), without_empty(&after), "before {}", before);
    }

    #[test]
    fn who_owns_other_fields_is_no_conflict_and_keeps_them(bytes in bytes(500)) {
        let mut from = Choices::new(&bytes);
        let kind = objects::kind(&mut from);
        let whole = config(&mut from, kind);
        let (mine, theirs) = halves(&mut from, kind.schema, whole.as_object().unwrap());
        let (mine, theirs) = (named(mine), named(theirs));
        let object = put(kind, None, &mine, "one", false, 1).unwrap();
        let object = put(kind, Some(&object), &theirs, "two", false, 2).unwrap();
        prop_assert_eq!(without_empty(&content(&object)), without_empty(&whole));
        all_owners_own_what_is_there(kind, &object)?;
        // Who applies nothing any more takes away what was only its own.
        let nothing = named(json!({"apiVersion": kind.api_version, "kind": kind.name}).as_object().unwrap().clone());
        let object = put(kind, Some(&object), &nothing, "two", false, 3).unwrap();
        prop_assert_eq!(without_empty(&content(&object)), without_empty(&mine), "they had {}", theirs);
        prop_assert!(owned(&object, "two").is_none());
        all_owners_own_what_is_there(kind, &object)?;
    }

    #[test]
    fn what_two_managers_own_goes_with_the_second(bytes in bytes(400)) {
        let mut from = Choices::new(&bytes);
        let kind = objects::kind(&mut from);
        let config = config(&mut from, kind);
        let nothing = named(json!({"apiVersion": kind.api_version, "kind": kind.name}).as_object().unwrap().clone());
        let object = put(kind, None, &config, "one", false, 1).unwrap();
        let object = put(kind, Some(&object), &config, "two", false, 2).unwrap();
        prop_assert_eq!(owned(&object, "one"), owned(&object, "two"));
        let object = put(kind, Some(&object), &nothing, "one", false, 3).unwrap();
        prop_assert_eq!(content(&object), config);
        let object = put(kind, Some(&object), &nothing, "two", false, 4).unwrap();
        prop_assert_eq!(without_empty(&content(&object)), nothing);
    }

    #[test]
    fn an_update_owns_what_it_changes_and_an_apply_against_it_is_a_conflict(bytes in bytes(500)) {
        let mut from = Choices::new(&bytes);
        let kind = objects::kind(&mut from);
        let config = config(&mut from, kind);
        let object = put(kind, None, &config, "one", false, 1).unwrap();
        let mut updated = varied(&mut from, kind, &config);
        // Who leaves managedFields as they are, as every client does.
        updated["metadata"]["managedFields"] = object["metadata"]["managedFields"].clone();
        update_managed_fields(kind.schema, Some(&object), &mut updated, "two", "Update", "", &kind.api_version, at(2));
        all_owners_own_what_is_there(kind, &updated)?;
        match put(kind, Some(&updated), &config, "one", false, 3) {
            // What the update only added or took away is no conflict.
            Ok(object) => prop_assert!(config_holds(kind, &config, &object)),
            Err(ApplyError::Conflicts(conflicts)) => {
                prop_assert!(conflicts.iter().all(|conflict| conflict.manager.starts_with("\"two\"")));
            }
            Err(other) => prop_assert!(false, "{}", other),
        }
        let forced = put(kind, Some(&updated), &config, "one", true, 4).unwrap();
        prop_assert!(config_holds(kind, &config, &forced), "{} in {}", config, forced);
        all_owners_own_what_is_there(kind, &forced)?;
    }

    #[test]
    fn an_update_of_a_single_field_is_a_conflict_about_that_field_alone(bytes in bytes(500)) {
        let mut from = Choices::new(&bytes);
        let kind = objects::kind(&mut from);
        let config = config(&mut from, kind);
        let object = put(kind, None, &config, "one", false, 1).unwrap();
        let mut found = vec![("/metadata/labels/own".to_owned(), ".metadata.labels.own".to_owned())];
        leaves(kind.schema, config.as_object().unwrap(), "", "", &mut found);
        let (to, path) = found[from.below(found.len())].clone();
        let mut updated = object.clone();
        let value = updated.pointer_mut(&to).unwrap();
        *value = another(value);
        update_managed_fields(kind.schema, Some(&object), &mut updated, "two", "Update", "", &kind.api_version, at(2));
        match put(kind, Some(&updated), &config, "one", false, 3) {
            Err(ApplyError::Conflicts(conflicts)) => {
                let paths: Vec<&str> = conflicts.iter().map(|conflict| conflict.path.as_str()).collect();
                prop_assert_eq!(paths, [path.as_str()]);
                prop_assert!(conflicts[0].manager.starts_with("\"two\""));
            }
            other => prop_assert!(false, "{} changed and {:?}", path, other),
        }
        let forced = put(kind, Some(&updated), &config, "one", true, 4).unwrap();
        prop_assert_eq!(content(&forced), config);
        prop_assert!(owned(&forced, "two").is_none(), "{} is still two's", path);
    }

    #[test]
    fn managed_fields_that_somebody_made_up_do_no_harm(bytes in bytes(400)) {
        let mut from = Choices::new(&bytes);
        let kind = objects::kind(&mut from);
        let mut live = config(&mut from, kind);
        let text = |from: &mut Choices<'_>| from.pick(&["f:spec", "f:a", ".", "k:{\"name\":\"a\"}", "v:1", "i:0", "k:{}", "k:[", "x", "f:metadata", "f:name"]).to_owned();
        let mut fields = json!({});
        for _ in 0..from.below(8) {
            fields = json!({text(&mut from): fields, text(&mut from): {}});
        }
        live["metadata"]["managedFields"] = json!([{"manager": "odd", "operation": from.pick(&["Apply", "Update", "Dance"]),
            "apiVersion": kind.api_version, "fieldsType": "FieldsV1", "fieldsV1": fields}]);
        let config = varied(&mut from, kind, &content(&live));
        let applied = put(kind, Some(&live), &config, "odd", true, 1).unwrap();
        prop_assert!(config_holds(kind, &config, &applied));
        prop_assert_eq!(decode::types(kind.schema, &applied), Ok(()));
    }
}
