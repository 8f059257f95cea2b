//! JSON merge patches against RFC 7386's own pseudocode.

use proptest::prelude::*;
use serde_json::{Map, Value};
use timonel_api::patch::{diff, merge_patch};

use crate::input::{Choices, bytes, cases};
use crate::values;

/// `MergePatch(Target, Patch)` of RFC 7386, section 2.
fn model(target: &Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else {
        return patch.clone();
    };
    let mut target = target.as_object().cloned().unwrap_or_default();
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            let old = target.get(name).cloned().unwrap_or(Value::Null);
            target.insert(name.clone(), model(&old, value));
        }
    }
    Value::Object(target)
}

/// A merge patch cannot set nulls; what is without them it can reach.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(no_nulls(map)),
        other => other,
    }
}

fn no_nulls(map: Map<String, Value>) -> Map<String, Value> {
    map.into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(key, value)| (key, without_nulls(value)))
        .collect()
}

proptest! {
    #![proptest_config(cases(700))]

    #[test]
    fn a_merge_patch_does_what_the_rfc_says(bytes in bytes(200)) {
        let mut from = Choices::new(&bytes);
        let (target, patch) = (Value::Object(values::object(&mut from, 4)), values::any(&mut from, 4));
        let merged = merge_patch(&target, &patch);
        if !patch.is_object() {
            prop_assert!(merged.is_err());
            return Ok(());
        }
        let merged = merged.unwrap();
        prop_assert_eq!(&merged, &model(&target, &patch));
        prop_assert_eq!(merge_patch(&merged, &patch), Ok(merged));
    }

    #[test]
    fn the_difference_of_two_objects_leads_from_one_to_the_other(bytes in bytes(200)) {
        let mut from = Choices::new(&bytes);
        let old = Value::Object(values::object(&mut from, 4));
        let new = Value::Object(no_nulls(values::object(&mut from, 4)));
        let patch = diff::two_way_merge(&old, &new);
        prop_assert_eq!(merge_patch(&old, &patch), Ok(new.clone()), "{}", patch);
        prop_assert_eq!(diff::two_way_merge(&new, &new), serde_json::json!({}));
    }

    #[test]
    fn applying_a_second_time_changes_nothing(bytes in bytes(300)) {
        let mut from = Choices::new(&bytes);
        let [last, new, live] = [(); 3].map(|()| Value::Object(no_nulls(values::object(&mut from, 4))));
        let result = merge_patch(&live, &diff::three_way_merge(&last, &new, &live)).unwrap();
        let again = diff::three_way_merge(&new, &new, &result);
        prop_assert_eq!(again, serde_json::json!({}));
    }
}
