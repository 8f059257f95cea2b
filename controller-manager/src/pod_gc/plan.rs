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
    /// Delete a pod at once; one that has not ended is first marked as failed, and as disrupted where there is a message.
    Collect {
        pod: Arc<Pod>,
        disrupted: Option<&'static str>,
    },
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

fn is_evicted(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    status
        .is_some_and(|status| status.phase.as_deref() == Some("Failed") && status.reason.as_deref() == Some("Evicted"))
}

/// Decides.
pub(crate) fn plan(observed: &Observed, now: Timestamp) -> Plan<Action, Because> {
    let mut plan = Plan::nothing();
    let quarantine = SignedDuration::try_from(observed.timings.pod_gc_quarantine).unwrap_or(SignedDuration::MAX);
    let mut terminated: Vec<&Arc<Pod>> = Vec::new();
    for pod in &observed.pods {
        let name = owner::name(&pod.metadata).to_owned();
        let leaving = pod::is_terminating(pod);
        match node_of(pod) {
            None if leaving => {
                let pod = Arc::clone(pod);
                plan.act(
                    Action::Collect { pod, disrupted: None },
                    Because::NeverScheduled { pod: name },
                );
            }
            Some(node)
                if observed
                    .missed
                    .get(node)
                    .is_some_and(|since| now.duration_since(*since) >= quarantine) =>
            {
                let disrupted = Some("PodGC: node no longer exists");
                let pod = Arc::clone(pod);
                plan.act(Action::Collect { pod, disrupted }, Because::NodeGone { pod: name });
            }
            Some(node) if leaving && observed.out_of_service.contains(node) => {
                let pod = Arc::clone(pod);
                plan.act(
                    Action::Collect { pod, disrupted: None },
                    Because::NodeOutOfService { pod: name },
                );
            }
            _ if pod::is_terminal(pod) => terminated.push(pod),
            _ => {}
        }
    }
    terminated.sort_by_key(|pod| {
        let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
        // Those that the kubelet evicted tell least.
        (!is_evicted(pod), created, owner::name(&pod.metadata).to_owned())
    });
    let excess = terminated
        .len()
        .saturating_sub(observed.timings.terminated_pod_threshold);
    for pod in terminated.into_iter().take(excess) {
        let name = owner::name(&pod.metadata).to_owned();
        let pod = Arc::clone(pod);
        plan.act(
            Action::Collect { pod, disrupted: None },
            Because::TooManyTerminated { pod: name },
        );
    }
    plan.look_again(observed.timings.pod_gc_period);
    plan
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    /// Pods as `NAME NODE PHASE [leaving] [Evicted]`; of a node `gone` that is missed since the start, and `out` of service.
    #[track_caller]
    fn check(pods: &[&str], seconds: i64, keep: usize, expected: Expect) {
        let pod = |(age, text): (usize, &&str)| {
            let words: Vec<&str> = text.split(' ').collect();
            let age = i64::try_from(age).unwrap();
            let mut pod = json!({
                "metadata": {"name": words[0], "creationTimestamp": at(age).to_string()},
                "spec": {"containers": [], "nodeName": words[1]},
                "status": {"phase": words[2]},
            });
            if words.contains(&"leaving") {
                pod["metadata"]["deletionTimestamp"] = at(0).to_string().into();
            }
            if words.contains(&"Evicted") {
                pod["status"]["reason"] = "Evicted".into();
            }
            Arc::new(serde_json::from_value(pod).unwrap())
        };
        let mut observed = Observed {
            pods: pods.iter().enumerate().map(pod).collect(),
            missed: [("gone".to_owned(), at(0))].into(),
            out_of_service: ["out".to_owned()].into(),
            timings: Timings {
                terminated_pod_threshold: keep,
                ..Timings::default()
            },
        };
        let told = plan(&observed, at(seconds));
        let lines: Vec<String> = told.because.iter().map(|because| format!("{because:?}")).collect();
        expected.assert_eq(&lines.join("\n"));
        let apply = |seen: &mut Observed, Action::Collect { pod, .. }: &Action| {
            seen.pods.retain(|other| other.metadata.name != pod.metadata.name);
        };
        timonel_client::law::settles(&mut observed, |seen| plan(seen, at(seconds)).actions, apply).unwrap();
    }

    #[test]
    fn pods_of_a_node_that_is_gone_are_collected_after_the_quarantine() {
        let pods = ["a gone Running", "b there Running", "c gone Succeeded"];
        check(&pods, 39, 10, expect![""]);
        check(
            &pods,
            40,
            10,
            expect![[r#"
            NodeGone { pod: "a" }
            NodeGone { pod: "c" }"#]],
        );
    }

    #[test]
    fn leaving_pods_go_at_once_when_never_scheduled_or_out_of_service() {
        let pods = [
            "a  Pending leaving",
            "b  Pending",
            "c out Running leaving",
            "d out Running",
            "e there Running leaving",
        ];
        check(
            &pods,
            0,
            10,
            expect![[r#"
            NeverScheduled { pod: "a" }
            NodeOutOfService { pod: "c" }"#]],
        );
    }

    #[test]
    fn of_too_many_ended_pods_the_evicted_go_first_then_the_oldest() {
        let pods = [
            "old there Succeeded",
            "young there Failed",
            "evicted there Failed Evicted",
            "runs there Running",
        ];
        check(&pods, 0, 3, expect![""]);
        check(
            &pods,
            0,
            1,
            expect![[r#"
            TooManyTerminated { pod: "evicted" }
            TooManyTerminated { pod: "old" }"#]],
        );
    }
}
