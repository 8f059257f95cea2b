//! Decides whether a finished Job has been kept for long enough.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use timonel_api::conditions;
use timonel_client::runner::Plan;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Delete the Job when its dependents are gone.
    Delete(Arc<Job>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    Expired { finished: Timestamp, ttl_seconds: i32 },
}

/// When a Job finished.
fn finished_at(job: &Job) -> Option<Timestamp> {
    let list = job.status.as_ref()?.conditions.as_ref()?;
    let finished = ["Complete", "Failed"]
        .into_iter()
        .filter_map(|kind| conditions::find(list, kind));
    let finished = finished.into_iter().find(|condition| condition.status == "True")?;
    finished.last_transition_time.as_ref().map(|time| time.0)
}

/// Decides.
pub(crate) fn plan(job: &Arc<Job>, now: Timestamp) -> Plan<Action, Because> {
    let mut plan = Plan::nothing();
    let ttl = job.spec.as_ref().and_then(|spec| spec.ttl_seconds_after_finished);
    let (Some(ttl_seconds), Some(finished)) = (ttl, finished_at(job)) else {
        return plan;
    };
    if job.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let left = SignedDuration::from_secs(i64::from(ttl_seconds)) - now.duration_since(finished);
    if left > SignedDuration::ZERO {
        plan.look_again(Duration::try_from(left).unwrap_or(Duration::ZERO));
    } else {
        plan.act(
            Action::Delete(Arc::clone(job)),
            Because::Expired { finished, ttl_seconds },
        );
    }
    plan
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use timonel_client::law::settles;

    use super::*;

    fn job(ttl: Option<i32>, condition: &str) -> Arc<Job> {
        let job = json!({
            "metadata": {"name": "j"},
            "spec": {"ttlSecondsAfterFinished": ttl, "template": {}},
            "status": {"conditions": [{"type": condition, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
        });
        Arc::new(serde_json::from_value(job).unwrap())
    }

    #[test]
    fn a_finished_job_goes_when_its_time_is_over() {
        let at =
            |seconds: i64| "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_secs(seconds);
        for (ttl, condition, seconds, expected) in [
            (Some(30), "Complete", 29, (0, Some(1))),
            (Some(30), "Complete", 30, (1, None)),
            (Some(0), "Failed", 0, (1, None)),
            (Some(30), "Suspended", 99, (0, None)),
            (None, "Complete", 99, (0, None)),
        ] {
            let plan = plan(&job(ttl, condition), at(seconds));
            assert_eq!(
                (plan.actions.len(), plan.requeue.map(|wait| wait.as_secs())),
                expected,
                "{ttl:?} {condition} {seconds}"
            );
        }
        let mut seen = job(Some(0), "Complete");
        settles(
            &mut seen,
            |job| plan(job, at(1)).actions,
            |job, Action::Delete(_)| {
                Arc::make_mut(job).metadata.deletion_timestamp =
                    Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(1)));
            },
        )
        .unwrap();
    }
}
