//! Values to text, as Go prints them.

use std::fmt::Write as _;

use serde_json::Value;

/// Writes a value: scalars bare, objects and lists as JSON.
pub(super) fn value(value: &Value, out: &mut String) {
    match value {
        Value::String(text) => out.push_str(text),
        Value::Null => out.push_str("<nil>"),
        Value::Array(_) | Value::Object(_) => json(value, out),
        other => {
            let _ = write!(out, "{other}");
        }
    }
}

/// Writes JSON as Go's encoder does: keys sorted, and what HTML gives a meaning to escaped.
fn json(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut pairs: Vec<(&String, &Value)> = map.iter().collect();
            pairs.sort_by_key(|(key, _)| *key);
            out.push('{');
            for (at, (key, value)) in pairs.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                text(key, out);
                out.push(':');
                json(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                json(item, out);
            }
            out.push(']');
        }
        Value::String(string) => text(string, out),
        other => {
            let _ = write!(out, "{other}");
        }
    }
}

fn text(string: &str, out: &mut String) {
    for c in Value::from(string).to_string().chars() {
        if matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}') {
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
}
