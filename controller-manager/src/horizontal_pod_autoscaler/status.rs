//! The status that is being written.

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{
    HorizontalPodAutoscaler, HorizontalPodAutoscalerCondition, HorizontalPodAutoscalerStatus, MetricStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// A status that begins with what the object says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Draft {
    pub(super) status: HorizontalPodAutoscalerStatus,
    now: Timestamp,
}

/// The API's times have whole seconds.
pub(super) fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

impl Draft {
    pub(super) fn of(autoscaler: &HorizontalPodAutoscaler, now: Timestamp) -> Self {
        let mut status = autoscaler.status.clone().unwrap_or_default();
        status.observed_generation = autoscaler.metadata.generation.or(status.observed_generation);
        Self {
            status,
            now: whole_seconds(now),
        }
    }

    /// Sets a condition; its time changes when its status does.
    pub(super) fn condition(&mut self, kind: &str, holds: bool, reason: &str, message: impl Into<String>) {
        let conditions = self.status.conditions.get_or_insert_default();
        let status = if holds { "True" } else { "False" };
        let at = conditions.iter().position(|condition| condition.type_ == kind);
        let condition = match at {
            Some(at) => &mut conditions[at],
            None => {
                conditions.push(HorizontalPodAutoscalerCondition {
                    type_: kind.to_owned(),
                    ..HorizontalPodAutoscalerCondition::default()
                });
                let last = conditions.len() - 1;
                &mut conditions[last]
            }
        };
        if condition.status != status {
            condition.last_transition_time = Some(Time(self.now));
        }
        status.clone_into(&mut condition.status);
        condition.reason = Some(reason.to_owned());
        condition.message = Some(message.into());
    }

    /// Sets how many there are, how many there are to be, and what was measured.
    pub(super) fn sizes(&mut self, current: i32, desired: i32, metrics: Vec<MetricStatus>) {
        self.status.current_replicas = Some(current);
        self.status.desired_replicas = desired;
        self.status.current_metrics = Some(metrics).filter(|metrics| !metrics.is_empty());
    }

    /// The status when the target could not be given another size.
    pub(super) fn not_rescaled(mut self, error: &str) -> HorizontalPodAutoscalerStatus {
        let message = format!("the HPA controller was unable to update the target scale: {error}");
        self.condition("AbleToScale", false, "FailedUpdateScale", message);
        self.finish()
    }

    pub(super) fn finish(self) -> HorizontalPodAutoscalerStatus {
        self.status
    }
}
