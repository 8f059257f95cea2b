//! The state of a pod, read off its status.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodCondition};

/// The phase: `Pending`, `Running`, `Succeeded`, `Failed`, `Unknown`, or empty.
pub fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

/// Finds a condition.
pub fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == kind)
}

/// Whether the `Ready` condition is true.
pub fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready.status == "True")
}

/// Since when a pod is ready.
pub fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let ready = condition(pod, "Ready").filter(|ready| ready.status == "True")?;
    ready.last_transition_time.as_ref().map(|time| time.0)
}

/// Whether every container ended well.
pub fn is_succeeded(pod: &Pod) -> bool {
    phase(pod) == "Succeeded"
}

/// Whether the pod ended badly.
pub fn is_failed(pod: &Pod) -> bool {
    phase(pod) == "Failed"
}

/// Whether the pod has run to its end, well or badly.
pub fn is_terminal(pod: &Pod) -> bool {
    is_succeeded(pod) || is_failed(pod)
}

/// Whether somebody has asked for the pod's deletion.
pub fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Whether a pod counts as a replica: neither ended nor being deleted.
pub fn is_active(pod: &Pod) -> bool {
    !is_terminal(pod) && !is_terminating(pod)
}

/// Whether the pod has been given a node.
pub fn is_scheduled(pod: &Pod) -> bool {
    pod.spec
        .as_ref()
        .and_then(|spec| spec.node_name.as_deref())
        .is_some_and(|node| !node.is_empty())
}

/// Whether a pod has been ready for `min_ready_seconds`.
pub fn is_available(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> bool {
    is_ready(pod)
        && (min_ready_seconds == 0
            || ready_since(pod).is_some_and(|since| {
                now.duration_since(since) >= SignedDuration::from_secs(i64::from(min_ready_seconds))
            }))
}

/// How long until a ready pod becomes available; `None` where it already is, or where waiting alone does not help.
pub fn available_in(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> Option<SignedDuration> {
    if min_ready_seconds <= 0 || !is_ready(pod) {
        return None;
    }
    let left = SignedDuration::from_secs(i64::from(min_ready_seconds)) - now.duration_since(ready_since(pod)?);
    (left > SignedDuration::ZERO).then_some(left)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_is_available_once_it_was_ready_long_enough() {
        let pod: Pod = serde_json::from_value(json!({"status": {"phase": "Running", "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}}))
        .unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert!(is_ready(&pod) && is_active(&pod) && is_available(&pod, 0, at("2026-01-01T00:00:00Z")));
        assert!(!is_available(&pod, 10, at("2026-01-01T00:00:09Z")));
        assert_eq!(
            available_in(&pod, 10, at("2026-01-01T00:00:09Z")),
            Some(SignedDuration::from_secs(1))
        );
        assert!(is_available(&pod, 10, at("2026-01-01T00:00:10Z")));
        assert_eq!(available_in(&pod, 10, at("2026-01-01T00:00:10Z")), None);
    }
}
