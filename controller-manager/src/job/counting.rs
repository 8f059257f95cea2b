//! The Job's status: who is counted, what is announced, and when it is all over.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use timonel_api::{conditions, pod};

use super::ending::{Ending, condition};
use super::facts::{counts_as_failed, has, index_of, indexed, is_suspended, is_tracked};
use super::plan::Say;
use super::policy::{self, Verdict};
use super::tally::{Tally, count};
use crate::owner;

/// Uids in a status at most, as upstream's `MaxUncountedPods`: a status must stay small, and one Job must not hold up others.
const MOST_UNCOUNTED: usize = 500;

/// Notes in the status whether the Job is suspended.
pub(super) fn suspension(status: &mut JobStatus, spec: &JobSpec, now: Timestamp, say: &mut Vec<Say>) {
    let list = status.conditions.get_or_insert_default();
    let old = conditions::find(list, "Suspended").map(|condition| condition.status == "True");
    if is_suspended(spec) && old != Some(true) {
        conditions::set(
            list,
            condition("Suspended", "True", "JobSuspended", "Job suspended", now),
            now,
        );
        say.push(Say::Suspended);
    }
    if !is_suspended(spec) && old == Some(true) {
        conditions::set(
            list,
            condition("Suspended", "False", "JobResumed", "Job resumed", now),
            now,
        );
        status.start_time = Some(Time(now));
        say.push(Say::Resumed);
    }
    if list.is_empty() {
        status.conditions = None;
    }
}

/// Brings the counts up to date, and returns the pods that may go once the status is written.
pub(super) fn account<'a>(
    status: &mut JobStatus,
    spec: &JobSpec,
    tally: &Tally<'a>,
    ending: Option<&Ending>,
    leaving: bool,
) -> Vec<&'a Arc<Pod>> {
    let nonzero = |number: i32| (number != 0).then_some(number);
    status.active = nonzero(count(tally.active.len()));
    status.ready = Some(tally.ready);
    status.terminating = Some(tally.terminating);

    let mut uncounted = status.uncounted_terminated_pods.take().unwrap_or_default();
    let (mut succeeded, mut failed) = (
        uncounted.succeeded.take().unwrap_or_default(),
        uncounted.failed.take().unwrap_or_default(),
    );
    // Whose finalizer is gone is counted now.
    let tracked: BTreeSet<&str> = tally
        .pods
        .iter()
        .filter(|pod| is_tracked(pod))
        .map(|pod| owner::uid(&pod.metadata))
        .collect();
    let before = (succeeded.len(), failed.len());
    succeeded.retain(|uid| tracked.contains(uid.as_str()));
    failed.retain(|uid| tracked.contains(uid.as_str()));
    status.succeeded = nonzero(status.succeeded.unwrap_or(0) + count(before.0 - succeeded.len()));
    status.failed = nonzero(status.failed.unwrap_or(0) + count(before.1 - failed.len()));

    let completions = indexed(spec);
    let valid = |pod: &Pod| completions.is_none_or(|limit| index_of(pod).is_some_and(|index| index < limit));
    let mut released = Vec::new();
    let mut new_indexes = BTreeSet::new();
    for pod in tally.pods.iter().copied().filter(|pod| is_tracked(pod)) {
        let is_failed = counts_as_failed(pod, spec);
        if !may_go(tally, pod, is_failed, ending.is_some() || leaving) {
            continue;
        }
        released.push(pod);
        let uid = owner::uid(&pod.metadata);
        let listed = |list: &[String]| list.iter().any(|other| other == uid);
        if pod::is_succeeded(pod) && !listed(&failed) {
            match completions {
                // The index itself says whether it is counted.
                Some(_) => {
                    new_indexes.extend(index_of(pod).filter(|index| valid(pod) && !tally.counted_indexes.has(*index)))
                }
                None if !listed(&succeeded) => succeeded.push(uid.to_owned()),
                None => {}
            }
        } else if is_failed || ending.is_some_and(|ending| !ending.is_success()) {
            // When the Job has failed, so has every pod that has not ended.
            let counts = policy::judge(spec, pod) != Verdict::Ignored;
            if valid(pod) && counts && !listed(&failed) && !listed(&succeeded) {
                failed.push(uid.to_owned());
            }
        }
        if new_indexes.len() + succeeded.len() + failed.len() >= MOST_UNCOUNTED {
            break;
        }
    }
    if completions.is_some() {
        let done = tally.counted_indexes.with(new_indexes);
        status.succeeded = nonzero(i32::try_from(done.total()).unwrap_or(i32::MAX));
        status.completed_indexes = Some(done.to_string()).filter(|text| !text.is_empty());
        status.failed_indexes = tally.failed_indexes.as_ref().map(ToString::to_string);
    }
    let some = |list: Vec<String>| (!list.is_empty()).then_some(list);
    uncounted.succeeded = some(succeeded);
    uncounted.failed = some(failed);
    status.uncounted_terminated_pods = Some(uncounted);
    released
}

/// Whether a pod need not be kept any longer.
fn may_go(tally: &Tally<'_>, pod: &Arc<Pod>, is_failed: bool, over: bool) -> bool {
    if over || pod::is_succeeded(pod) {
        return true;
    }
    let kept = index_of(pod).and_then(|index| tally.awaiting_successor.get(&index));
    is_failed && kept.is_none_or(|kept| kept.metadata.uid != pod.metadata.uid)
}

/// Announces the end, and states it when nothing of the Job runs or waits to be counted any more.
pub(super) fn conclude(
    status: &mut JobStatus,
    job: &Job,
    spec: &JobSpec,
    tally: &Tally<'_>,
    ending: Option<&Ending>,
    now: Timestamp,
    say: &mut Vec<Say>,
) {
    let Some(ending) = ending else { return };
    let announced = has(job, "SuccessCriteriaMet") || has(job, "FailureTarget");
    let list = status.conditions.get_or_insert_default();
    if !announced {
        list.push(ending.announcement(now));
        return;
    }
    let uncounted = status.uncounted_terminated_pods.clone().unwrap_or_default();
    let waits = uncounted.succeeded.is_some() || uncounted.failed.is_some();
    if waits || tally.terminating > 0 || !tally.active.is_empty() || tally.pods.iter().any(|pod| is_tracked(pod)) {
        return;
    }
    list.push(ending.conclusion(now));
    match ending {
        Ending::Succeeds { .. } => {
            status.completion_time = Some(Time(now));
            let most = spec.completions.unwrap_or(i32::MAX);
            if status.succeeded.unwrap_or(0) > most {
                say.push(Say::TooManySucceeded);
            }
            say.push(Say::Completed);
        }
        Ending::Fails { reason, message } => {
            say.push(Say::Failed {
                reason: reason.clone(),
                message: message.clone(),
            });
        }
    }
}
