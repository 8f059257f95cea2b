//! Go's notation of durations, in which the API writes some: `1m30s`, `1.5h`, `250ms`.

use std::time::Duration;

/// Reads a duration; what lies in the past is no time at all. `None` for what is none, or longer than anybody means.
pub fn parse(text: &str) -> Option<Duration> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut seconds = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        seconds += number
            * match &rest[..end] {
                "ns" => 1e-9,
                "us" | "µs" | "μs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return None,
            };
        rest = &rest[end..];
    }
    // Go counts nanoseconds in 63 bits.
    let duration = Duration::try_from_secs_f64(seconds).ok()?;
    i64::try_from(duration.as_nanos()).ok()?;
    Some(if negative { Duration::ZERO } else { duration })
}

/// Writes a duration as Go does: `15.012s`, `1m0.5s`, `250ms`.
pub fn print(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let (unit, digits) = match nanos {
        0 => return "0s".to_owned(),
        1..1_000 => return format!("{nanos}ns"),
        1_000..1_000_000 => ("µs", 3),
        1_000_000..1_000_000_000 => ("ms", 6),
        _ => ("s", 9),
    };
    let scale = 10u128.pow(digits);
    let fraction = |value: u128| {
        let whole = value / scale;
        let rest = format!("{:0width$}", value % scale, width = digits as usize);
        let rest = rest.trim_end_matches('0');
        if rest.is_empty() {
            whole.to_string()
        } else {
            format!("{whole}.{rest}")
        }
    };
    let minute = 60 * 1_000_000_000;
    let (hours, minutes) = (nanos / (60 * minute), nanos / minute % 60);
    match (hours, minutes) {
        (0, 0) => format!("{}{unit}", fraction(nanos)),
        (0, _) => format!("{minutes}m{}s", fraction(nanos % minute)),
        _ => format!("{hours}h{minutes}m{}s", fraction(nanos % minute)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_go_writes_them_and_read_back() {
        for (nanos, expected) in [
            (0, "0s"),
            (7, "7ns"),
            (1_500, "1.5µs"),
            (250_000_000, "250ms"),
            (15_012_000_000, "15.012s"),
            (60_500_000_000, "1m0.5s"),
            (3_600_000_000_000, "1h0m0s"),
        ] {
            let duration = Duration::from_nanos(nanos);
            assert_eq!(print(duration), expected);
            assert_eq!(parse(expected), Some(duration));
        }
    }
}
