//! Strategic merge patches: the difference of two objects leads from one to the other, for every kind.

use proptest::prelude::*;
use serde_json::{Value, json};
use timonel_api::patch::{diff, strategic_merge};

use crate::input::{Choices, bytes, cases};
use crate::{objects, values};

/// A patch with directives where they may do harm.
fn directed(from: &mut Choices<'_>, value: &mut Value) {
    if let Value::Object(map) = value {
        for value in map.values_mut() {
            directed(from, value);
        }
        let names: Vec<String> = map.keys().cloned().collect();
        let (key, directive) = match from.below(12) {
            0 => (
                "$patch".to_owned(),
                json!(["replace", "delete", "merge", "x"][from.below(4)]),
            ),
            1 => ("$retainKeys".to_owned(), json!(names)),
            2 if !names.is_empty() => {
                let name = &names[from.below(names.len())];
                (format!("$setElementOrder/{name}"), map[name].clone())
            }
            3 if !names.is_empty() => {
                let name = &names[from.below(names.len())];
                (format!("$deleteFromPrimitiveList/{name}"), map[name].clone())
            }
            4 => (
                from.pick(&["$setElementOrder", "$deleteFromPrimitiveList", "$retainKeys", "$patch"])
                    .to_owned(),
                values::any(from, 2),
            ),
            5 if !names.is_empty() => (names[from.below(names.len())].clone(), Value::Null),
            _ => return,
        };
        map.insert(key, directive);
    } else if let Value::Array(items) = value {
        for item in items {
            directed(from, item);
        }
    }
}

fn holds_directives(value: &Value) -> bool {
    // Not just any dollar: JSON schemas have `$ref`.
    let names = [
        "$patch",
        "$retainKeys",
        "$setElementOrder/",
        "$deleteFromPrimitiveList/",
    ];
    let directive = |key: &str| names.iter().any(|name| key.starts_with(name));
    match value {
        Value::Object(map) => map.iter().any(|(key, value)| directive(key) || holds_directives(value)),
        Value::Array(items) => items.iter().any(holds_directives),
        _ => false,
    }
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn the_difference_of_two_objects_leads_from_one_to_the_other(bytes in bytes(500)) {
        let mut from = Choices::new(&bytes);
        let kind = objects::kind(&mut from);
        let old = objects::object(&mut from, kind);
        let new = objects::varied(&mut from, kind, &old);
        let patch = diff::two_way_strategic(kind.schema, &old, &new).unwrap();
        let result = strategic_merge(kind.schema, &old, &patch);
        prop_assert_eq!(result, Ok(new.clone()), "{} {}", old, patch);
        prop_assert_eq!(diff::two_way_strategic(kind.schema, &new, &new), Ok(json!({})));
    }

    #[test]
    fn applying_a_second_time_changes_nothing(bytes in bytes(600)) {
        let mut from = Choices::new(&bytes);
        let kind = objects::kind(&mut from);
        let last = objects::object(&mut from, kind);
        let live = objects::varied(&mut from, kind, &last);
        let new = objects::varied(&mut from, kind, &last);
        let patch = diff::three_way_strategic(kind.schema, &last, &new, &live).unwrap();
        let result = strategic_merge(kind.schema, &live, &patch).unwrap();
        prop_assert!(!holds_directives(&result), "{}", result);
        let again = diff::three_way_strategic(kind.schema, &new, &new, &result).unwrap();
        let settled = strategic_merge(kind.schema, &result, &again);
        prop_assert_eq!(settled, Ok(result.clone()), "live {} patch {} then {}", live, patch, again);
    }

    #[test]
    fn directives_do_no_harm(bytes in bytes(400)) {
        let mut from = Choices::new(&bytes);
        let kind = objects::kind(&mut from);
        let target = objects::object(&mut from, kind);
        let mut patch = objects::varied(&mut from, kind, &target);
        directed(&mut from, &mut patch);
        if let Ok(result) = strategic_merge(kind.schema, &target, &patch) {
            prop_assert!(values::count(&result) <= values::count(&target) + values::count(&patch));
        }
    }
}
