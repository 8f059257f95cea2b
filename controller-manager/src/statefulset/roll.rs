//! One step of a rolling update: which pods of an old revision may go.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::StatefulSetSpec;
use k8s_openapi::api::core::v1::Pod;
use timonel_api::pod as state;

use super::identity;
use super::plan::{Action, Because, Planner};
use crate::owner;
use crate::share::resolve;

/// Whether the set updates its pods by itself.
pub(super) fn rolls(spec: &StatefulSetSpec) -> bool {
    let kind = spec
        .update_strategy
        .as_ref()
        .and_then(|strategy| strategy.type_.as_deref());
    kind.unwrap_or("RollingUpdate") == "RollingUpdate"
}

/// Deletes pods of an old revision from the last ordinal down to the partition: those that do not work at once, and of the others as
/// many as may be missing at the same time.
pub(super) fn roll(planner: &mut Planner<'_>) {
    if !rolls(planner.spec) {
        return;
    }
    let strategy = planner.spec.update_strategy.as_ref();
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    let partition = rolling.and_then(|rolling| rolling.partition).unwrap_or(0);
    let replicas = identity::replicas(planner.set);
    let most = rolling
        .and_then(|rolling| rolling.max_unavailable.as_ref())
        .map_or(1, |most| resolve(most, replicas, false).max(1));
    let first = i64::from(identity::start(planner.set)) + i64::from(partition);
    let there = i32::try_from(planner.living.len()).unwrap_or(i32::MAX);
    let idle = planner
        .living
        .values()
        .filter(|pod| planner.is_unavailable(pod))
        .count();
    let mut unavailable = replicas.saturating_sub(there) + i32::try_from(idle).unwrap_or(i32::MAX);
    let old: Vec<Arc<Pod>> = planner
        .living
        .iter()
        .rev()
        .filter(|(ordinal, pod)| i64::from(**ordinal) >= first && identity::revision(pod) != planner.update)
        .map(|(_, pod)| Arc::clone(pod))
        .filter(|pod| !state::is_terminating(pod))
        .collect();
    for pod in old {
        if !planner.is_unavailable(&pod) {
            if unavailable >= most {
                continue;
            }
            unavailable += 1;
        }
        let name = owner::name(&pod.metadata).to_owned();
        planner.plan.act(Action::Delete(pod), Because::Outdated { pod: name });
    }
}
