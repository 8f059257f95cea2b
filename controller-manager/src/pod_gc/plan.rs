//! Decides which pods are garbage.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod};
use timonel_api::pod;
use timonel_client::runner::Plan;

use crate::{Timings, owner};

/// All pods, and the nodes that are gone or out of service.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) pods: Vec<Arc<Pod>>,
    pub(crate) missed: BTreeMap<String, Timestamp>,
    pub(crate) out_of_service: BTreeSet<String>,
    pub(crate) timings: Timings,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Delete a pod at once; with a message, first mark it as failed and disrupted.
    Collect { pod: Arc<Pod>, mark: Option<&'static str> },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    NodeGone { pod: String },
    NodeOutOfService { pod: String },
    NeverScheduled { pod: String },
    TooManyTerminated { pod: String },
}

/// Returns the node that a pod is on.
pub(crate) fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
}

/// Tells whether a node was declared to be out of service (KEP-2268) and is not ready.
pub(crate) fn is_out_of_service(node: &Node) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    let declared = taints
        .into_iter()
        .flatten()
        .any(|taint| taint.key == "node.kubernetes.io/out-of-service");
    let list = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    declared && !timonel_api::conditions::is_true(list, "Ready")
}

/// Decides.
pub(crate) fn plan(observed: &Observed, now: Timestamp) -> Plan<Action, Because> {
    let mut plan = Plan::nothing();
    let quarantine = SignedDuration::try_from(observed.timings.pod_gc_quarantine).unwrap_or(SignedDuration::MAX);
    let mut terminated: Vec<&Arc<Pod>> = Vec::new();
    for pod in &observed.pods {
        let name = owner::name(&pod.metadata).to_owned();
        let unless_terminal = |message: &'static str| (!pod::is_terminal(pod)).then_some(message);
        let leaving = pod::is_terminating(pod);
        match node_of(pod) {
            None if leaving => {
                let pod = Arc::clone(pod);
                plan.act(
                    Action::Collect { pod, mark: None },
                    Because::NeverScheduled { pod: name },
                );
            }
            Some(node)
                if observed
                    .missed
                    .get(node)
                    .is_some_and(|since| now.duration_since(*since) >= quarantine) =>
            {
                let mark = unless_terminal("PodGC: node no longer exists");
                let pod = Arc::clone(pod);
                plan.act(Action::Collect { pod, mark }, Because::NodeGone { pod: name });
            }
            Some(node) if leaving && observed.out_of_service.contains(node) => {
                let pod = Arc::clone(pod);
                plan.act(
                    Action::Collect { pod, mark: None },
                    Because::NodeOutOfService { pod: name },
                );
            }
            _ if pod::is_terminal(pod) && !leaving => terminated.push(pod),
            _ => {}
        }
    }
    terminated.sort_by_key(|pod| {
        let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (created, owner::name(&pod.metadata).to_owned())
    });
    let excess = terminated
        .len()
        .saturating_sub(observed.timings.terminated_pod_threshold);
    for pod in terminated.into_iter().take(excess) {
        let name = owner::name(&pod.metadata).to_owned();
        let pod = Arc::clone(pod);
        plan.act(
            Action::Collect { pod, mark: None },
            Because::TooManyTerminated { pod: name },
        );
    }
    plan.look_again(observed.timings.pod_gc_period);
    plan
}
