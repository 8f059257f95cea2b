//! Decides what to do about one StatefulSet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet, StatefulSetSpec, StatefulSetStatus};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use timonel_api::pod as state;
use timonel_api::selector::LabelSelector;
use timonel_client::runner::Plan;

use super::{Observed, claims, identity, roll, status};
use crate::claim::{Claim, claim};
use crate::history::{self, Author, Settled};
use crate::owner;

/// Pods created or deleted in one go at most, as upstream's `MaxBatchSize`.
const BURST: usize = 500;

/// The label that keeps the hash on a revision, as upstream's `ControllerRevisionHashLabel`.
const HASH_LABEL: &str = "controller.kubernetes.io/hash";

/// A pod to create, and the claims that it needs first.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NewPod {
    pub(crate) pod: Pod,
    pub(crate) claims: Vec<PersistentVolumeClaim>,
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// A step on the history.
    History(history::Step),
    /// Become the controller of an orphan.
    Adopt(Arc<Pod>),
    /// Let a pod go that is not one of the set's any more.
    Release(Arc<Pod>),
    /// Create pods, slowly at first, each after its claims.
    Create(Vec<NewPod>),
    /// Create a claim that a pod waits for.
    CreateClaim {
        pod: String,
        claim: Box<PersistentVolumeClaim>,
    },
    /// Set who takes a claim along.
    OwnClaim {
        claim: Arc<PersistentVolumeClaim>,
        owners: Vec<OwnerReference>,
    },
    /// Put the labels of its name and number on a pod.
    Identify { pod: Arc<Pod>, ordinal: i32 },
    /// Delete a pod.
    Delete(Arc<Pod>),
    /// Write the status.
    SetStatus(Box<StatefulSetStatus>),
}

/// Why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    History(history::Because),
    NameTaken { name: String },
    MatchesSelector { pod: String },
    NotAMember { pod: String },
    Missing { pods: Vec<String> },
    ClaimMissing { pod: String },
    RetentionPolicy { claim: String },
    NotIdentified { pod: String },
    Ended { pod: String },
    BeyondLast { pod: String },
    Outdated { pod: String },
    StatusChanged,
}

/// Decides: one of upstream's syncs.
pub(crate) fn plan(observed: &Observed, now: Timestamp) -> Plan<Action, Because> {
    let set = &*observed.set;
    let Some(spec) = &set.spec else { return Plan::nothing() };
    let leaving = set.metadata.deletion_timestamp.is_some();
    let selector = LabelSelector::from_optional(Some(&spec.selector));
    let mut plan = Plan::nothing();
    let pods = claim_pods(&mut plan, observed, &selector, leaving);
    let Some((settled, revisions)) = settle(&mut plan, observed, spec, &selector, leaving) else {
        return plan;
    };
    let recorded = set
        .status
        .as_ref()
        .and_then(|status| status.current_revision.as_deref());
    let current = revisions
        .iter()
        .find(|revision| Some(owner::name(&revision.metadata)) == recorded)
        .unwrap_or(&settled.current);
    let template = history::template_of(current).unwrap_or_else(|| spec.template.clone());
    let (living, condemned) = pods
        .into_iter()
        .partition(|(ordinal, _)| identity::in_range(set, *ordinal));
    let mut planner = Planner {
        observed,
        set,
        spec,
        living,
        condemned,
        current: owner::name(&current.metadata),
        current_template: &template,
        update: owner::name(&settled.current.metadata),
        now,
        plan,
    };
    if !leaving {
        planner.work();
        planner.forget(&revisions);
    }
    planner.finish();
    planner.plan
}

