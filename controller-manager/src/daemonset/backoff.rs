//! How long a pod that ended stays before it is replaced, so that a node that keeps refusing its pods is not stormed.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

/// Upstream's `failedPodsBackoff`: from one second to a quarter of an hour.
const FIRST: SignedDuration = SignedDuration::from_secs(1);
const LONGEST: SignedDuration = SignedDuration::from_mins(15);

/// The pauses of one set, by node.
pub(crate) type Pauses = BTreeMap<String, Pause>;

/// A pause that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pause {
    since: Timestamp,
    long: SignedDuration,
}

impl Pause {
    /// Begins a pause: twice as long as the one before, unless that is long over.
    pub(crate) fn after(before: Option<&Self>, now: Timestamp) -> Self {
        let before = before.filter(|pause| !pause.forgotten(now));
        let long = before.map_or(FIRST, |pause| (pause.long * 2).min(LONGEST));
        Self { since: now, long }
    }

    /// Returns what is left of it.
    pub(crate) fn left(&self, now: Timestamp) -> Option<SignedDuration> {
        let left = self.long - now.duration_since(self.since);
        (left > SignedDuration::ZERO).then_some(left)
    }

    /// Whether it is so long over that it counts no longer.
    pub(crate) fn forgotten(&self, now: Timestamp) -> bool {
        now.duration_since(self.since) > LONGEST * 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pause_is_twice_the_last_until_it_is_forgotten() {
        let mut now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut pause = Pause::after(None, now);
        assert_eq!(pause.left(now), Some(FIRST));
        for _ in 0..20 {
            now += SignedDuration::from_secs(1);
            pause = Pause::after(Some(&pause), now);
        }
        assert_eq!(pause.left(now), Some(LONGEST));
        now += LONGEST;
        assert_eq!(pause.left(now), None);
        now += LONGEST * 2;
        assert_eq!(Pause::after(Some(&pause), now).left(now), Some(FIRST));
    }
}
