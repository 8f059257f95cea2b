//! Pods spread over topology domains: as their own constraints say, or by the system's default for pods of one owner or
//! service (hostname with skew 3, zone with skew 5, both as a wish), or by the profile's.

use std::borrow::Cow;
use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Node, TopologySpreadConstraint};
use timonel_api::selector::LabelSelector;

use super::args::SpreadArgs;
use super::taint_toleration::tolerates;
use super::{About, ClusterEvent, Detail, MAX_SCORE, Plugin, Prepared, Rejection, matches_node_affinity, node_label};
use crate::counts::Counts;
use crate::index::{HOSTNAME, ZONE};
use crate::pod_info::PodInfo;
use crate::query::{Per, Query};
use crate::snapshot::{NodeInfo, Snapshot};
use crate::symbol::Symbol;

#[derive(Debug)]
pub(super) struct PodTopologySpread {
    args: SpreadArgs,
}

impl PodTopologySpread {
    pub(super) fn new(args: &SpreadArgs) -> Self {
        Self { args: args.clone() }
    }

    fn constraints<'a>(&'a self, pod: &'a PodInfo) -> Option<Vec<Constraint<'a>>> {
        let own = pod.spec()?.topology_spread_constraints.as_deref().unwrap_or_default();
        if !own.is_empty() {
            return Some(own.iter().map(|constraint| Constraint::new(pod, constraint)).collect());
        }
        let selector = pod.spread_selector.as_ref()?;
        let defaulted = |constraint: Constraint<'a>| Constraint {
            selector: Cow::Borrowed(selector),
            ..constraint
        };
        match &self.args.default_constraints {
            Some(listed) => Some(
                listed
                    .iter()
                    .map(|constraint| defaulted(Constraint::new(pod, constraint)))
                    .collect(),
            ),
            None => {
                let wish = |key: &'static str, max_skew| {
                    defaulted(Constraint {
                        key,
                        max_skew,
                        min_domains: 1,
                        selector: Cow::Borrowed(selector),
                        honor_affinity: true,
                        honor_taints: false,
                        hard: false,
                    })
                };
                Some(vec![wish(HOSTNAME, 3), wish(ZONE, 5)])
            }
        }
    }
}

impl Plugin for PodTopologySpread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }

    fn weight(&self) -> i64 {
        2
    }

    fn wakes_on(&self, event: ClusterEvent) -> bool {
        event != ClusterEvent::NodeAllocatable
    }

    fn helps(&self, pod: &PodInfo, about: &About) -> bool {
        let constraints = self.constraints(pod).unwrap_or_default();
        let mut hard = constraints.iter().filter(|constraint| constraint.hard);
        match about {
            About::Node { old, new } => {
                let values = |node: Option<&Node>| -> Vec<Option<String>> {
                    let hard = constraints.iter().filter(|constraint| constraint.hard);
                    hard.map(|constraint| {
                        node.and_then(|node| node_label(node, constraint.key))
                            .map(str::to_owned)
                    })
                    .collect()
                };
                // Taints and affinity may exclude a node from counting, so a change of these counts as well.
                let excludes = |constraint: &Constraint<'_>| !constraint.counts_all_nodes(pod);
                values(old.as_deref()) != values(new.as_deref()) || hard.any(excludes)
            }
            About::Pod { old, new, .. } => {
                let mut both = [old, new].into_iter().flatten();
                both.any(|other| {
                    other.key.namespace == pod.key.namespace && hard.clone().any(|constraint| constraint.selects(other))
                })
            }
            About::Anything => true,
        }
    }

    fn asks<'a>(&'a self, pod: &'a PodInfo) -> Vec<Query<'a>> {
        let constraints = self.constraints(pod).unwrap_or_default();
        let asked = constraints.into_iter().map(|constraint| {
            let each_node = !constraint.hard && constraint.key == HOSTNAME;
            let per = if each_node || !constraint.counts_all_nodes(pod) {
                Per::Node
            } else {
                Per::Label(Cow::Borrowed(constraint.key))
            };
            Query::staying(&pod.key.namespace, constraint.selector, per)
        });
        asked.collect()
    }

    fn prepare<'a>(&'a self, pod: &'a PodInfo, snapshot: &'a Snapshot) -> Option<Box<dyn Prepared + 'a>> {
        let constraints = self.constraints(pod)?;
        let own = pod.spec()?.topology_spread_constraints.as_deref().unwrap_or_default();
        let (hard, soft): (Vec<_>, Vec<_>) = constraints.into_iter().partition(|constraint| constraint.hard);
        let counts = hard
            .iter()
            .map(|constraint| Domains::of(constraint, pod, snapshot, &hard))
            .collect();
        let itself = hard.iter().map(|constraint| i64::from(constraint.selects(pod)));
        let itself = itself.collect();
        Some(Box::new(Spread {
            itself,
            pod,
            snapshot,
            hard,
            counts,
            soft,
            lenient: own.is_empty() && self.args.default_constraints.is_none(),
        }))
    }
}

