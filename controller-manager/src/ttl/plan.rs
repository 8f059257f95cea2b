//! Decides how long a node may keep what it has read.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use timonel_client::runner::Plan;

/// Where nodes read it.
pub(crate) const ANNOTATION: &str = "node.alpha.kubernetes.io/ttl";

/// From how many nodes, to how many, how many seconds. The ranges overlap, so that a node more or less does not change all others.
const STEPS: &[(usize, usize, u32)] = &[
    (0, 100, 0),
    (90, 500, 15),
    (450, 1000, 30),
    (900, 2000, 60),
    (1800, usize::MAX, 300),
];

/// A node, and which step the cluster's size is at.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) node: Arc<Node>,
    pub(crate) step: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// So many seconds.
    Annotate(u32),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    ClusterSize,
}

/// Returns the step for a number of nodes, starting from where we are.
pub(crate) fn step(mut at: usize, nodes: usize) -> usize {
    while STEPS.get(at).is_some_and(|(_, most, _)| nodes > *most) && at + 1 < STEPS.len() {
        at += 1;
    }
    while at > 0 && STEPS.get(at).is_none_or(|(least, _, _)| nodes < *least) {
        at -= 1;
    }
    at
}

/// Decides.
pub(crate) fn plan(observed: &Observed) -> Plan<Action, Because> {
    let mut plan = Plan::nothing();
    let wanted = STEPS.get(observed.step).map_or(0, |(_, _, seconds)| *seconds);
    let annotations = observed.node.metadata.annotations.as_ref();
    let held = annotations.and_then(|annotations| annotations.get(ANNOTATION)?.parse::<u32>().ok());
    if held != Some(wanted) {
        plan.act(Action::Annotate(wanted), Because::ClusterSize);
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_follows_the_clusters_size_with_hysteresis() {
        let mut at = 0;
        let seconds = |nodes: &[usize]| -> Vec<u32> {
            let mut follow = |nodes: &usize| {
                at = step(at, *nodes);
                STEPS[at].2
            };
            nodes.iter().map(&mut follow).collect()
        };
        let mut seconds = seconds;
        assert_eq!(
            seconds(&[3, 100, 101, 95, 89, 501, 460, 449, 5000, 1800, 1799, 0]),
            [0, 0, 15, 15, 0, 30, 30, 15, 300, 300, 60, 0]
        );
    }

    #[test]
    fn a_node_is_annotated_once() {
        let mut observed = Observed {
            node: Arc::default(),
            step: 1,
        };
        let apply = |seen: &mut Observed, Action::Annotate(seconds): &Action| {
            let annotations = Arc::make_mut(&mut seen.node)
                .metadata
                .annotations
                .get_or_insert_default();
            annotations.insert(ANNOTATION.into(), seconds.to_string());
        };
        timonel_client::law::settles(&mut observed, |seen| plan(seen).actions, apply).unwrap();
        assert_eq!(observed.node.metadata.annotations.as_ref().unwrap()[ANNOTATION], "15");
    }
}
