//! What a plain YAML scalar means to kubectl: `sigs.k8s.io/yaml`, which is go-yaml v2 and hence YAML 1.1 with exceptions.

use base64::Engine as _;
use serde_json::{Number, Value};

/// A scalar's meaning; floats are apart from integers because keys print them differently.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Meaning {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    Text(String),
}

/// Resolves a plain scalar without a tag.
///
/// `y`, `yes`, `on` are true; `0777`, `0o777`, `0x1F`, `0b11` and `1_000` are integers; `08` and `1e3` are floats;
/// base 60 and dates stay text. The table in the tests was taken from kubectl.
pub(super) fn resolve(text: &str) -> Meaning {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Meaning::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Meaning::Bool(true);
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Meaning::Bool(false);
        }
        ".nan" | ".NaN" | ".NAN" => return Meaning::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Meaning::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Meaning::Float(f64::NEG_INFINITY),
        _ => {}
    }
    number(text).unwrap_or_else(|| Meaning::Text(text.to_owned()))
}

/// Resolves a scalar that carries a tag of YAML's own: `!!str`, `!!int`, ... `None` if the text does not fit the tag.
pub(super) fn resolve_tagged(tag: &str, text: &str) -> Option<Meaning> {
    Some(match (tag, resolve(text)) {
        ("str" | "timestamp", _) => Meaning::Text(text.to_owned()),
        ("binary", _) => {
            let packed: String = text.chars().filter(|c| !c.is_whitespace()).collect();
            let bytes = base64::engine::general_purpose::STANDARD.decode(packed).ok()?;
            Meaning::Text(String::from_utf8_lossy(&bytes).into_owned())
        }
        #[expect(clippy::cast_precision_loss, reason = "a float is what was asked for")]
        ("float", Meaning::Int(value)) => Meaning::Float(value as f64),
        ("float", value @ Meaning::Float(_))
        | ("int", value @ (Meaning::Int(_) | Meaning::Uint(_)))
        | ("bool", value @ Meaning::Bool(_))
        | ("null", value @ Meaning::Null) => value,
        _ => return None,
    })
}

fn number(text: &str) -> Option<Meaning> {
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return None;
    }
    if text.starts_with('.') {
        return is_float(text).then(|| text.parse().ok().map(Meaning::Float))?;
    }
    let plain = text.replace('_', "");
    let (negative, digits) = match plain.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, plain.strip_prefix('+').unwrap_or(&plain)),
    };
    let prefix = |letters: &str| {
        digits
            .strip_prefix('0')
            .and_then(|rest| rest.strip_prefix(|c: char| letters.contains(c)))
    };
    let (radix, digits_only) = if let Some(rest) = prefix("xX") {
        (16, rest)
    } else if let Some(rest) = prefix("oO") {
        (8, rest)
    } else if let Some(rest) = prefix("bB") {
        (2, rest)
    } else if digits.len() > 1 && digits.starts_with('0') {
        (8, digits)
    } else {
        (10, digits)
    };
    if digits_only.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        let signed = if negative {
            format!("-{digits_only}")
        } else {
            digits_only.to_owned()
        };
        if let Ok(value) = i64::from_str_radix(&signed, radix) {
            return Some(Meaning::Int(value));
        }
        if let (false, Ok(value)) = (
            negative || plain.starts_with('+'),
            u64::from_str_radix(digits_only, radix),
        ) {
            return Some(Meaning::Uint(value));
        }
    }
    is_float(&plain).then(|| plain.parse().ok().map(Meaning::Float))?
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_float(text: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = text.split_once(['e', 'E']).map_or((text, None), |(m, e)| (m, Some(e)));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent = exponent.map(|e| e.strip_prefix(['-', '+']).unwrap_or(e));
    !(whole.is_empty() && fraction.is_empty())
        && digits(whole)
        && digits(fraction)
        && exponent.is_none_or(|e| !e.is_empty() && digits(e))
}

impl Meaning {
    /// As a JSON value; infinities and NaN have none. A float without fraction prints as an integer, as in Go.
    pub(super) fn into_value(self) -> Result<Value, String> {
        Ok(match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(value),
            Self::Int(value) => Value::Number(value.into()),
            Self::Uint(value) => Value::Number(value.into()),
            #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^63, by the condition")]
            Self::Float(value) if value.fract() == 0.0 && value.abs() < 9.2e18 => Value::Number((value as i64).into()),
            Self::Float(value) => {
                Value::Number(Number::from_f64(value).ok_or_else(|| format!("json: unsupported value: {value}"))?)
            }
            Self::Text(text) => Value::String(text),
        })
    }

    /// As a JSON key: `yes:` becomes `true`, `12:` becomes `12`. Null has none.
    pub(super) fn into_key(self) -> Result<String, String> {
        Ok(match self {
            Self::Null => return Err("unsupported map key of type: %!s(<nil>)".to_owned()),
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Uint(value) => value.to_string(),
            // Go prints such keys with the shortest digits of a float32.
            #[expect(clippy::cast_possible_truncation, reason = "as upstream")]
            Self::Float(value) => match value as f32 {
                v if v.is_nan() => ".nan".to_owned(),
                v if v.is_infinite() => if v > 0.0 { ".inf" } else { "-.inf" }.to_owned(),
                v => v.to_string(),
            },
            Self::Text(text) => text,
        })
    }
}