/// The decision while it is being made.
pub(super) struct Planner<'a> {
    pub(super) observed: &'a Observed,
    pub(super) set: &'a StatefulSet,
    pub(super) spec: &'a StatefulSetSpec,
    /// Our pods that should be there, by ordinal.
    pub(super) living: BTreeMap<i32, Arc<Pod>>,
    /// Our pods beyond the ordinals that should be there.
    pub(super) condemned: BTreeMap<i32, Arc<Pod>>,
    /// The revision that pods below the partition have, and its template.
    pub(super) current: &'a str,
    current_template: &'a PodTemplateSpec,
    /// The revision of the template as it is now.
    pub(super) update: &'a str,
    pub(super) now: Timestamp,
    pub(super) plan: Plan<Action, Because>,
}

fn claim_pods(
    plan: &mut Plan<Action, Because>,
    observed: &Observed,
    selector: &LabelSelector,
    leaving: bool,
) -> BTreeMap<i32, Arc<Pod>> {
    let set = &*observed.set;
    let mut own = BTreeMap::new();
    for pod in &observed.pods {
        let name = owner::name(&pod.metadata).to_owned();
        let ordinal = identity::ordinal(set, pod);
        let matches = ordinal.is_some() && selector.matches_optional(pod.metadata.labels.as_ref());
        let claim = claim(&pod.metadata, owner::uid(&set.metadata), matches, leaving);
        match claim {
            Claim::Adopt => plan.act(Action::Adopt(Arc::clone(pod)), Because::MatchesSelector { pod: name }),
            Claim::Release => plan.act(Action::Release(Arc::clone(pod)), Because::NotAMember { pod: name }),
            Claim::Own | Claim::Leave => {}
        }
        if let (Claim::Own | Claim::Adopt, Some(ordinal)) = (claim, ordinal) {
            own.insert(ordinal, Arc::clone(pod));
        }
    }
    own
}

/// Brings the history in order and returns it, with all revisions; nothing more can be done where that must wait.
fn settle(
    plan: &mut Plan<Action, Because>,
    observed: &Observed,
    spec: &StatefulSetSpec,
    selector: &LabelSelector,
    leaving: bool,
) -> Option<(Settled, Vec<Arc<ControllerRevision>>)> {
    let set = &*observed.set;
    let status = set.status.as_ref();
    let collisions = status.and_then(|status| status.collision_count).unwrap_or(0);
    let (own, steps) = history::claim_all(&observed.revisions, owner::uid(&set.metadata), selector, leaving);
    for (step, because) in steps {
        plan.act(Action::History(step), Because::History(because));
    }
    let author = Author {
        meta: &set.metadata,
        owner: owner::controller_reference(set),
        template: &spec.template,
        collisions,
        hash_label: HASH_LABEL,
        taken: &observed.taken,
    };
    match history::settle(&own, &author) {
        Ok(mut settled) => {
            for (step, because) in std::mem::take(&mut settled.steps) {
                if !leaving {
                    plan.act(Action::History(step), Because::History(because));
                }
            }
            let mut all = own;
            let name = &settled.current.metadata.name;
            if !all.iter().any(|revision| &revision.metadata.name == name) {
                all.push(Arc::clone(&settled.current));
            }
            Some((settled, all))
        }
        Err(collision) => {
            let status = StatefulSetStatus {
                collision_count: Some(collisions + 1),
                ..status.cloned().unwrap_or_default()
            };
            let name = collision.name;
            plan.act(Action::SetStatus(Box::new(status)), Because::NameTaken { name });
            None
        }
    }
}