struct Constraint<'a> {
    key: &'a str,
    max_skew: i64,
    min_domains: usize,
    selector: Cow<'a, LabelSelector>,
    honor_affinity: bool,
    honor_taints: bool,
    hard: bool,
}

impl<'a> Constraint<'a> {
    fn new(pod: &PodInfo, constraint: &'a TopologySpreadConstraint) -> Self {
        let mut typed = constraint.label_selector.clone();
        // `matchLabelKeys` narrows the selector to the pod's own values of these labels.
        if let (Some(keys), Some(typed)) = (&constraint.match_label_keys, &mut typed) {
            let labels = pod.pod.metadata.labels.as_ref();
            for key in keys {
                if let Some(value) = labels.and_then(|labels| labels.get(key)) {
                    typed
                        .match_labels
                        .get_or_insert_default()
                        .entry(key.clone())
                        .or_insert_with(|| value.clone());
                }
            }
        }
        Self {
            key: &constraint.topology_key,
            max_skew: i64::from(constraint.max_skew),
            min_domains: usize::try_from(constraint.min_domains.unwrap_or(1)).unwrap_or(1),
            selector: Cow::Owned(LabelSelector::from_optional(typed.as_ref())),
            honor_affinity: constraint.node_affinity_policy.as_deref() != Some("Ignore"),
            honor_taints: constraint.node_taints_policy.as_deref() == Some("Honor"),
            hard: constraint.when_unsatisfiable != "ScheduleAnyway",
        }
    }

    fn selects(&self, other: &PodInfo) -> bool {
        self.selector.matches_optional(other.pod.metadata.labels.as_ref())
    }

    fn counts_node(&self, pod: &PodInfo, node: &NodeInfo) -> bool {
        (!self.honor_affinity || matches_node_affinity(pod, node))
            && (!self.honor_taints
                || node
                    .taints()
                    .iter()
                    .all(|taint| taint.effect == "PreferNoSchedule" || tolerates(pod.tolerations(), taint)))
    }

    /// Whether every node counts for this pod, whatever node it is.
    fn counts_all_nodes(&self, pod: &PodInfo) -> bool {
        !self.honor_taints && (!self.honor_affinity || !asks_for_nodes(pod))
    }

    /// Asks for the placed pods that it counts.
    fn asks<'q>(&'q self, pod: &'q PodInfo, per: Per<'q>) -> Query<'q> {
        Query::staying(&pod.key.namespace, Cow::Borrowed(&self.selector), per)
    }

    /// Asks for them in each of its domains.
    fn asks_per_domain<'q>(&'q self, pod: &'q PodInfo) -> Query<'q> {
        self.asks(pod, Per::Label(Cow::Borrowed(self.key)))
    }
}

fn asks_for_nodes(pod: &PodInfo) -> bool {
    pod.spec().is_some_and(|spec| {
        let affinity = spec.affinity.as_ref();
        let affinity = affinity.and_then(|affinity| affinity.node_affinity.as_ref());
        spec.node_selector.as_ref().is_some_and(|selector| !selector.is_empty())
            || affinity.is_some_and(|affinity| affinity.required_during_scheduling_ignored_during_execution.is_some())
    })
}

/// How many domains a key makes, where it is known that every node has it.
fn everywhere(key: &str, snapshot: &Snapshot) -> Option<usize> {
    let nodes = snapshot.index.nodes_per_domain(key)?;
    let sum = usize::try_from(nodes.total()).ok()?;
    (sum == snapshot.nodes.len()).then(|| nodes.len())
}

/// Whether every node has the keys of all constraints.
fn are_everywhere(all: &[Constraint<'_>], snapshot: &Snapshot) -> bool {
    all.iter()
        .all(|constraint| everywhere(constraint.key, snapshot).is_some())
}

/// How many matching pods are in each domain, over the nodes that count.
struct Domains<'a> {
    counts: Cow<'a, Counts>,
    /// The fewest in any domain.
    least: i64,
}

impl<'a> Domains<'a> {
    /// Counts over the nodes that have every one of `all` keys.
    fn of(constraint: &Constraint<'_>, pod: &PodInfo, snapshot: &'a Snapshot, all: &[Constraint<'_>]) -> Self {
        let (counts, domains) = match everywhere(constraint.key, snapshot) {
            Some(domains) if are_everywhere(all, snapshot) && constraint.counts_all_nodes(pod) => {
                (snapshot.counted(&constraint.asks_per_domain(pod)), domains)
            }
            _ => {
                let counts = counted(constraint, pod, snapshot, all);
                let domains = counts.len();
                (Cow::Owned(counts), domains)
            }
        };
        let least = if domains < constraint.min_domains || counts.len() < domains {
            0
        } else {
            counts.least().unwrap_or(0)
        };
        Self { counts, least }
    }
}

/// Counts node by node, domains without pods included.
fn counted(constraint: &Constraint<'_>, pod: &PodInfo, snapshot: &Snapshot, all: &[Constraint<'_>]) -> Counts {
    let on = snapshot.counted(&constraint.asks(pod, Per::Node));
    let mut counts = Counts::default();
    for node in snapshot.nodes.values() {
        let complete = all.iter().all(|constraint| node.has_label(constraint.key));
        if let Some(domain) = node.domain(constraint.key)
            && complete
            && constraint.counts_node(pod, node)
        {
            match on.get(&node.id) {
                0 => counts.keep(&domain),
                here => counts.change(&domain, here),
            }
        }
    }
    counts
}

