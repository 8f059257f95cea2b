//! Claims and volumes find each other.
//!
//! Upstream: `pkg/controller/volume/persistentvolume`, without what provisions: a class names who does that, and the claim asks for it in
//! an annotation (ours is `volume_provisioner`). Two controllers share one state: one looks at claims, one at volumes. Differences: what upstream says at each of its looks
//! every 15 seconds is said once; of a `hostPath` volume with the policy `Delete` the object goes, and what is in the folder stays;
//! nothing recycles.

mod apply;
mod matching;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::Api;
use timonel_api::{ObjectKey, storage};
use timonel_client::events::Recorder;
use timonel_client::informer::{self, Reader, Selection};
use timonel_client::runner::{Acting as _, Controller, Plan, ReconcileError, Source, Writes, key_of};

use crate::context::Context;
use crate::owner;
use plan::{Action, Because, ClaimSeen, Say, VolumeSeen, plan_claim, plan_volume};

struct Binder {
    context: Context,
    recorder: Recorder,
    classes: Reader<StorageClass>,
    told: Mutex<BTreeMap<ObjectKey, (String, Say)>>,
}

struct Claims(Arc<Binder>);

struct Volumes(Arc<Binder>);

/// Runs both controllers.
pub(crate) fn start(context: Context) -> BoxFuture<'static, ()> {
    let classes: Api<StorageClass> = Api::all(context.client.clone());
    let binder = Arc::new(Binder {
        recorder: context.recorder("persistentvolume-controller"),
        classes: informer::start_with(
            classes,
            Selection::all(),
            Arc::clone(&context.rng),
            context.shutdown.clone(),
        ),
        context: context.clone(),
        told: Mutex::default(),
    });
    let (claims, volumes) = (Claims(Arc::clone(&binder)), Volumes(binder));
    // One worker for claims: two claims at once would only run after the same volumes.
    let claims = context.clone().run(claims, 1);
    Box::pin(async move {
        tokio::select! {
            () = claims => {}
            () = context.run(volumes, 2) => {}
        }
    })
}

/// The key of the claim that a volume names.
fn claim_of(volume: &PersistentVolume) -> Option<ObjectKey> {
    let reference = volume.spec.as_ref()?.claim_ref.as_ref()?;
    Some(ObjectKey::new(reference.namespace.clone()?, reference.name.clone()?))
}

fn volume_of(claim: &PersistentVolumeClaim) -> Option<ObjectKey> {
    let name = claim.spec.as_ref()?.volume_name.clone()?;
    (!name.is_empty()).then(|| ObjectKey::cluster(name))
}

fn has_node(pod: Option<&Pod>) -> Option<bool> {
    pod.map(timonel_api::pod::is_scheduled)
}

/// The claims of a pod.
fn claims_of(pod: &Pod) -> Vec<ObjectKey> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let names = volumes.filter_map(|volume| storage::claim_behind(pod, volume));
    names
        .map(|name| ObjectKey::new(owner::namespace(&pod.metadata), name))
        .collect()
}

impl Claims {
    /// The pods with an unbound claim that have no node.
    fn waiting_pods(&self, claim: &PersistentVolumeClaim) -> Vec<String> {
        if storage::volume_of(claim).is_some() {
            return Vec::new();
        }
        let pods = self.0.context.caches.pods.list_in(owner::namespace(&claim.metadata));
        let key = key_of(claim);
        let waits = |pod: &&Arc<Pod>| !timonel_api::pod::is_scheduled(pod) && claims_of(pod).contains(&key);
        let waiting = pods.iter().filter(waits);
        waiting.map(|pod| owner::name(&pod.metadata).to_owned()).collect()
    }
}

impl Binder {
    fn remember(&self, claim: &PersistentVolumeClaim, what: &Say) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.insert(key_of(claim), (owner::uid(&claim.metadata).to_owned(), what.clone()));
    }

    fn unbound(claims: &Reader<PersistentVolumeClaim>) -> Vec<ObjectKey> {
        let claims = claims.list();
        claims
            .iter()
            .filter(|claim| volume_of(claim).is_none())
            .map(|claim| key_of(&**claim))
            .collect()
    }
}

#[async_trait]
impl Controller for Claims {
    type Observed = ClaimSeen;
    type Action = Action;
    type Because = Because;

