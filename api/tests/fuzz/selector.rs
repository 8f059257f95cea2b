//! Selectors: what was printed parses to the same, and matching agrees with a model that is too simple to be wrong.

use std::collections::BTreeMap;

use proptest::prelude::*;
use timonel_api::selector::{FieldSelector, LabelSelector, Operator, Requirement};

use crate::input::cases;

const OPERATORS: [Operator; 9] = [
    Operator::In,
    Operator::NotIn,
    Operator::Equals,
    Operator::DoubleEquals,
    Operator::NotEquals,
    Operator::Exists,
    Operator::DoesNotExist,
    Operator::GreaterThan,
    Operator::LessThan,
];

fn key() -> impl Strategy<Value = String> {
    prop_oneof!["[a-c]", "(in|notin|a-b|x\\.y|A_b)", "[a-c]\\.d/[a-c]"]
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof!["[a-c]?", "(in|notin)", "[0-9]{1,3}", "(-1|9223372036854775807)"]
}

fn requirement() -> impl Strategy<Value = Option<Requirement>> {
    let values = prop::collection::vec(value(), 0..4);
    (key(), prop::sample::select(&OPERATORS[..]), values).prop_map(|(key, operator, mut values)| {
        match operator {
            Operator::In | Operator::NotIn => {}
            Operator::Exists | Operator::DoesNotExist => values.clear(),
            _ => values.truncate(1),
        }
        Requirement::new(key, operator, values).ok()
    })
}

fn selector() -> impl Strategy<Value = LabelSelector> {
    prop::collection::vec(requirement(), 0..5)
        .prop_map(|requirements| LabelSelector::new(requirements.into_iter().flatten().collect()))
}

fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::collection::btree_map(key(), value(), 0..5)
}

fn holds(requirement: &Requirement, labels: &BTreeMap<String, String>) -> bool {
    let have = labels
        .iter()
        .find(|(key, _)| *key == requirement.key())
        .map(|(_, value)| value);
    let wanted: Vec<&String> = requirement.values().iter().collect();
    let number = |text: &str| text.parse::<i64>().ok();
    match (requirement.operator(), have) {
        (Operator::Exists, have) => have.is_some(),
        (Operator::DoesNotExist, have) => have.is_none(),
        (Operator::In | Operator::Equals | Operator::DoubleEquals, None) => false,
        (Operator::NotIn | Operator::NotEquals, None) => true,
        (Operator::In | Operator::Equals | Operator::DoubleEquals, Some(have)) => wanted.contains(&have),
        (Operator::NotIn | Operator::NotEquals, Some(have)) => !wanted.contains(&have),
        (Operator::GreaterThan, have) => have
            .and_then(|have| Some(number(have)? > number(wanted[0])?))
            .unwrap_or(false),
        (Operator::LessThan, have) => have
            .and_then(|have| Some(number(have)? < number(wanted[0])?))
            .unwrap_or(false),
    }
}

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn what_was_printed_parses_to_the_same(selector in selector()) {
        let text = selector.to_string();
        prop_assert_eq!(LabelSelector::parse(&text), Ok(selector), "{}", text);
    }

    #[test]
    fn matching_agrees_with_the_model(selector in selector(), labels in labels()) {
        let expected = selector.requirements().iter().all(|requirement| holds(requirement, &labels));
        prop_assert_eq!(selector.matches(&labels), expected);
    }

    #[test]
    fn any_text_is_refused_or_means_what_it_prints(text in prop_oneof!["[a-c!=<>(),. in\t/]{0,16}", any::<String>()]) {
        if let Ok(selector) = LabelSelector::parse(&text) {
            prop_assert_eq!(LabelSelector::parse(&selector.to_string()), Ok(selector));
        }
        if let Ok(selector) = FieldSelector::parse(&text) {
            prop_assert_eq!(FieldSelector::parse(&selector.to_string()), Ok(selector));
        }
    }

    #[test]
    fn fields_print_and_match(terms in prop::collection::vec(("[a-c](\\.[a-c])?", any::<bool>(), "[ab=,\\\\!]{0,3}"), 0..4), fields in prop::collection::btree_map("[a-c](\\.[a-c])?", "[ab=,\\\\!]{0,3}", 0..4)) {
        let escaped = |value: &str| value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
        let text: Vec<String> = terms
            .iter()
            .map(|(field, equals, value)| format!("{field}{}{}", if *equals { "=" } else { "!=" }, escaped(value)))
            .collect();
        let selector = FieldSelector::parse(&text.join(",")).unwrap();
        prop_assert_eq!(selector.to_string(), text.join(","));
        let field = |name: &str| fields.get(name).map(String::as_str);
        let expected = terms.iter().all(|(name, equals, value)| (field(name).unwrap_or("") == value) == *equals);
        prop_assert_eq!(selector.matches_by(field), expected);
    }
}
