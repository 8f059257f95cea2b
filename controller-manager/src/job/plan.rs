//! Decides what to do about one Job.
//!
//! ```text
//! claim pods -> tally -> is it over? -> yes: stop what runs      -> status, with who is to be counted -> finalizers go
//!                                    -> no: start or stop pods
//! ```
//!
//! A pod is counted in three steps, each of which may be the last before a crash: its uid enters `uncountedTerminatedPods`; its
//! finalizer goes; its uid becomes part of a count. Whoever goes on finds in the pods and in the status how far that was.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{JobSpec, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use timonel_api::pod;
use timonel_api::selector::LabelSelector;
use timonel_client::runner::Plan;

use super::backoff::Backoff;
use super::ending::{Ending, ending};
use super::facts::{counts_as_failed, indexed, is_finished, is_managed_elsewhere, is_suspended};
use super::tally::Tally;
use super::{Observed, counting, scale};
use crate::owner;

/// A pod to create.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NewPod {
    pub(crate) index: Option<u32>,
    /// With a limit per index: how often the index failed before, counted and ignored.
    pub(crate) failures: Option<(u32, u32)>,
}

/// What people are told about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Say {
    Suspended,
    Resumed,
    Completed,
    TooManySucceeded,
    Failed { reason: String, message: String },
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Become the controller of an orphan.
    Adopt(Arc<Pod>),
    /// Let a pod go that the selector matches no longer.
    Release(Arc<Pod>),
    /// Delete a pod; one that is not to be counted loses its finalizer first.
    Delete { pod: Arc<Pod>, uncounted: bool },
    /// Create these pods, slowly at first.
    Create(Vec<NewPod>),
    /// Write the status, then say what it means.
    SetStatus { status: Box<JobStatus>, say: Vec<Say> },
    /// Remember how often pods failed in a row.
    Remember(Backoff),
    /// Let a pod go that the status accounts for.
    RemoveFinalizer(Arc<Pod>),
}

/// Why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    MatchesSelector { pod: String },
    NoLongerMatchesSelector { pod: String },
    Over { pod: String, reason: String },
    Suspended { pod: String },
    TooMany { have: usize, want: usize, pod: String },
    IndexNotWanted { pod: String },
    TooFew { have: usize, want: usize },
    StatusChanged,
    PodsEnded { failures_in_a_row: u32 },
    Accounted { pod: String },
}

/// Decides.
pub(crate) fn plan(observed: &Observed, now: Timestamp) -> Plan<Action, Because> {
    let mut plan = Plan::nothing();
    let job = &*observed.job;
    let Some(spec) = &job.spec else { return plan };
    let known_mode = matches!(spec.completion_mode.as_deref(), None | Some("NonIndexed" | "Indexed"));
    if is_managed_elsewhere(job) || is_finished(job) || !known_mode {
        return plan;
    }
    let Some(pods) = claim(&mut plan, observed, spec) else {
        return plan;
    };
    let tally = Tally::of(job, spec, pods);
    let backoff = remember(observed, &tally, spec);
    let mut status = job.status.clone().unwrap_or_default();
    if status.start_time.is_none() && !is_suspended(spec) {
        status.start_time = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now));
    }

    let mut ending = ending(job, spec, &tally, &status, now);
    let leaving = job.metadata.deletion_timestamp.is_some();
    match &ending {
        Some(ending) => {
            for pod in &tally.active {
                let because = Because::Over {
                    pod: owner::name(&pod.metadata).to_owned(),
                    reason: ending.reason().to_owned(),
                };
                plan.act(
                    Action::Delete {
                        pod: Arc::clone(pod),
                        uncounted: false,
                    },
                    because,
                );
            }
        }
        None => {
            if !leaving {
                scale::manage(&mut plan, spec, &tally, backoff, now);
            }
            let enough = match spec.completions {
                None => tally.succeeded > 0,
                Some(completions) => tally.succeeded >= completions,
            };
            if enough && tally.active.is_empty() && plan.is_empty() {
                ending = Some(Ending::completions_reached());
            }
            if let Some(left) = spec.active_deadline_seconds.filter(|_| !is_suspended(spec)) {
                let started = status.start_time.as_ref().map_or(now, |time| time.0);
                let left = SignedDuration::from_secs(left) - now.duration_since(started);
                plan.look_again(Duration::try_from(left).unwrap_or(Duration::ZERO));
            }
        }
    }

    let mut say = Vec::new();
    if ending.is_none() && !leaving {
        counting::suspension(&mut status, spec, now, &mut say);
    }
    let accounted = counting::account(&mut status, spec, &tally, ending.as_ref(), leaving);
    counting::conclude(&mut status, job, spec, &tally, ending.as_ref(), now, &mut say);
    if job.status.as_ref() != Some(&status) {
        plan.act(
            Action::SetStatus {
                status: Box::new(status),
                say,
            },
            Because::StatusChanged,
        );
    }
    if observed.backoff != Some(backoff) {
        plan.act(
            Action::Remember(backoff),
            Because::PodsEnded {
                failures_in_a_row: backoff.failures,
            },
        );
    }
    for pod in accounted {
        let because = Because::Accounted {
            pod: owner::name(&pod.metadata).to_owned(),
        };
        plan.act(Action::RemoveFinalizer(Arc::clone(pod)), because);
    }
    plan
}

/// Sorts out which pods are the Job's. Where some have to be adopted or released, that comes first and alone.
fn claim<'a>(plan: &mut Plan<Action, Because>, observed: &'a Observed, spec: &JobSpec) -> Option<Vec<&'a Arc<Pod>>> {
    let job = &*observed.job;
    let selector = LabelSelector::from_optional(spec.selector.as_ref());
    let mut own = Vec::new();
    for pod in &observed.pods {
        let name = || owner::name(&pod.metadata).to_owned();
        let matches = selector.matches_optional(pod.metadata.labels.as_ref());
        match (
            owner::is_controlled_by(&pod.metadata, owner::uid(&job.metadata)),
            matches,
        ) {
            (true, true) => own.push(pod),
            (true, false) => {
                plan.act(
                    Action::Release(Arc::clone(pod)),
                    Because::NoLongerMatchesSelector { pod: name() },
                );
            }
            (false, true) if job.metadata.deletion_timestamp.is_none() && !pod::is_terminating(pod) => {
                plan.act(Action::Adopt(Arc::clone(pod)), Because::MatchesSelector { pod: name() });
            }
            (false, _) => {}
        }
    }
    plan.is_empty().then_some(own)
}

/// Failures in a row. What is not remembered since a restart is read off the pods that are still there.
fn remember(observed: &Observed, tally: &Tally<'_>, spec: &JobSpec) -> Backoff {
    if spec.backoff_limit_per_index.is_some() && indexed(spec).is_some() {
        return Backoff::default();
    }
    match observed.backoff {
        Some(known) => {
            // A pod that keeps its finalizer for longer than a round was remembered in the round in which it ended.
            known.after(&tally.newly_succeeded, &tally.newly_failed)
        }
        None => {
            let all = || tally.pods.iter().map(|pod| &***pod);
            let succeeded: Vec<&Pod> = all().filter(|pod| pod::is_succeeded(pod)).collect();
            let failed: Vec<&Pod> = all().filter(|pod| counts_as_failed(pod, spec)).collect();
            Backoff::default().after(&succeeded, &failed)
        }
    }
}
