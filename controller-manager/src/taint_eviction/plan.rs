//! Decides which pods a node's NoExecute taints drive away now, and when to look again for the others.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};
use timonel_api::pod;
use timonel_client::runner::Plan;

use crate::owner;

/// A tainted node and its pods.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) node: Arc<Node>,
    /// When these taints were first seen, for those that do not say themselves since when they are there.
    pub(crate) noticed: Timestamp,
    pub(crate) pods: Vec<Arc<Pod>>,
    /// Uids of the pods whose eviction was put off until their patience ends.
    pub(crate) waiting: BTreeSet<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    Evict(Arc<Pod>),
    /// Remember that the pod will have to go.
    Await(Arc<Pod>),
    /// The pod may stay after all.
    Cancel(Arc<Pod>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    Untolerated { pod: String, taint: String },
    NoLongerTolerated { pod: String, since: Timestamp },
    ToleratedFor { pod: String },
    MayStay { pod: String },
}

/// Returns a node's NoExecute taints.
pub(crate) fn no_execute(node: &Node) -> Vec<Taint> {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    taints
        .into_iter()
        .flatten()
        .filter(|taint| taint.effect == "NoExecute")
        .cloned()
        .collect()
}

/// What the taints mean for one pod.
enum Fate {
    Stays,
    Goes(Because),
    GoesIn(Duration),
}

/// Decides.
pub(crate) fn plan(observed: &Observed, now: Timestamp) -> Plan<Action, Because> {
    let mut plan = Plan::nothing();
    let taints = no_execute(&observed.node);
    // Upstream counts from when it noticed the taints; the latest of their own times is the same, but survives a restart. Those that
    // people put there have none.
    let since = taints
        .iter()
        .map(|taint| taint.time_added.as_ref().map_or(observed.noticed, |time| time.0))
        .max()
        .unwrap_or(now);
    for pod in observed.pods.iter().filter(|pod| pod::is_active(pod)) {
        let name = owner::name(&pod.metadata).to_owned();
        let awaited = observed.waiting.contains(owner::uid(&pod.metadata));
        match fate(pod, &taints, since, now) {
            Fate::Goes(because) => plan.act(Action::Evict(Arc::clone(pod)), because),
            Fate::GoesIn(left) => {
                if !awaited {
                    plan.act(Action::Await(Arc::clone(pod)), Because::ToleratedFor { pod: name });
                }
                plan.look_again(left);
            }
            Fate::Stays if awaited => plan.act(Action::Cancel(Arc::clone(pod)), Because::MayStay { pod: name }),
            Fate::Stays => {}
        }
    }
    plan
}

fn fate(pod: &Pod, taints: &[Taint], since: Timestamp, now: Timestamp) -> Fate {
    let pod_name = || owner::name(&pod.metadata).to_owned();
    let spec = pod.spec.as_ref();
    let tolerations = spec.and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
    let tolerating = |taint: &Taint| -> Vec<&Toleration> {
        tolerations
            .iter()
            .filter(|toleration| pod::tolerates(toleration, taint))
            .collect()
    };
    if let Some(taint) = taints.iter().find(|taint| tolerating(taint).is_empty()) {
        let (pod, taint) = (pod_name(), taint.key.clone());
        return Fate::Goes(Because::Untolerated { pod, taint });
    }
    // The shortest of all tolerations that are used; none with a limit means for ever.
    let used = taints.iter().flat_map(tolerating);
    let Some(patience) = used.filter_map(|toleration| toleration.toleration_seconds).min() else {
        return Fate::Stays;
    };
    let left = SignedDuration::from_secs(patience.max(0)) - now.duration_since(since);
    match Duration::try_from(left) {
        Ok(left) if !left.is_zero() => Fate::GoesIn(left),
        _ => Fate::Goes(Because::NoLongerTolerated { pod: pod_name(), since }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    fn observed() -> Observed {
        let node = json!({"metadata": {"name": "n"}, "spec": {"taints": [
            {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute", "timeAdded": at(0).to_string()},
        ]}});
        let pod = |name: &str, tolerations: serde_json::Value| {
            let pod = json!({"metadata": {"name": name, "uid": name}, "spec": {"containers": [], "tolerations": tolerations}});
            Arc::new(serde_json::from_value(pod).unwrap())
        };
        let tolerates = |seconds: Option<i64>| {
            let mut toleration =
                json!({"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"});
            if let Some(seconds) = seconds {
                toleration["tolerationSeconds"] = json!(seconds);
            }
            json!([toleration])
        };
        Observed {
            node: Arc::new(serde_json::from_value(node).unwrap()),
            noticed: at(0),
            waiting: BTreeSet::new(),
            pods: vec![
                pod("bare", json!([])),
                pod("patient", tolerates(Some(300))),
                pod("daemon", tolerates(None)),
            ],
        }
    }

    fn evicted(plan: &Plan<Action, Because>) -> Vec<&str> {
        let mut names = Vec::new();
        for action in &plan.actions {
            if let Action::Evict(pod) = action {
                names.push(owner::name(&pod.metadata));
            }
        }
        names
    }

    fn apply(seen: &mut Observed, action: &Action) {
        match action {
            Action::Evict(pod) => seen.pods.retain(|other| other.metadata.name != pod.metadata.name),
            Action::Await(pod) => drop(seen.waiting.insert(owner::uid(&pod.metadata).to_owned())),
            Action::Cancel(pod) => drop(seen.waiting.remove(owner::uid(&pod.metadata))),
        }
    }

    #[test]
    fn a_pod_that_waits_for_its_eviction_is_told_when_the_taint_goes() {
        let mut seen = observed();
        timonel_client::law::settles(&mut seen, |seen| plan(seen, at(10)).actions, apply).unwrap();
        assert_eq!(seen.waiting, ["patient".to_owned()].into());
        Arc::make_mut(&mut seen.node).spec = None;
        let because = plan(&seen, at(11)).because;
        assert_eq!(because, [Because::MayStay { pod: "patient".into() }]);
        timonel_client::law::settles(&mut seen, |seen| plan(seen, at(11)).actions, apply).unwrap();
    }

    #[test]
    fn a_taint_without_a_time_counts_from_when_it_was_noticed() {
        let mut seen = observed();
        let node = Arc::make_mut(&mut seen.node);
        for taint in node.spec.iter_mut().flat_map(|spec| spec.taints.iter_mut().flatten()) {
            taint.time_added = None;
        }
        assert_eq!(evicted(&plan(&seen, at(299))), ["bare"]);
        assert_eq!(evicted(&plan(&seen, at(300))), ["bare", "patient"]);
    }

    #[test]
    fn pods_leave_when_their_patience_is_over() {
        let mut seen = observed();
        let first = plan(&seen, at(10));
        assert_eq!(evicted(&first), ["bare"]);
        assert_eq!(first.requeue, Some(Duration::from_secs(290)));
        assert_eq!(evicted(&plan(&seen, at(300))), ["bare", "patient"]);
        timonel_client::law::settles(&mut seen, |seen| plan(seen, at(300)).actions, apply).unwrap();
        assert_eq!(seen.pods.len(), 1);
    }
}
