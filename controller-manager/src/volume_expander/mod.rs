//! Claims that grow.
//!
//! Upstream: `pkg/controller/volume/expand`, and for our own provisioners what `external-resizer` does. A folder has no size of its own:
//! what grows is what is promised (docs/decisions/0006).

mod plan;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::api::{Api, PostParams};
use timonel_api::{ObjectKey, storage};
use timonel_client::events::{EventType, Recorder};
use timonel_client::runner::{Acting as _, Controller, Plan, ReconcileError, Source, Writes, key_of};

use crate::context::Context;
use crate::owner;
use plan::{Action, Because, Observed, Say, plan};

struct Expander {
    context: Context,
    recorder: Recorder,
    /// Of which claims it was said that somebody else expands them, by uid and size.
    told: Mutex<BTreeMap<ObjectKey, (String, i128)>>,
}

/// Runs the controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, ()> {
    let controller = Expander {
        recorder: context.recorder("volume_expand"),
        context: context.clone(),
        told: Mutex::default(),
    };
    Box::pin(context.run(controller, 2))
}

fn mark(claim: &PersistentVolumeClaim) -> (String, i128) {
    (
        owner::uid(&claim.metadata).to_owned(),
        storage::requested(claim).nanos(),
    )
}

#[async_trait]
impl Controller for Expander {
    type Observed = Observed;
    type Action = Action;
    type Because = Because;

    fn name(&self) -> &'static str {
        "persistentvolume-expander"
    }

    fn sources(&self) -> Vec<Source> {
        let caches = &self.context.caches;
        let of_volume = |volume: &PersistentVolume| {
            let reference = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
            let key = reference.and_then(|claim| Some(ObjectKey::new(claim.namespace.clone()?, claim.name.clone()?)));
            key.into_iter().collect()
        };
        vec![Source::primary(&caches.claims), Source::new(&caches.volumes, of_volume)]
    }

    fn keys(&self) -> Vec<ObjectKey> {
        self.context.caches.claims.snapshot().keys().cloned().collect()
    }

    async fn observe(&self, key: &ObjectKey) -> Result<Option<Observed>, ReconcileError> {
        let caches = &self.context.caches;
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(claim) = caches.claims.get(key) else {
            told.remove(key);
            return Ok(None);
        };
        let volume = storage::volume_of(&claim).and_then(|name| caches.volumes.get(&ObjectKey::cluster(name)));
        Ok(Some(Observed {
            volume: volume.filter(|volume| storage::refers_to(volume, &claim)),
            told: told.get(key) == Some(&mark(&claim)),
            claim,
        }))
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
        let (caches, client) = (&self.context.caches, &self.context.client);
        let claim = &*observed.claim;
        for action in &plan.actions {
            match action {
                Action::SetStatus(status) => {
                    let api: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &key.namespace);
                    let mut whole = claim.clone();
                    whole.status = Some((**status).clone());
                    let written = api.replace_status(&key.name, &PostParams::default(), &whole).await;
                    let written = written.acting(|| format!("cannot write the status of claim {key}"))?;
                    writes.wrote(&caches.claims, &written);
                }
                Action::WriteVolume(volume) => {
                    let api: Api<PersistentVolume> = Api::all(client.clone());
                    let name = owner::name(&volume.metadata);
                    let written = api.replace(name, &PostParams::default(), volume).await;
                    let written = written.acting(|| format!("cannot write the capacity of volume {name}"))?;
                    writes.wrote(&caches.volumes, &written);
                }
                Action::Tell(what) => self.say(claim, *what),
            }
        }
        Ok(())
    }
}

impl Expander {
    fn say(&self, claim: &PersistentVolumeClaim, what: Say) {
        let volume = storage::volume_of(claim).unwrap_or_default();
        let (reason, message) = match what {
            Say::Resizing => ("Resizing", format!("External resizer is resizing volume {volume}")),
            Say::Done => ("VolumeResizeSuccessful", "Resize volume succeeded".to_owned()),
            Say::SomebodyElse => {
                let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
                told.insert(key_of(claim), mark(claim));
                let text = "Ignoring the PVC: didn't find a plugin capable of expanding the volume; waiting for an external controller to process this PVC.";
                ("ExternalExpanding", text.to_owned())
            }
        };
        self.recorder.publish(claim, EventType::Normal, reason, message);
    }
}
