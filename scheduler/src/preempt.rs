//! Making room: which less important pods would have to go so that a pod fits (upstream's DefaultPreemption).

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use timonel_api::selector::LabelSelector;

use crate::decide::{Decision, fits};
use crate::plugins::{Reasons, Rejection};
use crate::pod_info::PodInfo;
use crate::profile::Profile;
use crate::snapshot::{NodeInfo, Snapshot};

/// What to do about a pod that fits nowhere.
#[derive(Clone, Debug)]
pub enum Preemption {
    /// Delete these pods; the node is then nominated.
    Evict {
        /// The node to make room on.
        node: String,
        /// Who must go, most important first.
        victims: Vec<Arc<PodInfo>>,
        /// Less important pods that waited for room on this node: it is no longer theirs.
        displaced: Vec<Arc<PodInfo>>,
    },
    /// It may not, or not now; the text goes after the decision's message.
    NotEligible(&'static str),
    /// It would not help, and no node is nominated any more; the text goes after the decision's message.
    Nothing(String),
    /// Extenders failed, or left no node; the text goes after the decision's message.
    Failed(String),
}

/// A node on which room could be made.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The node.
    pub node: String,
    /// Who must go, most important first.
    pub victims: Vec<Arc<PodInfo>>,
    /// How many of them budgets do not allow to.
    pub violations: usize,
}

/// Looks for the node where making room hurts least. `offset` says with which node to begin: a random number in production.
pub fn preempt(
    profile: &Profile,
    pod: &PodInfo,
    snapshot: &Snapshot,
    decision: &Decision,
    budgets: &[Arc<PodDisruptionBudget>],
    offset: u64,
) -> Preemption {
    match candidates(profile, pod, snapshot, decision, budgets, offset) {
        Ok(candidates) => choose(pod, snapshot, candidates).unwrap_or_else(|| Preemption::Nothing(String::new())),
        Err(none) => none,
    }
}

/// Looks for nodes where room can be made: at least one, or the reason why there is none.
pub(crate) fn candidates(
    profile: &Profile,
    pod: &PodInfo,
    snapshot: &Snapshot,
    decision: &Decision,
    budgets: &[Arc<PodDisruptionBudget>],
    offset: u64,
) -> Result<Vec<Candidate>, Preemption> {
    let Some(args) = &profile.preemption else {
        return Err(Preemption::NotEligible(""));
    };
    if let Some(why) = not_now(pod, snapshot, decision) {
        return Err(Preemption::NotEligible(why));
    }
    // What was said of all nodes at once may be changed on any of them.
    let everywhere = decision.refusal.as_ref().is_some_and(|refusal| refusal.resolvable);
    let potential: Vec<&Arc<NodeInfo>> = decision
        .rejections()
        .filter(|(_, rejection)| rejection.resolvable)
        .filter_map(|(name, _)| snapshot.nodes.get(name))
        .chain(snapshot.nodes.values().filter(|_| everywhere))
        .collect();
    let mut reasons: BTreeMap<Cow<'static, str>, usize> = BTreeMap::new();
    if potential.len() < decision.nodes {
        reasons.insert(
            "Preemption is not helpful for scheduling".into(),
            decision.nodes - potential.len(),
        );
    }
    let wanted = (potential.len() * args.min_candidate_nodes_percentage / 100).max(args.min_candidate_nodes_absolute);
    let begin = usize::try_from(offset % (potential.len().max(1) as u64)).unwrap_or(0);
    let (later, first) = potential.split_at(begin);
    let mut candidates = Vec::new();
    for node in first.iter().chain(later) {
        match victims_on(profile, pod, snapshot, node, budgets) {
            Ok((victims, violations)) => candidates.push(Candidate {
                node: node.name.clone(),
                victims,
                violations,
            }),
            Err(why) => {
                for reason in why.iter() {
                    *reasons.entry(reason.clone()).or_insert(0) += 1;
                }
            }
        }
        if candidates.len() >= wanted && candidates.iter().any(|candidate| candidate.violations == 0) {
            break;
        }
    }
    if !candidates.is_empty() {
        return Ok(candidates);
    }
    let texts = reasons.iter().map(|(reason, count)| format!("{count} {reason}"));
    let mut texts: Vec<String> = texts.collect();
    texts.sort();
    let nodes = decision.nodes;
    Err(Preemption::Nothing(format!(
        "preemption: 0/{nodes} nodes are available: {}.",
        texts.join(", ")
    )))
}

/// Why a pod may not make room, or has to wait for what it has made already.
fn not_now(pod: &PodInfo, snapshot: &Snapshot, decision: &Decision) -> Option<&'static str> {
    if pod.spec().and_then(|spec| spec.preemption_policy.as_deref()) == Some("Never") {
        return Some("preemption: not eligible due to preemptionPolicy=Never.");
    }
    // Victims of an earlier attempt are still leaving: wait for them, unless the node would not do any more.
    let nominated = pod.nominated().filter(|name| {
        let mut rejections = decision.rejections();
        !rejections.any(|(node, rejection)| node == *name && !rejection.resolvable)
    });
    let leaving = nominated.and_then(|node| snapshot.nodes.get(node)).is_some_and(|node| {
        node.pods
            .values()
            .any(|other| other.priority < pod.priority && was_preempted(other))
    });
    leaving.then_some("preemption: not eligible due to a terminating pod on the nominated node.")
}

