//! Decides how many disruptions a budget allows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use timonel_api::{conditions, pod};
use timonel_client::runner::Plan;

use crate::owner;

/// A budget, the pods that it covers, and how many their controllers want.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) budget: Arc<PodDisruptionBudget>,
    pub(crate) pods: Vec<Arc<Pod>>,
    pub(crate) expected: Option<i32>,
    pub(crate) timeout: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    SetStatus(Box<PodDisruptionBudgetStatus>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    Healthy { now: i32, wanted: i32 },
}

/// Decides.
pub(crate) fn plan(observed: &Observed, now: Timestamp) -> Plan<Action, Because> {
    let mut plan = Plan::nothing();
    let budget = &*observed.budget;
    let old = budget.status.clone().unwrap_or_default();
    let timeout = SignedDuration::try_from(observed.timeout).unwrap_or(SignedDuration::MAX);

    // Evictions that were granted but are not seen yet count as gone, for a while.
    let mut disrupted: BTreeMap<String, Time> = BTreeMap::new();
    for (name, at) in old.disrupted_pods.iter().flatten() {
        let there = observed.pods.iter().find(|pod| owner::name(&pod.metadata) == name);
        let left = timeout - now.duration_since(at.0);
        if there.is_some_and(|pod| !pod::is_terminating(pod)) && left > SignedDuration::ZERO {
            disrupted.insert(name.clone(), at.clone());
            if let Ok(left) = Duration::try_from(left) {
                plan.look_again(left + Duration::from_millis(1));
            }
        }
    }
    let counted = |pod: &&Arc<Pod>| pod::is_active(pod);
    let healthy = observed
        .pods
        .iter()
        .filter(counted)
        .filter(|pod| pod::is_ready(pod) && !disrupted.contains_key(owner::name(&pod.metadata)))
        .count();
    let healthy = i32::try_from(healthy).unwrap_or(i32::MAX);
    let present = i32::try_from(observed.pods.iter().filter(counted).count()).unwrap_or(i32::MAX);
    let (expected, desired) = desired(observed, present);
    let allowed = if expected > 0 { (healthy - desired).max(0) } else { 0 };

    let mut list = old.conditions.clone().unwrap_or_default();
    let (is, reason) = if allowed > 0 {
        ("True", "SufficientPods")
    } else {
        ("False", "InsufficientPods")
    };
    let condition = Condition {
        type_: "DisruptionAllowed".into(),
        status: is.into(),
        reason: reason.into(),
        message: String::new(),
        observed_generation: budget.metadata.generation,
        last_transition_time: Time(now),
    };
    conditions::set(&mut list, condition, now);
    let status = PodDisruptionBudgetStatus {
        conditions: Some(list),
        current_healthy: Some(healthy),
        desired_healthy: Some(desired),
        disrupted_pods: (!disrupted.is_empty()).then_some(disrupted),
        disruptions_allowed: Some(allowed),
        expected_pods: Some(expected),
        observed_generation: budget.metadata.generation,
    };
    if status != old {
        let because = Because::Healthy {
            now: healthy,
            wanted: desired,
        };
        plan.act(Action::SetStatus(Box::new(status)), because);
    }
    plan
}

/// Returns how many pods there should be, and how many must stay healthy.
fn desired(observed: &Observed, present: i32) -> (i32, i32) {
    let spec = observed.budget.spec.clone().unwrap_or_default();
    let scale = observed.expected.unwrap_or(present);
    if let Some(unavailable) = &spec.max_unavailable {
        // A share is rounded up: in favour of who wants to disrupt, as upstream.
        return (scale, (scale - resolve(unavailable, scale)).max(0));
    }
    match &spec.min_available {
        Some(IntOrString::Int(number)) => (present, *number),
        Some(share) => (scale, resolve(share, scale)),
        None => (present, 0),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a share of an i32")]
fn resolve(value: &IntOrString, of: i32) -> i32 {
    match value {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => {
            let percent: f64 = text.trim_end_matches('%').parse().unwrap_or(0.0);
            (percent * f64::from(of) / 100.0).ceil() as i32
        }
    }
}
