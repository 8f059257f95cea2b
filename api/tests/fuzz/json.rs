//! The JSON decoder against serde_json's own.

use proptest::prelude::*;
use serde_json::Value;
use timonel_api::decode::{self, DecodeError, MAX_DEPTH};

use crate::input::{Choices, bytes, cases};
use crate::values;

/// A document that is nearly JSON: some bytes are replaced, taken out or doubled.
fn damaged(from: &mut Choices<'_>) -> Vec<u8> {
    let value = values::any(from, 5);
    let mut text = match from.chance(30) {
        true => serde_json::to_vec_pretty(&value).unwrap(),
        false => serde_json::to_vec(&value).unwrap(),
    };
    const BYTES: [u8; 24] = *b"{}[]\",:\\/0159.eE+- \n\xff\xc3tn";
    for _ in 0..from.below(4) {
        let at = from.below(text.len().max(1)).min(text.len());
        match from.below(4) {
            0 if at < text.len() => drop(text.remove(at)),
            1 if at < text.len() => text[at] = BYTES[from.below(BYTES.len())],
            2 => text.insert(at, BYTES[from.below(BYTES.len())]),
            _ => text.truncate(at),
        }
    }
    text
}

proptest! {
    #![proptest_config(cases(800))]

    #[test]
    fn what_was_written_is_read(bytes in bytes(300)) {
        let value = values::any(&mut Choices::new(&bytes), 6);
        for text in [serde_json::to_vec(&value).unwrap(), serde_json::to_vec_pretty(&value).unwrap()] {
            let decoded = decode::json(&text);
            prop_assert_eq!(decoded.as_ref().map(|decoded| &decoded.value), Ok(&value));
            prop_assert_eq!(decoded.map(|decoded| decoded.duplicates), Ok(Vec::new()));
        }
    }

    #[test]
    fn what_is_json_is_as_serde_json_has_it(bytes in bytes(120)) {
        let text = damaged(&mut Choices::new(&bytes));
        let ours = decode::json(&text).map(|decoded| decoded.value);
        let theirs = serde_json::from_slice::<Value>(&text);
        match (&ours, &theirs) {
            (Ok(ours), Ok(theirs)) => prop_assert_eq!(ours, theirs),
            (Err(DecodeError::Json(ours)), Err(theirs)) => prop_assert_eq!(ours, &theirs.to_string()),
            _ => prop_assert!(false, "{:?}: we {:?}, they {:?}", String::from_utf8_lossy(&text), ours, theirs),
        }
    }

    #[test]
    fn a_key_that_stands_twice_is_named(outer in "[a-c]{1,2}", inner in "[a-c]{1,2}", at in 0..3_usize) {
        let mut items = vec!["{}".to_owned(); at];
        items.push(format!("{{\"{inner}\":1,\"x\":[],\"{inner}\":2}}"));
        let decoded = decode::json(format!("{{\"{outer}\":[{}]}}", items.join(",")).as_bytes()).unwrap();
        prop_assert_eq!(decoded.duplicates, [format!("{outer}[{at}].{inner}")]);
        prop_assert_eq!(decoded.value.pointer(&format!("/{outer}/{at}/{inner}")), Some(&Value::from(2)));
    }

    #[test]
    fn nesting_ends_where_it_is_said_to(depth in 1..4 * MAX_DEPTH, brackets in prop::collection::vec(any::<bool>(), 4 * MAX_DEPTH)) {
        let (mut open, mut close) = (String::new(), String::new());
        for list in &brackets[..depth] {
            open.push_str(if *list { "[" } else { "{\"a\":" });
            close.insert(0, if *list { ']' } else { '}' });
        }
        let decoded = decode::json(format!("{open}0{close}").as_bytes());
        prop_assert_eq!(decoded.is_ok(), depth <= MAX_DEPTH);
        let too_deep = DecodeError::TooDeep { limit: MAX_DEPTH };
        prop_assert!(decoded.is_ok() || decoded == Err(too_deep));
    }
}
