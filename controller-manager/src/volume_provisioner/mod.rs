//! Our own provisioners: folders on nodes (`timonel.dev/local-path`) and folders of an NFS share (`timonel.dev/nfs`).
//!
//! ```text
//! scheduler: selected-node --> binder: storage-provisioner --> here: volume pvc-<uid> --> binder: bound
//! claim gone --> binder: Released --> here: folder removed by the node's kubelet --> volume deleted
//! ```
//!
//! They act as upstream's external provisioners do (`sig-storage-lib-external-provisioner`): names, events, finalizer. docs/decisions/0006
//! says why a kubelet removes folders, and what `size` means for them. Absent: the folder of an NFS volume is made and removed by
//! nobody here.

mod apply;
mod make;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::Api;
use timonel_api::{ObjectKey, storage};
use timonel_client::events::Recorder;
use timonel_client::informer::{self, Reader, Selection};
use timonel_client::runner::{Controller, Plan, ReconcileError, Source, Writes, key_of};

use crate::context::Context;
use crate::owner;
use plan::{Action, Because, ClaimSeen, VolumeSeen, plan_claim, plan_volume};

struct Provisioner {
    context: Context,
    recorder: Recorder,
    classes: Reader<StorageClass>,
    /// What was said last, of claims and (without a namespace) of volumes.
    told: Mutex<BTreeMap<ObjectKey, (String, String)>>,
}

struct Claims(Arc<Provisioner>);

struct Volumes(Arc<Provisioner>);

/// Runs both controllers.
pub(crate) fn start(context: Context) -> BoxFuture<'static, ()> {
    let classes: Api<StorageClass> = Api::all(context.client.clone());
    let provisioner = Arc::new(Provisioner {
        recorder: context.recorder("timonel.dev/provisioner"),
        classes: informer::start_with(
            classes,
            Selection::all(),
            Arc::clone(&context.rng),
            context.shutdown.clone(),
        ),
        context: context.clone(),
        told: Mutex::default(),
    });
    let (claims, volumes) = (Claims(Arc::clone(&provisioner)), Volumes(provisioner));
    Box::pin(async move {
        tokio::select! {
            () = context.clone().run(claims, 4) => {}
            () = context.run(volumes, 4) => {}
        }
    })
}

impl Provisioner {
    fn remember(&self, key: ObjectKey, uid: &str, why: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.insert(key, (uid.to_owned(), why.to_owned()));
    }

    fn told(&self, key: &ObjectKey, uid: &str) -> Option<String> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.get(key)
            .filter(|(other, _)| other == uid)
            .map(|(_, why)| why.clone())
    }

    fn forget(&self, key: &ObjectKey) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

#[async_trait]
impl Controller for Claims {
    type Observed = ClaimSeen;
    type Action = Action;
    type Because = Because;

    fn name(&self) -> &'static str {
        "volume-provisioner"
    }

    fn sources(&self) -> Vec<Source> {
        let caches = &self.0.context.caches;
        let (of_class, of_node) = (caches.claims.clone(), caches.claims.clone());
        let waiting = |claims: &Reader<PersistentVolumeClaim>, concerns: &dyn Fn(&PersistentVolumeClaim) -> bool| {
            let claims = claims.list();
            let open = claims
                .iter()
                .filter(|claim| storage::volume_of(claim).is_none() && concerns(claim));
            open.map(|claim| key_of(&**claim)).collect()
        };
        vec![
            Source::primary(&caches.claims),
            Source::new(&self.0.classes, move |class: &StorageClass| {
                let name = owner::name(&class.metadata);
                waiting(&of_class, &|claim| storage::class_of_claim(claim) == name)
            }),
            // Heartbeats are many: only whether a node is there matters here.
            Source::filtered(
                &caches.nodes,
                |old: Option<&Node>, new: Option<&Node>| old.is_some() != new.is_some(),
                move |node: &Node| {
                    let name = owner::name(&node.metadata);
                    waiting(&of_node, &|claim| plan::selected(claim) == Some(name))
                },
            ),
            Source::looked_into(&caches.volumes),
        ]
    }

    fn keys(&self) -> Vec<ObjectKey> {
        self.0.context.caches.claims.snapshot().keys().cloned().collect()
    }

    async fn observe(&self, key: &ObjectKey) -> Result<Option<ClaimSeen>, ReconcileError> {
        let caches = &self.0.context.caches;
        let Some(claim) = caches.claims.get(key) else {
            self.0.forget(key);
            return Ok(None);
        };
        let node = plan::selected(&claim).and_then(|name| caches.nodes.get(&ObjectKey::cluster(name)));
        let class = self.0.classes.get(&ObjectKey::cluster(storage::class_of_claim(&claim)));
        let volume = caches.volumes.get(&ObjectKey::cluster(make::name_for(&claim)));
        Ok(Some(ClaimSeen {
            class,
            node,
            made: volume.is_some(),
            told: self.0.told(key, owner::uid(&claim.metadata)),
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
        self.0.provide(observed, &plan.actions, writes).await
    }
}

#[async_trait]
impl Controller for Volumes {
    type Observed = VolumeSeen;
    type Action = Action;
    type Because = Because;

    fn name(&self) -> &'static str {
        "volume-provisioner-volumes"
    }

    fn sources(&self) -> Vec<Source> {
        let caches = &self.0.context.caches;
        let volumes = caches.volumes.clone();
        // A node that is gone lets its volumes go, one that is ready again may be asked again.
        let of_node = move |node: &Node| {
            let name = owner::name(&node.metadata);
            let volumes = volumes.list();
            let on_it = volumes.iter().filter(|volume| node_of(volume) == Some(name));
            on_it.map(|volume| key_of(&**volume)).collect()
        };
        let matters = |old: Option<&Node>, new: Option<&Node>| is_ready(old) != is_ready(new) || new.is_none();
        vec![
            Source::primary(&caches.volumes),
            Source::filtered(&caches.nodes, matters, of_node),
        ]
    }

    fn keys(&self) -> Vec<ObjectKey> {
        self.0.context.caches.volumes.snapshot().keys().cloned().collect()
    }

    async fn observe(&self, key: &ObjectKey) -> Result<Option<VolumeSeen>, ReconcileError> {
        let caches = &self.0.context.caches;
        let Some(volume) = caches.volumes.get(key) else {
            self.0.forget(key);
            return Ok(None);
        };
        let node = node_of(&volume).and_then(|name| caches.nodes.get(&ObjectKey::cluster(name)));
        Ok(Some(VolumeSeen {
            node_is_there: node.is_some(),
            told: self.0.told(key, owner::uid(&volume.metadata)),
            volume,
        }))
    }

    fn plan(&self, observed: &VolumeSeen, _: Timestamp) -> Plan<Action, Because> {
        plan_volume(observed)
    }

    async fn apply(
        &self,
        _: &ObjectKey,
        observed: &VolumeSeen,
        plan: &Plan<Action, Because>,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        self.0.end(observed, &plan.actions, writes).await
    }
}

fn node_of(volume: &PersistentVolume) -> Option<&str> {
    let annotations = volume.metadata.annotations.as_ref()?;
    annotations.get(make::NODE).map(String::as_str)
}

fn is_ready(node: Option<&Node>) -> bool {
    let conditions = node.and_then(|node| node.status.as_ref()?.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
}
