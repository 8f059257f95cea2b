//! The decision about one pod: pure, from a snapshot to a node or to the reasons why there is none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use crate::plugins::{Prepared, Rejection};
use crate::pod_info::PodInfo;
use crate::profile::{Enabled, Profile};
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

/// What one plugin gave the feasible nodes, in their order.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) plugin: &'static str,
    pub(crate) weight: i64,
    pub(crate) scores: Vec<i64>,
}

/// The decision about one pod, with the verdict on every node that was looked at.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// The node to bind the pod to, if any can take it.
    pub node: Option<String>,
    /// How many nodes there are.
    pub nodes: usize,
    /// Where the next decision had better begin to look, so that all nodes get their turn.
    pub next_start: usize,
    /// Said of all nodes at once, before any was looked at.
    pub refusal: Option<Rejection>,
    /// Who said beforehand which nodes alone can do; the others were not looked at.
    pub narrowed_by: BTreeSet<&'static str>,
    /// Somebody beside the plugins took nodes away.
    narrowed_beside: Option<&'static str>,
    feasible: Vec<Arc<NodeInfo>>,
    totals: Vec<i64>,
    columns: Vec<Column>,
    rejected: Vec<(Arc<NodeInfo>, Rejection)>,
}

/// What a decision is told besides the world: where to begin, and what to do when nodes are equally good.
#[derive(Clone, Copy, Debug, Default)]
pub struct Turn {
    /// The place of the first node to look at.
    pub start: usize,
    /// Chooses among equally good nodes: a random number in production, a seeded one in tests.
    pub tie: u64,
    /// Look at every node, however many there are: for people who ask.
    pub thorough: bool,
}

impl Decision {
    /// Says why no node was found, in upstream's words.
    pub fn message(&self) -> String {
        if self.nodes == 0 {
            return "no nodes available to schedule pods".to_owned();
        }
        let nodes = self.nodes;
        if let Some(refusal) = &self.refusal {
            return format!("0/{nodes} nodes are available: {}.", refusal.reasons.join(", "));
        }
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for rejection in self.rejections() {
            for reason in rejection.1.reasons.iter() {
                *counts.entry(reason).or_insert(0) += 1;
            }
        }
        let absent = self.absent_reason();
        if self.unvisited() > 0 {
            *counts.entry(&absent).or_insert(0) += self.unvisited();
        }
        let mut reasons: Vec<String> = counts
            .iter()
            .map(|(reason, count)| format!("{count} {reason}"))
            .collect();
        reasons.sort();
        format!("0/{nodes} nodes are available: {}.", reasons.join(", "))
    }

    /// Who rejected the pod, whether a node or all of them.
    pub fn rejected_by(&self) -> BTreeSet<&'static str> {
        let nodes = self.rejected.iter().map(|(_, rejection)| rejection.plugin);
        let all = self.refusal.iter().map(|rejection| rejection.plugin);
        let beside = self.narrowed_by.iter().copied().chain(self.narrowed_beside);
        nodes.chain(all).chain(beside).collect()
    }

    /// The nodes that can take the pod, as far as is known.
    pub(crate) fn feasible(&self) -> &[Arc<NodeInfo>] {
        &self.feasible
    }

    /// Leaves only some of the nodes, before they are scored: extenders have spoken. `why` says why not another, if anybody said.
    pub(crate) fn narrow(&mut self, left: &BTreeSet<String>, why: impl Fn(&str) -> Option<Rejection>) {
        let (kept, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut self.feasible)
            .into_iter()
            .partition(|node| left.contains(&node.name));
        if !gone.is_empty() {
            self.narrowed_beside = Some(crate::extender::NAME);
        }
        let told = gone.into_iter().filter_map(|node| {
            let rejection = why(&node.name)?;
            Some((node, rejection))
        });
        self.rejected.extend(told);
        self.feasible = kept;
        if self.feasible.is_empty() {
            self.node = None;
        }
        self.totals = vec![0; self.feasible.len()];
    }

    fn absent_reason(&self) -> String {
        let plugins: Vec<&str> = self.narrowed_by.iter().copied().collect();
        format!("node(s) didn't satisfy plugin(s) [{}]", plugins.join(" "))
    }

    /// How many nodes were not looked at because a plugin knew beforehand that they will not do.
    fn unvisited(&self) -> usize {
        if self.narrowed_by.is_empty() {
            return 0;
        }
        self.nodes
            .saturating_sub(self.rejected.len())
            .saturating_sub(self.feasible.len())
    }

    /// Visits the nodes that cannot take the pod.
    pub fn rejections(&self) -> impl Iterator<Item = (&str, &Rejection)> {
        self.rejected
            .iter()
            .map(|(node, rejection)| (node.name.as_str(), rejection))
    }

    /// Visits the nodes that can take the pod, with the weighted sums of what they got.
    pub fn totals(&self) -> impl Iterator<Item = (&str, i64)> {
        let totals = self.totals.iter().copied();
        self.feasible.iter().map(|node| node.name.as_str()).zip(totals)
    }

    /// Visits what the plugins gave to the feasible node at this place of [`Self::totals`].
    pub fn scores_at(&self, at: usize) -> impl Iterator<Item = Score> {
        self.columns.iter().filter_map(move |column| {
            Some(Score {
                plugin: column.plugin,
                weight: column.weight,
                score: *column.scores.get(at)?,
            })
        })
    }

    /// Returns the verdict on every node that was looked at.
    pub fn verdicts(&self) -> BTreeMap<String, Verdict> {
        let rejected = self.rejected.iter();
        let rejected = rejected.map(|(node, rejection)| (node.name.clone(), Verdict::Rejected(rejection.clone())));
        let feasible = self.totals().enumerate().map(|(at, (node, total))| {
            let scores = self.scores_at(at).collect();
            (node.to_owned(), Verdict::Feasible { total, scores })
        });
        rejected.chain(feasible).collect()
    }

    fn at_once(node: &Arc<NodeInfo>, snapshot: &Snapshot, start: usize) -> Self {
        Self {
            node: Some(node.name.clone()),
            nodes: snapshot.nodes.len(),
            next_start: start,
            feasible: vec![Arc::clone(node)],
            totals: vec![0],
            ..Self::default()
        }
    }
}