struct Spread<'a> {
    pod: &'a PodInfo,
    snapshot: &'a Snapshot,
    hard: Vec<Constraint<'a>>,
    counts: Vec<Domains<'a>>,
    /// For each, one where it selects the pod itself.
    itself: Vec<i64>,
    soft: Vec<Constraint<'a>>,
    /// Nodes that lack a key are scored as well: the constraints are the system's.
    lenient: bool,
}

impl Prepared for Spread<'_> {
    fn filter(&self, node: &NodeInfo) -> Result<(), Rejection> {
        for ((constraint, domains), own) in self.hard.iter().zip(&self.counts).zip(&self.itself) {
            let Some(domain) = node.domain(constraint.key) else {
                let reason = "node(s) didn't match pod topology spread constraints (missing required label)";
                return Err(Rejection::new("PodTopologySpread", reason, false));
            };
            let here = domains.counts.get(&domain);
            let skew = here + own - domains.least;
            if skew > constraint.max_skew {
                let reason = "node(s) didn't match pod topology spread constraints";
                return Err(Rejection {
                    detail: Some(Box::new(Detail::Skew {
                        key: constraint.key.into(),
                        domain: domain.into_owned(),
                        skew,
                        most: constraint.max_skew,
                    })),
                    ..Rejection::new("PodTopologySpread", reason, true)
                });
            }
        }
        Ok(())
    }

    #[expect(clippy::cast_possible_truncation, reason = "a sum of pod counts times small weights")]
    fn scores(&self, feasible: &[&NodeInfo]) -> Vec<i64> {
        if self.soft.is_empty() {
            return Vec::new();
        }
        let ignored =
            |node: &NodeInfo| !self.lenient && self.soft.iter().any(|constraint| !node.has_label(constraint.key));
        let considered: Vec<&NodeInfo> = feasible.iter().copied().filter(|node| !ignored(node)).collect();
        let terms: Vec<Term<'_>> = self
            .soft
            .iter()
            .map(|constraint| self.term(constraint, &considered))
            .collect();
        let raw: Vec<Option<i64>> = feasible
            .iter()
            .map(|node| {
                (!ignored(node)).then(|| {
                    let sum: f64 = terms.iter().filter_map(|term| term.score(node)).sum();
                    sum.round() as i64
                })
            })
            .collect();
        let (lowest, highest) = raw
            .iter()
            .flatten()
            .fold((i64::MAX, 0), |(low, high), &score| (low.min(score), high.max(score)));
        let scaled = |score: Option<i64>| match score {
            None => 0,
            Some(_) if highest == 0 => MAX_SCORE,
            Some(score) => MAX_SCORE * (highest + lowest - score) / highest,
        };
        raw.into_iter().map(scaled).collect()
    }
}

/// One wish, counted.
struct Term<'a> {
    constraint: &'a Constraint<'a>,
    /// How many there are on each node where each node is a domain, in each domain otherwise.
    counts: Cow<'a, Counts>,
    weight: f64,
}

impl Spread<'_> {
    fn term<'a>(&'a self, constraint: &'a Constraint<'a>, considered: &[&NodeInfo]) -> Term<'a> {
        let hostname = constraint.key == HOSTNAME;
        let size = if hostname {
            considered.len()
        } else {
            // Nodes without the key are a domain of their own here, as upstream.
            let values = considered.iter().map(|node| node.domain(constraint.key));
            values.collect::<BTreeSet<Option<Cow<'_, Symbol>>>>().len()
        };
        let complete = self.lenient || are_everywhere(&self.soft, self.snapshot);
        let counts = if hostname {
            self.snapshot.counted(&constraint.asks(self.pod, Per::Node))
        } else if complete && constraint.counts_all_nodes(self.pod) {
            self.snapshot.counted(&constraint.asks_per_domain(self.pod))
        } else {
            let all: &[Constraint<'_>] = if self.lenient { &[] } else { &self.soft };
            Cow::Owned(counted(constraint, self.pod, self.snapshot, all))
        };
        Term {
            constraint,
            counts,
            weight: ((size + 2) as f64).ln(),
        }
    }
}

impl Term<'_> {
    fn score(&self, node: &NodeInfo) -> Option<f64> {
        let count = if self.constraint.key == HOSTNAME {
            node.has_label(HOSTNAME).then(|| self.counts.get(&node.id))?
        } else {
            self.counts.get(&*node.domain(self.constraint.key)?)
        };
        Some(count as f64 * self.weight + (self.constraint.max_skew - 1) as f64)
    }
}
