//! Decides what a node's silence, or its own bad news, means.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod, PodCondition, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use timonel_api::{conditions, pod};
use timonel_client::runner::Plan;

use super::zones::Eviction;
use crate::Timings;

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// The conditions that a silent kubelet cannot vouch for.
const KUBELETS: &[&str] = &["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];
/// Which condition means which taint, and at which status.
const TAINTS: &[(&str, &str, &str)] = &[
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
];

/// The last sign of life, and when we saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heartbeat {
    pub(crate) lease: Option<Timestamp>,
    pub(crate) status: Option<Timestamp>,
    pub(crate) at: Timestamp,
}

impl Heartbeat {
    /// What we know when we first see a node: a node that never reported is given time from its creation on.
    pub(crate) fn first(node: &Node, lease: Option<&Lease>, now: Timestamp) -> Self {
        let reported = node_beat(node).is_some() || lease.is_some();
        let created = node.metadata.creation_timestamp.as_ref().map(|time| time.0);
        Self {
            lease: lease_beat(lease),
            status: node_beat(node),
            at: if reported { now } else { created.unwrap_or(now) },
        }
    }

    /// Takes in what the node says now.
    pub(crate) fn hear(&mut self, node: &Node, lease: Option<&Lease>, now: Timestamp) {
        let (lease, status) = (lease_beat(lease), node_beat(node));
        if lease.is_some() && lease != self.lease || status.is_some() && status != self.status {
            (self.lease, self.status, self.at) = (lease.or(self.lease), status.or(self.status), now);
        }
    }

    fn grace(&self, timings: &Timings) -> Duration {
        if self.lease.is_none() && self.status.is_none() {
            timings.node_startup_grace
        } else {
            timings.node_monitor_grace
        }
    }

    pub(crate) fn is_stale(&self, timings: &Timings, now: Timestamp) -> bool {
        let grace = SignedDuration::try_from(self.grace(timings)).unwrap_or(SignedDuration::MAX);
        now.duration_since(self.at) > grace
    }
}

fn lease_beat(lease: Option<&Lease>) -> Option<Timestamp> {
    Some(lease?.spec.as_ref()?.renew_time.as_ref()?.0)
}

fn node_beat(node: &Node) -> Option<Timestamp> {
    let ready = ready(node)?;
    // What we wrote ourselves when the node fell silent is no sign of life.
    (ready.reason.as_deref() != Some("NodeStatusUnknown") && ready.reason.as_deref() != Some("NodeStatusNeverUpdated"))
        .then(|| ready.last_heartbeat_time.as_ref().map(|time| time.0))?
}

fn ready(node: &Node) -> Option<&NodeCondition> {
    conditions::find_in(node.status.as_ref()?.conditions.as_ref(), "Ready")
}

/// Tells whether a node says that it is ready.
pub(crate) fn is_ready(node: &Node) -> bool {
    ready(node).is_some_and(|ready| ready.status == "True")
}

/// Labels that follow others, for clients that know only the older names.
const LABELS: &[(&str, &str)] = &[
    ("kubernetes.io/os", "beta.kubernetes.io/os"),
    ("kubernetes.io/arch", "beta.kubernetes.io/arch"),
];

/// A node, its last sign of life, its pods while it is not ready, and whether its zone lets pods be driven away.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) node: Arc<Node>,
    pub(crate) heard: Heartbeat,
    pub(crate) pods: Vec<Arc<Pod>>,
    pub(crate) eviction: Eviction,
    /// Whether its coming was told.
    pub(crate) registered: bool,
    /// The node is no more; this is how it was last seen.
    pub(crate) gone: bool,
    pub(crate) timings: Timings,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    SetConditions(Vec<NodeCondition>),
    SetTaints(Vec<Taint>),
    SetLabels(BTreeMap<String, String>),
    SayNotReady,
    SayRegistered,
    SayRemoving,
    MarkPodNotReady { pod: Arc<Pod>, condition: PodCondition },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    Silent { since: Timestamp },
    ConditionsChanged,
    LabelsDiffer,
    New,
    Gone,
    NotReady,
}