impl Planner<'_> {
    /// Whether each pod waits for the one before it.
    fn in_order(&self) -> bool {
        self.spec.pod_management_policy.as_deref() != Some("Parallel")
    }

    pub(super) fn is_available(&self, pod: &Pod) -> bool {
        state::phase(pod) == "Running" && state::is_available(pod, self.spec.min_ready_seconds.unwrap_or(0), self.now)
    }

    /// Whether a pod does not do its work, or will soon stop.
    pub(super) fn is_unavailable(&self, pod: &Pod) -> bool {
        state::is_terminating(pod) || !self.is_available(pod)
    }

    /// Scaling comes before updating, creating before deleting.
    fn work(&mut self) {
        if self.tend_living() {
            return;
        }
        for (_, pod) in self.condemned.clone() {
            self.own_claims(&pod, true);
        }
        if self.condemn() {
            return;
        }
        roll::roll(self);
    }

    /// Sees to the pods that should be there, the first ordinal first. Returns whether there is something to wait for.
    fn tend_living(&mut self) -> bool {
        let start = identity::start(self.set);
        let (mut missing, mut waits) = (Vec::new(), false);
        for index in 0..identity::replicas(self.set) {
            let ordinal = start.saturating_add(index);
            match self.living.get(&ordinal).cloned() {
                Some(pod) => waits = self.tend(&pod, ordinal) && self.in_order(),
                None => waits = self.miss(ordinal, &mut missing) && self.in_order(),
            }
            if waits || missing.len() >= BURST {
                break;
            }
        }
        if !missing.is_empty() {
            let pods = missing
                .iter()
                .map(|new: &NewPod| owner::name(&new.pod.metadata).to_owned());
            let because = Because::Missing { pods: pods.collect() };
            self.plan.act(Action::Create(missing), because);
        }
        waits
    }

    /// Adds the pod with an ordinal to those that are to be created. Always worth waiting for.
    fn miss(&self, ordinal: i32, missing: &mut Vec<NewPod>) -> bool {
        let (template, revision) = if self.keeps_current(ordinal) {
            (self.current_template, self.current)
        } else {
            (&self.spec.template, self.update)
        };
        let pod = identity::pod(self.set, template, revision, ordinal);
        let wanted = claims::of_pod(self.set, ordinal);
        let found = |claim: &PersistentVolumeClaim| self.observed.claims.get(owner::name(&claim.metadata));
        let leaving = |claim: &Arc<PersistentVolumeClaim>| claim.metadata.deletion_timestamp.is_some();
        let goes = |claim: &Arc<PersistentVolumeClaim>| leaving(claim) || claims::is_stale(self.set, &pod, claim);
        // A claim that goes with an earlier pod of this name must be gone first.
        if !wanted.iter().filter_map(found).any(goes) {
            let owned = |mut claim: PersistentVolumeClaim| {
                // The set's reference can be there from the start; a pod's is never wanted while the pod is.
                claim.metadata.owner_references = claims::owners(self.set, &pod, false, &claim);
                claim
            };
            let claims = wanted
                .into_iter()
                .filter(|claim| found(claim).is_none())
                .map(owned)
                .collect();
            missing.push(NewPod { pod, claims });
        }
        true
    }

    /// Whether a new pod with an ordinal is of the current revision, not of the new one.
    fn keeps_current(&self, ordinal: i32) -> bool {
        let strategy = self.spec.update_strategy.as_ref();
        if !roll::rolls(self.spec) {
            return false;
        }
        let partition = strategy
            .and_then(|strategy| strategy.rolling_update.as_ref())
            .map(|rolling| rolling.partition.unwrap_or(0));
        let current = self.set.status.as_ref().and_then(|status| status.current_replicas);
        let below = partition.or(current).unwrap_or(0);
        i64::from(ordinal) < i64::from(identity::start(self.set)) + i64::from(below)
    }

    /// Sees to one pod. Returns whether it is to be waited for.
    fn tend(&mut self, pod: &Arc<Pod>, ordinal: i32) -> bool {
        let name = owner::name(&pod.metadata).to_owned();
        if state::is_terminal(pod) {
            // Also one that succeeded: how a pod ends says little about why it was ended.
            if !state::is_terminating(pod) {
                self.plan
                    .act(Action::Delete(Arc::clone(pod)), Because::Ended { pod: name });
            }
            return true;
        }
        if state::phase(pod) == "Pending" {
            for claim in claims::of_pod(self.set, ordinal) {
                if !self.observed.claims.contains_key(owner::name(&claim.metadata)) {
                    let mut claim = claim;
                    claim.metadata.owner_references = claims::owners(self.set, pod, false, &claim);
                    let action = Action::CreateClaim {
                        pod: name.clone(),
                        claim: Box::new(claim),
                    };
                    self.plan.act(action, Because::ClaimMissing { pod: name.clone() });
                }
            }
        }
        if self.in_order() && self.is_unavailable(pod) {
            return true;
        }
        if !identity::is_labelled(pod, ordinal) {
            let identify = Action::Identify {
                pod: Arc::clone(pod),
                ordinal,
            };
            self.plan.act(identify, Because::NotIdentified { pod: name });
        }
        self.own_claims(pod, false);
        false
    }

    /// Makes a pod's claims go with whom the retention policy says.
    fn own_claims(&mut self, pod: &Pod, condemned: bool) {
        let Some(ordinal) = identity::ordinal(self.set, pod) else {
            return;
        };
        for template in claims::templates(self.set) {
            let name = claims::name(self.set, template, ordinal);
            let Some(claim) = self.observed.claims.get(&name) else {
                continue;
            };
            if claim.metadata.deletion_timestamp.is_some() {
                continue;
            }
            if let Some(owners) = claims::owners(self.set, pod, condemned, claim) {
                let action = Action::OwnClaim {
                    claim: Arc::clone(claim),
                    owners,
                };
                self.plan.act(action, Because::RetentionPolicy { claim: name });
            }
        }
    }

    /// Deletes pods beyond the last ordinal, the last first. Returns whether there is something to wait for.
    fn condemn(&mut self) -> bool {
        let first_unavailable = self.condemned.iter().find(|(_, pod)| self.is_unavailable(pod));
        let first_unavailable = first_unavailable.map(|(ordinal, _)| *ordinal);
        let mut deleted = 0;
        for (ordinal, pod) in self.condemned.clone().into_iter().rev() {
            if state::is_terminating(&pod) {
                if self.in_order() {
                    return true;
                }
                continue;
            }
            // Upstream also waits for a pod that has ended, which never becomes ready again.
            let may_recover = !state::is_terminal(&pod) && !self.is_available(&pod);
            if self.in_order() && may_recover && Some(ordinal) != first_unavailable {
                return true;
            }
            let name = owner::name(&pod.metadata).to_owned();
            self.plan.act(Action::Delete(pod), Because::BeyondLast { pod: name });
            deleted += 1;
            if self.in_order() || deleted >= BURST {
                return true;
            }
        }
        false
    }

    /// Forgets revisions that the history has no room for and nothing is of.
    fn forget(&mut self, revisions: &[Arc<ControllerRevision>]) {
        let pods = self.living.values().chain(self.condemned.values());
        let live: BTreeSet<&str> = pods
            .map(|pod| identity::revision(pod))
            .chain([self.current, self.update])
            .collect();
        let limit = self.spec.revision_history_limit.unwrap_or(10);
        let name = |revision: &ControllerRevision| -> String { owner::name(&revision.metadata).to_owned() };
        let old: Vec<_> = revisions
            .iter()
            .filter(|one| !live.contains(name(one).as_str()))
            .cloned()
            .collect();
        for revision in history::excess(&old, &BTreeSet::new(), history::hash_of, limit, false) {
            let step = Action::History(history::Step::Delete(revision));
            self.plan.act(step, Because::History(history::Because::BeyondHistory));
        }
    }

    fn finish(&mut self) {
        let status = status::of(self);
        if self.set.status.as_ref() != Some(&status) {
            self.plan
                .act(Action::SetStatus(Box::new(status)), Because::StatusChanged);
        }
        let min_ready = self.spec.min_ready_seconds.unwrap_or(0);
        let pods = self.living.values().chain(self.condemned.values());
        let soonest = pods
            .filter_map(|pod| state::available_in(pod, min_ready, self.now))
            .min();
        if let Some(delay) = soonest.and_then(|delay| Duration::try_from(delay).ok()) {
            self.plan.look_again(delay);
        }
    }
}
