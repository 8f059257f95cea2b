//! Who of a Job's pods runs, who has ended, and who of those is not counted yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::Pod;
use timonel_api::pod;

use super::facts::{counts_as_failed, failures_before, finished_at, index_of, indexed, is_tracked};
use super::indexes::Indexes;
use super::policy::{self, Verdict};
use crate::owner;

/// The pods of a Job, looked through once.
#[derive(Debug)]
pub(super) struct Tally<'a> {
    /// All of them; of an Indexed Job in the order of their indexes.
    pub(super) pods: Vec<&'a Arc<Pod>>,
    /// Neither ended nor being deleted.
    pub(super) active: Vec<&'a Arc<Pod>>,
    pub(super) ready: i32,
    /// Being deleted, and not ended yet.
    pub(super) terminating: i32,
    /// Ended, and not counted yet.
    pub(super) newly_succeeded: Vec<&'a Pod>,
    pub(super) newly_failed: Vec<&'a Pod>,
    /// All successes there ever were, or all indexes that have succeeded.
    pub(super) succeeded: i32,
    /// All failures there ever were, but for those that are ignored.
    pub(super) failed: i32,
    /// Of an Indexed Job: the indexes that had succeeded when the status was written, and those that have by now.
    pub(super) counted_indexes: Indexes,
    pub(super) succeeded_indexes: Indexes,
    /// With a limit per index: the indexes that have failed for good.
    pub(super) failed_indexes: Option<Indexes>,
    /// With a limit per index: the failed pod of each index that waits for its successor, to hand down how often it failed.
    pub(super) awaiting_successor: BTreeMap<u32, &'a Arc<Pod>>,
}

/// Returns a number of pods as a status holds it.
pub(super) fn count(pods: usize) -> i32 {
    i32::try_from(pods).unwrap_or(i32::MAX)
}

impl<'a> Tally<'a> {
    pub(super) fn of(job: &Job, spec: &JobSpec, mut pods: Vec<&'a Arc<Pod>>) -> Self {
        let completions = indexed(spec);
        if completions.is_some() {
            pods.sort_by_key(|pod| index_of(pod));
        }
        let status = job.status.clone().unwrap_or_default();
        let uncounted = status.uncounted_terminated_pods.unwrap_or_default();
        let [uncounted_succeeded, uncounted_failed] =
            [uncounted.succeeded, uncounted.failed].map(Option::unwrap_or_default);
        let valid = |pod: &Pod| completions.is_none_or(|limit| index_of(pod).is_some_and(|index| index < limit));
        let fresh = |pod: &Pod, uncounted: &[String]| {
            is_tracked(pod) && valid(pod) && !uncounted.iter().any(|uid| uid == owner::uid(&pod.metadata))
        };
        let all = || pods.iter().copied();
        let newly_succeeded: Vec<&Pod> = all()
            .filter(|pod| pod::is_succeeded(pod) && fresh(pod, &uncounted_succeeded))
            .map(|pod| &**pod)
            .collect();
        let newly_failed: Vec<&Pod> = all()
            .filter(|pod| counts_as_failed(pod, spec) && fresh(pod, &uncounted_failed))
            .map(|pod| &**pod)
            .collect();
        let not_ignored = newly_failed
            .iter()
            .filter(|pod| policy::judge(spec, pod) != Verdict::Ignored);
        let failed = status.failed.unwrap_or(0) + count(not_ignored.count()) + count(uncounted_failed.len());
        let succeeded = status.succeeded.unwrap_or(0) + count(newly_succeeded.len()) + count(uncounted_succeeded.len());
        let active: Vec<_> = all().filter(|pod| pod::is_active(pod)).collect();
        let terminating = all().filter(|pod| pod::is_terminating(pod) && !pod::is_terminal(pod));
        let mut tally = Self {
            ready: count(active.iter().filter(|pod| pod::is_ready(pod)).count()),
            terminating: count(terminating.count()),
            active,
            newly_succeeded,
            newly_failed,
            succeeded,
            failed,
            counted_indexes: Indexes::default(),
            succeeded_indexes: Indexes::default(),
            failed_indexes: None,
            awaiting_successor: BTreeMap::new(),
            pods,
        };
        if let Some(completions) = completions {
            tally.look_at_indexes(
                spec,
                completions,
                status.completed_indexes.as_deref(),
                status.failed_indexes.as_deref(),
            );
        }
        tally
    }

    fn look_at_indexes(&mut self, spec: &JobSpec, completions: u32, completed: Option<&str>, failed: Option<&str>) {
        let tracked = |pod: &&&'a Arc<Pod>| is_tracked(pod);
        let valid = |pod: &Pod| index_of(pod).filter(|index| *index < completions);
        self.counted_indexes = Indexes::parse(completed.unwrap_or_default(), completions);
        let new = self.pods.iter().filter(tracked).filter(|pod| pod::is_succeeded(pod));
        self.succeeded_indexes = self.counted_indexes.with(new.filter_map(|pod| valid(pod)));
        self.succeeded = i32::try_from(self.succeeded_indexes.total()).unwrap_or(i32::MAX);
        if spec.backoff_limit_per_index.is_none() {
            return;
        }
        let lost = self
            .pods
            .iter()
            .filter(tracked)
            .filter(|pod| policy::fails_index(spec, pod));
        let before = Indexes::parse(failed.unwrap_or_default(), completions);
        let failed_indexes = before.with(lost.filter_map(|pod| valid(pod)));
        let running: BTreeSet<u32> = self.active.iter().filter_map(|pod| index_of(pod)).collect();
        for pod in self
            .pods
            .iter()
            .filter(tracked)
            .filter(|pod| counts_as_failed(pod, spec))
        {
            let Some(index) = valid(pod) else { continue };
            let settled = self.succeeded_indexes.has(index) || failed_indexes.has(index);
            if settled || running.contains(&index) {
                continue;
            }
            let age = |pod: &Pod| (failures(pod), finished_at(pod));
            let latest = self.awaiting_successor.entry(index).or_insert(pod);
            if age(pod) >= age(latest) {
                *latest = pod;
            }
        }
        self.failed_indexes = Some(failed_indexes);
    }
}

/// How often a pod's index failed before it, in whatever way.
pub(super) fn failures(pod: &Pod) -> u32 {
    let (counted, ignored) = failures_before(pod);
    counted.saturating_add(ignored)
}