/// Decides.
pub(crate) fn plan(observed: &Observed, now: Timestamp) -> Plan<Action, Because> {
    let mut plan = Plan::nothing();
    let node = &*observed.node;
    if observed.gone {
        plan.act(Action::SayRemoving, Because::Gone);
        return plan;
    }
    if !observed.registered {
        plan.act(Action::SayRegistered, Because::New);
    }
    let labels = labels(node);
    if !labels.is_empty() {
        plan.act(Action::SetLabels(labels), Because::LabelsDiffer);
    }
    let mut list = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.clone())
        .unwrap_or_default();
    let stale = observed.heard.is_stale(&observed.timings, now);
    if stale {
        let changed = silence(&mut list, node, now);
        if !changed.is_empty() {
            let since = observed.heard.at;
            if is_ready(node) {
                plan.act(Action::SayNotReady, Because::Silent { since });
            }
            plan.act(Action::SetConditions(changed), Because::Silent { since });
        }
    }
    let taints = taints(observed, &list, now);
    if taints
        != node
            .spec
            .as_ref()
            .and_then(|spec| spec.taints.clone())
            .unwrap_or_default()
    {
        plan.act(Action::SetTaints(taints), Because::ConditionsChanged);
    }
    if !conditions::is_true(&list, "Ready") && conditions::find(&list, "Ready").is_some() {
        for pod in observed
            .pods
            .iter()
            .filter(|pod| pod::is_ready(pod) && !pod::is_terminal(pod))
        {
            let condition = PodCondition {
                type_: "Ready".into(),
                status: "False".into(),
                last_transition_time: Some(Time(now)),
                ..PodCondition::default()
            };
            let pod = Arc::clone(pod);
            plan.act(Action::MarkPodNotReady { pod, condition }, Because::NotReady);
        }
    }
    plan.look_again(observed.timings.node_monitor_period);
    if let Eviction::Later(Some(wait)) = observed.eviction {
        plan.look_again(wait);
    }
    plan
}

/// Returns the labels that do not say what those say that they follow.
fn labels(node: &Node) -> BTreeMap<String, String> {
    let Some(labels) = &node.metadata.labels else {
        return BTreeMap::new();
    };
    let differing = LABELS.iter().filter_map(|(first, second)| {
        let value = labels.get(*first)?;
        (labels.get(*second) != Some(value)).then(|| ((*second).to_owned(), value.clone()))
    });
    differing.collect()
}

/// Tells whether a node carries one of the taints that drive pods from lost nodes.
pub(crate) fn is_evicting(node: &Node) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    let mut taints = taints.into_iter().flatten();
    taints.any(|taint| taint.effect == "NoExecute" && [NOT_READY, UNREACHABLE].contains(&taint.key.as_str()))
}

/// Turns what the kubelet cannot vouch for to Unknown; returns what that changes.
fn silence(list: &mut Vec<NodeCondition>, node: &Node, now: Timestamp) -> Vec<NodeCondition> {
    let mut changed = Vec::new();
    for kind in KUBELETS {
        let old = conditions::find(list, kind).cloned();
        if old.as_ref().is_some_and(|old| old.status == "Unknown") {
            continue;
        }
        let (reason, message) = match &old {
            Some(_) => ("NodeStatusUnknown", "Kubelet stopped posting node status."),
            None => ("NodeStatusNeverUpdated", "Kubelet never posted node status."),
        };
        let heartbeat = match &old {
            Some(old) => old.last_heartbeat_time.clone(),
            None => node.metadata.creation_timestamp.clone(),
        };
        let new = NodeCondition {
            type_: (*kind).into(),
            status: "Unknown".into(),
            reason: Some(reason.into()),
            message: Some(message.into()),
            last_heartbeat_time: heartbeat,
            last_transition_time: Some(Time(now)),
        };
        conditions::set(list, new.clone(), now);
        changed.push(new);
    }
    changed
}

/// Returns the taints that the node should have: those that are not ours as they are, and ours as conditions say.
fn taints(observed: &Observed, list: &[NodeCondition], now: Timestamp) -> Vec<Taint> {
    let spec = observed.node.spec.as_ref();
    let current = spec.and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    for (condition, status, key) in TAINTS {
        if conditions::find(list, condition).is_some_and(|condition| condition.status == *status) {
            wanted.push((key, "NoSchedule"));
        }
    }
    if spec.and_then(|spec| spec.unschedulable).unwrap_or(false) {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    let has = |key: &str, effect: &str| current.iter().any(|taint| taint.key == key && taint.effect == effect);
    for (status, key) in [("False", NOT_READY), ("Unknown", UNREACHABLE)] {
        let so = conditions::find(list, "Ready").is_some_and(|ready| ready.status == status);
        if so && observed.eviction == Eviction::Allowed {
            wanted.push((key, "NoExecute"));
        }
    }
    let ours = |taint: &Taint| match taint.effect.as_str() {
        "NoSchedule" => taint.key == UNSCHEDULABLE || TAINTS.iter().any(|(_, _, key)| *key == taint.key),
        "NoExecute" => taint.key == NOT_READY || taint.key == UNREACHABLE,
        _ => false,
    };
    let is_wanted = |taint: &Taint| wanted.contains(&(taint.key.as_str(), taint.effect.as_str()));
    let mut result: Vec<Taint> = current
        .iter()
        .filter(|taint| !ours(taint) || is_wanted(taint))
        .cloned()
        .collect();
    for (key, effect) in wanted {
        if !has(key, effect) {
            result.push(Taint {
                key: key.into(),
                effect: effect.into(),
                time_added: Some(Time(now)),
                value: None,
            });
        }
    }
    result
}
