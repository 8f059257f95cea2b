//! Ephemeral volumes: a claim of its own for each, which goes with the pod.
//!
//! Upstream: `pkg/controller/volume/ephemeral`.

mod plan;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{Api, PostParams};
use timonel_api::ObjectKey;
use timonel_client::events::{EventType, Recorder};
use timonel_client::runner::{
    Acting as _, Controller, Plan, ReconcileError, Source, Writes, is_namespace_terminating, key_of,
};

use crate::context::Context;
use crate::{owner, template};
use plan::{Action, Because, Observed, plan, volumes};

struct EphemeralVolumes {
    context: Context,
    recorder: Recorder,
    told: Mutex<BTreeMap<ObjectKey, String>>,
}

/// Runs the controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, ()> {
    let controller = EphemeralVolumes {
        recorder: context.recorder("ephemeral_volume"),
        context: context.clone(),
        told: Mutex::default(),
    };
    Box::pin(context.run(controller, 5))
}

#[async_trait]
impl Controller for EphemeralVolumes {
    type Observed = Observed;
    type Action = Action;
    type Because = Because;

    fn name(&self) -> &'static str {
        "ephemeral-volume"
    }

    fn sources(&self) -> Vec<Source> {
        let caches = &self.context.caches;
        let with_volumes = |pod: &Pod| {
            if volumes(pod).is_empty() {
                Vec::new()
            } else {
                vec![key_of(pod)]
            }
        };
        // A claim that goes too early is made again.
        let of_claim = |claim: &PersistentVolumeClaim| {
            let pod = owner::controller_of(&claim.metadata).filter(|owner| owner.kind == "Pod");
            let key = pod.map(|pod| ObjectKey::new(owner::namespace(&claim.metadata), pod.name.clone()));
            key.into_iter().collect()
        };
        let gone = |_: Option<&PersistentVolumeClaim>, new: Option<&PersistentVolumeClaim>| new.is_none();
        vec![
            Source::new(&caches.pods, with_volumes),
            Source::filtered(&caches.claims, gone, of_claim),
        ]
    }

    fn keys(&self) -> Vec<ObjectKey> {
        let pods = self.context.caches.pods.snapshot();
        pods.iter()
            .filter(|(_, pod)| !volumes(pod).is_empty())
            .map(|(key, _)| key.clone())
            .collect()
    }

    async fn observe(&self, key: &ObjectKey) -> Result<Option<Observed>, ReconcileError> {
        let caches = &self.context.caches;
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(pod) = caches.pods.get(key) else {
            told.remove(key);
            return Ok(None);
        };
        let names = volumes(&pod)
            .into_iter()
            .map(|(_, claim)| ObjectKey::new(&key.namespace, claim));
        let claims = names.filter_map(|name| caches.claims.get(&name)).collect();
        Ok(Some(Observed {
            claims,
            told: told.get(key).cloned(),
            pod,
        }))
    }

    fn plan(&self, observed: &Observed, _: Timestamp) -> Plan<Action, Because> {
        plan(observed)
    }

    async fn apply(
        &self,
        key: &ObjectKey,
        observed: &Observed,
        plan: &Plan<Action, Because>,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.context.client.clone(), &key.namespace);
        for action in &plan.actions {
            match action {
                Action::Create(claim) => match api.create(&PostParams::default(), claim).await {
                    Ok(created) => writes.wrote(&self.context.caches.claims, &created),
                    Err(error) => {
                        if !is_namespace_terminating(&error) {
                            let text = format!(
                                "create PVC {}: {}",
                                owner::name(&claim.metadata),
                                template::words(&error)
                            );
                            self.recorder
                                .publish(&*observed.pod, EventType::Warning, "FailedBinding", text);
                        }
                        return Err(error).acting(|| format!("cannot create a claim for pod {key}"));
                    }
                },
                Action::Warn(text) => {
                    self.recorder
                        .publish(&*observed.pod, EventType::Warning, "FailedBinding", text.clone());
                    let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
                    told.insert(key.clone(), text.clone());
                }
            }
        }
        Ok(())
    }
}
