//! Decides what to do about one ReplicaSet.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use timonel_api::selector::LabelSelector;
use timonel_api::{conditions, pod};
use timonel_client::runner::Plan;

use super::Observed;
use crate::claim::{Claim, claim};
use crate::owner;

/// Pods created or deleted in one go at most, as upstream's `BurstReplicas`.
const BURST: usize = 500;

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Become the controller of an orphan.
    Adopt(Arc<Pod>),
    /// Let a pod go that the selector matches no longer.
    Release(Arc<Pod>),
    /// Create this many pods, slowly at first.
    Create(usize),
    /// Delete a pod.
    Delete(Arc<Pod>),
    /// Write the status.
    SetStatus(Box<ReplicaSetStatus>),
}

/// Why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    MatchesSelector { pod: String },
    NoLongerMatchesSelector { pod: String },
    TooFew { have: usize, want: usize },
    TooMany { have: usize, want: usize, victim: String },
    StatusChanged,
}

/// Decides. Terminated and terminating pods do not count.
pub(crate) fn plan(observed: &Observed, now: Timestamp) -> Plan<Action, Because> {
    let mut plan = Plan::nothing();
    let set = &*observed.set;
    let Some(spec) = &set.spec else { return plan };
    let uid = owner::uid(&set.metadata);
    let selector = LabelSelector::from_optional(Some(&spec.selector));
    let leaving = set.metadata.deletion_timestamp.is_some();

    let mut own: Vec<&Arc<Pod>> = Vec::new();
    let mut terminating = 0;
    for pod in &observed.pods {
        let name = || owner::name(&pod.metadata).to_owned();
        let matches = selector.matches_optional(pod.metadata.labels.as_ref());
        let mine = owner::is_controlled_by(&pod.metadata, uid);
        if pod::is_terminating(pod) && mine && !pod::is_terminal(pod) {
            terminating += 1;
        }
        if !pod::is_active(pod) {
            continue;
        }
        match claim(&pod.metadata, uid, matches, leaving) {
            Claim::Own => own.push(pod),
            Claim::Release => {
                plan.act(
                    Action::Release(Arc::clone(pod)),
                    Because::NoLongerMatchesSelector { pod: name() },
                );
            }
            Claim::Adopt => {
                plan.act(Action::Adopt(Arc::clone(pod)), Because::MatchesSelector { pod: name() });
                own.push(pod);
            }
            Claim::Leave => {}
        }
    }

    let want = usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or(0);
    if !leaving {
        scale(&mut plan, observed, &own, want, now);
    }
    let status = status(observed, &own, want, terminating, now);
    if set.status.as_ref() != Some(&status) {
        plan.act(Action::SetStatus(Box::new(status)), Because::StatusChanged);
    }
    let min_ready = spec.min_ready_seconds.unwrap_or(0);
    let soonest = own
        .iter()
        .filter_map(|pod| pod::available_in(pod, min_ready, now))
        .min();
    if let Some(delay) = soonest.and_then(|delay| std::time::Duration::try_from(delay).ok()) {
        plan.look_again(delay);
    }
    plan
}

fn scale(plan: &mut Plan<Action, Because>, observed: &Observed, own: &[&Arc<Pod>], want: usize, now: Timestamp) {
    let have = own.len();
    if have < want {
        plan.act(Action::Create((want - have).min(BURST)), Because::TooFew { have, want });
    }
    if have > want {
        let pods: Vec<&Pod> = own.iter().map(|pod| &***pod).collect();
        let related: Vec<&Pod> = observed.related.iter().map(|pod| &**pod).collect();
        let ranks = pod::ranks_by_node(&pods, if related.is_empty() { &pods } else { &related });
        for index in pod::deletion_order(&pods, &ranks, now)
            .into_iter()
            .take((have - want).min(BURST))
        {
            let victim = owner::name(&pods[index].metadata).to_owned();
            plan.act(
                Action::Delete(Arc::clone(own[index])),
                Because::TooMany { have, want, victim },
            );
        }
    }
}

fn status(observed: &Observed, own: &[&Arc<Pod>], want: usize, terminating: i32, now: Timestamp) -> ReplicaSetStatus {
    let set = &*observed.set;
    let count = |matches: &dyn Fn(&Pod) -> bool| {
        i32::try_from(own.iter().filter(|pod| matches(pod)).count()).unwrap_or(i32::MAX)
    };
    let spec = set.spec.as_ref();
    let min_ready = spec.and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
    let template = spec
        .and_then(|spec| spec.template.as_ref())
        .and_then(|template| template.metadata.as_ref())
        .and_then(|meta| meta.labels.as_ref());
    let fully = |pod: &Pod| {
        let labels = pod.metadata.labels.as_ref();
        template
            .into_iter()
            .flatten()
            .all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
    };
    let nonzero = |count: i32| (count != 0).then_some(count);
    let mut list = set
        .status
        .as_ref()
        .and_then(|status| status.conditions.clone())
        .unwrap_or_default();
    match &observed.failure {
        Some(failure) if own.len() != want => {
            let condition = ReplicaSetCondition {
                type_: "ReplicaFailure".into(),
                status: "True".into(),
                reason: Some(failure.reason.into()),
                message: Some(failure.message.clone()),
                last_transition_time: None,
            };
            // As upstream: the first failure's message stays until the failure is over.
            if conditions::find(&list, "ReplicaFailure").is_none() {
                conditions::set(&mut list, condition, now);
            }
        }
        _ => {
            conditions::remove(&mut list, "ReplicaFailure");
        }
    }
    ReplicaSetStatus {
        replicas: count(&|_| true),
        fully_labeled_replicas: nonzero(count(&fully)),
        ready_replicas: nonzero(count(&pod::is_ready)),
        available_replicas: nonzero(count(&|pod| pod::is_available(pod, min_ready, now))),
        terminating_replicas: observed.counts_terminating.then_some(terminating),
        observed_generation: set.metadata.generation,
        conditions: (!list.is_empty()).then_some(list),
    }
}
