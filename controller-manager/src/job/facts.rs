//! What a Job and its pods say about themselves, in one word each.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use timonel_api::{conditions, pod};

/// The finalizer that keeps a pod until it has been counted.
pub(super) const TRACKING: &str = "batch.kubernetes.io/job-tracking";
/// The annotation and the label that tell a pod's completion index.
pub(super) const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// How often the index of this pod failed before, as far as failures count.
pub(super) const INDEX_FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
/// How often the index of this pod failed before in ways that the failure policy ignores.
pub(super) const INDEX_IGNORED: &str = "batch.kubernetes.io/job-index-ignored-failure-count";
/// How this controller is called where a Job says who manages it.
const OURSELVES: &str = "kubernetes.io/job-controller";

pub(super) fn is_finished(job: &Job) -> bool {
    has(job, "Complete") || has(job, "Failed")
}

/// Whether a condition of the Job is true.
pub(super) fn has(job: &Job, kind: &str) -> bool {
    let list = job.status.as_ref().and_then(|status| status.conditions.as_deref());
    conditions::is_true(list.unwrap_or_default(), kind)
}

/// Whether somebody else manages the Job.
pub(super) fn is_managed_elsewhere(job: &Job) -> bool {
    let manager = job.spec.as_ref().and_then(|spec| spec.managed_by.as_deref());
    manager.is_some_and(|manager| manager != OURSELVES)
}

pub(super) fn is_suspended(spec: &JobSpec) -> bool {
    spec.suspend == Some(true)
}

/// The number of indexes, of a Job that has them.
pub(super) fn indexed(spec: &JobSpec) -> Option<u32> {
    let indexed = spec.completion_mode.as_deref() == Some("Indexed");
    let completions = spec.completions.and_then(|number| u32::try_from(number).ok());
    completions.filter(|_| indexed)
}

/// Whether a pod is replaced only when it has ended, not already while it is ending.
pub(super) fn replaces_only_failed(spec: &JobSpec) -> bool {
    spec.pod_replacement_policy.as_deref() == Some("Failed") || spec.pod_failure_policy.is_some()
}

/// Whether a pod counts as failed: it is, or it is being deleted and nobody waits for how it ends.
pub(super) fn counts_as_failed(pod: &Pod, spec: &JobSpec) -> bool {
    if pod::is_failed(pod) {
        return true;
    }
    !replaces_only_failed(spec) && pod::is_terminating(pod) && !pod::is_succeeded(pod)
}

/// Whether a pod still waits to be counted.
pub(super) fn is_tracked(pod: &Pod) -> bool {
    let finalizers = pod.metadata.finalizers.iter().flatten();
    finalizers.into_iter().any(|finalizer| finalizer == TRACKING)
}

fn annotation<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

/// The completion index of a pod.
pub(super) fn index_of(pod: &Pod) -> Option<u32> {
    annotation(pod, INDEX)?.parse().ok()
}

fn number(pod: &Pod, key: &str) -> u32 {
    annotation(pod, key).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// How often the pod's index had failed before it: those that count, and those that are ignored.
pub(super) fn failures_before(pod: &Pod) -> (u32, u32) {
    (number(pod, INDEX_FAILURES), number(pod, INDEX_IGNORED))
}

/// When a pod ended, as well as it can be told.
pub(super) fn finished_at(pod: &Pod) -> Option<Timestamp> {
    of_containers(pod)
        .or_else(|| {
            let ready = pod::condition(pod, "Ready").filter(|ready| ready.status == "False")?;
            ready.last_transition_time.as_ref().map(|time| time.0)
        })
        .or_else(|| {
            let deleted = pod.metadata.deletion_timestamp.as_ref()?.0;
            let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(0);
            deleted.checked_sub(SignedDuration::from_secs(grace)).ok()
        })
        .or_else(|| pod.metadata.creation_timestamp.as_ref().map(|time| time.0))
}

fn of_containers(pod: &Pod) -> Option<Timestamp> {
    let ended = |status: &ContainerStatus| {
        let terminated = status.state.as_ref()?.terminated.as_ref()?;
        terminated.finished_at.as_ref().map(|time| time.0)
    };
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let times: Option<Vec<Timestamp>> = statuses.iter().map(ended).collect();
    times?.into_iter().max()
}
