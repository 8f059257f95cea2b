//! Any JSON at all, with keys of a small alphabet, so that documents and patches meet.

use serde_json::{Map, Number, Value};

use crate::input::Choices;

const KEYS: [&str; 12] = ["a", "b", "c", "", "0", "1", "-", "a/b", "~", "m~n", "ключ", "a.b c"];
const TEXTS: [&str; 22] = [
    "a",
    "b",
    "",
    "0",
    "1",
    "null",
    "true",
    "yes",
    "~",
    "0x1F",
    "1e3",
    ".5",
    "- a",
    "a: b",
    "# c",
    "two\nlines\n",
    " \ttab ",
    "quote\"'\\/",
    "\u{0}\u{7}\u{7f}\u{85}\u{2028}\u{feff}",
    "snow \u{2603} and \u{1f980}",
    "<<",
    "---",
];

/// A value that nests at most `depth` deep.
pub(crate) fn any(from: &mut Choices<'_>, depth: usize) -> Value {
    match from.below(if depth == 0 { 7 } else { 11 }) {
        0 => Value::Null,
        1 => Value::Bool(from.chance(50)),
        2 | 3 => number(from),
        4..=6 => Value::from(text(from)),
        7 | 8 => (0..from.below(4)).map(|_| any(from, depth - 1)).collect(),
        _ => Value::Object(object(from, depth - 1)),
    }
}

/// An object; its values nest at most `depth` deep.
pub(crate) fn object(from: &mut Choices<'_>, depth: usize) -> Map<String, Value> {
    (0..from.below(5))
        .map(|_| (from.pick(&KEYS).to_owned(), any(from, depth)))
        .collect()
}

pub(crate) fn text(from: &mut Choices<'_>) -> String {
    match from.below(4) {
        0 => (0..from.below(6))
            .map(|_| char::from_u32(u32::try_from(from.below(0x3000)).unwrap_or_default()).unwrap_or('?'))
            .collect(),
        _ => from.pick(&TEXTS).to_owned(),
    }
}

fn number(from: &mut Choices<'_>) -> Value {
    let float = |value: f64| Number::from_f64(value).map_or(Value::Null, Value::Number);
    let mut wide = || {
        (0..8).fold(0_u64, |sum, _| {
            sum << 8 | u64::try_from(from.below(256)).unwrap_or_default()
        })
    };
    match wide() {
        bits @ 0..0x4000_0000_0000_0000 => Value::from(bits % 4),
        0x4000_0000_0000_0000..0x8000_0000_0000_0000 => Value::from(wide()),
        0x8000_0000_0000_0000..0xc000_0000_0000_0000 => Value::from(wide().cast_signed()),
        _ => float(f64::from_bits(wide())),
    }
}

/// Every JSON pointer into a value, the root's among them.
pub(crate) fn pointers(value: &Value) -> Vec<String> {
    let mut found = vec![String::new()];
    let below: Vec<(String, &Value)> = match value {
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(at, item)| (at.to_string(), item))
            .collect(),
        Value::Object(map) => map
            .iter()
            .map(|(key, item)| (key.replace('~', "~0").replace('/', "~1"), item))
            .collect(),
        _ => Vec::new(),
    };
    for (token, item) in below {
        found.extend(pointers(item).into_iter().map(|rest| format!("/{token}{rest}")));
    }
    found
}

pub(crate) fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// How many values there are, with all that are inside.
pub(crate) fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(map) => map.values().map(count).sum(),
        _ => 0,
    }
}
