//! Which finished Jobs are forgotten: the oldest beyond as many as are to be kept of each kind.

use std::sync::Arc;

use k8s_openapi::api::batch::v1::{CronJobSpec, Job};

use super::plan::outcome;
use crate::owner;

pub(super) fn surplus(spec: &CronJobSpec, jobs: &[Arc<Job>]) -> Vec<Arc<Job>> {
    let limits = [
        ("Complete", spec.successful_jobs_history_limit),
        ("Failed", spec.failed_jobs_history_limit),
    ];
    let mut surplus = Vec::new();
    for (kind, limit) in limits {
        let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else {
            continue;
        };
        let mut ended: Vec<&Arc<Job>> = jobs.iter().filter(|job| outcome(job) == Some(kind)).collect();
        // Those that never started count as the newest.
        ended.sort_by_key(|job| {
            let start = job
                .status
                .as_ref()
                .and_then(|status| status.start_time.as_ref())
                .map(|time| time.0);
            (start.is_none(), start, owner::name(&job.metadata).to_owned())
        });
        let excess = ended.len().saturating_sub(limit);
        let going = ended
            .into_iter()
            .take(excess)
            .filter(|job| job.metadata.deletion_timestamp.is_none());
        surplus.extend(going.cloned());
    }
    surplus
}
