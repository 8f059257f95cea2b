//! Decides what to do about one DaemonSet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetSpec, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod, PodTemplateSpec};
use timonel_api::pod as state;
use timonel_api::selector::LabelSelector;
use timonel_client::runner::Plan;

use super::eligible::Eligible;
use super::{Observed, pod, status, update};
use crate::claim::{Claim, claim};
use crate::history::{self, Author, REVISION_LABEL, Settled};
use crate::owner;

/// Pods created or deleted in one go at most, as upstream's `BurstReplicas`.
const BURST: usize = 250;

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// A step on the history.
    History(history::Step),
    /// Become the controller of an orphan.
    Adopt(Arc<Pod>),
    /// Let a pod go that the selector matches no longer.
    Release(Arc<Pod>),
    /// Put the kept revision's hash on a pod that had that of a duplicate.
    Relabel { pod: Arc<Pod>, hash: String },
    /// Create a pod of the template for each of these nodes, slowly at first.
    Create {
        template: Box<PodTemplateSpec>,
        nodes: Vec<String>,
    },
    /// Delete a pod that failed or succeeded, say so, and begin a pause for the node.
    DeleteEnded { pod: Arc<Pod>, node: String },
    /// Delete a pod.
    Delete(Arc<Pod>),
    /// Write the status.
    SetStatus(Box<DaemonSetStatus>),
}

/// Why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    History(history::Because),
    NameTaken { name: String },
    MatchesSelector { pod: String },
    NoLongerMatchesSelector { pod: String },
    NodesLackPods { nodes: Vec<String> },
    Ended { pod: String, node: String },
    TooManyOnNode { pod: String, node: String },
    NodeNotEligible { pod: String, node: String },
    NodeGone { pod: String },
    Surged { node: String },
    Outdated { pod: String, node: String },
    MayGrow { nodes: Vec<String> },
    StatusChanged,
}

/// Decides: one of upstream's syncs.
pub(crate) fn plan(observed: &Observed, now: Timestamp) -> Plan<Action, Because> {
    let set = &*observed.set;
    let Some(spec) = &set.spec else { return Plan::nothing() };
    if set.metadata.deletion_timestamp.is_some() {
        return Plan::nothing();
    }
    let mut plan = Plan::nothing();
    let selector = LabelSelector::from_optional(Some(&spec.selector));
    let own = claim_pods(&mut plan, observed, &selector);
    let Some(settled) = settle(&mut plan, observed, spec, &selector) else {
        return plan;
    };
    let hash = history::hash_of(&settled.current).to_owned();
    let template = pod::complete(set, &spec.template, &hash);
    let empty = k8s_openapi::api::core::v1::PodSpec::default();
    let pod_spec = template.spec.as_ref().unwrap_or(&empty);
    let eligible: Vec<(&Node, Eligible)> = observed
        .nodes
        .iter()
        .map(|node| (&**node, Eligible::of(node, pod_spec)))
        .collect();
    let mut planner = Planner {
        observed,
        set,
        spec,
        by_node: by_node(&own),
        eligible,
        template: &template,
        hash: &hash,
        now,
        plan,
    };
    let before = planner.plan.actions.len();
    planner.relabel(&settled, &own);
    planner.manage();
    // As upstream: an update goes on only where there is nothing else to be done.
    if planner.plan.actions.len() == before {
        update::roll(&mut planner);
    }
    planner.forget(&settled, &own);
    planner.finish();
    planner.plan
}

/// The decision while it is being made.
pub(super) struct Planner<'a> {
    pub(super) observed: &'a Observed,
    pub(super) set: &'a DaemonSet,
    pub(super) spec: &'a DaemonSetSpec,
    /// Our pods, by the node that they are on or meant for; those on a node in upstream's order of age.
    pub(super) by_node: BTreeMap<&'a str, Vec<Arc<Pod>>>,
    pub(super) eligible: Vec<(&'a Node, Eligible)>,
    pub(super) template: &'a PodTemplateSpec,
    /// Of the current revision.
    pub(super) hash: &'a str,
    pub(super) now: Timestamp,
    pub(super) plan: Plan<Action, Because>,
}

