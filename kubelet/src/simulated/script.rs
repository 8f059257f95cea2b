//! How simulated containers behave.

use std::time::Duration;

use jiff::Timestamp;

use crate::runtime::{ContainerRecord, ContainerState, ProbeOutcome, labels};

/// Which containers a script is about. Empty fields match everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matcher {
    /// Beginning of the pod's name.
    pub pod: String,
    /// Name of the container.
    pub container: String,
    /// Image as the user wrote it.
    pub image: String,
}

impl Matcher {
    /// Matches containers of one image.
    pub fn image(image: impl Into<String>) -> Self {
        Self {
            image: image.into(),
            ..Self::default()
        }
    }

    /// Matches containers of pods whose name begins so.
    pub fn pod(pod: impl Into<String>) -> Self {
        Self {
            pod: pod.into(),
            ..Self::default()
        }
    }

    pub(super) fn matches(&self, container: &ContainerRecord) -> bool {
        let pod = container.labels.get(labels::POD_NAME).map_or("", String::as_str);
        pod.starts_with(&self.pod)
            && (self.container.is_empty() || container.name == self.container)
            && (self.image.is_empty() || container.image == self.image)
    }

    pub(super) fn matches_image(&self, image: &str) -> bool {
        self.pod.is_empty() && self.container.is_empty() && (self.image.is_empty() || self.image == image)
    }
}

/// What matching containers do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// How long a start takes.
    pub start_latency: Duration,
    /// Makes starts fail with these words.
    pub start_error: Option<String>,
    /// How long a pull takes.
    pub pull_latency: Duration,
    /// Makes pulls fail with these words.
    pub pull_error: Option<String>,
    /// The container ends by itself after this time with this code.
    pub exits: Option<(Duration, i32)>,
    /// How long it takes to end when asked; `None` ignores the request until it is killed.
    pub stop_latency: Option<Duration>,
    /// Exit code when it ends because it was asked.
    pub stop_code: i32,
    /// How long answering a probe takes.
    pub probe_latency: Duration,
    /// Probes fail until the container has run for this long.
    pub healthy_after: Duration,
    /// Probes fail from then on, counted from the start.
    pub healthy_until: Option<Duration>,
    /// Overrides the two above.
    pub probe: Option<ProbeOutcome>,
    /// Thousandths of a CPU that it uses all the time.
    pub milli_cpu: u64,
    /// Bytes of memory that it holds.
    pub memory_bytes: u64,
}

impl Default for Behaviour {
    /// A well-behaved container that runs for ever.
    fn default() -> Self {
        Self {
            start_latency: Duration::from_millis(50),
            start_error: None,
            pull_latency: Duration::from_millis(200),
            pull_error: None,
            exits: None,
            stop_latency: Some(Duration::from_millis(20)),
            stop_code: 143,
            probe_latency: Duration::from_millis(1),
            healthy_after: Duration::ZERO,
            healthy_until: None,
            probe: None,
            milli_cpu: 0,
            memory_bytes: 1 << 20,
        }
    }
}

impl Behaviour {
    pub(super) fn probe_at(&self, container: &ContainerRecord, now: Timestamp) -> ProbeOutcome {
        if let Some(outcome) = &self.probe {
            return outcome.clone();
        }
        let ContainerState::Running { started_at } = container.state else {
            return ProbeOutcome::Failure {
                output: "not running".to_owned(),
            };
        };
        let age = Duration::try_from(now.duration_since(started_at)).unwrap_or_default();
        if age < self.healthy_after || self.healthy_until.is_some_and(|until| age >= until) {
            return ProbeOutcome::Failure {
                output: "HTTP probe failed with statuscode: 503".to_owned(),
            };
        }
        ProbeOutcome::Success {
            output: "ok".to_owned(),
        }
    }
}
