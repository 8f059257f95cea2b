//! A Deployment's status and its conditions Available, Progressing and ReplicaFailure, in upstream's words.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use timonel_api::conditions;

use super::scale::{Limits, available, size};
use crate::owner;

const AVAILABLE: &str = "Available";
const PROGRESSING: &str = "Progressing";
const REPLICA_FAILURE: &str = "ReplicaFailure";

/// The status while it is being written.
#[derive(Clone)]
pub(super) struct Draft {
    conditions: Vec<DeploymentCondition>,
    collisions: Option<i32>,
}

fn condition(kind: &str, status: &str, reason: &str, message: String, now: Timestamp) -> DeploymentCondition {
    DeploymentCondition {
        type_: kind.into(),
        status: status.into(),
        reason: Some(reason.into()),
        message: Some(message),
        last_transition_time: Some(Time(now)),
        last_update_time: Some(Time(now)),
    }
}

/// Upstream's `HasProgressDeadline`: the largest number means none.
fn has_deadline(deadline: Option<i32>) -> bool {
    deadline.is_some_and(|seconds| seconds != i32::MAX)
}

impl Draft {
    pub(super) fn new(deployment: &Deployment) -> Self {
        let status = deployment.status.as_ref();
        Self {
            conditions: status.and_then(|status| status.conditions.clone()).unwrap_or_default(),
            collisions: status.and_then(|status| status.collision_count),
        }
    }

    pub(super) fn collisions(&self) -> i32 {
        self.collisions.unwrap_or(0)
    }

    pub(super) fn collided(&mut self) {
        self.collisions = Some(self.collisions() + 1);
    }

    /// As upstream's `SetDeploymentCondition`: nothing moves, not even a time, while status and reason stay.
    fn set(&mut self, mut new: DeploymentCondition) {
        if let Some(old) = conditions::find(&self.conditions, &new.type_) {
            if old.status == new.status && old.reason == new.reason {
                return;
            }
            if old.status == new.status {
                new.last_transition_time = old.last_transition_time.clone();
            }
        }
        conditions::remove(&mut self.conditions, &new.type_.clone());
        self.conditions.push(new);
    }

    fn reason(&self, kind: &str) -> Option<&str> {
        conditions::find(&self.conditions, kind)?.reason.as_deref()
    }

    /// Says that the rollout is paused or goes on, as upstream's `checkPausedConditions`.
    pub(super) fn pause(&mut self, paused: bool, deadline: Option<i32>, now: Timestamp) {
        let reason = self.reason(PROGRESSING);
        if !has_deadline(deadline) || reason == Some("ProgressDeadlineExceeded") {
            return;
        }
        let was_paused = reason == Some("DeploymentPaused");
        if paused && !was_paused {
            self.set(condition(
                PROGRESSING,
                "Unknown",
                "DeploymentPaused",
                "Deployment is paused".into(),
                now,
            ));
        } else if !paused && was_paused {
            self.set(condition(
                PROGRESSING,
                "Unknown",
                "DeploymentResumed",
                "Deployment is resumed".into(),
                now,
            ));
        }
    }

    pub(super) fn found(&mut self, set: &str, deadline: Option<i32>, now: Timestamp) {
        if has_deadline(deadline) && self.reason(PROGRESSING).is_none() {
            let message = format!("Found new replica set \"{set}\"");
            self.set(condition(PROGRESSING, "True", "FoundNewReplicaSet", message, now));
        }
    }

    pub(super) fn created(&mut self, set: &str, deadline: Option<i32>, now: Timestamp) {
        if has_deadline(deadline) {
            let message = format!("Created new replica set \"{set}\"");
            self.set(condition(PROGRESSING, "True", "NewReplicaSetCreated", message, now));
        }
    }

    /// Completes the status from what the sets report. `progress` is false while no rollout is judged (paused, leaving).
    pub(super) fn finish(
        &mut self,
        deployment: &Deployment,
        sets: &[&ReplicaSet],
        new: Option<&ReplicaSet>,
        limits: &Limits,
        progress: bool,
        now: Timestamp,
    ) -> DeploymentStatus {
        let reported = |set: &ReplicaSet| set.status.clone().unwrap_or_default();
        let total: i32 = sets.iter().map(|set| reported(set).replicas).sum();
        let asked: i32 = sets.iter().map(|set| size(set)).sum();
        let ready: i32 = sets.iter().map(|set| reported(set).ready_replicas.unwrap_or(0)).sum();
        let available: i32 = sets.iter().map(|set| available(set)).sum();
        let terminating: i32 = sets
            .iter()
            .map(|set| reported(set).terminating_replicas.unwrap_or(0))
            .sum();
        let some = |count: i32| (count != 0).then_some(count);
        let mut status = DeploymentStatus {
            observed_generation: deployment.metadata.generation,
            replicas: some(total),
            updated_replicas: some(new.map_or(0, |new| reported(new).replicas)),
            ready_replicas: some(ready),
            available_replicas: some(available),
            unavailable_replicas: some((asked - available).max(0)),
            terminating_replicas: Some(terminating),
            collision_count: self.collisions,
            conditions: None,
        };
        let (is, reason, message) = if available >= limits.replicas - limits.unavailable {
            (
                "True",
                "MinimumReplicasAvailable",
                "Deployment has minimum availability.",
            )
        } else {
            (
                "False",
                "MinimumReplicasUnavailable",
                "Deployment does not have minimum availability.",
            )
        };
        self.set(condition(AVAILABLE, is, reason, message.into(), now));
        if progress {
            self.judge(deployment, &status, new, limits.replicas, now);
            self.failures(sets, new);
        }
        status.conditions = (!self.conditions.is_empty()).then(|| self.conditions.clone());
        status
    }

