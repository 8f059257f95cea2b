//! How long a Job waits before it replaces pods that failed: 10 s, doubled with every failure in a row, 10 minutes at most.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::facts::finished_at;

/// Upstream's `DefaultJobPodFailureBackOff`.
const FIRST: Duration = Duration::from_secs(10);
/// Upstream's `MaxJobPodFailureBackOff`.
const LONGEST: Duration = Duration::from_secs(600);

/// The failures of a Job since its last success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backoff {
    pub(super) failures: u32,
    pub(super) last: Option<Timestamp>,
}

impl Backoff {
    /// Returns what is known after these pods have ended too.
    pub(super) fn after(self, succeeded: &[&Pod], failed: &[&Pod]) -> Self {
        let last_success = succeeded.iter().filter_map(|pod| finished_at(pod)).max();
        let failures = failed.iter().filter_map(|pod| finished_at(pod));
        let since = failures.filter(|at| last_success.is_none_or(|success| *at > success));
        let before = if last_success.is_some() { Self::default() } else { self };
        let mut known = before;
        for at in since {
            known.failures = known.failures.saturating_add(1);
            known.last = known.last.max(Some(at));
        }
        known
    }

    /// How long to wait yet.
    pub(super) fn remaining(self, now: Timestamp) -> Duration {
        match self.last {
            Some(last) => remaining(self.failures, last, now),
            None => Duration::ZERO,
        }
    }
}

/// How long to wait yet after the last of so many failures in a row.
pub(super) fn remaining(failures: u32, last: Timestamp, now: Timestamp) -> Duration {
    if failures == 0 {
        return Duration::ZERO;
    }
    let factor = 1_u32.checked_shl(failures - 1).unwrap_or(u32::MAX);
    let pause = if failures > 16 {
        LONGEST
    } else {
        FIRST.saturating_mul(factor).min(LONGEST)
    };
    let passed = Duration::try_from(now.duration_since(last)).unwrap_or(Duration::ZERO);
    pause.saturating_sub(passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_ten_minutes() {
        let at = Timestamp::UNIX_EPOCH;
        let seconds = [0, 1, 2, 3, 6, 7, 8, 100].map(|failures| remaining(failures, at, at).as_secs());
        assert_eq!(seconds, [0, 10, 20, 40, 320, 600, 600, 600]);
        let later = at + Duration::from_secs(15);
        assert_eq!(remaining(2, at, later).as_secs(), 5);
        assert_eq!(remaining(1, at, later), Duration::ZERO);
    }
}
