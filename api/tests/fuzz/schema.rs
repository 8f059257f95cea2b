//! The checks and the pruning that stand for decoding into Go's structs.

use k8s_openapi::api::{apps, core};
use proptest::prelude::*;
use serde_json::{Value, json};
use timonel_api::decode;
use timonel_api::facts::schema_for;

use crate::input::{Choices, bytes, cases};
use crate::{objects, values};

/// Puts something else in one place of an object.
fn damaged(from: &mut Choices<'_>, mut object: Value) -> Value {
    let places = values::pointers(&object);
    let place = places[from.below(places.len())].clone();
    if let Some(value) = object.pointer_mut(&place) {
        *value = values::any(from, 2);
    }
    object
}

/// An object without its fields that hold nothing.
fn filled(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(filled).collect(),
        Value::Object(map) => {
            let fields = map.iter().map(|(key, value)| (key.clone(), filled(value)));
            let empty = |value: &Value| *value == json!([]) || *value == json!({});
            Value::Object(fields.filter(|(_, value)| !empty(value)).collect())
        }
        other => other.clone(),
    }
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn what_the_facts_can_hold_is_accepted_and_kept(bytes in bytes(300)) {
        let mut from = Choices::new(&bytes);
        let kind = objects::kind(&mut from);
        let object = objects::object(&mut from, kind);
        prop_assert_eq!(decode::types(kind.schema, &object), Ok(()));
        prop_assert_eq!(decode::unknown_fields(kind.schema, &object), Vec::<String>::new());
        let mut pruned = object.clone();
        decode::prune(kind.schema, &mut pruned);
        // What is empty and need not be there goes, and nothing else.
        prop_assert_eq!(filled(&pruned), filled(&object));
        let mut again = pruned.clone();
        decode::prune(kind.schema, &mut again);
        prop_assert_eq!(again, pruned);
    }

    #[test]
    fn what_is_let_in_is_what_typed_code_can_read(bytes in bytes(300), which in 0..4_usize) {
        let mut from = Choices::new(&bytes);
        let (group, name) = [("", "Pod"), ("apps", "Deployment"), ("", "Service"), ("", "Node")][which];
        let kind = objects::Kind {
            schema: schema_for(group, "v1", name).unwrap(),
            api_version: if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") },
            name,
        };
        let whole = objects::object(&mut from, &kind);
        let mut object = damaged(&mut from, whole);
        if decode::types(kind.schema, &object).is_err() || !object.is_object() {
            return Ok(());
        }
        decode::prune(kind.schema, &mut object);
        let once = object.clone();
        decode::prune(kind.schema, &mut object);
        prop_assert_eq!(&object, &once);
        prop_assert_eq!(decode::unknown_fields(kind.schema, &object), Vec::<String>::new());
        for (field, text) in [("apiVersion", kind.api_version.as_str()), ("kind", kind.name)] {
            object[field] = Value::from(text);
        }
        let typed = match name {
            "Pod" => serde_json::from_value::<core::v1::Pod>(object.clone()).map(drop),
            "Deployment" => serde_json::from_value::<apps::v1::Deployment>(object.clone()).map(drop),
            "Service" => serde_json::from_value::<core::v1::Service>(object.clone()).map(drop),
            _ => serde_json::from_value::<core::v1::Node>(object.clone()).map(drop),
        };
        // Upstream reads and writes a null for a time that is missing; k8s-openapi has no value for it.
        let typed = typed.map_err(|error| error.to_string());
        let typed = typed.or_else(|error| if error == "missing field `lastTransitionTime`" { Ok(()) } else { Err(error) });
        prop_assert!(typed.is_ok(), "{:?}: {}", typed, object);
    }
}