    /// Upstream's `syncRolloutStatus`: complete, progressing, or timed out.
    fn judge(
        &mut self,
        deployment: &Deployment,
        status: &DeploymentStatus,
        new: Option<&ReplicaSet>,
        replicas: i32,
        now: Timestamp,
    ) {
        let deadline = deployment.spec.as_ref().and_then(|spec| spec.progress_deadline_seconds);
        if !has_deadline(deadline) {
            conditions::remove(&mut self.conditions, PROGRESSING);
            return;
        }
        let done = self.reason(PROGRESSING) == Some("NewReplicaSetAvailable");
        if done && status.replicas == status.updated_replicas {
            return;
        }
        let subject = match new {
            Some(new) => format!("ReplicaSet \"{}\"", owner::name(&new.metadata)),
            None => format!("Deployment \"{}\"", owner::name(&deployment.metadata)),
        };
        let before = deployment.status.clone().unwrap_or_default();
        if is_complete(status, replicas) {
            let message = format!("{subject} has successfully progressed.");
            self.set(condition(PROGRESSING, "True", "NewReplicaSetAvailable", message, now));
        } else if moved(&before, status) {
            let mut new = condition(
                PROGRESSING,
                "True",
                "ReplicaSetUpdated",
                format!("{subject} is progressing."),
                now,
            );
            if let Some(old) = conditions::find(&self.conditions, PROGRESSING).filter(|old| old.status == "True") {
                new.last_transition_time = old.last_transition_time.clone();
            }
            // Each progress moves the time that the deadline counts from.
            conditions::remove(&mut self.conditions, PROGRESSING);
            self.conditions.push(new);
        } else if timed_out(&self.conditions, deadline, now) {
            let message = format!("{subject} has timed out progressing.");
            self.set(condition(
                PROGRESSING,
                "False",
                "ProgressDeadlineExceeded",
                message,
                now,
            ));
        }
    }

    fn failures(&mut self, sets: &[&ReplicaSet], new: Option<&ReplicaSet>) {
        let failure = |set: &ReplicaSet| {
            let list = set.status.as_ref()?.conditions.as_ref()?;
            conditions::find(list, REPLICA_FAILURE).cloned()
        };
        let found = new
            .and_then(failure)
            .or_else(|| sets.iter().find_map(|set| failure(set)));
        match found {
            None => {
                conditions::remove(&mut self.conditions, REPLICA_FAILURE);
            }
            Some(failure) => self.set(DeploymentCondition {
                type_: REPLICA_FAILURE.into(),
                status: failure.status,
                reason: failure.reason,
                message: failure.message,
                last_transition_time: failure.last_transition_time.clone(),
                last_update_time: failure.last_transition_time,
            }),
        }
    }
}

/// Upstream's `DeploymentComplete`, without the generation.
pub(super) fn is_complete(status: &DeploymentStatus, replicas: i32) -> bool {
    status.updated_replicas.unwrap_or(0) == replicas
        && status.replicas.unwrap_or(0) == replicas
        && status.available_replicas.unwrap_or(0) == replicas
}

/// Upstream's `DeploymentProgressing`.
fn moved(before: &DeploymentStatus, after: &DeploymentStatus) -> bool {
    let updated = |status: &DeploymentStatus| status.updated_replicas.unwrap_or(0);
    let old = |status: &DeploymentStatus| status.replicas.unwrap_or(0) - updated(status);
    updated(after) > updated(before)
        || old(after) < old(before)
        || after.ready_replicas.unwrap_or(0) > before.ready_replicas.unwrap_or(0)
        || after.available_replicas.unwrap_or(0) > before.available_replicas.unwrap_or(0)
}

fn timed_out(list: &[DeploymentCondition], deadline: Option<i32>, now: Timestamp) -> bool {
    let Some(current) = conditions::find(list, PROGRESSING) else {
        return false;
    };
    match current.reason.as_deref() {
        Some("NewReplicaSetAvailable") => false,
        Some("ProgressDeadlineExceeded") => true,
        _ => left(current, deadline, now).is_some_and(|left| left < SignedDuration::ZERO),
    }
}

fn left(current: &DeploymentCondition, deadline: Option<i32>, now: Timestamp) -> Option<SignedDuration> {
    let from = current.last_update_time.as_ref()?.0;
    Some(SignedDuration::from_secs(i64::from(deadline?)) - now.duration_since(from))
}

/// When a rollout that makes no progress must be looked at again: upstream's `requeueStuckDeployment`.
pub(super) fn deadline(
    deployment: &Deployment,
    status: &DeploymentStatus,
    replicas: i32,
    now: Timestamp,
) -> Option<Duration> {
    let deadline = deployment.spec.as_ref().and_then(|spec| spec.progress_deadline_seconds);
    let list = status.conditions.as_deref().unwrap_or_default();
    let current = conditions::find(list, PROGRESSING)?;
    let waiting = has_deadline(deadline)
        && !is_complete(status, replicas)
        && current.reason.as_deref() != Some("ProgressDeadlineExceeded");
    let left = left(current, deadline, now)?;
    // One second more than the rest, so that the next look is surely after the deadline.
    waiting.then(|| Duration::try_from(left).unwrap_or_default() + Duration::from_secs(1))
}
