//! Whether a Job is over, and why.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use timonel_api::{conditions, pod};

use super::facts::{counts_as_failed, indexed, is_suspended};
use super::policy::{self, Verdict};
use super::tally::Tally;

/// How a Job ends. The condition that announces it comes first; the final one when all of its pods are gone or counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Succeeds { reason: String, message: String },
    Fails { reason: String, message: String },
}

impl Ending {
    pub(super) fn completions_reached() -> Self {
        Self::succeeds("CompletionsReached", "Reached expected number of succeeded pods")
    }

    fn succeeds(reason: &str, message: &str) -> Self {
        Self::Succeeds {
            reason: reason.to_owned(),
            message: message.to_owned(),
        }
    }

    fn fails(reason: &str, message: &str) -> Self {
        Self::Fails {
            reason: reason.to_owned(),
            message: message.to_owned(),
        }
    }

    pub(super) fn reason(&self) -> &str {
        match self {
            Self::Succeeds { reason, .. } | Self::Fails { reason, .. } => reason,
        }
    }

    pub(super) fn is_success(&self) -> bool {
        matches!(self, Self::Succeeds { .. })
    }

    /// The condition that announces the end.
    pub(super) fn announcement(&self, now: Timestamp) -> JobCondition {
        self.condition(
            if self.is_success() {
                "SuccessCriteriaMet"
            } else {
                "FailureTarget"
            },
            now,
        )
    }

    /// The condition of a Job that has ended.
    pub(super) fn conclusion(&self, now: Timestamp) -> JobCondition {
        self.condition(if self.is_success() { "Complete" } else { "Failed" }, now)
    }

    fn condition(&self, kind: &str, now: Timestamp) -> JobCondition {
        let (Self::Succeeds { reason, message } | Self::Fails { reason, message }) = self;
        condition(kind, "True", reason, message, now)
    }
}

/// Makes a condition.
pub(super) fn condition(kind: &str, status: &str, reason: &str, message: &str, now: Timestamp) -> JobCondition {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    JobCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: text(reason),
        message: text(message),
        last_probe_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    }
}

/// Decides whether the Job is over. What has been announced stays decided.
pub(super) fn ending(
    job: &Job,
    spec: &JobSpec,
    tally: &Tally<'_>,
    status: &JobStatus,
    now: Timestamp,
) -> Option<Ending> {
    let list = job
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    let announced = |kind: &str| conditions::find(list, kind).filter(|condition| condition.status == "True");
    let words =
        |condition: &JobCondition| [&condition.reason, &condition.message].map(|text| text.clone().unwrap_or_default());
    if let Some([reason, message]) = announced("SuccessCriteriaMet").map(words) {
        return Some(Ending::Succeeds { reason, message });
    }
    if let Some([reason, message]) = announced("FailureTarget").map(words) {
        return Some(Ending::Fails { reason, message });
    }
    let failed = tally.pods.iter().filter(|pod| counts_as_failed(pod, spec));
    let fatal = failed
        .map(|pod| policy::judge(spec, pod))
        .find_map(|verdict| match verdict {
            Verdict::FailsJob(message) => Some(message),
            _ => None,
        });
    if let Some(message) = fatal {
        return Some(Ending::Fails {
            reason: "PodFailurePolicy".to_owned(),
            message,
        });
    }
    let limit = spec.backoff_limit.unwrap_or(6);
    if tally.failed > limit || restarted_too_often(spec, limit, tally) {
        let words = "Job has reached the specified backoff limit";
        return Some(Ending::fails("BackoffLimitExceeded", words));
    }
    if is_past_deadline(spec, status, now) {
        let words = "Job was active longer than specified deadline";
        return Some(Ending::fails("DeadlineExceeded", words));
    }
    let completions = indexed(spec)?;
    if let Some(failed) = &tally.failed_indexes {
        let most = spec.max_failed_indexes.and_then(|most| u32::try_from(most).ok());
        if most.is_some_and(|most| failed.total() > most) {
            let words = "Job has exceeded the specified maximal number of failed indexes";
            return Some(Ending::fails("MaxFailedIndexesExceeded", words));
        }
        if failed.total() > 0 && failed.total() + tally.succeeded_indexes.total() >= completions {
            return Some(Ending::fails("FailedIndexes", "Job has failed indexes"));
        }
    }
    let met = policy::success(spec.success_policy.as_ref(), completions, &tally.succeeded_indexes);
    met.map(|message| Ending::succeeds("SuccessPolicy", &message))
}

fn is_past_deadline(spec: &JobSpec, status: &JobStatus, now: Timestamp) -> bool {
    let (Some(seconds), Some(start)) = (spec.active_deadline_seconds, &status.start_time) else {
        return false;
    };
    !is_suspended(spec) && now.duration_since(start.0).as_secs() >= seconds
}

/// Where containers restart inside of their pods, their restarts count against the limit.
fn restarted_too_often(spec: &JobSpec, limit: i32, tally: &Tally<'_>) -> bool {
    let policy = spec
        .template
        .spec
        .as_ref()
        .and_then(|spec| spec.restart_policy.as_deref());
    if policy != Some("OnFailure") {
        return false;
    }
    let restarts = |pod: &Pod| -> i32 {
        let statuses = pod.status.as_ref();
        let containers = statuses
            .into_iter()
            .flat_map(|status| status.container_statuses.iter().flatten());
        let inits = statuses
            .into_iter()
            .flat_map(|status| status.init_container_statuses.iter().flatten());
        containers.chain(inits).map(|status| status.restart_count).sum()
    };
    let live = tally
        .pods
        .iter()
        .filter(|pod| matches!(pod::phase(pod), "Running" | "Pending"));
    let sum: i32 = live.map(|pod| restarts(pod)).sum();
    if limit == 0 { sum > 0 } else { sum >= limit }
}
