//! The conversation with extenders in the course of a decision, of preemption and of binding.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::join_all;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde_json::Value;

use super::wire::{self, Filtered, MetaVictims, Wrong};
use super::{Extender, ExtenderError, NAME};
use crate::decide::{self, Column, Decision, Turn};
use crate::plugins::{MAX_SCORE, Rejection};
use crate::pod_info::PodInfo;
use crate::preempt::{self, Candidate, Preemption};
use crate::profile::Profile;
use crate::snapshot::{NodeInfo, Snapshot};

/// The best score that an extender gives a node.
const MAX_EXTENDER_SCORE: i64 = 10;

impl Extender {
    /// Asks, and reads the answer.
    async fn ask<T>(
        &self,
        verb: &str,
        question: Value,
        read: impl FnOnce(&Value) -> Result<T, Wrong>,
    ) -> Result<T, ExtenderError> {
        let url = &self.settings.url_prefix;
        let body = serde_json::to_vec(&question).map_err(|source| ExtenderError::Encode {
            url: url.clone(),
            source,
        })?;
        let answer = self.caller.call(verb, body).await?;
        let wrong = |reason: String| ExtenderError::Answer {
            url: url.clone(),
            reason,
        };
        let answer: Value = serde_json::from_slice(&answer).map_err(|error| wrong(error.to_string()))?;
        read(&answer).map_err(wrong)
    }

    async fn filter(&self, pod: &PodInfo, nodes: &[Arc<NodeInfo>]) -> Result<Filtered, ExtenderError> {
        let question = wire::args(&pod.pod, nodes, self.settings.node_cache_capable);
        let verb = &self.settings.filter_verb;
        let answer = self.ask(verb, question, Filtered::read).await?;
        if answer.error.is_empty() {
            Ok(answer)
        } else {
            Err(ExtenderError::Said(answer.error))
        }
    }

    async fn victims(
        &self,
        pod: &PodInfo,
        candidates: &[Candidate],
    ) -> Result<BTreeMap<String, MetaVictims>, ExtenderError> {
        let question = wire::preemption_args(&pod.pod, candidates, self.settings.node_cache_capable);
        self.ask(&self.settings.preempt_verb, question, wire::read_preemption)
            .await
    }

    /// The nodes that its answer leaves.
    fn left(&self, answer: &Filtered, nodes: &[Arc<NodeInfo>]) -> Result<BTreeSet<String>, ExtenderError> {
        let names = answer.names.as_ref().filter(|_| self.settings.node_cache_capable);
        let Some(names) = names.or(answer.nodes.as_ref()) else {
            return Ok(BTreeSet::new());
        };
        let asked: BTreeSet<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
        match names.iter().find(|name| !asked.contains(name.as_str())) {
            None => Ok(names.iter().cloned().collect()),
            Some(node) => Err(ExtenderError::UnknownNode {
                url: self.settings.url_prefix.clone(),
                node: node.clone(),
            }),
        }
    }

    /// Tells whether an error of an extender is to be gone on from.
    fn excuses(&self, pod: &PodInfo, error: &ExtenderError) -> bool {
        if self.settings.ignorable {
            let (extender, why) = (&self.settings.url_prefix, timonel_client::chain(error));
            tracing::info!(pod = %pod.key, extender, why, "going on without an extender");
        }
        self.settings.ignorable
    }
}

/// Decides where a pod goes, extenders included.
///
/// # Errors
/// When an extender that must not be left out fails.
pub(crate) async fn decide(
    extenders: &[Extender],
    profile: &Profile,
    pod: &PodInfo,
    snapshot: &Snapshot,
    turn: Turn,
) -> Result<Decision, ExtenderError> {
    if let Some(mut decision) = decide::nominated(profile, pod, snapshot, turn) {
        // What goes wrong here goes wrong again below, where it counts.
        if filter(extenders, pod, &mut decision).await.is_ok() && !decision.feasible().is_empty() {
            return Ok(decision);
        }
    }
    let mut decision = decide::find(profile, pod, snapshot, turn);
    filter(extenders, pod, &mut decision).await?;
    let columns = if decision.feasible().len() > 1 {
        prioritize(extenders, pod, decision.feasible()).await
    } else {
        Vec::new()
    };
    decide::finish(profile, pod, snapshot, columns, turn, &mut decision);
    Ok(decision)
}

