//! Pods want to be near some pods and far from others.

use std::borrow::Cow;
use std::sync::Arc;

use super::args::InterPodAffinityArgs;
use super::{About, ClusterEvent, MAX_SCORE, Plugin, Prepared, Rejection, node_label};
use crate::counts::Counts;
use crate::index::Speech;
use crate::pod_info::{AffinityTerm, PodInfo};
use crate::query::Query;
use crate::snapshot::{NodeInfo, Snapshot};

#[derive(Debug)]
pub(super) struct InterPodAffinity {
    args: InterPodAffinityArgs,
}

impl InterPodAffinity {
    pub(super) fn new(args: &InterPodAffinityArgs) -> Self {
        Self { args: args.clone() }
    }
}

impl Plugin for InterPodAffinity {
    fn name(&self) -> &'static str {
        "InterPodAffinity"
    }

    fn weight(&self) -> i64 {
        2
    }

    fn wakes_on(&self, event: ClusterEvent) -> bool {
        !matches!(
            event,
            ClusterEvent::NodeAllocatable | ClusterEvent::NodeTaints | ClusterEvent::NodeRemoved
        )
    }

    fn helps(&self, pod: &PodInfo, about: &About) -> bool {
        // Which labels a namespace has is not known here: a term that asks for them may match.
        let may = |term: &AffinityTerm, other: &PodInfo| term.may_match(other);
        match about {
            About::Node { old, new: Some(new) } => {
                let mut terms = pod.affinity.iter().chain(&pod.anti_affinity);
                // A node's own domain changed, or it left one from which others are kept away.
                old.is_none()
                    || terms.any(|term| {
                        let before = old.as_ref().and_then(|old| node_label(old, &term.topology_key));
                        before != node_label(new, &term.topology_key)
                    })
                    || (pod.affinity.is_empty() && pod.anti_affinity.is_empty())
            }
            About::Pod { old, new, .. } => {
                let came = |other: &Arc<PodInfo>| pod.affinity.iter().any(|term| may(term, other));
                let went = |other: &Arc<PodInfo>| {
                    pod.anti_affinity.iter().any(|term| may(term, other))
                        || other.anti_affinity.iter().any(|term| may(term, pod))
                };
                new.as_ref().is_some_and(came) || old.as_ref().is_some_and(went)
            }
            _ => true,
        }
    }

    fn asks<'a>(&'a self, pod: &'a PodInfo) -> Vec<Query<'a>> {
        let wishes = pod.preferred.iter().map(|(_, term)| wish(term));
        near(pod).chain(far(pod)).chain(wishes).collect()
    }

    fn prepare<'a>(&'a self, pod: &'a PodInfo, snapshot: &'a Snapshot) -> Option<Box<dyn Prepared + 'a>> {
        let mut found = Found {
            pod,
            near: Vec::new(),
            far: Vec::new(),
            kept_off: Vec::new(),
            wishes: Vec::new(),
            first_of_its_kind: false,
        };
        found.look_at_placed(snapshot);
        found.listen_to_placed(&self.args, snapshot);
        let own = pod.affinity.iter().all(|term| term.matches(pod, &snapshot.namespaces));
        found.first_of_its_kind = own && found.near.iter().all(|counts| counts.is_empty());
        let concerned = !pod.affinity.is_empty()
            || !pod.anti_affinity.is_empty()
            || !found.kept_off.is_empty()
            || !found.wishes.is_empty();
        concerned.then(|| Box::new(found) as Box<dyn Prepared>)
    }
}

/// Asks, for each required affinity term, in which of its domains there are pods that all of them select.
fn near(pod: &PodInfo) -> impl Iterator<Item = Query<'_>> {
    pod.affinity.iter().map(|term| Query::selected(&pod.affinity, term))
}

/// Asks, for each anti-affinity term, in which of its domains there are pods that it selects.
fn far(pod: &PodInfo) -> impl Iterator<Item = Query<'_>> {
    pod.anti_affinity.iter().map(wish)
}

