//! What a Job's policies make of failed pods and of succeeded indexes.

use k8s_openapi::api::batch::v1::{
    JobSpec, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyOnPodConditionsPattern, SuccessPolicy,
};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition};

use super::facts::{counts_as_failed, failures_before};
use super::indexes::Indexes;
use crate::owner;

/// What follows from a pod's failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It counts against the back-off limit.
    Counts,
    /// It does not count.
    Ignored,
    /// The pod's index has failed for good.
    FailsIndex,
    /// The Job has failed; the message says why.
    FailsJob(String),
}

/// Judges a failed pod by the first rule that matches it.
pub(super) fn judge(spec: &JobSpec, pod: &Pod) -> Verdict {
    let rules = spec.pod_failure_policy.iter().flat_map(|policy| &policy.rules);
    for (at, rule) in rules.enumerate() {
        let place = || (owner::namespace(&pod.metadata), owner::name(&pod.metadata));
        let message = if let Some(required) = &rule.on_exit_codes {
            let Some((container, code)) = exit_code(pod, required) else {
                continue;
            };
            let (namespace, name) = place();
            format!(
                "Container {container} for pod {namespace}/{name} failed with exit code {code} matching {} rule at index {at}",
                rule.action
            )
        } else if let Some(patterns) = &rule.on_pod_conditions {
            let Some(condition) = condition(pod, patterns) else {
                continue;
            };
            let (namespace, name) = place();
            let kind = &condition.type_;
            format!(
                "Pod {namespace}/{name} has condition {kind} matching {} rule at index {at}",
                rule.action
            )
        } else {
            continue;
        };
        return match rule.action.as_str() {
            "Ignore" => Verdict::Ignored,
            "FailIndex" if spec.backoff_limit_per_index.is_some() => Verdict::FailsIndex,
            "FailJob" => Verdict::FailsJob(message),
            _ => Verdict::Counts,
        };
    }
    Verdict::Counts
}

fn exit_code<'a>(pod: &'a Pod, required: &PodFailurePolicyOnExitCodesRequirement) -> Option<(&'a str, i32)> {
    let status = pod.status.as_ref()?;
    let containers = status.container_statuses.iter().flatten();
    let all = containers.chain(status.init_container_statuses.iter().flatten());
    let named = |status: &&ContainerStatus| required.container_name.as_ref().is_none_or(|name| *name == status.name);
    all.filter(named).find_map(|status| {
        let code = status.state.as_ref()?.terminated.as_ref()?.exit_code;
        let listed = required.values.contains(&code);
        let matches = match required.operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            _ => false,
        };
        (code != 0 && matches).then_some((status.name.as_str(), code))
    })
}

fn condition<'a>(pod: &'a Pod, patterns: &[PodFailurePolicyOnPodConditionsPattern]) -> Option<&'a PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.iter().flatten();
    let matches = |condition: &&PodCondition| {
        patterns.iter().any(|pattern| {
            pattern.type_ == condition.type_ && pattern.status.as_deref().unwrap_or("True") == condition.status
        })
    };
    conditions.into_iter().find(matches)
}

/// Whether this failed pod's index may not be tried again.
pub(super) fn fails_index(spec: &JobSpec, pod: &Pod) -> bool {
    let Some(limit) = spec.backoff_limit_per_index else {
        return false;
    };
    if !counts_as_failed(pod, spec) {
        return false;
    }
    match judge(spec, pod) {
        Verdict::FailsIndex => true,
        Verdict::Ignored => false,
        Verdict::Counts | Verdict::FailsJob(_) => i64::from(failures_before(pod).0) >= i64::from(limit),
    }
}

/// The message of the first rule by which the Job has succeeded although not all of its indexes have.
pub(super) fn success(policy: Option<&SuccessPolicy>, completions: u32, succeeded: &Indexes) -> Option<String> {
    let satisfied = policy?.rules.iter().position(|rule| {
        let enough = rule.succeeded_count.and_then(|count| u32::try_from(count).ok());
        match &rule.succeeded_indexes {
            Some(listed) => {
                let listed = Indexes::parse(listed, completions);
                let so_far = listed.common(succeeded);
                enough.map_or(so_far == listed.total(), |enough| so_far >= enough)
            }
            None => enough.is_some_and(|enough| succeeded.total() >= enough),
        }
    })?;
    Some(format!("Matched rules at index {satisfied}"))
}
