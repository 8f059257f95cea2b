//! Carries out what was decided about a DaemonSet.

use std::sync::{Arc, PoisonError};

use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, PostParams};
use serde_json::json;
use timonel_api::pod::is_failed;
use timonel_client::events::{EventType, reference_to};
use timonel_client::runner::{Acting as _, Plan, ReconcileError, Writes, key_of};

use super::backoff::Pause;
use super::{Action, Because, DaemonSets, Observed, pod};
use crate::history::{REVISION_LABEL, RevisionControl};
use crate::owner;
use crate::pod_control::PodControl;

impl DaemonSets {
    pub(super) async fn carry_out(
        &self,
        observed: &Observed,
        plan: &Plan<Action, Because>,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        let set = &*observed.set;
        let owner = owner::controller_reference(set);
        let pods = PodControl::new(&self.context, &self.recorder, reference_to(set));
        let revisions = RevisionControl::new(&self.context, owner::namespace(&set.metadata), owner.clone());
        let mut failed = None;
        for action in &plan.actions {
            let result = match action {
                // What follows rests on the history: it must be as planned.
                Action::History(step) => {
                    revisions.carry_out(step, writes).await?;
                    Ok(())
                }
                Action::Adopt(pod) => pods.adopt(pod, &owner, writes).await,
                Action::Release(pod) => pods.release(pod, writes).await,
                Action::Relabel { pod, hash } => {
                    let patch = json!({"metadata": {"uid": pod.metadata.uid, "labels": {REVISION_LABEL: hash}}});
                    pods.patch(pod, &patch, "relabel", writes).await?;
                    Ok(())
                }
                Action::Create { template, nodes } => {
                    let make = |at: usize| pod::for_node(set, template, nodes.get(at).map_or("", String::as_str));
                    let created = pods.create(nodes.len(), make, writes).await;
                    created.map_err(|failed| failed.error)
                }
                Action::Delete(pod) => pods.delete(pod, writes).await.map_err(|failed| failed.error),
                Action::DeleteEnded { pod, node } => {
                    self.say_ended(set, pod, node);
                    pods.delete(pod, writes).await.map_err(|failed| failed.error)
                }
                Action::SetStatus(status) => self.set_status(set, status, writes).await,
            };
            if let Err(error) = result {
                failed.get_or_insert(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn say_ended(&self, set: &DaemonSet, pod: &Arc<Pod>, node: &str) {
        let key = key_of(&**pod);
        if !is_failed(pod) {
            let text = format!("Found succeeded daemon pod {key} on node {node}, will try to delete it");
            self.recorder
                .publish(set, EventType::Normal, "SucceededDaemonPod", text);
            return;
        }
        let text = format!("Found failed daemon pod {key} on node {node}, will try to kill it");
        self.recorder.publish(set, EventType::Warning, "FailedDaemonPod", text);
        let now = self.context.clock.now();
        let mut all = self.pauses.lock().unwrap_or_else(PoisonError::into_inner);
        let uid = owner::uid(&set.metadata);
        for pauses in all.values_mut() {
            pauses.retain(|_, pause| !pause.forgotten(now));
        }
        all.retain(|other, pauses| other == uid || !pauses.is_empty());
        let pauses = all.entry(uid.to_owned()).or_default();
        let next = Pause::after(pauses.get(node), now);
        pauses.insert(node.to_owned(), next);
    }

    async fn set_status(
        &self,
        set: &DaemonSet,
        status: &DaemonSetStatus,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        let api: Api<DaemonSet> = Api::namespaced(self.context.client.clone(), owner::namespace(&set.metadata));
        let mut whole = set.clone();
        whole.status = Some(status.clone());
        let name = owner::name(&set.metadata);
        let written = api.replace_status(name, &PostParams::default(), &whole).await;
        let written = written.acting(|| format!("cannot write the status of daemon set {}", key_of(set)))?;
        writes.wrote(&self.context.caches.daemon_sets, &written);
        Ok(())
    }
}
