//! A pod that was to be disrupted and is still there after a while is told so no longer.
//!
//! Upstream: `syncStalePodDisruption` of `pkg/controller/disruption`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use timonel_api::{ObjectKey, pod};
use timonel_client::runner::{Acting as _, Controller, Plan, ReconcileError, Source, Writes, key_of};

use crate::context::Context;

const TARGET: &str = "DisruptionTarget";

pub(super) struct StalePods(pub(super) Context);

/// A pod, and how long its condition is believed.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) pod: Arc<Pod>,
    pub(crate) timeout: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// The condition is not true any more.
    Reset,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    NotDeleted { since: Timestamp },
}

/// Since when a pod is said to be disrupted; `None` where it is not, where it goes, where it has ended, and where its kubelet says so,
/// which may take as long as it likes to end it.
fn disrupted(pod: &Pod) -> Option<Timestamp> {
    if pod::is_terminating(pod) || pod::is_terminal(pod) {
        return None;
    }
    let condition = pod::condition(pod, TARGET)?;
    let by_kubelet = condition.reason.as_deref() == Some("TerminationByKubelet");
    let since = condition
        .last_transition_time
        .as_ref()
        .map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    (condition.status == "True" && !by_kubelet).then_some(since)
}

/// Decides.
pub(crate) fn plan(observed: &Observed, now: Timestamp) -> Plan<Action, Because> {
    let mut plan = Plan::nothing();
    let Some(since) = disrupted(&observed.pod) else {
        return plan;
    };
    let timeout = SignedDuration::try_from(observed.timeout).unwrap_or(SignedDuration::MAX);
    match Duration::try_from(timeout - now.duration_since(since)) {
        Ok(left) if !left.is_zero() => plan.look_again(left),
        _ => plan.act(Action::Reset, Because::NotDeleted { since }),
    }
    plan
}

#[async_trait]
impl Controller for StalePods {
    type Observed = Observed;
    type Action = Action;
    type Because = Because;

    fn name(&self) -> &'static str {
        "disruption"
    }

    fn sources(&self) -> Vec<Source> {
        let matters = |_: Option<&Pod>, new: Option<&Pod>| new.is_some_and(|pod| disrupted(pod).is_some());
        vec![Source::filtered(&self.0.caches.pods, matters, |pod: &Pod| {
            vec![key_of(pod)]
        })]
    }

    fn keys(&self) -> Vec<ObjectKey> {
        let pods = self.0.caches.pods.list();
        let pods = pods.iter().filter(|pod| disrupted(pod).is_some());
        pods.map(|pod| key_of(&**pod)).collect()
    }

    async fn observe(&self, key: &ObjectKey) -> Result<Option<Observed>, ReconcileError> {
        let timeout = self.0.timings().disruption_timeout;
        Ok(self.0.caches.pods.get(key).map(|pod| Observed { pod, timeout }))
    }

    fn plan(&self, observed: &Observed, now: Timestamp) -> Plan<Action, Because> {
        plan(observed, now)
    }

    async fn apply(
        &self,
        key: &ObjectKey,
        observed: &Observed,
        plan: &Plan<Action, Because>,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        for Action::Reset in &plan.actions {
            let api: Api<Pod> = Api::namespaced(self.0.client.clone(), &key.namespace);
            // With its version: it may have been evicted once more meanwhile.
            let meta = &observed.pod.metadata;
            let patch = json!({
                "metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version},
                "status": {"conditions": [{
                    "type": TARGET, "status": "False", "reason": null, "message": null,
                    "lastTransitionTime": Time(self.0.clock.now()),
                }]},
            });
            let params = PatchParams::default();
            match api.patch_status(&key.name, &params, &Patch::Strategic(&patch)).await {
                Err(kube::Error::Api(status)) if matches!(status.code, 404) => {}
                written => {
                    let written = written.acting(|| format!("cannot reset the condition {TARGET} of pod {key}"))?;
                    writes.wrote(&self.0.caches.pods, &written);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn observed(reason: &str, more: &Value) -> Observed {
        let mut pod = json!({"metadata": {"name": "p"}, "status": {"phase": "Running", "conditions": [{
            "type": TARGET, "status": "True", "reason": reason, "lastTransitionTime": "1970-01-01T00:00:00Z",
        }]}});
        merge(&mut pod, more);
        Observed {
            pod: Arc::new(serde_json::from_value(pod).unwrap()),
            timeout: Duration::from_secs(120),
        }
    }

    fn merge(target: &mut Value, more: &Value) {
        for (section, fields) in more.as_object().into_iter().flatten() {
            for (key, value) in fields.as_object().into_iter().flatten() {
                target[section][key] = value.clone();
            }
        }
    }

    #[test]
    fn a_pod_that_nobody_deleted_is_no_target_after_two_minutes() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let seen = observed("EvictionByEvictionAPI", &Value::Null);
        let early = plan(&seen, at(119));
        assert!(early.actions.is_empty());
        assert_eq!(early.requeue, Some(Duration::from_secs(1)));
        assert_eq!(plan(&seen, at(120)).actions, [Action::Reset]);
        let untouched = [
            observed("TerminationByKubelet", &Value::Null),
            observed("PreemptionByScheduler", &json!({"status": {"phase": "Failed"}})),
            observed(
                "DeletionByTaintManager",
                &json!({"metadata": {"deletionTimestamp": "1970-01-01T00:00:30Z"}}),
            ),
        ];
        for seen in untouched {
            assert!(plan(&seen, at(500)).is_empty(), "{seen:?}");
        }
    }
}