/// Decides as the default profile does. `tie` chooses among equally good nodes.
pub fn decide(pod: &PodInfo, snapshot: &Snapshot, tie: u64) -> Decision {
    static DEFAULT: LazyLock<Profile> = LazyLock::new(Profile::default);
    let turn = Turn { tie, ..Turn::default() };
    decide_for(&DEFAULT, pod, snapshot, turn)
}

/// A plugin of the profile that has something to say about the pod.
struct Ready<'a> {
    enabled: &'a Enabled,
    prepared: Box<dyn Prepared + 'a>,
}

fn prepare<'a>(profile: &'a Profile, pod: &'a PodInfo, snapshot: &'a Snapshot) -> Vec<Ready<'a>> {
    let plugins = profile.plugins.iter();
    plugins
        .filter_map(|enabled| {
            let prepared = enabled.plugin.prepare(pod, snapshot)?;
            Some(Ready { enabled, prepared })
        })
        .collect()
}

/// Decides where a pod goes, by plugins alone.
pub fn decide_for(profile: &Profile, pod: &PodInfo, snapshot: &Snapshot, turn: Turn) -> Decision {
    if let Some(decision) = nominated(profile, pod, snapshot, turn) {
        return decision;
    }
    let ready = prepare(profile, pod, snapshot);
    let mut decision = search(profile, &ready, pod, snapshot, turn);
    score(&ready, &mut decision);
    choose(turn.tie, &mut decision);
    decision
}

/// The decision about a pod for which room was made: it goes there, where it fits by now, whatever would be better.
pub(crate) fn nominated(profile: &Profile, pod: &PodInfo, snapshot: &Snapshot, turn: Turn) -> Option<Decision> {
    let node = pod.nominated().and_then(|name| snapshot.nodes.get(name))?;
    fits(profile, pod, snapshot, node).ok()?;
    Some(Decision::at_once(node, snapshot, turn.start))
}

/// The first half of a decision: which nodes can take the pod. [`finish`] is the other.
pub(crate) fn find(profile: &Profile, pod: &PodInfo, snapshot: &Snapshot, turn: Turn) -> Decision {
    search(profile, &prepare(profile, pod, snapshot), pod, snapshot, turn)
}

/// The second half of a decision: which of the nodes that can take the pod is the best. `beside` has scores of others than plugins.
pub(crate) fn finish(
    profile: &Profile,
    pod: &PodInfo,
    snapshot: &Snapshot,
    beside: Vec<Column>,
    turn: Turn,
    decision: &mut Decision,
) {
    score(&prepare(profile, pod, snapshot), decision);
    for column in beside {
        add(&mut decision.totals, &column);
        decision.columns.push(column);
    }
    choose(turn.tie, decision);
}

