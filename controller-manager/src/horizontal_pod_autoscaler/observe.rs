//! What an autoscaler's decision rests on: its target's scale, the pods, the metrics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;
use timonel_api::ObjectKey;
use timonel_api::selector::LabelSelector;

use super::normalize::Memory;
use super::replicas::{Patience, Tolerances};
use super::{Autoscalers, metrics, target};

/// A metric of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PodValue {
    /// Thousandths.
    pub(super) value: i64,
    pub(super) at: Timestamp,
    pub(super) window: Duration,
}

/// A metric of pods, by their names.
pub(super) type PodValues = BTreeMap<String, PodValue>;

/// What was read of a metric.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reading {
    /// Of each pod.
    Pods(PodValues),
    /// Of something else, summed up, in thousandths.
    Value(i64),
}

/// A target's scale.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scale {
    /// Where it is.
    pub(super) path: String,
    /// As it was answered, to be sent back with another number.
    pub(super) object: Value,
}

impl Scale {
    fn number(&self, part: &str) -> i32 {
        let number = self.object[part]["replicas"].as_i64().unwrap_or_default();
        i32::try_from(number).unwrap_or(i32::MAX)
    }

    /// How many replicas there are to be.
    pub(super) fn wanted(&self) -> i32 {
        self.number("spec")
    }

    /// How many there are.
    pub(super) fn running(&self) -> i32 {
        self.number("status")
    }

    /// The selector of its pods, as text.
    pub(super) fn selector(&self) -> &str {
        self.object["status"]["selector"].as_str().unwrap_or_default()
    }
}

/// Everything that a decision rests on.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(super) autoscaler: Arc<HorizontalPodAutoscaler>,
    /// Or why there is none.
    pub(super) scale: Result<Scale, String>,
    /// The pods that the scale's selector means.
    pub(super) pods: Vec<Arc<Pod>>,
    /// Every autoscaler, this one included, that means any of the pods: `namespace/name`.
    pub(super) rivals: Vec<String>,
    /// One for each metric of the spec, or why there is none.
    pub(super) readings: Vec<Result<Reading, String>>,
    pub(super) memory: Memory,
    pub(super) settings: Settings,
}

/// What an operator can choose, and upstream's defaults.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) period: Duration,
    pub(super) stabilization: Duration,
    pub(super) patience: Patience,
    pub(super) tolerances: Tolerances,
}

impl Autoscalers {
    pub(super) async fn look(&self, key: &ObjectKey) -> Option<Observed> {
        let Some(autoscaler) = self.autoscalers.get(key) else {
            self.forget(key);
            return None;
        };
        let client = &self.context.client;
        let reference = &autoscaler.spec.scale_target_ref;
        let scale = target::scale(client, &key.namespace, reference).await;
        let selector = scale.as_ref().ok().map(|scale| scale.selector().to_owned());
        let parsed = selector
            .as_deref()
            .filter(|text| !text.is_empty())
            .and_then(|text| LabelSelector::parse(text).ok());
        let mut pods = Vec::new();
        if let Some(selector) = &parsed {
            let all = self.context.caches.pods.list_in(&key.namespace);
            let mine = |pod: &Arc<Pod>| selector.matches_optional(pod.metadata.labels.as_ref());
            pods = all.into_iter().filter(mine).collect();
        }
        let rivals = self.claim(key, parsed, &pods);
        let mut readings = Vec::new();
        for metric in autoscaler.spec.metrics.iter().flatten() {
            let selector = selector.as_deref().unwrap_or_default();
            readings.push(metrics::read(client, &key.namespace, selector, metric).await);
        }
        let timings = self.context.timings();
        Some(Observed {
            autoscaler,
            scale,
            pods,
            rivals,
            readings,
            memory: self.remembered(key),
            settings: Settings {
                period: timings.autoscaler_period,
                stabilization: timings.autoscaler_stabilization,
                patience: Patience {
                    cpu_initialization: timings.autoscaler_cpu_initialization,
                    initial_readiness: timings.autoscaler_initial_readiness,
                },
                tolerances: Tolerances { down: 0.1, up: 0.1 },
            },
        })
    }
}
