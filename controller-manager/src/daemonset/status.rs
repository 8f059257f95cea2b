//! A DaemonSet's status: its pods counted by node.

use k8s_openapi::api::apps::v1::DaemonSetStatus;
use timonel_api::pod as state;

use super::eligible::Eligible;
use super::plan::Planner;
use super::pod;
use crate::owner;

/// Counts. Of several pods on a node the oldest stands for all.
pub(super) fn of(planner: &Planner<'_>) -> DaemonSetStatus {
    let (mut desired, mut current, mut misplaced) = (0, 0, 0);
    let (mut ready, mut available, mut updated) = (0, 0, 0);
    let min_ready = planner.spec.min_ready_seconds.unwrap_or(0);
    for (node, eligible) in &planner.eligible {
        let pods = planner.by_node.get(owner::name(&node.metadata));
        let first = pods.and_then(|pods| pods.first());
        if *eligible != Eligible::Yes {
            misplaced += i32::from(first.is_some());
            continue;
        }
        desired += 1;
        let Some(first) = first else { continue };
        current += 1;
        ready += i32::from(state::is_ready(first));
        available += i32::from(state::is_available(first, min_ready, planner.now));
        updated += i32::from(pod::is_updated(planner.set, first, planner.hash));
    }
    let nonzero = |count: i32| (count != 0).then_some(count);
    let before = planner.set.status.as_ref();
    DaemonSetStatus {
        current_number_scheduled: current,
        desired_number_scheduled: desired,
        number_misscheduled: misplaced,
        number_ready: ready,
        number_available: nonzero(available),
        number_unavailable: nonzero(desired - available),
        updated_number_scheduled: nonzero(updated),
        observed_generation: planner.set.metadata.generation,
        collision_count: before.and_then(|status| status.collision_count),
        conditions: before.and_then(|status| status.conditions.clone()),
    }
}
