//! One step of a rolling update: which old pods may go, and where new ones may come beside them.
//!
//! Upstream: `rollingUpdate` in `pkg/controller/daemon/update.go`.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::DaemonSetSpec;
use k8s_openapi::api::core::v1::Pod;
use timonel_api::pod as state;

use super::eligible::Eligible;
use super::plan::{Because, Planner};
use super::pod;
use crate::owner;
use crate::share::resolve;

/// How many pods may be missing, and how many may come beside old ones, at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limits {
    unavailable: i32,
    surge: i32,
}

impl Limits {
    fn of(spec: &DaemonSetSpec, desired: i32) -> Self {
        let rolling = spec
            .update_strategy
            .as_ref()
            .and_then(|strategy| strategy.rolling_update.as_ref());
        let share = |value: Option<&_>| value.map_or(0, |value| resolve(value, desired, true));
        let surge = share(rolling.and_then(|rolling| rolling.max_surge.as_ref()));
        let unavailable = share(rolling.and_then(|rolling| rolling.max_unavailable.as_ref()));
        // Both zero would allow no step at all.
        let stuck = desired > 0 && surge == 0 && unavailable == 0;
        Self {
            unavailable: if stuck { 1 } else { unavailable },
            surge,
        }
    }
}

fn rolls(spec: &DaemonSetSpec) -> bool {
    let kind = spec
        .update_strategy
        .as_ref()
        .and_then(|strategy| strategy.type_.as_deref());
    kind.unwrap_or("RollingUpdate") == "RollingUpdate"
}

/// Whether a node may have an old and a new pod at the same time.
pub(super) fn surge_allowed(spec: &DaemonSetSpec) -> bool {
    // Any share of at least one is at least one, since it is rounded up.
    rolls(spec) && Limits::of(spec, 1).surge > 0
}

/// What of ours is on a node, as an update sees it.
enum OnNode {
    /// Several of one kind: the manager will see to it first.
    Crowded,
    Pods {
        new: Option<Arc<Pod>>,
        old: Option<Arc<Pod>>,
    },
}

/// Plans the step.
pub(super) fn roll(planner: &mut Planner<'_>) {
    if !rolls(planner.spec) {
        return;
    }
    let wanted = planner
        .eligible
        .iter()
        .filter(|(_, eligible)| *eligible == Eligible::Yes);
    let wanted: Vec<&str> = wanted.map(|(node, _)| owner::name(&node.metadata)).collect();
    let desired = i32::try_from(wanted.len()).unwrap_or(i32::MAX);
    let mut nodes: Vec<String> = planner.by_node.keys().map(|node| (*node).to_owned()).collect();
    nodes.extend(
        wanted
            .iter()
            .filter(|node| !planner.by_node.contains_key(**node))
            .map(|node| (*node).to_owned()),
    );
    nodes.sort();
    let eligible = |node: &str| wanted.contains(&node);
    let limits = Limits::of(planner.spec, desired);
    let found: Vec<(String, OnNode, bool)> = nodes
        .into_iter()
        .map(|node| (node.clone(), look(planner, &node), eligible(&node)))
        .collect();
    if limits.surge == 0 {
        replace(planner, &found, limits.unavailable);
    } else {
        surge(planner, &found, limits.surge, desired);
    }
}

fn look(planner: &Planner<'_>, node: &str) -> OnNode {
    let (mut new, mut old) = (None, None);
    for pod in planner.by_node.get(node).into_iter().flatten() {
        if state::is_terminating(pod) {
            continue;
        }
        let place = if pod::is_updated(planner.set, pod, planner.hash) {
            &mut new
        } else {
            &mut old
        };
        if place.replace(Arc::clone(pod)).is_some() {
            return OnNode::Crowded;
        }
    }
    OnNode::Pods { new, old }
}

fn available(planner: &Planner<'_>, pod: &Pod) -> bool {
    state::is_available(pod, planner.spec.min_ready_seconds.unwrap_or(0), planner.now)
}

fn delete(planner: &mut Planner<'_>, pod: &Arc<Pod>, node: &str, deleted: &mut usize) {
    let because = Because::Outdated {
        pod: owner::name(&pod.metadata).to_owned(),
        node: node.to_owned(),
    };
    planner.delete(pod, because, deleted);
}

/// Without surge: old pods that are not available go at once, and of the others as many as may be missing.
fn replace(planner: &mut Planner<'_>, found: &[(String, OnNode, bool)], limit: i32) {
    let (mut unavailable, mut go, mut may_go) = (0, Vec::new(), Vec::new());
    for (node, on, _) in found {
        match on {
            OnNode::Pods {
                new: Some(new),
                old: None,
            } if available(planner, new) => {}
            OnNode::Pods {
                new: None,
                old: Some(old),
            } if available(planner, old) => may_go.push((node, old)),
            OnNode::Pods {
                new: None,
                old: Some(old),
            } => {
                go.push((node, old));
                unavailable += 1;
            }
            _ => unavailable += 1,
        }
    }
    let spare = usize::try_from(limit - unavailable).unwrap_or(0);
    let mut deleted = 0;
    for (node, pod) in go.into_iter().chain(may_go.into_iter().take(spare)) {
        delete(planner, pod, node, &mut deleted);
    }
}

/// With surge: new pods come beside old ones, and take over when they are available.
fn surge(planner: &mut Planner<'_>, found: &[(String, OnNode, bool)], limit: i32, desired: i32) {
    let (mut surging, mut availables) = (0, 0);
    let (mut go, mut unwanted) = (Vec::new(), Vec::new());
    let (mut grow, mut may_grow) = (Vec::new(), Vec::new());
    for (node, on, eligible) in found {
        let OnNode::Pods { new, old } = on else {
            surging += 1;
            continue;
        };
        let counted = old.as_ref().or(new.as_ref());
        availables += i32::from(counted.is_some_and(|pod| available(planner, pod)));
        match (new, old) {
            (_, None) => {}
            (None, Some(old)) => match (available(planner, old), eligible) {
                (false, false) => go.push((node, old)),
                (false, true) => grow.push(node.clone()),
                (true, false) => unwanted.push((node, old)),
                (true, true) => may_grow.push(node.clone()),
            },
            (Some(new), Some(old)) if available(planner, new) => go.push((node, old)),
            (Some(_), Some(_)) => surging += 1,
        }
    }
    // A pod that is no longer wanted where it is goes only when enough others are available.
    let spare = usize::try_from(availables - desired).unwrap_or(0);
    go.extend(unwanted.into_iter().take(spare));
    let mut deleted = 0;
    for (node, pod) in go {
        delete(planner, pod, node, &mut deleted);
    }
    let room = usize::try_from(limit - surging).unwrap_or(0);
    grow.extend(may_grow.into_iter().take(room));
    planner.create(grow, |nodes| Because::MayGrow { nodes });
}
