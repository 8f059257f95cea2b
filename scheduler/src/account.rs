//! What a decision came to, in words for people: the verdict on every node with the plugin and the reason, or the scores.

use serde::Serialize;

use crate::decide::{Decision, Score};
use crate::pod_info::{PodInfo, scheduler_name};

/// A plugin's part in a node's score.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// The plugin.
    pub plugin: &'static str,
    /// From 0 to 100.
    pub score: i64,
    /// How much it counts.
    pub weight: i64,
}

/// The verdict on one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum NodeAccount {
    /// It can take the pod.
    Feasible {
        /// Its name.
        node: String,
        /// The weighted sum.
        score: i64,
        /// What it is made of.
        parts: Vec<Part>,
    },
    /// It cannot.
    Rejected {
        /// Its name.
        node: String,
        /// Who says so.
        plugin: &'static str,
        /// Why, in upstream's words.
        reasons: Vec<String>,
        /// More, where the plugin knows more.
        #[serde(skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    },
}

/// What was decided about a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// Which scheduler it asked for.
    pub scheduler_name: String,
    /// When it was decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// The node that was chosen.
    pub node: Option<String>,
    /// Upstream's message where none was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The node on which room is made for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nominated_node: Option<String>,
    /// Who has to go for that.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub victims: Vec<String>,
    /// How many nodes there were.
    pub nodes_in_all: usize,
    /// The verdicts: the best nodes first, then those that cannot.
    pub nodes: Vec<NodeAccount>,
    /// How many verdicts are left out here, and how many nodes were not looked at.
    pub left_out: usize,
}

impl Account {
    /// Gives account of a decision, with at most so many nodes.
    pub fn of(pod: &PodInfo, decision: &Decision, nodes: usize) -> Self {
        let mut feasible: Vec<(&str, i64, usize)> = decision
            .totals()
            .enumerate()
            .map(|(at, (node, total))| (node, total, at))
            .collect();
        // The chosen one is the first of the best.
        let chosen = decision.node.as_deref();
        let rank = |entry: &(&str, i64, usize)| (std::cmp::Reverse(entry.1), Some(entry.0) != chosen, entry.2);
        if feasible.len() > nodes {
            feasible.select_nth_unstable_by_key(nodes, rank);
            feasible.truncate(nodes);
        }
        feasible.sort_unstable_by_key(rank);
        let part = |score: Score| Part {
            plugin: score.plugin,
            score: score.score,
            weight: score.weight,
        };
        let can = feasible.into_iter().map(|(node, score, at)| NodeAccount::Feasible {
            node: node.to_owned(),
            score,
            parts: decision.scores_at(at).map(part).collect(),
        });
        let cannot = decision.rejections().map(|(node, rejection)| NodeAccount::Rejected {
            node: node.to_owned(),
            plugin: rejection.plugin,
            reasons: rejection.reasons.iter().map(|reason| reason.to_string()).collect(),
            detail: rejection.detail.as_ref().map(|detail| detail.to_string()),
        });
        let nodes: Vec<NodeAccount> = can.chain(cannot).take(nodes).collect();
        Self {
            namespace: pod.key.namespace.clone(),
            name: pod.key.name.clone(),
            scheduler_name: scheduler_name(&pod.pod).to_owned(),
            time: None,
            node: decision.node.clone(),
            message: decision.node.is_none().then(|| decision.message()),
            nominated_node: None,
            victims: Vec::new(),
            nodes_in_all: decision.nodes,
            left_out: decision.nodes.saturating_sub(nodes.len()),
            nodes,
        }
    }
}
