//! How many pods should run now, and which indexes they get.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::JobSpec;
use k8s_openapi::api::core::v1::Pod;
use timonel_api::pod;
use timonel_client::runner::Plan;

use super::backoff::{self, Backoff};
use super::facts::{failures_before, finished_at, index_of, indexed, is_suspended, replaces_only_failed};
use super::plan::{Action, Because, NewPod};
use super::policy::{self, Verdict};
use super::tally::{Tally, failures};
use crate::owner;

/// Pods created or deleted in one go at most, as upstream's `MaxPodCreateDeletePerSync`.
const BURST: usize = 500;

type JobPlan = Plan<Action, Because>;

/// Starts or stops pods; never both in one plan.
pub(super) fn manage(plan: &mut JobPlan, spec: &JobSpec, tally: &Tally<'_>, backoff: Backoff, now: Timestamp) {
    let have = tally.active.len();
    if is_suspended(spec) {
        for pod in to_remove(spec, tally, have, now) {
            stop(
                plan,
                pod,
                Because::Suspended {
                    pod: owner::name(&pod.metadata).to_owned(),
                },
            );
        }
        return;
    }
    let positive = |number: i32| usize::try_from(number).unwrap_or(0);
    let parallelism = positive(spec.parallelism.unwrap_or(1));
    let want = match spec.completions {
        // A queue of work: after the first success nobody new starts, and whoever runs may finish.
        None if tally.succeeded > 0 => have,
        None => parallelism,
        Some(completions) => positive(completions - tally.succeeded).min(parallelism),
    };
    let surplus = to_remove(spec, tally, have.saturating_sub(want), now);
    if !surplus.is_empty() {
        for pod in surplus.into_iter().take(BURST) {
            let name = owner::name(&pod.metadata).to_owned();
            let because = if have > want {
                Because::TooMany { have, want, pod: name }
            } else {
                Because::IndexNotWanted { pod: name }
            };
            stop(plan, pod, because);
        }
        return;
    }
    let ending = if replaces_only_failed(spec) {
        positive(tally.terminating)
    } else {
        0
    };
    let missing = want.saturating_sub(have + ending).min(BURST);
    if missing == 0 {
        return;
    }
    let per_index = spec.backoff_limit_per_index.is_some() && indexed(spec).is_some();
    let pause = backoff.remaining(now);
    if !per_index && !pause.is_zero() {
        plan.look_again(pause);
        return;
    }
    let new = match indexed(spec) {
        None => vec![NewPod::default(); missing],
        Some(completions) => of_indexes(plan, spec, tally, missing, completions, now),
    };
    if !new.is_empty() {
        plan.act(Action::Create(new), Because::TooFew { have, want });
    }
}

fn stop(plan: &mut JobPlan, pod: &Arc<Pod>, because: Because) {
    plan.act(
        Action::Delete {
            pod: Arc::clone(pod),
            uncounted: true,
        },
        because,
    );
}

/// The pods of the first indexes that nobody works on. Indexes that failed lately wait, each by itself.
fn of_indexes(
    plan: &mut JobPlan,
    spec: &JobSpec,
    tally: &Tally<'_>,
    missing: usize,
    completions: u32,
    now: Timestamp,
) -> Vec<NewPod> {
    let mut taken = tally
        .succeeded_indexes
        .with(tally.active.iter().filter_map(|pod| index_of(pod)));
    if replaces_only_failed(spec) {
        let ending = tally
            .pods
            .iter()
            .filter(|pod| pod::is_terminating(pod) && !pod::is_terminal(pod));
        taken = taken.with(ending.filter_map(|pod| index_of(pod)));
    }
    if let Some(failed) = &tally.failed_indexes {
        taken = taken.and(failed);
    }
    let free = taken.first_missing(missing, completions);
    if spec.backoff_limit_per_index.is_none() {
        return free
            .into_iter()
            .map(|index| NewPod {
                index: Some(index),
                failures: None,
            })
            .collect();
    }
    let pause = |index: &u32| {
        let before = tally.awaiting_successor.get(index)?;
        let pause = backoff::remaining(failures(before).saturating_add(1), finished_at(before)?, now);
        (!pause.is_zero()).then_some(pause)
    };
    let (ready, waiting): (Vec<u32>, Vec<u32>) = free.into_iter().partition(|index| pause(index).is_none());
    if let Some(pause) = waiting.iter().filter_map(pause).min() {
        plan.look_again(pause);
    }
    let handed_down = |index: u32| match tally.awaiting_successor.get(&index) {
        None => (0, 0),
        Some(before) => {
            let (counted, ignored) = failures_before(before);
            match policy::judge(spec, before) {
                Verdict::Ignored => (counted, ignored.saturating_add(1)),
                _ => (counted.saturating_add(1), ignored),
            }
        }
    };
    ready
        .into_iter()
        .map(|index| NewPod {
            index: Some(index),
            failures: Some(handed_down(index)),
        })
        .collect()
}

/// Which active pods go: of an Indexed Job all without a wanted index and all but the best of each index; then as many as needed.
fn to_remove<'a>(spec: &JobSpec, tally: &Tally<'a>, at_least: usize, now: Timestamp) -> Vec<&'a Arc<Pod>> {
    let pods: Vec<&Pod> = tally.active.iter().map(|pod| &***pod).collect();
    let order = pod::deletion_order(&pods, &vec![0; pods.len()], now);
    let mut gone = BTreeSet::new();
    if let Some(completions) = indexed(spec) {
        let mut kept = BTreeSet::new();
        // From the last to go to the first: of one index, the first to be seen is the one to keep.
        for at in order.iter().rev() {
            let wanted = index_of(pods[*at]).filter(|index| *index < completions);
            if wanted.is_none_or(|index| !kept.insert(index)) {
                gone.insert(*at);
            }
        }
    }
    for at in order {
        if gone.len() >= at_least {
            break;
        }
        gone.insert(at);
    }
    gone.into_iter().map(|at| tally.active[at]).collect()
}