fn claim_pods<'a>(
    plan: &mut Plan<Action, Because>,
    observed: &'a Observed,
    selector: &LabelSelector,
) -> Vec<&'a Arc<Pod>> {
    let mut own = Vec::new();
    for pod in &observed.pods {
        let name = owner::name(&pod.metadata).to_owned();
        let matches = selector.matches_optional(pod.metadata.labels.as_ref());
        match claim(&pod.metadata, owner::uid(&observed.set.metadata), matches, false) {
            Claim::Own => own.push(pod),
            Claim::Adopt => {
                own.push(pod);
                plan.act(Action::Adopt(Arc::clone(pod)), Because::MatchesSelector { pod: name });
            }
            Claim::Release => plan.act(
                Action::Release(Arc::clone(pod)),
                Because::NoLongerMatchesSelector { pod: name },
            ),
            Claim::Leave => {}
        }
    }
    own
}

/// Groups pods by node. A pod that has ended and is only waiting to disappear is no longer there.
fn by_node<'a>(own: &[&'a Arc<Pod>]) -> BTreeMap<&'a str, Vec<Arc<Pod>>> {
    let mut nodes: BTreeMap<&str, Vec<Arc<Pod>>> = BTreeMap::new();
    for pod in own {
        if state::is_terminal(pod) && state::is_terminating(pod) {
            continue;
        }
        if let Some(node) = pod::target(pod) {
            nodes.entry(node).or_default().push(Arc::clone(pod));
        }
    }
    for pods in nodes.values_mut() {
        pods.sort_by_key(|pod| {
            let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
            (
                !state::is_scheduled(pod),
                created,
                owner::name(&pod.metadata).to_owned(),
            )
        });
    }
    nodes
}

