//! Schedules of CronJobs: `30 6-16/4 * * mon-fri`, `@hourly`, `@every 90m`, in a time zone.
//!
//! The language is that of robfig/cron's standard parser, which upstream uses; so are the words of its errors, and what happens when
//! clocks change: a time that a day skips does not come, and a time that a day has twice comes twice.

mod parse;
mod zone;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};

pub use zone::zone;

/// A schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// So long after the last time.
    Every(SignedDuration),
    /// Whenever the clock on the wall shows a time of these.
    Times(Times),
}

/// A bit per minute, hour, ... that matches.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Times {
    minute: u64,
    hour: u64,
    day: u64,
    month: u64,
    weekday: u64,
    /// Whether days of the month, or of the week, were left open: then the other alone decides. Otherwise either does.
    any_day: bool,
    any_weekday: bool,
}

impl Schedule {
    /// Reads a schedule.
    ///
    /// # Errors
    /// What is wrong with it, in robfig/cron's words.
    pub fn parse(text: &str) -> Result<Self, String> {
        parse::schedule(text).map(Self)
    }

    /// The first time after this one; none when there is none within five years.
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let whole = Timestamp::from_second(after.as_second()).ok()?;
        match &self.0 {
            Kind::Every(pause) => whole.checked_add(*pause).ok(),
            Kind::Times(times) => times.next(whole, zone),
        }
    }
}

fn bit(set: u64, at: i8) -> bool {
    u32::try_from(at).is_ok_and(|at| at < 64 && set >> at & 1 == 1)
}

fn later(time: &Zoned, seconds: i64) -> Option<Zoned> {
    time.checked_add(SignedDuration::from_secs(seconds)).ok()
}

impl Times {
    fn has_day(&self, date: Date) -> bool {
        let day = bit(self.day, date.day());
        let weekday = bit(self.weekday, date.weekday().to_sunday_zero_offset());
        if self.any_day || self.any_weekday {
            day && weekday
        } else {
            day || weekday
        }
    }

    fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let mut time = later(&after.to_zoned(zone.clone()), 1)?;
        if time.second() != 0 {
            time = later(&time, 60 - i64::from(time.second()))?;
        }
        let last_year = time.year().saturating_add(5);
        while time.year() <= last_year {
            let date = time.date();
            if !bit(self.month, date.month()) {
                time = date.last_of_month().tomorrow().ok()?.to_zoned(zone.clone()).ok()?;
            } else if !self.has_day(date) {
                time = date.tomorrow().ok()?.to_zoned(zone.clone()).ok()?;
            } else if !bit(self.hour, time.hour()) {
                // Steps are real time, not the wall's: hours that a day has twice are both looked at.
                time = later(&time, 3600 - 60 * i64::from(time.minute()))?;
            } else if !bit(self.minute, time.minute()) {
                time = later(&time, 60)?;
            } else {
                return Some(time.timestamp());
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(schedule: &str, name: &str, after: &str, times: &[&str]) {
        let (schedule, zone) = (Schedule::parse(schedule).unwrap(), zone(name).unwrap());
        let mut now: Timestamp = after.parse().unwrap();
        for expected in times {
            now = schedule.next(now, &zone).unwrap();
            let shown = now.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M%:z").to_string();
            assert_eq!(shown, *expected);
        }
    }

    #[test]
    fn the_next_time_is_after_now_in_every_field() {
        check(
            "*/15 * * * *",
            "UTC",
            "2026-01-01T00:00:00Z",
            &["2026-01-01T00:15+00:00", "2026-01-01T00:30+00:00"],
        );
        check(
            "0 0 * * *",
            "UTC",
            "2026-01-31T23:59:59.5Z",
            &["2026-02-01T00:00+00:00", "2026-02-02T00:00+00:00"],
        );
        check(
            "30 6-16/4 * * 1-5",
            "UTC",
            "2026-01-02T14:31:00Z",
            &["2026-01-05T06:30+00:00", "2026-01-05T10:30+00:00"],
        );
        check(
            "0 0 29 feb ?",
            "UTC",
            "2026-01-01T00:00:00Z",
            &["2028-02-29T00:00+00:00"],
        );
        check(
            "0 12 13 * fri",
            "UTC",
            "2026-01-01T00:00:00Z",
            &[
                "2026-01-02T12:00+00:00",
                "2026-01-09T12:00+00:00",
                "2026-01-13T12:00+00:00",
            ],
        );
        check("@monthly", "UTC", "2026-01-01T00:00:00Z", &["2026-02-01T00:00+00:00"]);
        check(
            "@every 1h30m",
            "UTC",
            "2026-01-01T00:00:10Z",
            &["2026-01-01T01:30+00:00", "2026-01-01T03:00+00:00"],
        );
        assert_eq!(
            Schedule::parse("0 0 31 feb *")
                .unwrap()
                .next(Timestamp::UNIX_EPOCH, &TimeZone::UTC),
            None
        );
    }

    #[test]
    fn a_skipped_time_does_not_come_and_a_doubled_one_comes_twice() {
        // In Berlin, 2026-03-29 has no 2:30, and 2026-10-25 has two.
        check(
            "30 2 * * *",
            "Europe/Berlin",
            "2026-03-28T00:00:00Z",
            &["2026-03-28T02:30+01:00", "2026-03-30T02:30+02:00"],
        );
        check(
            "30 2 * * *",
            "Europe/Berlin",
            "2026-10-24T12:00:00Z",
            &[
                "2026-10-25T02:30+02:00",
                "2026-10-25T02:30+01:00",
                "2026-10-26T02:30+01:00",
            ],
        );
        check(
            "0 9 * * *",
            "America/New_York",
            "2026-03-07T15:00:00Z",
            &["2026-03-08T09:00-04:00"],
        );
        check(
            "15 * * * *",
            "Asia/Kathmandu",
            "2026-01-01T00:00:00Z",
            &["2026-01-01T06:15+05:45"],
        );
    }

    #[test]
    fn errors_are_robfigs() {
        for (text, error) in [
            ("", "empty spec string"),
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* 24 * * *", "end of range (24) above maximum (23): 24"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("* * * * 7", "end of range (7) above maximum (6): 7"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("1/2/3 * * * *", "too many slashes: 1/2/3"),
            (
                "x * * * *",
                "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax",
            ),
            ("@sometimes", "unrecognized descriptor: @sometimes"),
            (
                "@every x",
                "failed to parse duration @every x: time: invalid duration \"x\"",
            ),
        ] {
            assert_eq!(Schedule::parse(text), Err(error.to_owned()), "{text}");
        }
    }
}
