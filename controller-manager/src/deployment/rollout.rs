//! One step of a rollout.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::ReplicaSet;
use timonel_api::pod;

use super::plan::{Because, Planner};
use super::revision::age;
use super::scale::{available, size};
use crate::owner;

impl Planner<'_> {
    /// Upstream's `rolloutRolling`.
    pub(super) fn roll(&mut self) {
        self.ensure_new();
        if self.step_new_up() || self.step_old_down() {
            return;
        }
        if self.is_complete() {
            self.clean_up();
        }
    }

    /// Upstream's `rolloutRecreate`.
    pub(super) fn recreate(&mut self) {
        let mut shrinking = false;
        for set in self.old.clone() {
            shrinking |= self.resize(&set, 0, Because::OldMustGoFirst);
        }
        if shrinking || self.old_pods_remain() {
            return;
        }
        self.ensure_new();
        if let Some(new) = self.new.clone() {
            self.resize(&new, self.limits.replicas, Because::NewMayGrow);
        }
        if self.is_complete() {
            self.clean_up();
        }
    }

    fn old_pods_remain(&self) -> bool {
        let new = self.new.as_ref().map(|set| owner::uid(&set.metadata).to_owned());
        self.observed.pods.iter().any(|pod| {
            let of_new = owner::controller_of(&pod.metadata).map(|owner| &owner.uid) == new.as_ref();
            !of_new && !pod::is_terminal(pod)
        })
    }

    fn step_new_up(&mut self) -> bool {
        let Some(new) = self.new.clone() else { return true };
        if size(&new) > self.limits.replicas {
            return self.resize(&new, self.limits.replicas, Because::NewTooLarge);
        }
        let all = self.all().map(|set| size(set)).sum();
        let wanted = self.limits.new_size(size(&new), all);
        self.resize(&new, wanted, Because::NewMayGrow)
    }

    fn step_old_down(&mut self) -> bool {
        let mut old: Vec<Arc<ReplicaSet>> = self.old.iter().filter(|set| size(set) > 0).cloned().collect();
        if old.is_empty() {
            return false;
        }
        old.sort_by_key(|set| age(set));
        let all: i32 = self.all().map(|set| size(set)).sum();
        let least = self.limits.replicas - self.limits.unavailable;
        let new_unavailable = self.new.as_ref().map_or(0, |new| size(new) - available(new));
        let most = all - least - new_unavailable;
        if most <= 0 {
            return false;
        }
        let mut sizes: Vec<i32> = old.iter().map(|set| size(set)).collect();
        // Pods that are not available anyway can go at once.
        let mut gone = 0;
        for (set, wanted) in old.iter().zip(&mut sizes) {
            let idle = (*wanted - available(set)).max(0).min(most - gone);
            *wanted -= idle;
            gone += idle;
        }
        // Of those that are available, as many as the strategy can do without.
        let mut spare = self.all().map(|set| available(set)).sum::<i32>() - least;
        for wanted in &mut sizes {
            let part = (*wanted).min(spare.max(0));
            *wanted -= part;
            spare -= part;
        }
        let mut stepped = false;
        for (set, wanted) in old.iter().zip(sizes) {
            stepped |= self.resize(set, wanted, Because::OldMayShrink);
        }
        stepped
    }

    /// Upstream's `cleanupDeployment`: keeps as many old sets as the history limit says.
    pub(super) fn clean_up(&mut self) {
        let limit = self.spec.revision_history_limit.unwrap_or(10);
        if limit == i32::MAX {
            return;
        }
        let mut old: Vec<Arc<ReplicaSet>> = self
            .old
            .iter()
            .filter(|set| set.metadata.deletion_timestamp.is_none())
            .cloned()
            .collect();
        old.sort_by_key(|set| (super::revision::of(set), age(set)));
        let limit = usize::try_from(limit).unwrap_or(0);
        let excess = old.len().saturating_sub(limit);
        for set in old.into_iter().take(excess) {
            let status = set.status.clone().unwrap_or_default();
            let seen = status.observed_generation.unwrap_or(0) >= set.metadata.generation.unwrap_or(0);
            if status.replicas == 0 && size(&set) == 0 && seen {
                self.delete(set);
            }
        }
    }
}