/// Brings the history in order; nothing more can be done where that must wait.
fn settle(
    plan: &mut Plan<Action, Because>,
    observed: &Observed,
    spec: &DaemonSetSpec,
    selector: &LabelSelector,
) -> Option<Settled> {
    let set = &*observed.set;
    let status = set.status.as_ref();
    let collisions = status.and_then(|status| status.collision_count).unwrap_or(0);
    let (own, steps) = history::claim_all(&observed.revisions, owner::uid(&set.metadata), selector, false);
    for (step, because) in steps {
        plan.act(Action::History(step), Because::History(because));
    }
    let author = Author {
        meta: &set.metadata,
        owner: owner::controller_reference(set),
        template: &spec.template,
        collisions,
        hash_label: REVISION_LABEL,
        taken: &observed.taken,
    };
    match history::settle(&own, &author) {
        Ok(mut settled) => {
            for (step, because) in std::mem::take(&mut settled.steps) {
                plan.act(Action::History(step), Because::History(because));
            }
            Some(settled)
        }
        Err(collision) => {
            let status = DaemonSetStatus {
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
    /// Moves pods of duplicate revisions to the one that stays, and forgets the duplicates.
    fn relabel(&mut self, settled: &Settled, own: &[&Arc<Pod>]) {
        for duplicate in &settled.duplicates {
            let gone = history::hash_of(duplicate);
            for pod in own {
                let labels = pod.metadata.labels.as_ref();
                if labels.and_then(|labels| labels.get(REVISION_LABEL)).map(String::as_str) == Some(gone) {
                    let relabel = Action::Relabel {
                        pod: Arc::clone(pod),
                        hash: self.hash.to_owned(),
                    };
                    self.plan.act(relabel, Because::History(history::Because::Duplicate));
                }
            }
            let delete = history::Step::Delete(Arc::clone(duplicate));
            self.plan
                .act(Action::History(delete), Because::History(history::Because::Duplicate));
        }
    }

    /// Gives each eligible node its pod, and takes away what must not be there.
    fn manage(&mut self) {
        let mut lacking = Vec::new();
        let mut deleted = 0;
        for (node, eligible) in self.eligible.clone() {
            let name = owner::name(&node.metadata);
            match (eligible, self.by_node.get(name).cloned()) {
                (Eligible::Yes, None) => lacking.push(name.to_owned()),
                (Eligible::No, Some(pods)) => {
                    for pod in pods.iter().filter(|pod| !state::is_terminating(pod)) {
                        let because = Because::NodeNotEligible {
                            pod: owner::name(&pod.metadata).to_owned(),
                            node: name.to_owned(),
                        };
                        self.delete(pod, because, &mut deleted);
                    }
                }
                (_, Some(pods)) => {
                    let living = self.without_ended(name, &pods, &mut deleted);
                    self.prune(name, &living, &mut deleted);
                    if living.is_empty() && eligible == Eligible::Yes && update::surge_allowed(self.spec) {
                        lacking.push(name.to_owned());
                    }
                }
                (_, None) => {}
            }
        }
        self.without_node(&mut deleted);
        self.create(lacking, |nodes| Because::NodesLackPods { nodes });
    }

    /// Deletes pods that ended, each node's after its pause, and returns the others that nobody deletes.
    fn without_ended(&mut self, node: &str, pods: &[Arc<Pod>], deleted: &mut usize) -> Vec<Arc<Pod>> {
        let mut living = Vec::new();
        for pod in pods.iter().filter(|pod| !state::is_terminating(pod)) {
            if !state::is_terminal(pod) {
                living.push(Arc::clone(pod));
                continue;
            }
            let pause = self.observed.pauses.get(node).filter(|_| state::is_failed(pod));
            if let Some(left) = pause.and_then(|pause| pause.left(self.now)) {
                self.plan.look_again(Duration::try_from(left).unwrap_or_default());
            } else if *deleted < BURST {
                *deleted += 1;
                let because = Because::Ended {
                    pod: owner::name(&pod.metadata).to_owned(),
                    node: node.to_owned(),
                };
                let action = Action::DeleteEnded {
                    pod: Arc::clone(pod),
                    node: node.to_owned(),
                };
                self.plan.act(action, because);
            }
        }
        living
    }

    /// Leaves a node its oldest pod; while surging, one of the old and one of the new revision, until the new one can take over.
    fn prune(&mut self, node: &str, living: &[Arc<Pod>], deleted: &mut usize) {
        let too_many = |pod: &Arc<Pod>| Because::TooManyOnNode {
            pod: owner::name(&pod.metadata).to_owned(),
            node: node.to_owned(),
        };
        if !update::surge_allowed(self.spec) {
            for pod in living.iter().skip(1) {
                self.delete(pod, too_many(pod), deleted);
            }
            return;
        }
        let (mut newest, mut outdated) = (None, None);
        for pod in living {
            let label = pod
                .metadata
                .labels
                .as_ref()
                .and_then(|labels| labels.get(REVISION_LABEL));
            let place = if label.is_some_and(|label| label == self.hash) {
                &mut newest
            } else {
                &mut outdated
            };
            if place.is_none() {
                *place = Some(pod);
            } else {
                self.delete(pod, too_many(pod), deleted);
            }
        }
        if let (Some(newest), Some(outdated)) = (newest, outdated) {
            let takes_over = state::is_available(newest, self.spec.min_ready_seconds.unwrap_or(0), self.now);
            if !state::is_ready(outdated) || takes_over {
                let because = Because::Surged { node: node.to_owned() };
                self.delete(outdated, because, deleted);
            }
        }
    }

    /// Deletes pods that wait for a node that is gone.
    fn without_node(&mut self, deleted: &mut usize) {
        let names: BTreeSet<&str> = self
            .observed
            .nodes
            .iter()
            .map(|node| owner::name(&node.metadata))
            .collect();
        let lost: Vec<Arc<Pod>> = self
            .by_node
            .iter()
            .filter(|(node, _)| !names.contains(*node))
            .flat_map(|(_, pods)| pods)
            .filter(|pod| !state::is_scheduled(pod) && !state::is_terminating(pod))
            .cloned()
            .collect();
        for pod in &lost {
            let name = owner::name(&pod.metadata).to_owned();
            self.delete(pod, Because::NodeGone { pod: name }, deleted);
        }
    }

    pub(super) fn delete(&mut self, pod: &Arc<Pod>, because: Because, deleted: &mut usize) {
        if *deleted < BURST {
            *deleted += 1;
            self.plan.act(Action::Delete(Arc::clone(pod)), because);
        }
    }

    pub(super) fn create(&mut self, mut nodes: Vec<String>, because: impl FnOnce(Vec<String>) -> Because) {
        nodes.truncate(BURST);
        if nodes.is_empty() {
            return;
        }
        let action = Action::Create {
            template: Box::new(self.template.clone()),
            nodes: nodes.clone(),
        };
        self.plan.act(action, because(nodes));
    }

    /// Forgets revisions that the history has no room for and no pod is of.
    fn forget(&mut self, settled: &Settled, own: &[&Arc<Pod>]) {
        let live: BTreeSet<&str> = own
            .iter()
            .filter_map(|pod| pod.metadata.labels.as_ref()?.get(REVISION_LABEL).map(String::as_str))
            .collect();
        let limit = self.spec.revision_history_limit.unwrap_or(10);
        for revision in history::excess(&settled.old, &live, history::hash_of, limit, true) {
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
        let soonest = self
            .by_node
            .values()
            .flatten()
            .filter_map(|pod| state::available_in(pod, min_ready, self.now))
            .min();
        if let Some(delay) = soonest.and_then(|delay| Duration::try_from(delay).ok()) {
            self.plan.look_again(delay);
        }
    }
}
