//! No Job counts a pod twice, and no index twice.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Violation;
use super::history::{Invariant, Moment, controller, is_live, number, of, text};

/// See the module.
#[derive(Default)]
pub struct Indexes {
    /// Uid of a Job to the uids of its pods that ever succeeded, and that ever failed.
    ended: BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)>,
}

impl Invariant for Indexes {
    fn says(&self) -> &'static str {
        "no index and no pod is counted twice"
    }

    fn look(&mut self, moment: &Moment<'_>, there: &BTreeMap<String, Value>) -> Result<(), Violation> {
        match (moment.resource, moment.now) {
            ("core/pods", Some(pod)) => self.pod(moment, pod, there),
            ("batch/jobs", Some(job)) => self.job(moment.before.unwrap_or(&Value::Null), job),
            _ => Ok(()),
        }
    }
}

const INDEX: &str = "/metadata/labels/batch.kubernetes.io~1job-completion-index";

impl Indexes {
    fn pod(&mut self, moment: &Moment<'_>, pod: &Value, there: &BTreeMap<String, Value>) -> Result<(), Violation> {
        let Some((job, name)) = controller(pod) else {
            return Ok(());
        };
        let (succeeded, failed) = self.ended.entry(job.to_owned()).or_default();
        let uid = text(pod, "/metadata/uid").to_owned();
        match text(pod, "/status/phase") {
            "Succeeded" => drop(succeeded.insert(uid)),
            "Failed" => drop(failed.insert(uid)),
            // A pod that is deleted before it ends counts as failed.
            _ if !pod["metadata"]["deletionTimestamp"].is_null() => drop(failed.insert(uid)),
            _ => {}
        }
        let index = text(pod, INDEX);
        if index.is_empty() || !moment.is_creation() {
            return Ok(());
        }
        let same = |other: &Value| {
            is_live(other) && text(other, INDEX) == index && controller(other).is_some_and(|(uid, _)| uid == job)
        };
        if of(there, "core/pods").filter(|(_, other)| same(other)).count() > 1 {
            return Err(format!("index {index} of {name} has two live pods"));
        }
        Ok(())
    }

    fn job(&self, before: &Value, job: &Value) -> Result<(), Violation> {
        let name = text(job, "/metadata/name");
        let count = |job: &Value, field: &str| number(job, &format!("/status/{field}")).unwrap_or(0);
        let (was, succeeded) = (count(before, "succeeded"), count(job, "succeeded"));
        if succeeded < was {
            return Err(format!("{was} successes of {name} became {succeeded}"));
        }
        let (good, bad) = self
            .ended
            .get(text(job, "/metadata/uid"))
            .map_or((0, 0), |(good, bad)| (good.len(), bad.len()));
        if succeeded > good || count(job, "failed") > bad {
            let failed = count(job, "failed");
            return Err(format!(
                "{name} counts {succeeded} successes and {failed} failures of {good} and {bad} pods"
            ));
        }
        let list = text(job, "/status/completedIndexes");
        if !list.is_empty() && indexes(list) != succeeded {
            return Err(format!("{name} counts {succeeded} successes of the indexes {list}"));
        }
        Ok(())
    }
}

/// How many there are in a list such as `0-2,5`.
fn indexes(list: &str) -> usize {
    let parts = list.split(',').map(|part| part.split_once('-').unwrap_or((part, part)));
    parts
        .filter_map(|(first, last)| Some(last.parse::<usize>().ok()? + 1 - first.parse::<usize>().ok()?))
        .sum()
}
