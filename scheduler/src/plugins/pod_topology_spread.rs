//! Pods spread over topology domains: as their own constraints say, or by the system's default for pods of one owner or
//! service (hostname with skew 3, zone with skew 5, both as a wish).

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::TopologySpreadConstraint;
use timonel_api::selector::LabelSelector;

use super::taint_toleration::tolerates;
use super::{ClusterEvent, MAX_SCORE, Plugin, Prepared, Rejection, matches_node_affinity};
use crate::pod_info::PodInfo;
use crate::snapshot::{NodeInfo, Snapshot};

const HOSTNAME: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";

pub(super) struct PodTopologySpread;

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

    fn prepare<'a>(&self, pod: &'a PodInfo, snapshot: &'a Snapshot) -> Option<Box<dyn Prepared + 'a>> {
        let own = pod.spec()?.topology_spread_constraints.as_deref().unwrap_or_default();
        let (hard, soft): (Vec<_>, Vec<_>) = if own.is_empty() {
            // Upstream's `List` default constraints of `systemDefaulted`.
            let selector = pod.spread_selector.clone()?;
            let wish = |key: &str, max_skew| Constraint {
                key: key.to_owned(),
                max_skew,
                min_domains: 1,
                selector: selector.clone(),
                honor_affinity: true,
                honor_taints: false,
                hard: false,
            };
            (Vec::new(), vec![wish(HOSTNAME, 3), wish(ZONE, 5)])
        } else {
            own.iter()
                .map(|constraint| Constraint::new(pod, constraint))
                .partition(|constraint| constraint.hard)
        };
        let counts = hard
            .iter()
            .map(|constraint| constraint.count(pod, snapshot, &hard))
            .collect();
        Some(Box::new(Spread {
            pod,
            snapshot,
            hard,
            counts,
            soft,
            defaulted: own.is_empty(),
        }))
    }
}

struct Constraint {
    key: String,
    max_skew: i64,
    min_domains: usize,
    selector: LabelSelector,
    honor_affinity: bool,
    honor_taints: bool,
    hard: bool,
}

impl Constraint {
    fn new(pod: &PodInfo, constraint: &TopologySpreadConstraint) -> Self {
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
            key: constraint.topology_key.clone(),
            max_skew: i64::from(constraint.max_skew),
            min_domains: usize::try_from(constraint.min_domains.unwrap_or(1)).unwrap_or(1),
            selector: LabelSelector::from_optional(typed.as_ref()),
            honor_affinity: constraint.node_affinity_policy.as_deref() != Some("Ignore"),
            honor_taints: constraint.node_taints_policy.as_deref() == Some("Honor"),
            hard: constraint.when_unsatisfiable != "ScheduleAnyway",
        }
    }

    fn counts_pod(&self, of: &PodInfo, other: &PodInfo) -> bool {
        other.key.namespace == of.key.namespace
            && !other.is_terminating()
            && self.selector.matches_optional(other.pod.metadata.labels.as_ref())
    }

    fn counts_node(&self, pod: &PodInfo, node: &NodeInfo) -> bool {
        (!self.honor_affinity || matches_node_affinity(pod, node))
            && (!self.honor_taints
                || node
                    .taints()
                    .iter()
                    .all(|taint| taint.effect == "PreferNoSchedule" || tolerates(pod.tolerations(), taint)))
    }

    fn on_node(&self, pod: &PodInfo, node: &NodeInfo) -> i64 {
        i64::try_from(node.pods.values().filter(|other| self.counts_pod(pod, other)).count()).unwrap_or(i64::MAX)
    }

    /// Counts matching pods per domain, over the nodes that have every one of `all` keys.
    fn count(&self, pod: &PodInfo, snapshot: &Snapshot, all: &[Constraint]) -> BTreeMap<String, i64> {
        let mut counts = BTreeMap::new();
        for node in snapshot.nodes.values() {
            let complete = all.iter().all(|constraint| node.label(&constraint.key).is_some());
            if let Some(domain) = node.label(&self.key)
                && complete
                && self.counts_node(pod, node)
            {
                *counts.entry(domain.to_owned()).or_insert(0) += self.on_node(pod, node);
            }
        }
        counts
    }
}

struct Spread<'a> {
    pod: &'a PodInfo,
    snapshot: &'a Snapshot,
    hard: Vec<Constraint>,
    counts: Vec<BTreeMap<String, i64>>,
    soft: Vec<Constraint>,
    defaulted: bool,
}

impl Prepared for Spread<'_> {
    fn filter(&self, node: &NodeInfo) -> Result<(), Rejection> {
        for (constraint, counts) in self.hard.iter().zip(&self.counts) {
            let Some(domain) = node.label(&constraint.key) else {
                let reason = "node(s) didn't match pod topology spread constraints (missing required label)";
                return Err(Rejection::new("PodTopologySpread", reason, false));
            };
            let own = i64::from(
                constraint
                    .selector
                    .matches_optional(self.pod.pod.metadata.labels.as_ref()),
            );
            let least = if counts.len() < constraint.min_domains {
                0
            } else {
                counts.values().copied().min().unwrap_or(0)
            };
            let here = counts.get(domain).copied().unwrap_or(0);
            if here + own - least > constraint.max_skew {
                let reason = "node(s) didn't match pod topology spread constraints";
                let skew = here + own - least;
                return Err(Rejection {
                    of_pod: false,
                    detail: Some(format!(
                        "{} {domain}: skew would be {skew}, at most {}",
                        constraint.key, constraint.max_skew
                    )),
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
        // With constraints of its own a pod ignores nodes that lack a key; the default ones ignore only the key.
        let ignored = |node: &NodeInfo| {
            !self.defaulted && self.soft.iter().any(|constraint| node.label(&constraint.key).is_none())
        };
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
                    let sum: f64 = terms.iter().filter_map(|term| term.score(self.pod, node)).sum();
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
    constraint: &'a Constraint,
    per_domain: BTreeMap<String, i64>,
    weight: f64,
}

impl Spread<'_> {
    fn term<'a>(&self, constraint: &'a Constraint, considered: &[&NodeInfo]) -> Term<'a> {
        let domains: BTreeSet<&str> = considered
            .iter()
            .filter_map(|node| node.label(&constraint.key))
            .collect();
        let per_domain = if constraint.key == HOSTNAME {
            BTreeMap::new()
        } else {
            constraint.count(self.pod, self.snapshot, std::slice::from_ref(constraint))
        };
        let size = if constraint.key == HOSTNAME {
            considered.len()
        } else {
            domains.len()
        };
        Term {
            constraint,
            per_domain,
            weight: ((size + 2) as f64).ln(),
        }
    }
}

impl Term<'_> {
    fn score(&self, pod: &PodInfo, node: &NodeInfo) -> Option<f64> {
        let domain = node.label(&self.constraint.key)?;
        let count = if self.constraint.key == HOSTNAME {
            self.constraint.on_node(pod, node)
        } else {
            self.per_domain.get(domain).copied().unwrap_or(0)
        };
        Some(count as f64 * self.weight + (self.constraint.max_skew - 1) as f64)
    }
}
