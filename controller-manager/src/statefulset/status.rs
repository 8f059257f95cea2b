//! A StatefulSet's status: its pods counted, and which revision they are of.

use k8s_openapi::api::apps::v1::StatefulSetStatus;
use timonel_api::pod as state;

use super::plan::Planner;
use super::{identity, roll};

/// Counts. When all pods are of the new revision and ready, the new revision becomes the current one.
pub(super) fn of(planner: &Planner<'_>) -> StatefulSetStatus {
    let (mut all, mut ready, mut available) = (0, 0, 0);
    let (mut current, mut updated) = (0, 0);
    for pod in planner.living.values().chain(planner.condemned.values()) {
        if state::phase(pod).is_empty() {
            continue;
        }
        all += 1;
        ready += i32::from(state::phase(pod) == "Running" && state::is_ready(pod));
        available += i32::from(planner.is_available(pod));
        if !state::is_terminating(pod) {
            current += i32::from(identity::revision(pod) == planner.current);
            updated += i32::from(identity::revision(pod) == planner.update);
        }
    }
    let replicas = identity::replicas(planner.set);
    let complete = roll::rolls(planner.spec) && updated == replicas && ready == replicas && all == replicas;
    let (current, revision) = if complete {
        (updated, planner.update)
    } else {
        (current, planner.current)
    };
    let nonzero = |count: i32| (count != 0).then_some(count);
    let before = planner.set.status.as_ref();
    StatefulSetStatus {
        replicas: all,
        ready_replicas: nonzero(ready),
        available_replicas: Some(available),
        current_replicas: nonzero(current),
        updated_replicas: nonzero(updated),
        current_revision: Some(revision.to_owned()),
        update_revision: Some(planner.update.to_owned()),
        observed_generation: planner.set.metadata.generation,
        collision_count: Some(before.and_then(|status| status.collision_count).unwrap_or(0)),
        conditions: before.and_then(|status| status.conditions.clone()),
    }
}
