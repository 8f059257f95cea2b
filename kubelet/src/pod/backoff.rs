//! Back-off that doubles, and forgets after a quiet time (upstream's `flowcontrol.Backoff`).

use std::time::Duration;

use jiff::Timestamp;

/// How long to wait after a failure, and when that was last decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The wait.
    pub delay: Duration,
    /// When the wait was last lengthened.
    pub since: Timestamp,
}

/// First and longest wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// First wait.
    pub initial: Duration,
    /// Longest wait.
    pub max: Duration,
}

impl Backoff {
    /// A failure at `event` that comes more than twice the longest wait after the last one starts over.
    fn expired(self, event: Timestamp, limits: Limits) -> bool {
        event.duration_since(self.since).unsigned_abs() > limits.max * 2 && event > self.since
    }

    /// Until when to wait after a failure at `event`, if there is anything to wait for at `now`.
    pub fn wait_until(entry: Option<Self>, event: Timestamp, now: Timestamp, limits: Limits) -> Option<Timestamp> {
        let entry = entry.filter(|entry| !entry.expired(event, limits))?;
        let until = event + entry.delay;
        (now < until).then_some(until)
    }

    /// The entry after one more try at `now` that follows a failure at `event`.
    pub fn next(entry: Option<Self>, event: Timestamp, now: Timestamp, limits: Limits) -> Self {
        let delay = match entry.filter(|entry| !entry.expired(event, limits)) {
            Some(entry) => (entry.delay * 2).min(limits.max),
            None => limits.initial,
        };
        Self { delay, since: now }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        initial: Duration::from_secs(10),
        max: Duration::from_secs(300),
    };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn doubles_to_five_minutes_and_starts_over_after_ten_quiet_ones() {
        let mut entry = None;
        let mut now = 0;
        let mut waits = Vec::new();
        for _ in 0..7 {
            let event = at(now);
            let until = Backoff::wait_until(entry, event, event, LIMITS).unwrap_or(event);
            waits.push(until.duration_since(event).as_secs());
            now = until.as_second();
            entry = Some(Backoff::next(entry, event, at(now), LIMITS));
            now += 1;
        }
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300]);
        let later = at(now + 601);
        assert_eq!(Backoff::wait_until(entry, later, later, LIMITS), None);
        assert_eq!(Backoff::next(entry, later, later, LIMITS).delay, LIMITS.initial);
    }
}
