//! Decides what to do about one Deployment.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStatus, ReplicaSet};
use timonel_api::selector::LabelSelector;
use timonel_client::runner::Plan;

use super::scale::{Limits, available, proportional, size};
use super::{Observed, revision, status};
use crate::claim::{Claim, claim};
use crate::owner;

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Become the controller of an orphan.
    Adopt(Arc<ReplicaSet>),
    /// Let a set go that the selector matches no longer.
    Release(Arc<ReplicaSet>),
    /// Create the set of the current template.
    Create(Box<ReplicaSet>),
    /// Set a set's size, and the annotations that remember the Deployment's own.
    Resize {
        set: Arc<ReplicaSet>,
        to: i32,
        desired: i32,
        max: i32,
    },
    /// Bring a set's annotations and minReadySeconds up to date.
    Update {
        set: Arc<ReplicaSet>,
        annotations: BTreeMap<String, String>,
        min_ready_seconds: i32,
    },
    /// Delete a set that the history has no room for.
    Delete(Arc<ReplicaSet>),
    /// Remember on the Deployment which revision it is at.
    SetRevision(i64),
    /// Write the status.
    SetStatus(Box<DeploymentStatus>),
    /// Tell people that the selector selects everything.
    WarnSelectsAll,
}

/// Why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    MatchesSelector,
    NoLongerMatchesSelector,
    NewTemplate { hash: String },
    NameTaken { name: String },
    NewMayGrow,
    NewTooLarge,
    OldMayShrink,
    OldMustGoFirst,
    Resized,
    Saturated,
    RevisionMoved { to: i64 },
    BeyondHistory,
    StatusChanged,
    SelectsAll,
}

/// Decides: one of upstream's syncs.
pub(crate) fn plan(observed: &Observed, now: Timestamp) -> Plan<Action, Because> {
    let Some(spec) = &observed.deployment.spec else {
        return Plan::nothing();
    };
    let deployment = &*observed.deployment;
    let empty = spec.selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
        && spec.selector.match_expressions.as_ref().is_none_or(Vec::is_empty);
    let seen = deployment.status.as_ref().and_then(|status| status.observed_generation);
    if empty {
        let mut plan = Plan::nothing();
        if seen != deployment.metadata.generation {
            plan.act(Action::WarnSelectsAll, Because::SelectsAll);
            let status = DeploymentStatus {
                observed_generation: deployment.metadata.generation,
                ..deployment.status.clone().unwrap_or_default()
            };
            plan.act(Action::SetStatus(Box::new(status)), Because::StatusChanged);
        }
        return plan;
    }
    let mut planner = Planner {
        observed,
        deployment,
        spec,
        limits: Limits::of(deployment),
        new: None,
        old: Vec::new(),
        status: status::Draft::new(deployment),
        plan: Plan::nothing(),
        now,
    };
    planner.decide();
    planner.plan
}

/// The decision while it is being made.
pub(super) struct Planner<'a> {
    pub(super) observed: &'a Observed,
    pub(super) deployment: &'a Deployment,
    pub(super) spec: &'a DeploymentSpec,
    pub(super) limits: Limits,
    /// The set of the current template.
    pub(super) new: Option<Arc<ReplicaSet>>,
    /// All others of ours.
    pub(super) old: Vec<Arc<ReplicaSet>>,
    pub(super) status: status::Draft,
    pub(super) plan: Plan<Action, Because>,
    pub(super) now: Timestamp,
}

