//! Decides how many disruptions a budget allows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use timonel_api::{conditions, pod};
use timonel_client::runner::Plan;

use super::scale::Scale;
use crate::owner;

const ALLOWED: &str = "DisruptionAllowed";
/// When it is tried again to find out what the pods' controllers want.
const RETRY: Duration = Duration::from_secs(30);

/// A budget, the pods that it covers, and how many their controllers want, or why that is not known.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) budget: Arc<PodDisruptionBudget>,
    pub(crate) pods: Vec<Arc<Pod>>,
    pub(crate) scale: Result<Scale, String>,
    pub(crate) timeout: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    SetStatus(Box<PodDisruptionBudgetStatus>),
    /// Says something of the budget.
    Tell(Told),
    /// Says something of a pod.
    TellOf(Arc<Pod>, Told),
}

/// What an event says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) warning: bool,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    Healthy { now: i32, wanted: i32 },
    NotKnown { why: String },
}

/// Decides. What is told goes with a status that changes, so that it is told once.
pub(crate) fn plan(observed: &Observed, now: Timestamp) -> Plan<Action, Because> {
    let mut plan = Plan::nothing();
    let mut told = Vec::new();
    let budget = &*observed.budget;
    let old = budget.status.clone().unwrap_or_default();
    if observed.pods.is_empty() {
        told.push(Action::Tell(Told {
            warning: false,
            reason: "NoPods",
            message: "No matching pods found".to_owned(),
        }));
    }
    let (expected, desired) = match desired(observed) {
        Ok(counts) => counts,
        Err(why) => {
            told.push(Action::Tell(Told {
                warning: true,
                reason: "CalculateExpectedPodCountFailed",
                message: format!("Failed to calculate the number of expected pods: {why}"),
            }));
            plan.look_again(RETRY);
            finish(
                &mut plan,
                observed,
                failed(old, &why, now),
                told,
                Because::NotKnown { why },
            );
            return plan;
        }
    };
    if let Some(unmanaged) = unmanaged(observed) {
        told.push(Action::Tell(unmanaged));
    }
    let disrupted = disrupted(observed, &old, now, &mut plan, &mut told);
    let healthy = observed.pods.iter().filter(|pod| {
        !pod::is_terminating(pod) && !disrupted.contains_key(owner::name(&pod.metadata)) && pod::is_ready(pod)
    });
    let healthy = i32::try_from(healthy.count()).unwrap_or(i32::MAX);
    let allowed = if expected > 0 {
        healthy.saturating_sub(desired).max(0)
    } else {
        0
    };
    let mut list = old.conditions.clone().unwrap_or_default();
    let (is, reason) = if allowed > 0 {
        ("True", "SufficientPods")
    } else {
        ("False", "InsufficientPods")
    };
    let condition = Condition {
        type_: ALLOWED.into(),
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
    let because = Because::Healthy {
        now: healthy,
        wanted: desired,
    };
    finish(&mut plan, observed, status, told, because);
    plan
}

fn finish(
    plan: &mut Plan<Action, Because>,
    observed: &Observed,
    status: PodDisruptionBudgetStatus,
    told: Vec<Action>,
    because: Because,
) {
    if observed.budget.status.as_ref() != Some(&status) {
        for action in told {
            plan.act(action, because.clone());
        }
        plan.act(Action::SetStatus(Box::new(status)), because);
    }
}

/// A status that at least allows nothing: what is not known is not safe.
fn failed(mut status: PodDisruptionBudgetStatus, why: &str, now: Timestamp) -> PodDisruptionBudgetStatus {
    let condition = Condition {
        type_: ALLOWED.into(),
        status: "False".into(),
        reason: "SyncFailed".into(),
        message: why.to_owned(),
        observed_generation: status.observed_generation,
        last_transition_time: Time(now),
    };
    conditions::set(status.conditions.get_or_insert_default(), condition, now);
    status.disruptions_allowed = Some(0);
    status
}

/// Evictions that were granted but are not seen yet count as gone, for a while.
fn disrupted(
    observed: &Observed,
    old: &PodDisruptionBudgetStatus,
    now: Timestamp,
    plan: &mut Plan<Action, Because>,
    told: &mut Vec<Action>,
) -> BTreeMap<String, Time> {
    let timeout = SignedDuration::try_from(observed.timeout).unwrap_or(SignedDuration::MAX);
    let mut disrupted = BTreeMap::new();
    for (name, at) in old.disrupted_pods.iter().flatten() {
        let there = observed.pods.iter().find(|pod| owner::name(&pod.metadata) == name);
        let Some(pod) = there.filter(|pod| !pod::is_terminating(pod)) else {
            continue;
        };
        let left = timeout - now.duration_since(at.0);
        if left > SignedDuration::ZERO {
            disrupted.insert(name.clone(), at.clone());
            if let Ok(left) = Duration::try_from(left) {
                plan.look_again(left + Duration::from_millis(1));
            }
        } else {
            // Upstream names the namespace twice here, too.
            let namespace = owner::namespace(&observed.budget.metadata);
            let told_of = Told {
                warning: true,
                reason: "NotDeleted",
                message: format!("Pod was expected by PDB {namespace}/{namespace} to be deleted but it wasn't"),
            };
            told.push(Action::TellOf(Arc::clone(pod), told_of));
        }
    }
    disrupted
}

/// Whether the budget is a share of what the pods' controllers want.
fn asks_for_scale(spec: &PodDisruptionBudgetSpec) -> bool {
    spec.max_unavailable.is_some() || matches!(spec.min_available, Some(IntOrString::String(_)))
}

/// Returns how many pods there should be, and how many must stay healthy.
fn desired(observed: &Observed) -> Result<(i32, i32), String> {
    let spec = observed.budget.spec.clone().unwrap_or_default();
    let scale = if asks_for_scale(&spec) {
        observed.scale.as_ref().map_err(Clone::clone)?.pods
    } else {
        i32::try_from(observed.pods.len()).unwrap_or(i32::MAX)
    };
    Ok(match (&spec.max_unavailable, &spec.min_available) {
        // A share is rounded up: in favour of who wants to disrupt, as upstream.
        (Some(unavailable), _) => (scale, scale.saturating_sub(resolve(unavailable, scale)).max(0)),
        (None, Some(available)) => (scale, resolve(available, scale)),
        (None, None) => (0, 0),
    })
}

/// Says that pods without a controller are not counted, where they are to be.
fn unmanaged(observed: &Observed) -> Option<Told> {
    let spec = observed.budget.spec.as_ref()?;
    let scale = observed.scale.as_ref().ok()?;
    let matters = asks_for_scale(spec) && !scale.unmanaged.is_empty();
    matters.then(|| Told {
        warning: true,
        reason: "UnmanagedPods",
        message: format!(
            "Pods selected by this PodDisruptionBudget (selector: {}) were found to be unmanaged. As a result, the status of the PDB \
             cannot be calculated correctly, which may result in undefined behavior. To account for these pods please set \
             \".spec.minAvailable\" field of the PDB to an integer value.",
            in_go(&spec.selector.clone().unwrap_or_default())
        ),
    })
}

/// A selector as Go prints it.
fn in_go(selector: &LabelSelector) -> String {
    let labels = selector.match_labels.iter().flatten();
    let labels: String = labels.map(|(key, value)| format!("{key}: {value},")).collect();
    let expressions = selector.match_expressions.iter().flatten();
    let expressions: String = expressions
        .map(|one| {
            let values = one.values.as_deref().unwrap_or_default().join(" ");
            format!(
                "LabelSelectorRequirement{{Key:{},Operator:{},Values:[{values}],}},",
                one.key, one.operator
            )
        })
        .collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )
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
