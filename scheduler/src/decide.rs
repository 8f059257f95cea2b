//! The decision about one pod: pure, from a snapshot to a node or to the reasons why there is none.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::plugins::{self, Prepared, Rejection};
use crate::pod_info::PodInfo;
use crate::snapshot::{NodeInfo, Snapshot};

/// What a node got from one plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Score {
    /// The plugin.
    pub plugin: &'static str,
    /// From 0 to 100.
    pub score: i64,
    /// How much it counts.
    pub weight: i64,
}

/// What the decision says about one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It can take the pod; the sum of its weighted scores, and what they are made of.
    Feasible {
        /// The sum.
        total: i64,
        /// The parts.
        scores: Vec<Score>,
    },
    /// It cannot.
    Rejected(Rejection),
}

/// The decision about one pod, with the verdict on every node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The node to bind the pod to, if any can take it.
    pub node: Option<String>,
    /// Why, per node.
    pub verdicts: BTreeMap<String, Verdict>,
}

impl Decision {
    /// Says why no node was found, in upstream's words.
    pub fn message(&self) -> String {
        if self.verdicts.is_empty() {
            return "no nodes available to schedule pods".to_owned();
        }
        if let Some((_, rejection)) = self.rejections().find(|(_, rejection)| rejection.of_pod) {
            let why = rejection.reasons.join(", ");
            return format!("0/{} nodes are available: {why}.", self.verdicts.len());
        }
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for rejection in self.rejections() {
            for reason in &rejection.1.reasons {
                *counts.entry(reason).or_insert(0) += 1;
            }
        }
        let mut reasons: Vec<String> = counts
            .iter()
            .map(|(reason, count)| format!("{count} {reason}"))
            .collect();
        reasons.sort();
        format!("0/{} nodes are available: {}.", self.verdicts.len(), reasons.join(", "))
    }

    /// Visits the nodes that cannot take the pod.
    pub fn rejections(&self) -> impl Iterator<Item = (&str, &Rejection)> {
        self.verdicts.iter().filter_map(|(node, verdict)| match verdict {
            Verdict::Rejected(rejection) => Some((node.as_str(), rejection)),
            Verdict::Feasible { .. } => None,
        })
    }
}

/// Decides where a pod goes. `tie` chooses among equally good nodes: a random number in production, a seeded one in tests.
pub fn decide(pod: &PodInfo, snapshot: &Snapshot, tie: u64) -> Decision {
    // Room was made for it: it goes there, where it fits by now, whatever would be better.
    if let Some(node) = pod.nominated().and_then(|name| snapshot.nodes.get(name))
        && fits(pod, snapshot, node)
    {
        let verdict = Verdict::Feasible {
            total: 0,
            scores: Vec::new(),
        };
        return Decision {
            node: Some(node.name.clone()),
            verdicts: BTreeMap::from([(node.name.clone(), verdict)]),
        };
    }
    let prepared: Vec<(&'static dyn plugins::Plugin, Box<dyn Prepared + '_>)> = plugins::all()
        .iter()
        .filter_map(|plugin| Some((*plugin, plugin.prepare(pod, snapshot)?)))
        .collect();
    let refusal = prepared.iter().find_map(|(_, plugin)| plugin.refusal());
    let mut verdicts = BTreeMap::new();
    let mut feasible: Vec<&NodeInfo> = Vec::new();
    for (name, node) in &snapshot.nodes {
        let refused = refusal
            .clone()
            .or_else(|| prepared.iter().find_map(|(_, plugin)| plugin.filter(node).err()));
        match refused.or_else(|| beside_nominated(pod, snapshot, node).err()) {
            Some(rejection) => {
                verdicts.insert(name.clone(), Verdict::Rejected(rejection));
            }
            None => feasible.push(node),
        }
    }
    let mut parts: Vec<Vec<Score>> = vec![Vec::new(); feasible.len()];
    if feasible.len() > 1 {
        for (plugin, prepared) in &prepared {
            for (parts, score) in parts.iter_mut().zip(prepared.scores(&feasible)) {
                parts.push(Score {
                    plugin: plugin.name(),
                    score,
                    weight: plugin.weight(),
                });
            }
        }
    }
    let totals: Vec<i64> = parts
        .iter()
        .map(|parts| parts.iter().map(|part| part.score * part.weight).sum())
        .collect();
    let best = totals.iter().copied().max();
    let mut winners: Vec<&NodeInfo> = Vec::new();
    for ((node, scores), total) in feasible.iter().zip(parts).zip(totals) {
        if Some(total) == best {
            winners.push(node);
        }
        verdicts.insert(node.name.clone(), Verdict::Feasible { total, scores });
    }
    let chosen = usize::try_from(tie % (winners.len().max(1) as u64)).unwrap_or(0);
    Decision {
        node: winners.get(chosen).map(|node| node.name.clone()),
        verdicts,
    }
}

/// Tells whether a node passes every filter for a pod, as it is and as it will be when those have come that it is nominated for.
pub fn fits(pod: &PodInfo, snapshot: &Snapshot, node: &NodeInfo) -> bool {
    filter(pod, snapshot, node).is_ok() && beside_nominated(pod, snapshot, node).is_ok()
}

fn filter(pod: &PodInfo, snapshot: &Snapshot, node: &NodeInfo) -> Result<(), Rejection> {
    plugins::all()
        .iter()
        .filter_map(|plugin| plugin.prepare(pod, snapshot))
        .try_for_each(|plugin| plugin.filter(node))
}

/// A less important pod must not take the room that is being made for another.
fn beside_nominated(pod: &PodInfo, snapshot: &Snapshot, node: &NodeInfo) -> Result<(), Rejection> {
    let Some(later) = snapshot.with_nominated(pod, node).map(Arc::new) else {
        return Ok(());
    };
    filter(pod, &snapshot.with_node(Arc::clone(&later)), &later)
}

#[cfg(test)]
mod tests;