/// Asks the filters which nodes can take the pod.
fn search(profile: &Profile, ready: &[Ready<'_>], pod: &PodInfo, snapshot: &Snapshot, turn: Turn) -> Decision {
    let mut decision = Decision {
        nodes: snapshot.nodes.len(),
        next_start: turn.start,
        ..Decision::default()
    };
    let mut only: Option<BTreeSet<String>> = None;
    for plugin in ready.iter().filter(|plugin| plugin.enabled.filters) {
        decision.refusal = plugin.prepared.refusal();
        if decision.refusal.is_some() {
            return decision;
        }
        if let Some(names) = plugin.prepared.only() {
            decision.narrowed_by.insert(plugin.enabled.plugin.name());
            only = Some(only.map_or(names.clone(), |before| &before & &names));
        }
    }
    match only {
        Some(names) => {
            let named = names.iter().filter_map(|name| snapshot.nodes.get(name));
            look(profile, ready, pod, snapshot, named, usize::MAX, &mut decision);
        }
        None => {
            let enough = if turn.thorough {
                usize::MAX
            } else {
                profile.enough(decision.nodes)
            };
            let start = turn.start % decision.nodes.max(1);
            let nodes = snapshot.nodes_from(start);
            look(profile, ready, pod, snapshot, nodes, enough, &mut decision);
            let seen = decision.feasible.len() + decision.rejected.len();
            decision.next_start = (start + seen) % decision.nodes.max(1);
        }
    }
    decision
}

/// Adds the scores of a column to sums.
fn add(totals: &mut [i64], column: &Column) {
    for (total, score) in totals.iter_mut().zip(&column.scores) {
        *total = total.saturating_add(score.saturating_mul(column.weight));
    }
}

/// Looks at nodes one after another until enough can take the pod.
fn look<'a>(
    profile: &Profile,
    ready: &[Ready<'_>],
    pod: &PodInfo,
    snapshot: &Snapshot,
    nodes: impl Iterator<Item = &'a Arc<NodeInfo>>,
    enough: usize,
    decision: &mut Decision,
) {
    for node in nodes {
        let mut filters = ready.iter().filter(|plugin| plugin.enabled.filters);
        let refused = filters.find_map(|plugin| plugin.prepared.filter(node).err());
        match refused.or_else(|| beside_nominated(profile, pod, snapshot, node).err()) {
            Some(rejection) => decision.rejected.push((Arc::clone(node), rejection)),
            None => {
                decision.feasible.push(Arc::clone(node));
                if decision.feasible.len() >= enough {
                    return;
                }
            }
        }
    }
}

/// Lets the plugins score what is left to choose from.
fn score(ready: &[Ready<'_>], decision: &mut Decision) {
    decision.totals = vec![0; decision.feasible.len()];
    if decision.feasible.len() < 2 {
        return;
    }
    let nodes: Vec<&NodeInfo> = decision.feasible.iter().map(|node| &**node).collect();
    for plugin in ready {
        let Some(weight) = plugin.enabled.weight else { continue };
        let scores = plugin.prepared.scores(&nodes);
        if scores.is_empty() {
            continue;
        }
        let column = Column {
            plugin: plugin.enabled.plugin.name(),
            weight,
            scores,
        };
        add(&mut decision.totals, &column);
        decision.columns.push(column);
    }
}

/// Chooses one of the best.
fn choose(tie: u64, decision: &mut Decision) {
    let best = decision.totals.iter().copied().max();
    let totals = decision.totals.iter().zip(&decision.feasible);
    let winners: Vec<&str> = totals
        .filter(|(total, _)| Some(**total) == best)
        .map(|(_, node)| node.name.as_str())
        .collect();
    let chosen = usize::try_from(tie % (winners.len().max(1) as u64)).unwrap_or(0);
    decision.node = winners.get(chosen).map(|name| (*name).to_owned());
}

/// Asks whether a node passes every filter for a pod, as it is and as it will be when those have come that it is nominated for.
///
/// # Errors
/// Why not.
pub fn fits(profile: &Profile, pod: &PodInfo, snapshot: &Snapshot, node: &NodeInfo) -> Result<(), Rejection> {
    filter(profile, pod, snapshot, node)?;
    beside_nominated(profile, pod, snapshot, node)
}

fn filter(profile: &Profile, pod: &PodInfo, snapshot: &Snapshot, node: &NodeInfo) -> Result<(), Rejection> {
    let plugins = profile.plugins.iter().filter(|enabled| enabled.filters);
    plugins
        .filter_map(|enabled| enabled.plugin.prepare(pod, snapshot))
        .try_for_each(|plugin| plugin.refusal().map_or_else(|| plugin.filter(node), Err))
}

/// A less important pod must not take the room that is being made for another.
fn beside_nominated(profile: &Profile, pod: &PodInfo, snapshot: &Snapshot, node: &NodeInfo) -> Result<(), Rejection> {
    let Some(later) = snapshot.with_nominated(pod, node).map(Arc::new) else {
        return Ok(());
    };
    filter(profile, pod, &snapshot.with_node(Arc::clone(&later)), &later)
}

#[cfg(test)]
mod tests;
