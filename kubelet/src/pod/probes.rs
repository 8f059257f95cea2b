//! Thresholds: from single probe results to a verdict (upstream's `prober/worker.go`, as a pure value).

use std::collections::VecDeque;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Probe;

use crate::runtime::ProbeOutcome;

/// How many results are kept for people to look at.
const KEPT: usize = 20;

/// What the probes of a kind say about a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// Not enough results yet.
    #[default]
    Unknown,
    /// Good.
    Passing,
    /// Bad.
    Failing,
}

/// The verdicts about one container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProbeView {
    /// Startup.
    pub startup: Verdict,
    /// Liveness.
    pub liveness: Verdict,
    /// Readiness.
    pub readiness: Verdict,
}

/// One result, kept for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeResult {
    /// When.
    pub at: Timestamp,
    /// What was found.
    pub outcome: ProbeOutcome,
}

/// Counts results of one probe of one container.
#[derive(Clone, Debug)]
pub struct ProbeTracker {
    success_threshold: u32,
    failure_threshold: u32,
    last: Option<bool>,
    run: u32,
    verdict: Verdict,
    kept: VecDeque<ProbeResult>,
}

impl ProbeTracker {
    /// Starts counting for a probe with its thresholds (defaults 1 and 3).
    pub fn new(probe: &Probe) -> Self {
        let threshold =
            |value: Option<i32>, default| value.and_then(|v| u32::try_from(v).ok()).unwrap_or(default).max(1);
        Self {
            success_threshold: threshold(probe.success_threshold, 1),
            failure_threshold: threshold(probe.failure_threshold, 3),
            last: None,
            run: 0,
            verdict: Verdict::Unknown,
            kept: VecDeque::new(),
        }
    }

    /// Takes a result in; answers whether the verdict changed. An error of the probe itself counts neither way.
    pub fn record(&mut self, at: Timestamp, outcome: ProbeOutcome) -> bool {
        let success = outcome.is_success();
        let counts = !matches!(outcome, ProbeOutcome::Error { .. });
        self.kept.push_back(ProbeResult { at, outcome });
        if self.kept.len() > KEPT {
            self.kept.pop_front();
        }
        if !counts {
            return false;
        }
        if self.last == Some(success) {
            self.run = self.run.saturating_add(1);
        } else {
            self.last = Some(success);
            self.run = 1;
        }
        let threshold = if success {
            self.success_threshold
        } else {
            self.failure_threshold
        };
        if self.run < threshold {
            return false;
        }
        let verdict = if success { Verdict::Passing } else { Verdict::Failing };
        let changed = verdict != self.verdict;
        self.verdict = verdict;
        changed
    }

    /// What the results add up to.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// The last results, oldest first.
    pub fn kept(&self) -> impl Iterator<Item = &ProbeResult> {
        self.kept.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> ProbeOutcome {
        ProbeOutcome::Success { output: String::new() }
    }

    fn bad() -> ProbeOutcome {
        ProbeOutcome::Failure { output: String::new() }
    }

    #[test]
    fn only_failures_in_a_row_make_it_fail() {
        let mut tracker = ProbeTracker::new(&Probe::default());
        let now = Timestamp::UNIX_EPOCH;
        for (outcome, verdict) in [
            (good(), Verdict::Passing),
            (bad(), Verdict::Passing),
            (bad(), Verdict::Passing),
            (good(), Verdict::Passing),
            (bad(), Verdict::Passing),
            (ProbeOutcome::Error { message: String::new() }, Verdict::Passing),
            (bad(), Verdict::Passing),
            (bad(), Verdict::Failing),
            (good(), Verdict::Passing),
        ] {
            tracker.record(now, outcome);
            assert_eq!(tracker.verdict(), verdict);
        }
        assert_eq!(tracker.kept().count(), 9);
    }
}
