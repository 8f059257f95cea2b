//! From the text of a schedule to the times that it means.

use jiff::SignedDuration;

use super::{Kind, Times};

/// One field: its bounds, and the names that its numbers have, from the lower bound on.
struct Field {
    low: u32,
    high: u32,
    names: &'static [&'static str],
}

const MINUTE: Field = Field {
    low: 0,
    high: 59,
    names: &[],
};
const HOUR: Field = Field {
    low: 0,
    high: 23,
    names: &[],
};
const DAY: Field = Field {
    low: 1,
    high: 31,
    names: &[],
};
const MONTH: Field = Field {
    low: 1,
    high: 12,
    names: &[
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ],
};
const WEEKDAY: Field = Field {
    low: 0,
    high: 6,
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
};

pub(super) fn schedule(text: &str) -> Result<Kind, String> {
    if text.is_empty() {
        return Err("empty spec string".to_owned());
    }
    if text.starts_with('@') {
        return descriptor(text);
    }
    let fields: Vec<&str> = text.split_whitespace().collect();
    let [minute, hour, day, month, weekday] = fields[..] else {
        return Err(format!(
            "expected exactly 5 fields, found {}: [{}]",
            fields.len(),
            fields.join(" ")
        ));
    };
    let ((day, any_day), (weekday, any_weekday)) = (DAY.read(day)?, WEEKDAY.read(weekday)?);
    Ok(Kind::Times(Times {
        minute: MINUTE.read(minute)?.0,
        hour: HOUR.read(hour)?.0,
        day,
        month: MONTH.read(month)?.0,
        weekday,
        any_day,
        any_weekday,
    }))
}

fn descriptor(text: &str) -> Result<Kind, String> {
    let plain = match text {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        _ => {
            let Some(every) = text.strip_prefix("@every ") else {
                return Err(format!("unrecognized descriptor: {text}"));
            };
            let wrong = || format!("failed to parse duration {text}: time: invalid duration \"{every}\"");
            let pause = duration(every).ok_or_else(wrong)?;
            // Whole seconds, and at least one.
            return Ok(Kind::Every(SignedDuration::from_secs(pause.as_secs().max(1))));
        }
    };
    schedule(plain)
}

/// Reads a duration of Go: `1h30m`, `1.5h`, `300ms`.
fn duration(text: &str) -> Option<SignedDuration> {
    let (negative, mut rest) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    if rest == "0" {
        return Some(SignedDuration::ZERO);
    }
    let mut sum = 0.0_f64;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        sum += number * unit;
        rest = &rest[end..];
    }
    if text.is_empty() {
        return None;
    }
    SignedDuration::try_from_secs_f64(if negative { -sum } else { sum }).ok()
}

impl Field {
    /// Reads a list; also says whether it leaves the field open.
    fn read(&self, list: &str) -> Result<(u64, bool), String> {
        let (mut set, mut open) = (0, false);
        // As upstream splits: empty parts of a list are passed over.
        for part in list.split(',').filter(|part| !part.is_empty()) {
            let (bits, any) = self.range(part)?;
            set |= bits;
            open |= any;
        }
        Ok((set, open))
    }

    fn range(&self, part: &str) -> Result<(u64, bool), String> {
        let slashes: Vec<&str> = part.split('/').collect();
        let bounds: Vec<&str> = slashes[0].split('-').collect();
        let single = bounds.len() == 1;
        let mut any = false;
        let (first, mut last) = if matches!(bounds[0], "*" | "?") {
            any = true;
            (self.low, self.high)
        } else {
            let first = self.number(bounds[0])?;
            match bounds[..] {
                [_] => (first, first),
                [_, last] => (first, self.number(last)?),
                _ => return Err(format!("too many hyphens: {part}")),
            }
        };
        let step = match slashes[..] {
            [_] => 1,
            [_, step] => {
                let step = number(step)?;
                if single {
                    last = self.high;
                }
                any &= step <= 1;
                step
            }
            _ => return Err(format!("too many slashes: {part}")),
        };
        if first < self.low {
            return Err(format!(
                "beginning of range ({first}) below minimum ({}): {part}",
                self.low
            ));
        }
        if last > self.high {
            return Err(format!("end of range ({last}) above maximum ({}): {part}", self.high));
        }
        if first > last {
            return Err(format!(
                "beginning of range ({first}) beyond end of range ({last}): {part}"
            ));
        }
        let Ok(stride @ 1..) = usize::try_from(step) else {
            return Err(format!("step of range should be a positive number: {part}"));
        };
        let bits = (first..=last).step_by(stride).fold(0, |bits, at| bits | 1_u64 << at);
        Ok((bits, any))
    }

    fn number(&self, text: &str) -> Result<u32, String> {
        let named = self
            .names
            .iter()
            .zip(self.low..)
            .find(|(name, _)| text.eq_ignore_ascii_case(name));
        named.map_or_else(|| number(text), |(_, number)| Ok(number))
    }
}

fn number(text: &str) -> Result<u32, String> {
    if let Ok(negative @ ..0) = text.parse::<i64>() {
        return Err(format!("negative number ({negative}) not allowed: {text}"));
    }
    text.parse()
        .map_err(|_| format!("failed to parse int from {text}: strconv.Atoi: parsing \"{text}\": invalid syntax"))
}