/// Asks in which domains of a term there are pods that it selects.
fn wish(term: &AffinityTerm) -> Query<'_> {
    Query::selected(std::slice::from_ref(term), term)
}

/// How many there are per value of a topology key.
struct Domains<'a> {
    key: &'a str,
    counts: Cow<'a, Counts>,
}

impl Domains<'_> {
    fn at(&self, node: &NodeInfo) -> i64 {
        let value = node.domain(self.key);
        value.map_or(0, |value| self.counts.get(&value))
    }
}

struct Found<'a> {
    pod: &'a PodInfo,
    /// For each required affinity term: domains with pods that all of them select.
    near: Vec<Cow<'a, Counts>>,
    /// For each anti-affinity term: domains with pods that it selects.
    far: Vec<Cow<'a, Counts>>,
    /// Domains with pods whose own anti-affinity selects our pod.
    kept_off: Vec<Domains<'a>>,
    /// Weights of all preferences, ours and theirs.
    wishes: Vec<(i64, Domains<'a>)>,
    /// No pod matches our affinity yet, and we match it ourselves: so the first of a group can be placed.
    first_of_its_kind: bool,
}

impl<'a> Found<'a> {
    /// What the pod's own terms select among placed pods.
    fn look_at_placed(&mut self, snapshot: &'a Snapshot) {
        let pod = self.pod;
        self.near = near(pod).map(|query| snapshot.counted(&query)).collect();
        self.far = far(pod).map(|query| snapshot.counted(&query)).collect();
        for (weight, term) in &pod.preferred {
            let counts = snapshot.counted(&wish(term));
            if !counts.is_empty() {
                let key = &term.topology_key;
                self.wishes.push((*weight, Domains { key, counts }));
            }
        }
    }

    /// What placed pods say of this one.
    fn listen_to_placed(&mut self, args: &InterPodAffinityArgs, snapshot: &'a Snapshot) {
        let quiet = args.ignore_preferred_terms_of_existing_pods && self.pod.preferred.is_empty();
        for carried in snapshot.index.carried() {
            let weight = match carried.speech {
                Speech::Against => 0,
                _ if quiet => continue,
                Speech::With => args.hard_pod_affinity_weight,
                Speech::Wish(weight) => weight,
            };
            if carried.counts.is_empty() || !carried.term.matches(self.pod, &snapshot.namespaces) {
                continue;
            }
            let domains = Domains {
                key: &carried.term.topology_key,
                counts: Cow::Borrowed(&carried.counts),
            };
            if carried.speech == Speech::Against {
                self.kept_off.push(domains);
            } else if weight != 0 {
                self.wishes.push((weight, domains));
            }
        }
    }

    fn is_near(&self, node: &NodeInfo) -> bool {
        self.pod.affinity.iter().zip(&self.near).all(|(term, counts)| {
            node.domain(&term.topology_key)
                .is_some_and(|value| counts.get(&value) > 0 || self.first_of_its_kind)
        })
    }

    fn is_far(&self, node: &NodeInfo) -> bool {
        self.pod.anti_affinity.iter().zip(&self.far).all(|(term, counts)| {
            let value = node.domain(&term.topology_key);
            value.is_none_or(|value| counts.get(&value) == 0)
        })
    }
}

impl Prepared for Found<'_> {
    fn filter(&self, node: &NodeInfo) -> Result<(), Rejection> {
        if !self.is_near(node) {
            let reason = "node(s) didn't match pod affinity rules";
            return Err(Rejection::new("InterPodAffinity", reason, false));
        }
        if !self.is_far(node) {
            let reason = "node(s) didn't match pod anti-affinity rules";
            return Err(Rejection::new("InterPodAffinity", reason, true));
        }
        if self.kept_off.iter().any(|domains| domains.at(node) > 0) {
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
                let wishes = self.wishes.iter();
                wishes.map(|(weight, domains)| weight * domains.at(node)).sum()
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
