//! What table cells have in common: ages, lists of images, selectors, as upstream's printers write them.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::value::{at, entries, int, list, text};

/// Writes a duration as upstream's `duration.HumanDuration`: two units at most, coarser as it grows.
pub(crate) fn human_duration(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let two = |big: i64, big_unit: &str, small: i64, small_unit: &str| {
        if small == 0 {
            format!("{big}{big_unit}")
        } else {
            format!("{big}{big_unit}{small}{small_unit}")
        }
    };
    match seconds {
        ..=-2 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(hours / 24, "d", hours % 24, "h"),
        691_200..63_072_000 => format!("{}d", hours / 24),
        63_072_000..252_288_000 => two(hours / 24 / 365, "y", hours / 24 % 365, "d"),
        _ => format!("{}y", hours / 24 / 365),
    }
}

/// Writes how long ago a timestamp field was; `<unknown>` where there is none.
pub(crate) fn since(timestamp: &Value, now: Timestamp) -> String {
    match timestamp.as_str().and_then(|text| text.parse::<Timestamp>().ok()) {
        Some(then) => human_duration(now.as_second() - then.as_second()),
        None => "<unknown>".to_owned(),
    }
}

/// The Age cell.
pub(crate) fn age(object: &Value, now: Timestamp) -> Value {
    json!(since(at(at(object, "metadata"), "creationTimestamp"), now))
}

/// The Name cell.
pub(crate) fn name(object: &Value) -> Value {
    at(at(object, "metadata"), "name").clone()
}

/// Joins texts with commas; upstream writes `<none>` for an empty list in most columns.
pub(crate) fn join<'a>(items: impl IntoIterator<Item = &'a str>, none: &str) -> String {
    let joined = items.into_iter().collect::<Vec<_>>().join(",");
    if joined.is_empty() { none.to_owned() } else { joined }
}

/// The Containers and Images cells of a pod template.
pub(crate) fn containers_and_images(template: &Value) -> [Value; 2] {
    let containers = list(at(template, "spec"), "containers");
    let column = |field: &str| json!(containers.iter().map(|c| text(c, field)).collect::<Vec<_>>().join(","));
    [column("name"), column("image")]
}

/// Writes a map as `a=b,c=d`, sorted; `<none>` when it is empty.
pub(crate) fn labels(object: &Value, field: &str) -> String {
    let mut pairs: Vec<String> = entries(object, field)
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or("")))
        .collect();
    pairs.sort();
    if pairs.is_empty() {
        "<none>".to_owned()
    } else {
        pairs.join(",")
    }
}

/// Writes a `metav1.LabelSelector` as upstream's `FormatLabelSelector`.
pub(crate) fn selector(selector: &Value) -> String {
    let mut parts: Vec<String> = entries(selector, "matchLabels")
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or("")))
        .collect();
    for requirement in list(selector, "matchExpressions") {
        let key = text(requirement, "key");
        let values = list(requirement, "values")
            .iter()
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join(",");
        parts.push(match text(requirement, "operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    parts.sort();
    if parts.is_empty() {
        "<none>".to_owned()
    } else {
        parts.join(",")
    }
}

/// A whole-number cell, 0 where the field is absent.
pub(crate) fn count(object: &Value, field: &str) -> Value {
    json!(int(object, field).unwrap_or(0))
}

/// Finds a condition by type.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    list(at(object, "status"), "conditions")
        .iter()
        .find(|condition| text(condition, "type") == kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_get_coarser_as_they_grow() {
        let cases = [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (3600, "60m"),
            (10_800, "3h"),
            (11_100, "3h5m"),
            (86_400, "24h"),
            (172_800, "2d"),
            (176_400, "2d1h"),
            (864_000, "10d"),
            (63_072_000, "2y"),
            (63_158_400, "2y1d"),
            (315_360_000, "10y"),
            (-5, "<invalid>"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(human_duration(seconds), expected, "{seconds}");
        }
    }

    #[test]
    fn selectors_are_written_sorted() {
        let written = selector(
            &json!({"matchLabels": {"b": "2", "a": "1"}, "matchExpressions": [{"key": "c", "operator": "In", "values": ["x", "y"]}]}),
        );
        assert_eq!(written, "a=1,b=2,c in (x,y)");
        assert_eq!(selector(&json!({})), "<none>");
    }
}
