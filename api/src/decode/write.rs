//! YAML written as kubectl writes it: keys in order, lists not indented below their key, text quoted wherever go-yaml v2
//! would read it as something else.

use std::fmt::Write as _;

use serde_json::Value;

use super::scalar::{Meaning, resolve};

/// Longer keys are written in YAML's explicit form, which parsers must accept at any length.
const LONGEST_SIMPLE_KEY: usize = 128;

/// Writes a value as a YAML document that ends with a newline.
///
/// *Guarantees*: [`super::yaml`] reads the same value back (floats without a fraction come back as integers), and so does
/// kubectl: `"yes"`, `"0777"`, `"1e3"` and dates are quoted. Differs from kubectl in that long text is not folded.
pub fn to_yaml(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => block(&mut out, value, 0, false),
        Value::Array(items) if !items.is_empty() => block(&mut out, value, 0, false),
        other => {
            // Indented, so that no line of a text is taken for the end of the document.
            scalar(&mut out, other, 2);
            out.push('\n');
        }
    }
    out
}

/// Writes a collection that is not empty; `started` says that the first line's indentation stands already.
fn block(out: &mut String, value: &Value, indent: usize, mut started: bool) {
    let mut start = |out: &mut String| {
        if !std::mem::take(&mut started) {
            out.extend(std::iter::repeat_n(' ', indent));
        }
    };
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort_unstable();
            for key in keys {
                start(out);
                let text = text(key);
                if text.len() > LONGEST_SIMPLE_KEY {
                    out.push_str("? ");
                    out.push_str(&text);
                    out.push('\n');
                    out.extend(std::iter::repeat_n(' ', indent));
                } else {
                    out.push_str(&text);
                }
                out.push(':');
                match &map[key] {
                    child @ Value::Object(inner) if !inner.is_empty() => {
                        out.push('\n');
                        block(out, child, indent + 2, false);
                    }
                    child @ Value::Array(inner) if !inner.is_empty() => {
                        out.push('\n');
                        block(out, child, indent, false);
                    }
                    child => {
                        out.push(' ');
                        scalar(out, child, indent + 2);
                        out.push('\n');
                    }
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                start(out);
                out.push_str("- ");
                match item {
                    Value::Object(inner) if !inner.is_empty() => block(out, item, indent + 2, true),
                    Value::Array(inner) if !inner.is_empty() => block(out, item, indent + 2, true),
                    item => {
                        scalar(out, item, indent + 2);
                        out.push('\n');
                    }
                }
            }
        }
        _ => {}
    }
}

/// Writes what fits behind a key: a scalar or an empty collection.
fn scalar(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::String(value) => match literal(value) {
            Some(head) => {
                out.push_str(head);
                for line in value.strip_suffix('\n').unwrap_or(value).split('\n') {
                    out.push('\n');
                    if !line.is_empty() {
                        out.extend(std::iter::repeat_n(' ', indent));
                        out.push_str(line);
                    }
                }
            }
            None => out.push_str(&text(value)),
        },
        Value::Array(_) => out.push_str("[]"),
        Value::Object(_) => out.push_str("{}"),
        other => out.push_str(&other.to_string()),
    }
}

/// The head of a literal block, if the text is best written as one: several lines, nothing that a block cannot carry.
fn literal(text: &str) -> Option<&'static str> {
    let body = text.strip_suffix('\n').unwrap_or(text);
    let carries = |line: &str| line.chars().all(|c| printable(c) || c == '\t') && !line.ends_with([' ', '\t']);
    let starts_well = !body.starts_with([' ', '\t', '\n']) && !body.is_empty() && !body.ends_with('\n');
    (text.contains('\n') && starts_well && body.split('\n').all(carries)).then_some(if text.ends_with('\n') {
        "|"
    } else {
        "|-"
    })
}

fn printable(c: char) -> bool {
    !c.is_control()
        && !matches!(
            c,
            '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{85}' | '\u{fffe}' | '\u{ffff}'
        )
}

/// Text on one line: plain where that is safe, in single quotes where only the syntax forbids plain, else in double quotes.
fn text(text: &str) -> String {
    if !text.chars().all(printable) {
        return double_quoted(text);
    }
    if resolve(text) != Meaning::Text(text.to_owned()) || base_60_or_date(text) || text == "<<" {
        return double_quoted(text);
    }
    let indicator = text.starts_with(|c: char| "-?:,[]{}#&*!|>'\"%@`".contains(c));
    // A dash, question mark or colon may start plain text if something but a space follows.
    let harmless = text.starts_with(['-', '?', ':'])
        && !text[1..].is_empty()
        && !text[1..].starts_with(|c: char| c.is_whitespace() || ",[]{}".contains(c));
    let syntax = text.contains(": ") || text.contains(" #") || text.ends_with(':');
    let flow = text.contains(|c: char| "[]{},".contains(c)) && indicator;
    let edges = text.starts_with(' ') || text.ends_with(' ') || text.starts_with("---") || text.starts_with("...");
    if (indicator && !harmless) || syntax || flow || edges {
        return format!("'{}'", text.replace('\'', "''"));
    }
    text.to_owned()
}

/// What YAML 1.1 calls a time: `1:30`, `2001-01-01`. go-yaml quotes them for other readers' sake.
fn base_60_or_date(text: &str) -> bool {
    let mut bytes = text.bytes();
    let Some(first) = bytes.next() else { return true };
    (first.is_ascii_digit() || matches!(first, b'-' | b'+'))
        && text.bytes().all(|b| b.is_ascii_digit() || b":-+_.TtZz ".contains(&b))
        && (text.contains(':') || text.as_bytes().get(4) == Some(&b'-') && text.as_bytes().get(7) == Some(&b'-'))
}

fn double_quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if printable(c) => out.push(c),
            c if u32::from(c) <= 0xff => write!(out, "\\x{:02X}", u32::from(c)).unwrap_or_default(),
            c => write!(out, "\\u{:04X}", u32::from(c)).unwrap_or_default(),
        }
    }
    out.push('"');
    out
}