/// Lets extenders filter, one after another, what is left.
async fn filter(extenders: &[Extender], pod: &PodInfo, decision: &mut Decision) -> Result<(), ExtenderError> {
    for extender in extenders {
        if decision.feasible().is_empty() {
            break;
        }
        if extender.settings.filter_verb.is_empty() || !extender.is_interested(pod) {
            continue;
        }
        let nodes = decision.feasible();
        let answer = extender.filter(pod, nodes).await;
        let answer = answer.and_then(|answer| Ok((extender.left(&answer, nodes)?, answer)));
        match answer {
            Ok((left, answer)) => decision.narrow(&left, |node| why(&answer, node)),
            Err(error) if extender.excuses(pod, &error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Why an extender does not want a node, if it says so.
fn why(answer: &Filtered, node: &str) -> Option<Rejection> {
    let rejection = |reason: &String, resolvable| Rejection::new(NAME, reason.clone(), resolvable);
    let unresolvable = answer.unresolvable.get(node).map(|reason| rejection(reason, false));
    unresolvable.or_else(|| answer.failed.get(node).map(|reason| rejection(reason, true)))
}

/// Lets extenders score, all at once. One that fails has no opinion.
async fn prioritize(extenders: &[Extender], pod: &PodInfo, nodes: &[Arc<NodeInfo>]) -> Vec<Column> {
    let asked = extenders
        .iter()
        .filter(|extender| !extender.settings.prioritize_verb.is_empty() && extender.is_interested(pod));
    let answers = asked.map(|extender| async move {
        let question = wire::args(&pod.pod, nodes, extender.settings.node_cache_capable);
        let verb = &extender.settings.prioritize_verb;
        match extender.ask(verb, question, wire::read_priorities).await {
            Ok(scores) => Some(column(extender.settings.weight, &scores, nodes)),
            Err(error) => {
                let (extender, why) = (&extender.settings.url_prefix, timonel_client::chain(&error));
                tracing::info!(pod = %pod.key, extender, why, "an extender gave no scores");
                None
            }
        }
    });
    join_all(answers).await.into_iter().flatten().collect()
}

/// An extender's scores on the scale of plugins.
fn column(weight: i64, scores: &[(String, i64)], nodes: &[Arc<NodeInfo>]) -> Column {
    let mut by_node: BTreeMap<&str, i64> = BTreeMap::new();
    for (node, score) in scores {
        let sum = by_node.entry(node).or_insert(0);
        *sum = sum.saturating_add(score.saturating_mul(MAX_SCORE / MAX_EXTENDER_SCORE));
    }
    let scores = nodes.iter().map(|node| by_node.get(node.name.as_str()).copied());
    Column {
        plugin: NAME,
        weight,
        scores: scores.map(Option::unwrap_or_default).collect(),
    }
}

/// Looks for room as [`preempt::preempt`] does, extenders included.
pub(crate) async fn preempt(
    extenders: &[Extender],
    profile: &Profile,
    pod: &PodInfo,
    snapshot: &Snapshot,
    decision: &Decision,
    budgets: &[Arc<PodDisruptionBudget>],
    offset: u64,
) -> Preemption {
    let candidates = match preempt::candidates(profile, pod, snapshot, decision, budgets, offset) {
        Ok(candidates) => candidates,
        Err(none) => return none,
    };
    match agree(extenders, pod, snapshot, candidates).await {
        Ok(candidates) => preempt::choose(pod, snapshot, candidates)
            .unwrap_or_else(|| Preemption::Failed("preemption: no candidate node for preemption".to_owned())),
        Err(error) => Preemption::Failed(format!("preemption: {}", timonel_client::chain(&error))),
    }
}

/// Lets extenders, one after another, take away candidates and change victims.
async fn agree(
    extenders: &[Extender],
    pod: &PodInfo,
    snapshot: &Snapshot,
    mut candidates: Vec<Candidate>,
) -> Result<Vec<Candidate>, ExtenderError> {
    for extender in extenders {
        if candidates.is_empty() {
            break;
        }
        if extender.settings.preempt_verb.is_empty() || !extender.is_interested(pod) {
            continue;
        }
        let answer = extender.victims(pod, &candidates).await;
        match answer.and_then(|answer| extender.candidates(snapshot, answer)) {
            Ok(left) => candidates = left,
            Err(error) if extender.excuses(pod, &error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(candidates)
}

impl Extender {
    /// Finds the pods that an answer names.
    fn candidates(
        &self,
        snapshot: &Snapshot,
        answer: BTreeMap<String, MetaVictims>,
    ) -> Result<Vec<Candidate>, ExtenderError> {
        let mut candidates = Vec::new();
        for (name, victims) in answer {
            let Some(node) = snapshot.nodes.get(&name) else {
                return Err(ExtenderError::NoNode { node: name });
            };
            let found = victims.uids.into_iter().map(|uid| match node.pods.get(&uid) {
                Some(pod) => Ok(Arc::clone(pod)),
                None => Err(ExtenderError::NoVictim {
                    url: self.settings.url_prefix.clone(),
                    uid,
                    node: name.clone(),
                }),
            });
            let found: Vec<Arc<PodInfo>> = found.collect::<Result<_, _>>()?;
            if !found.is_empty() {
                candidates.push(Candidate {
                    violations: usize::try_from(victims.violations).unwrap_or(0),
                    victims: found,
                    node: name,
                });
            } else if !self.settings.ignorable {
                return Err(ExtenderError::NobodyLeaves { node: name });
            }
        }
        Ok(candidates)
    }
}

/// Lets an extender bind a pod; tells whether one did, so that nobody else has to.
///
/// # Errors
/// When the extender whose task it is fails, and must not be left out.
pub(crate) async fn bind(extenders: &[Extender], pod: &PodInfo, node: &str) -> Result<bool, ExtenderError> {
    let binders = extenders.iter();
    let binders = binders.filter(|extender| !extender.settings.bind_verb.is_empty() && extender.is_interested(pod));
    for extender in binders {
        let question = wire::binding_args(pod, node);
        let answer = extender.ask(&extender.settings.bind_verb, question, wire::read_binding);
        let error = match answer.await {
            Ok(said) if said.is_empty() => return Ok(true),
            Ok(said) => ExtenderError::Said(said),
            Err(error) => error,
        };
        if !extender.excuses(pod, &error) {
            return Err(error);
        }
    }
    Ok(false)
}