/// Chooses the node where making room hurts least; `None` where there is none.
pub(crate) fn choose(pod: &PodInfo, snapshot: &Snapshot, candidates: Vec<Candidate>) -> Option<Preemption> {
    // Upstream's order: fewest broken budgets, then the least important victims, then the fewest, then the youngest.
    let best = candidates.into_iter().min_by_key(|candidate| {
        let priorities = candidate.victims.iter().map(|victim| i64::from(victim.priority));
        let highest = priorities.clone().max();
        let sum: i64 = priorities.clone().map(|priority| priority - i64::from(i32::MIN)).sum();
        let oldest_important = candidate
            .victims
            .iter()
            .filter(|victim| Some(i64::from(victim.priority)) == highest)
            .map(|victim| started(victim))
            .min();
        (
            candidate.violations,
            highest,
            sum,
            candidate.victims.len(),
            Reverse(oldest_important),
        )
    });
    let candidate = best?;
    let waiting = snapshot.nominated.get(&candidate.node).into_iter().flatten();
    Some(Preemption::Evict {
        displaced: waiting.filter(|other| other.priority < pod.priority).cloned().collect(),
        node: candidate.node,
        victims: candidate.victims,
    })
}

/// Whether a pod is going because a scheduler wanted its room.
fn was_preempted(pod: &PodInfo) -> bool {
    pod.is_terminating()
        && timonel_api::pod::condition(&pod.pod, "DisruptionTarget").is_some_and(|condition| {
            condition.status == "True" && condition.reason.as_deref() == Some("PreemptionByScheduler")
        })
}

fn started(pod: &PodInfo) -> Timestamp {
    let status = pod.pod.status.as_ref();
    status
        .and_then(|status| status.start_time.as_ref())
        .map_or(Timestamp::MAX, |time| time.0)
}

/// Finds the smallest set of less important pods on a node without which the pod fits, and how many budgets they break; or why
/// there is none.
fn victims_on(
    profile: &Profile,
    pod: &PodInfo,
    snapshot: &Snapshot,
    node: &Arc<NodeInfo>,
    budgets: &[Arc<PodDisruptionBudget>],
) -> Result<(Vec<Arc<PodInfo>>, usize), Reasons> {
    let nobody = || Reasons::One(Cow::Borrowed("No preemption victims found for incoming pod"));
    let mut lower: Vec<Arc<PodInfo>> = node
        .pods
        .values()
        .filter(|other| other.priority < pod.priority)
        .cloned()
        .collect();
    if lower.is_empty() {
        return Err(nobody());
    }
    let mut without = NodeInfo::clone(node);
    for victim in &lower {
        without.remove_pod(&victim.uid);
    }
    fits_with(profile, pod, snapshot, &without).map_err(|rejection| rejection.reasons)?;
    // Spare as many as possible, the most important (and, among equals, the longest running) first, and those whose
    // budgets allow no disruption before all others.
    lower.sort_by_key(|victim| (Reverse(victim.priority), started(victim), victim.key.clone()));
    let (breaking, others) = split_by_budget(lower, budgets);
    let mut victims = Vec::new();
    let mut violations = 0;
    let breaking = breaking.into_iter().map(|victim| (victim, true));
    for (candidate, breaks) in breaking.chain(others.into_iter().map(|victim| (victim, false))) {
        without.add_pod(Arc::clone(&candidate));
        if fits_with(profile, pod, snapshot, &without).is_err() {
            without.remove_pod(&candidate.uid);
            violations += usize::from(breaks);
            victims.push(candidate);
        }
    }
    victims.sort_by_key(|victim| (Reverse(victim.priority), started(victim), victim.key.clone()));
    if victims.is_empty() {
        return Err(nobody());
    }
    Ok((victims, violations))
}

fn fits_with(profile: &Profile, pod: &PodInfo, snapshot: &Snapshot, node: &NodeInfo) -> Result<(), Rejection> {
    fits(profile, pod, &snapshot.with_node(Arc::new(node.clone())), node)
}

fn split_by_budget(
    pods: Vec<Arc<PodInfo>>,
    budgets: &[Arc<PodDisruptionBudget>],
) -> (Vec<Arc<PodInfo>>, Vec<Arc<PodInfo>>) {
    let mut allowed: Vec<i32> = budgets
        .iter()
        .map(|budget| {
            budget
                .status
                .as_ref()
                .and_then(|status| status.disruptions_allowed)
                .unwrap_or(0)
        })
        .collect();
    pods.into_iter().partition(|pod| {
        let mut breaks = false;
        for (budget, allowed) in budgets.iter().zip(&mut allowed) {
            let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
            let selector = LabelSelector::from_optional(selector);
            let labels = pod.pod.metadata.labels.as_ref();
            // Neither a budget that selects nothing in particular nor a pod without labels is concerned, as upstream.
            let concerned = budget.metadata.namespace.as_deref() == Some(pod.key.namespace.as_str())
                && !selector.is_everything()
                && labels.is_some_and(|labels| !labels.is_empty())
                && selector.matches_optional(labels);
            let counted = budget
                .status
                .as_ref()
                .and_then(|status| status.disrupted_pods.as_ref())
                .is_some_and(|disrupted| disrupted.contains_key(&pod.key.name));
            if concerned && !counted {
                *allowed -= 1;
                breaks |= *allowed < 0;
            }
        }
        breaks
    })
}