    fn name(&self) -> &'static str {
        "persistentvolume-binder"
    }

    fn sources(&self) -> Vec<Source> {
        let caches = &self.0.context.caches;
        let (claims, waiting) = (caches.claims.clone(), caches.claims.clone());
        // A volume concerns its claim, and one that is free every claim without a volume.
        let of_volume = move |volume: &PersistentVolume| match claim_of(volume) {
            Some(claim) => vec![claim],
            None => Binder::unbound(&claims),
        };
        let of_class = move |_: &StorageClass| Binder::unbound(&waiting);
        vec![
            Source::primary(&caches.claims),
            Source::new(&caches.volumes, of_volume),
            Source::new(&self.0.classes, of_class),
            // Only whether a pod waits for a node is told of.
            Source::filtered(&caches.pods, |old, new| has_node(old) != has_node(new), claims_of),
        ]
    }

    fn keys(&self) -> Vec<ObjectKey> {
        self.0.context.caches.claims.snapshot().keys().cloned().collect()
    }

    async fn observe(&self, key: &ObjectKey) -> Result<Option<ClaimSeen>, ReconcileError> {
        let caches = &self.0.context.caches;
        let mut told = self.0.told.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(claim) = caches.claims.get(key) else {
            told.remove(key);
            return Ok(None);
        };
        let uid = owner::uid(&claim.metadata);
        let told = told
            .get(key)
            .filter(|(other, _)| other == uid)
            .map(|(_, what)| what.clone());
        let class = self.0.classes.get(&ObjectKey::cluster(storage::class_of_claim(&claim)));
        Ok(Some(ClaimSeen {
            volumes: caches.volumes.list(),
            waiting: self.waiting_pods(&claim),
            class,
            told,
            claim,
        }))
    }

    fn plan(&self, observed: &ClaimSeen, _: Timestamp) -> Plan<Action, Because> {
        plan_claim(observed)
    }

    async fn apply(
        &self,
        _: &ObjectKey,
        observed: &ClaimSeen,
        plan: &Plan<Action, Because>,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        self.0.carry_out(Some(&observed.claim), &plan.actions, writes).await
    }
}

#[async_trait]
impl Controller for Volumes {
    type Observed = VolumeSeen;
    type Action = Action;
    type Because = Because;

    fn name(&self) -> &'static str {
        "persistentvolume-binder-volumes"
    }

    fn sources(&self) -> Vec<Source> {
        let caches = &self.0.context.caches;
        let volumes = caches.volumes.clone();
        let of_claim = move |claim: &PersistentVolumeClaim| {
            let key = key_of(claim);
            let volumes = volumes.list();
            let naming = volumes.iter().filter(|volume| claim_of(volume).as_ref() == Some(&key));
            naming.map(|volume| key_of(&**volume)).chain(volume_of(claim)).collect()
        };
        vec![Source::primary(&caches.volumes), Source::new(&caches.claims, of_claim)]
    }

    fn keys(&self) -> Vec<ObjectKey> {
        self.0.context.caches.volumes.snapshot().keys().cloned().collect()
    }

    async fn observe(&self, key: &ObjectKey) -> Result<Option<VolumeSeen>, ReconcileError> {
        let caches = &self.0.context.caches;
        let Some(volume) = caches.volumes.get(key) else {
            return Ok(None);
        };
        let reference = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
        let uid = reference.and_then(|reference| reference.uid.clone());
        let Some(named) = claim_of(&volume) else {
            return Ok(Some(VolumeSeen { volume, claim: None }));
        };
        let mut claim = caches.claims.get(&named);
        if claim.as_ref().is_none_or(|claim| claim.metadata.uid != uid) {
            // Before a volume is given up, the server itself is asked whether its claim is gone.
            let api: Api<PersistentVolumeClaim> = Api::namespaced(self.0.context.client.clone(), &named.namespace);
            let found = api
                .get_opt(&named.name)
                .await
                .acting(|| format!("cannot look for claim {named}"))?;
            claim = found.map(Arc::new);
        }
        Ok(Some(VolumeSeen { volume, claim }))
    }

    fn plan(&self, observed: &VolumeSeen, _: Timestamp) -> Plan<Action, Because> {
        plan_volume(observed)
    }

    async fn apply(
        &self,
        _: &ObjectKey,
        _: &VolumeSeen,
        plan: &Plan<Action, Because>,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        self.0.carry_out(None, &plan.actions, writes).await
    }
}
