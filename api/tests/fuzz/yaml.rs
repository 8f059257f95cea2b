//! The YAML decoder: JSON is YAML, what we write we read, and no soup of its tokens does harm.

use proptest::prelude::*;
use serde_json::{Number, Value};
use timonel_api::decode::{self, MAX_DEPTH};

use crate::input::{Choices, bytes, cases};
use crate::values;

/// YAML has one kind of number where JSON has two: a float without a fraction comes back as an integer.
fn one_kind_of_number(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(one_kind_of_number),
        Value::Object(map) => map.values_mut().for_each(one_kind_of_number),
        Value::Number(number) if number.is_f64() => {
            let float = number.as_f64().unwrap();
            #[expect(clippy::cast_possible_truncation, reason = "whole, and within the bounds")]
            if float.fract() == 0.0 && float.abs() < 9.2e18 {
                *number = Number::from(float as i64);
            }
        }
        _ => {}
    }
}

/// A piece of YAML that is likely to mean something.
fn soup(from: &mut Choices<'_>) -> String {
    const PIECES: [&str; 40] = [
        "a: ",
        "b: ",
        "- ",
        "\n",
        "\n  ",
        "\n    ",
        "&x ",
        "*x",
        "&y ",
        "*y",
        "<<: ",
        "*x\n",
        "[",
        "]",
        "{",
        "}",
        ", ",
        "? ",
        ": ",
        "!!str ",
        "!!int ",
        "!!binary ",
        "!t ",
        "\"",
        "'",
        "|\n",
        ">-\n",
        "|2\n",
        "# c\n",
        "---\n",
        "...\n",
        "%YAML 1.1\n",
        "1",
        "yes",
        "~",
        "0x",
        "a",
        "\t",
        "\\u00e9",
        "\u{feff}",
    ];
    (0..from.below(60)).map(|_| from.pick(&PIECES)).collect()
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn json_is_yaml(bytes in bytes(300)) {
        let mut value = values::any(&mut Choices::new(&bytes), 6);
        for text in [serde_json::to_string(&value).unwrap(), serde_json::to_string_pretty(&value).unwrap()] {
            one_kind_of_number(&mut value);
            // YAML forbids some characters that JSON need not escape.
            if text.contains(|c| matches!(c, '\u{7f}'..='\u{9f}') && c != '\u{85}') {
                continue;
            }
            let decoded = decode::yaml(text.as_bytes()).map(|decoded| decoded.value);
            prop_assert_eq!(decoded.as_ref(), Ok(&value), "{}", text);
        }
    }

    #[test]
    fn what_was_written_is_read(bytes in bytes(300)) {
        let mut value = values::any(&mut Choices::new(&bytes), 6);
        let text = decode::to_yaml(&value);
        one_kind_of_number(&mut value);
        let decoded = decode::yaml(text.as_bytes()).map(|decoded| decoded.value);
        prop_assert_eq!(decoded.as_ref(), Ok(&value), "{}", text);
        // And what was read is written the same.
        prop_assert_eq!(decode::to_yaml(&value), decode::to_yaml(&decoded.unwrap()));
    }

    #[test]
    fn several_documents_are_read_apart(bytes in bytes(300), breaks in prop::collection::vec("---( # next)?\n", 6)) {
        let mut from = Choices::new(&bytes);
        let mut values: Vec<Value> = (0..from.below(5)).map(|_| values::object(&mut from, 3).into()).collect();
        let text: String = values.iter().zip(&breaks).map(|(value, next)| format!("{next}{}", decode::to_yaml(value))).collect();
        values.iter_mut().for_each(one_kind_of_number);
        let decoded = decode::yaml_documents(text.as_bytes());
        prop_assert_eq!(decoded.map(|all| all.into_iter().map(|one| one.value).collect::<Vec<_>>()), Ok(values), "{}", text);
    }

    #[test]
    fn what_soup_means_is_bounded_and_can_be_written(bytes in bytes(80)) {
        let text = soup(&mut Choices::new(&bytes));
        let _ = decode::yaml_documents(text.as_bytes());
        if let Ok(decoded) = decode::yaml(text.as_bytes()) {
            prop_assert!(values::depth(&decoded.value) <= MAX_DEPTH);
            let again = decode::to_yaml(&decoded.value);
            prop_assert_eq!(decode::yaml(again.as_bytes()).map(|d| d.value), Ok(decoded.value), "{}", again);
        }
    }

    #[test]
    fn aliases_add_no_more_than_they_may(width in 1..12_usize, levels in 1..14_usize, list in any::<bool>()) {
        let (open, close) = if list { ("[", "]") } else { ("{k0: ", "}") };
        let mut text = "a0: &a0 [x, y]\n".to_owned();
        for level in 1..levels {
            let items: Vec<String> = (0..width)
                .map(|at| if list || at == 0 { format!("*a{}", level - 1) } else { format!("k{at}: *a{}", level - 1) })
                .collect();
            text.push_str(&format!("a{level}: &a{level} {open}{}{close}\n", items.join(", ")));
        }
        match decode::yaml(text.as_bytes()) {
            Ok(decoded) => prop_assert!(values::count(&decoded.value) <= 101_000),
            Err(error) => prop_assert!(error.to_string().contains("excessive aliasing"), "{}", error),
        }
    }
}
