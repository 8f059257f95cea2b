//! Pods want to be near some pods and far from others.

use std::collections::BTreeMap;

use super::{ClusterEvent, MAX_SCORE, Plugin, Prepared, Rejection};
use crate::pod_info::{AffinityTerm, PodInfo};
use crate::snapshot::{NodeInfo, Snapshot};

/// What a required affinity of a placed pod counts for in scores. Upstream's `hardPodAffinityWeight`.
const REQUIRED_WEIGHT: i64 = 1;

/// Counts by topology key and value.
type Domains = BTreeMap<(String, String), i64>;

pub(super) struct InterPodAffinity;

impl Plugin for InterPodAffinity {
    fn name(&self) -> &'static str {
        "InterPodAffinity"
    }

    fn weight(&self) -> i64 {
        2
    }

    fn wakes_on(&self, event: ClusterEvent) -> bool {
        !matches!(event, ClusterEvent::NodeAllocatable | ClusterEvent::NodeTaints)
    }

    fn prepare<'a>(&self, pod: &'a PodInfo, snapshot: &'a Snapshot) -> Option<Box<dyn Prepared + 'a>> {
        let mut found = Found {
            pod,
            near: Domains::new(),
            far: Domains::new(),
            kept_off: Domains::new(),
            wishes: Domains::new(),
            first_of_its_kind: false,
        };
        for (node, other) in snapshot.pods() {
            found.look_at(node, other, snapshot);
        }
        let own = pod.affinity.iter().all(|term| term.matches(pod, &snapshot.namespaces));
        found.first_of_its_kind = found.near.is_empty() && own;
        let concerned = !pod.affinity.is_empty()
            || !pod.anti_affinity.is_empty()
            || !found.kept_off.is_empty()
            || !found.wishes.is_empty();
        concerned.then(|| Box::new(found) as Box<dyn Prepared>)
    }
}

struct Found<'a> {
    pod: &'a PodInfo,
    /// Domains with pods that all required affinity terms select.
    near: Domains,
    /// Domains with pods that an anti-affinity term selects.
    far: Domains,
    /// Domains with pods whose own anti-affinity selects our pod.
    kept_off: Domains,
    /// Weights of all preferences, ours and theirs.
    wishes: Domains,
    /// No pod matches our affinity yet, and we match it ourselves: so the first of a group can be placed.
    first_of_its_kind: bool,
}

fn count(domains: &mut Domains, node: &NodeInfo, key: &str, weight: i64) {
    if let Some(value) = node.label(key) {
        *domains.entry((key.to_owned(), value.to_owned())).or_insert(0) += weight;
    }
}

impl Found<'_> {
    fn look_at(&mut self, node: &NodeInfo, other: &PodInfo, snapshot: &Snapshot) {
        let names = &snapshot.namespaces;
        let selects = |term: &AffinityTerm| term.matches(other, names);
        if !self.pod.affinity.is_empty() && self.pod.affinity.iter().all(selects) {
            for term in &self.pod.affinity {
                count(&mut self.near, node, &term.topology_key, 1);
            }
        }
        for term in self.pod.anti_affinity.iter().filter(|term| selects(term)) {
            count(&mut self.far, node, &term.topology_key, 1);
        }
        for term in other.anti_affinity.iter().filter(|term| term.matches(self.pod, names)) {
            count(&mut self.kept_off, node, &term.topology_key, 1);
        }
        for (weight, term) in self.pod.preferred.iter().filter(|(_, term)| selects(term)) {
            count(&mut self.wishes, node, &term.topology_key, *weight);
        }
        for (weight, term) in other.preferred.iter().filter(|(_, term)| term.matches(self.pod, names)) {
            count(&mut self.wishes, node, &term.topology_key, *weight);
        }
        for term in other.affinity.iter().filter(|term| term.matches(self.pod, names)) {
            count(&mut self.wishes, node, &term.topology_key, REQUIRED_WEIGHT);
        }
    }
}

fn at(domains: &Domains, node: &NodeInfo, key: &str) -> Option<i64> {
    let value = node.label(key)?;
    Some(domains.get(&(key.to_owned(), value.to_owned())).copied().unwrap_or(0))
}

impl Prepared for Found<'_> {
    fn filter(&self, node: &NodeInfo) -> Result<(), Rejection> {
        let mut near = true;
        for term in &self.pod.affinity {
            match at(&self.near, node, &term.topology_key) {
                None => near = false,
                Some(count) => near &= count > 0 || self.first_of_its_kind,
            }
        }
        if !near {
            return Err(Rejection::new(
                "InterPodAffinity",
                "node(s) didn't match pod affinity rules",
                false,
            ));
        }
        let far = |term: &AffinityTerm| at(&self.far, node, &term.topology_key).is_none_or(|count| count == 0);
        if !self.pod.anti_affinity.iter().all(far) {
            return Err(Rejection::new(
                "InterPodAffinity",
                "node(s) didn't match pod anti-affinity rules",
                true,
            ));
        }
        let kept_off =
            |((key, value), count): (&(String, String), &i64)| *count > 0 && node.label(key) == Some(value.as_str());
        if self.kept_off.iter().any(kept_off) {
            let reason = "node(s) didn't satisfy existing pods anti-affinity rules";
            return Err(Rejection::new("InterPodAffinity", reason, true));
        }
        Ok(())
    }

    #[expect(clippy::cast_possible_truncation, reason = "between 0 and 100")]
    fn scores(&self, feasible: &[&NodeInfo]) -> Vec<i64> {
        if self.wishes.is_empty() {
            return Vec::new();
        }
        let raw: Vec<i64> = feasible
            .iter()
            .map(|node| {
                let here = |((key, value), weight): (&(String, String), &i64)| {
                    (node.label(key) == Some(value.as_str())).then_some(*weight)
                };
                self.wishes.iter().filter_map(here).sum()
            })
            .collect();
        let (low, high) = (
            raw.iter().copied().min().unwrap_or(0),
            raw.iter().copied().max().unwrap_or(0),
        );
        let scaled = |score: i64| {
            if high == low {
                0
            } else {
                (MAX_SCORE as f64 * (score - low) as f64 / (high - low) as f64) as i64
            }
        };
        raw.into_iter().map(scaled).collect()
    }
}
