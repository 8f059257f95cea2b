//! Sizes: how much surge and how much loss the strategy allows, and how a resize is spread over the sets of a rollout.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::revision::{self, age};
use crate::share::resolve;

/// The numbers that a rollout moves within.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) replicas: i32,
    pub(super) surge: i32,
    pub(super) unavailable: i32,
    pub(super) rolling: bool,
}

impl Limits {
    pub(super) fn of(deployment: &Deployment) -> Self {
        let spec = deployment.spec.as_ref();
        let replicas = spec.and_then(|spec| spec.replicas).unwrap_or(1);
        let strategy = spec.and_then(|spec| spec.strategy.as_ref());
        let rolling = strategy.and_then(|strategy| strategy.type_.as_deref()) != Some("Recreate");
        if !rolling {
            return Self {
                replicas,
                surge: 0,
                unavailable: 0,
                rolling,
            };
        }
        let given = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let quarter = IntOrString::String("25%".into());
        let surge = given.and_then(|given| given.max_surge.as_ref()).unwrap_or(&quarter);
        let unavailable = given
            .and_then(|given| given.max_unavailable.as_ref())
            .unwrap_or(&quarter);
        let surge = resolve(surge, replicas, true);
        let mut unavailable = resolve(unavailable, replicas, false);
        // Both zero would allow no step at all.
        if surge == 0 && unavailable == 0 {
            unavailable = 1;
        }
        Self {
            replicas,
            surge,
            unavailable: unavailable.min(replicas),
            rolling,
        }
    }

    /// How many pods a new set may have now, given how many all sets have.
    pub(super) fn new_size(&self, new: i32, all: i32) -> i32 {
        if !self.rolling {
            return self.replicas;
        }
        let most = self.replicas + self.surge;
        if all >= most {
            return new;
        }
        new + (most - all).min(self.replicas - new)
    }
}

/// Returns how many pods a set is asked to have.
pub(super) fn size(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// Returns how many pods of a set are available.
pub(super) fn available(set: &ReplicaSet) -> i32 {
    set.status
        .as_ref()
        .and_then(|status| status.available_replicas)
        .unwrap_or(0)
}

/// Spreads a resize over sets in proportion to their sizes, so that a rollout that is under way keeps its risk.
pub(super) fn proportional(
    deployment: &Deployment,
    limits: &Limits,
    active: &[&Arc<ReplicaSet>],
) -> Vec<(Arc<ReplicaSet>, i32)> {
    let total: i32 = active.iter().map(|set| size(set)).sum();
    let allowed = if limits.replicas > 0 {
        limits.replicas + limits.surge
    } else {
        0
    };
    let to_add = allowed - total;
    let mut sets: Vec<&Arc<ReplicaSet>> = active.to_vec();
    // The largest takes what rounding leaves over; among equals the newest when growing, the oldest when shrinking.
    sets.sort_by(|one, two| {
        let by_size = size(two).cmp(&size(one));
        by_size.then_with(|| {
            if to_add > 0 {
                age(two).cmp(&age(one))
            } else {
                age(one).cmp(&age(two))
            }
        })
    });
    let mut added = 0;
    let mut sizes: Vec<i32> = Vec::new();
    for set in &sets {
        let mut wanted = size(set);
        if to_add != 0 {
            let part = share(deployment, limits, set, to_add, added);
            wanted += part;
            added += part;
        }
        sizes.push(wanted);
    }
    if to_add != 0
        && let Some(first) = sizes.first_mut()
    {
        *first = (*first + to_add - added).max(0);
    }
    sets.into_iter().cloned().zip(sizes).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "a share of an i32")]
fn share(deployment: &Deployment, limits: &Limits, set: &ReplicaSet, to_add: i32, added: i32) -> i32 {
    if size(set) == 0 || to_add == 0 || to_add == added {
        return 0;
    }
    let fraction = if limits.replicas == 0 {
        -size(set)
    } else {
        let before = revision::number(&set.metadata, revision::MAX)
            .filter(|before| *before > 0)
            .unwrap_or_else(|| {
                let status = deployment
                    .status
                    .as_ref()
                    .and_then(|status| status.replicas)
                    .unwrap_or(0);
                i64::from(status.max(1))
            });
        let now = f64::from(size(set)) * f64::from(limits.replicas + limits.surge) / before as f64;
        now.round() as i32 - size(set)
    };
    let left = to_add - added;
    if to_add > 0 {
        fraction.min(left)
    } else {
        fraction.max(left)
    }
}
