//! Reading objects as JSON, and writing times and durations as kubectl does.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;
use timonel_api::selector::LabelSelector;

/// The text at a pointer; empty where there is none.
pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

/// The number at a pointer; 0 where there is none.
pub(super) fn number(value: &Value, pointer: &str) -> i64 {
    value.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

/// Whether `true` stands at a pointer.
pub(super) fn is_true(value: &Value, pointer: &str) -> bool {
    value.pointer(pointer) == Some(&Value::Bool(true))
}

/// The list at a pointer; empty where there is none.
pub(super) fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// The scalar at a pointer, as it is printed; `None` where there is none.
pub(super) fn some(value: &Value, pointer: &str) -> Option<String> {
    value.pointer(pointer).filter(|v| !v.is_null()).map(shown)
}

/// The scalar at a pointer, or `<unset>`.
pub(super) fn or_unset(value: &Value, pointer: &str) -> String {
    some(value, pointer).unwrap_or_else(|| "<unset>".to_owned())
}

/// A scalar as Go prints it.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "<nil>".to_owned(),
        other => other.to_string(),
    }
}

/// `[a b]`: a list of texts as Go prints it.
pub(super) fn go_list(values: &[Value]) -> String {
    format!("[{}]", values.iter().map(shown).collect::<Vec<_>>().join(" "))
}

/// Texts, joined.
pub(super) fn joined(values: &[Value], separator: &str) -> String {
    values.iter().map(shown).collect::<Vec<_>>().join(separator)
}

/// `text`, or `<none>` when it is empty.
pub(super) fn or_none(text: &str) -> &str {
    if text.is_empty() { "<none>" } else { text }
}

/// A map of texts, in the keys' order.
pub(super) fn text_map(value: &Value) -> Vec<(&str, &str)> {
    let mut pairs: Vec<(&str, &str)> = value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.as_str(), value.as_str().unwrap_or("")))
        .collect();
    pairs.sort_unstable();
    pairs
}

/// A map of quantities, in the keys' order.
pub(super) fn quantities(value: &Value) -> Vec<(String, String)> {
    let mut pairs: Vec<(String, String)> = value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), shown(value)))
        .collect();
    pairs.sort();
    pairs
}

/// `a=b,c=d`, or `<none>`.
pub(super) fn format_labels(value: &Value) -> String {
    let pairs: Vec<String> = text_map(value)
        .into_iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    or_none(&pairs.join(",")).to_owned()
}

/// A label selector's text; empty where it selects everything.
pub(super) fn selector(value: &Value) -> String {
    let typed = serde_json::from_value(value.clone()).ok();
    typed
        .and_then(|typed| LabelSelector::from_typed(&typed).ok())
        .map_or_else(String::new, |selector| selector.to_string())
}

/// A label selector's text, or `<none>`.
pub(super) fn format_selector(value: &Value) -> String {
    or_none(&selector(value)).to_owned()
}

/// Reads an object's time.
pub(super) fn timestamp(value: &Value, pointer: &str) -> Option<Timestamp> {
    value.pointer(pointer)?.as_str()?.parse().ok()
}

/// A time in the user's zone, as `Mon, 02 Jan 2006 15:04:05 -0700`; Go's zero time where there is none.
pub(super) fn time(value: &Value, pointer: &str) -> String {
    timestamp(value, pointer).map_or_else(|| "Mon, 01 Jan 0001 00:00:00 +0000".to_owned(), rfc1123)
}

/// A time in the user's zone, as `Mon, 02 Jan 2006 15:04:05 -0700`.
pub(crate) fn rfc1123(time: Timestamp) -> String {
    time.to_zoned(TimeZone::system())
        .strftime("%a, %d %b %Y %H:%M:%S %z")
        .to_string()
}

/// How long ago a time was, or `<unknown>`.
pub(crate) fn age(value: &Value, pointer: &str, now: Timestamp) -> String {
    timestamp(value, pointer).map_or_else(
        || "<unknown>".to_owned(),
        |time| human_duration(now.as_second() - time.as_second()),
    )
}

/// Two units at most, as kubectl shows ages: `95s`, `3m20s`, `5h10m`, `4d3h`, `2y40d`.
pub(crate) fn human_duration(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;
    let two = |unit: i64, sign: char, part: i64, part_sign: char| {
        let (whole, rest) = (seconds / unit, seconds % unit / part);
        if rest == 0 {
            format!("{whole}{sign}")
        } else {
            format!("{whole}{sign}{rest}{part_sign}")
        }
    };
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1..0 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => two(MINUTE, 'm', 1, 's'),
        600..10_800 => format!("{}m", seconds / MINUTE),
        10_800..28_800 => two(HOUR, 'h', MINUTE, 'm'),
        28_800..172_800 => format!("{}h", seconds / HOUR),
        172_800..691_200 => two(DAY, 'd', HOUR, 'h'),
        _ if seconds < 2 * YEAR => format!("{}d", seconds / DAY),
        _ if seconds < 8 * YEAR => two(YEAR, 'y', DAY, 'd'),
        _ => format!("{}y", seconds / YEAR),
    }
}

/// The object's controller, as `Kind/name`.
pub(super) fn controller(object: &Value) -> Option<String> {
    let owner = list(object, "/metadata/ownerReferences")
        .iter()
        .find(|owner| owner["controller"] == true)?;
    Some(format!("{}/{}", text(owner, "/kind"), text(owner, "/name")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units_at_most() {
        let cases = [
            (-5, "<invalid>"),
            (0, "0s"),
            (119, "119s"),
            (200, "3m20s"),
            (240, "4m"),
            (7200, "120m"),
            (10_860, "3h1m"),
            (90_000, "25h"),
            (180_000, "2d2h"),
            (86_400 * 100, "100d"),
            (86_400 * 800, "2y70d"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(human_duration(seconds), expected, "{seconds}");
        }
    }
}