impl Planner<'_> {
    fn decide(&mut self) {
        let leaving = self.deployment.metadata.deletion_timestamp.is_some();
        let own = self.claim(leaving);
        if !self.plan.is_empty() {
            // Ownership first; what follows from it is decided when it is seen.
            return;
        }
        let refs: Vec<&Arc<ReplicaSet>> = own.iter().collect();
        self.new = revision::find_new(self.deployment, &refs).cloned();
        let new = self.new.as_ref().map(|set| owner::uid(&set.metadata).to_owned());
        self.old = own
            .into_iter()
            .filter(|set| Some(owner::uid(&set.metadata)) != new.as_deref())
            .collect();
        if leaving {
            self.finish();
            return;
        }
        self.sync_revision();
        let paused = self.spec.paused.unwrap_or(false);
        self.status.pause(paused, self.spec.progress_deadline_seconds, self.now);
        if paused || self.was_resized() {
            self.scale();
            if paused {
                self.clean_up();
            }
        } else if self.limits.rolling {
            self.roll();
        } else {
            self.recreate();
        }
        self.finish();
    }

    /// Every set of ours.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<ReplicaSet>> {
        self.old.iter().chain(&self.new)
    }

    fn claim(&mut self, leaving: bool) -> Vec<Arc<ReplicaSet>> {
        let selector = LabelSelector::from_optional(Some(&self.spec.selector));
        let uid = owner::uid(&self.deployment.metadata);
        let mut own = Vec::new();
        for set in &self.observed.sets {
            let matches = selector.matches_optional(set.metadata.labels.as_ref());
            match claim(&set.metadata, uid, matches, leaving) {
                Claim::Own => own.push(Arc::clone(set)),
                Claim::Release => {
                    self.plan
                        .act(Action::Release(Arc::clone(set)), Because::NoLongerMatchesSelector);
                }
                Claim::Adopt => self.plan.act(Action::Adopt(Arc::clone(set)), Because::MatchesSelector),
                Claim::Leave => {}
            }
        }
        own
    }

    /// Keeps the revision numbers of the new set and of the Deployment going.
    fn sync_revision(&mut self) {
        let Some(new) = self.new.clone() else { return };
        let next = self.next_revision();
        let wanted = revision::annotations(self.deployment, Some(&new), next);
        let min_ready = self.spec.min_ready_seconds.unwrap_or(0);
        let now = new.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
        if Some(&wanted) != new.metadata.annotations.as_ref() || min_ready != now {
            let update = Action::Update {
                set: Arc::clone(&new),
                annotations: wanted.clone(),
                min_ready_seconds: min_ready,
            };
            self.plan.act(update, Because::RevisionMoved { to: next });
        }
        let at: i64 = wanted
            .get(revision::REVISION)
            .and_then(|text| text.parse().ok())
            .unwrap_or(next);
        if revision::number(&self.deployment.metadata, revision::REVISION) != Some(at) {
            self.plan
                .act(Action::SetRevision(at), Because::RevisionMoved { to: at });
        }
        self.status.found(
            owner::name(&new.metadata),
            self.spec.progress_deadline_seconds,
            self.now,
        );
    }

    fn next_revision(&self) -> i64 {
        self.old.iter().map(|set| revision::of(set)).max().unwrap_or(0) + 1
    }

    /// Creates the new set where there is none.
    pub(super) fn ensure_new(&mut self) {
        if self.new.is_some() {
            return;
        }
        let collisions = self.status.collisions();
        let hash = revision::hash(&self.spec.template, collisions);
        let name = format!("{}-{hash}", owner::name(&self.deployment.metadata));
        let ours = self.old.iter().any(|set| owner::name(&set.metadata) == name);
        if ours || self.observed.taken.contains(&name) {
            // Another template has this hash: count up, and try again with another hash.
            self.status.collided();
            self.plan.because.push(Because::NameTaken { name });
            return;
        }
        let next = self.next_revision();
        let all = self.old.iter().map(|set| size(set)).sum();
        let replicas = self.limits.new_size(0, all);
        let set = revision::new_set(self.deployment, &hash, replicas, self.limits.surge, next);
        self.plan
            .act(Action::Create(Box::new(set)), Because::NewTemplate { hash });
        if revision::number(&self.deployment.metadata, revision::REVISION) != Some(next) {
            self.plan
                .act(Action::SetRevision(next), Because::RevisionMoved { to: next });
        }
        self.status
            .created(&name, self.spec.progress_deadline_seconds, self.now);
    }

    /// Plans a new size; tells whether that is a change.
    pub(super) fn resize(&mut self, set: &Arc<ReplicaSet>, to: i32, because: Because) -> bool {
        if size(set) == to {
            return false;
        }
        self.put_size(set, to, because);
        true
    }

    fn put_size(&mut self, set: &Arc<ReplicaSet>, to: i32, because: Because) {
        let resize = Action::Resize {
            set: Arc::clone(set),
            to,
            desired: self.limits.replicas,
            max: self.limits.replicas + self.limits.surge,
        };
        self.plan.act(resize, because);
    }

    pub(super) fn delete(&mut self, set: Arc<ReplicaSet>) {
        self.plan.act(Action::Delete(set), Because::BeyondHistory);
    }

    /// Whether the Deployment was resized since its active sets were sized.
    fn was_resized(&self) -> bool {
        let wanted = i64::from(self.limits.replicas);
        let mut active = self.all().filter(|set| size(set) > 0);
        active.any(|set| revision::number(&set.metadata, revision::DESIRED).is_some_and(|desired| desired != wanted))
    }

    /// Upstream's `scale`: the only active set gets everything; of several each gets its part.
    fn scale(&mut self) {
        let mut active: Vec<&Arc<ReplicaSet>> = self.all().filter(|set| size(set) > 0).collect();
        let single = match active.as_slice() {
            [] => self
                .new
                .clone()
                .or_else(|| self.old.iter().max_by_key(|set| revision::age(set)).cloned()),
            [only] => Some(Arc::clone(only)),
            _ => None,
        };
        if let Some(set) = single {
            self.scale_set(&set, self.limits.replicas, Because::Resized);
            return;
        }
        let saturated = self.new.as_ref().is_some_and(|new| {
            let wanted = self.limits.replicas;
            revision::number(&new.metadata, revision::DESIRED) == Some(i64::from(wanted))
                && size(new) == wanted
                && available(new) == wanted
        });
        if saturated {
            for set in self.old.clone() {
                self.resize(&set, 0, Because::Saturated);
            }
        } else if self.limits.rolling {
            active.sort_by_key(|set| revision::age(set));
            for (set, to) in proportional(self.deployment, &self.limits, &active) {
                self.scale_set(&set, to, Because::Resized);
            }
        }
    }

    /// Sets a size and brings the annotations up to date, if either is not so yet.
    fn scale_set(&mut self, set: &Arc<ReplicaSet>, to: i32, because: Because) {
        let desired = i64::from(self.limits.replicas);
        let max = i64::from(self.limits.replicas + self.limits.surge);
        let noted = revision::number(&set.metadata, revision::DESIRED) == Some(desired)
            && revision::number(&set.metadata, revision::MAX) == Some(max);
        if size(set) != to || !noted {
            self.put_size(set, to, because);
        }
    }

    /// Whether the rollout had come to its end when the status was last written.
    pub(super) fn is_complete(&self) -> bool {
        let status = self.deployment.status.clone().unwrap_or_default();
        status::is_complete(&status, self.limits.replicas)
            && status.observed_generation.unwrap_or(0) >= self.deployment.metadata.generation.unwrap_or(0)
    }

    fn finish(&mut self) {
        let sets: Vec<&ReplicaSet> = self.all().map(|set| &**set).collect();
        let progress = !self.spec.paused.unwrap_or(false) && self.deployment.metadata.deletion_timestamp.is_none();
        let mut draft = self.status.clone();
        let status = draft.finish(
            self.deployment,
            &sets,
            self.new.as_deref(),
            &self.limits,
            progress,
            self.now,
        );
        if self.deployment.status.as_ref() != Some(&status) {
            if let Some(left) = status::deadline(self.deployment, &status, self.limits.replicas, self.now) {
                self.plan.look_again(left);
            }
            self.plan
                .act(Action::SetStatus(Box::new(status)), Because::StatusChanged);
        } else if let Some(left) = status::deadline(self.deployment, &status, self.limits.replicas, self.now) {
            self.plan.look_again(left);
        }
    }
}
