//! Claims, volumes and classes of attributes are kept while they are used: their protecting finalizers go when nobody does.
//!
//! Upstream: `pkg/controller/volume/{pvcprotection,pvprotection,vacprotection}`: three controllers, which are one but for who counts as a
//! user. Admission protects what is created; what came without protection gets it here.

mod plan;
#[cfg(test)]
mod tests;
mod users;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::VolumeAttributesClass;
use kube::api::{Api, ListParams, PostParams};
use serde::Serialize;
use serde::de::DeserializeOwned;
use timonel_api::ObjectKey;
use timonel_client::informer::{self, Reader, Selection};
use timonel_client::runner::{Acting as _, Controller, Plan, ReconcileError, Source, Writes, key_of};

use crate::context::Context;
use crate::owner;
use plan::{Action, Because, Observed, plan};

/// Says who uses an object, from the caches and, before it is let go, from the server itself.
#[async_trait]
trait Usage<K>: Send + Sync + 'static {
    async fn user(&self, object: &K) -> Result<Option<String>, ReconcileError>;
    /// Whose changes may end a use.
    fn sources(&self) -> Vec<Source>;
}

struct Protection<K, U> {
    name: &'static str,
    finalizer: &'static str,
    objects: Reader<K>,
    api: fn(kube::Client, &str) -> Api<K>,
    client: kube::Client,
    usage: U,
}

/// Runs the controller that lets unused claims go.
pub(crate) fn start_claims(context: Context) -> BoxFuture<'static, ()> {
    let controller = Protection {
        name: "pvc-protection",
        finalizer: "kubernetes.io/pvc-protection",
        objects: context.caches.claims.clone(),
        api: Api::namespaced,
        client: context.client.clone(),
        usage: OfClaims(context.clone()),
    };
    Box::pin(context.run(controller, 5))
}

/// Runs the controller that lets unused volumes go.
pub(crate) fn start_volumes(context: Context) -> BoxFuture<'static, ()> {
    let controller = Protection {
        name: "pv-protection",
        finalizer: "kubernetes.io/pv-protection",
        objects: context.caches.volumes.clone(),
        api: |client, _| Api::all(client),
        client: context.client.clone(),
        usage: OfVolumes,
    };
    Box::pin(context.run(controller, 2))
}

/// Runs the controller that lets unused classes of attributes go.
pub(crate) fn start_classes(context: Context) -> BoxFuture<'static, ()> {
    let all: Api<VolumeAttributesClass> = Api::all(context.client.clone());
    let controller = Protection {
        name: "volumeattributesclass-protection",
        finalizer: "kubernetes.io/vac-protection",
        objects: informer::start_with(
            all,
            Selection::all(),
            Arc::clone(&context.rng),
            context.shutdown.clone(),
        ),
        api: |client, _| Api::all(client),
        client: context.client.clone(),
        usage: OfClasses(context.clone()),
    };
    Box::pin(context.run(controller, 1))
}

struct OfClaims(Context);

#[async_trait]
impl Usage<PersistentVolumeClaim> for OfClaims {
    async fn user(&self, claim: &PersistentVolumeClaim) -> Result<Option<String>, ReconcileError> {
        if claim.metadata.deletion_timestamp.is_none() {
            return Ok(None);
        }
        let namespace = owner::namespace(&claim.metadata);
        let uses = |pod: &&Pod| users::pod_uses_claim(pod, claim);
        let pods = self.0.caches.pods.list_in(namespace);
        if let Some(pod) = pods.iter().map(|pod| &**pod).find(uses) {
            return Ok(Some(owner::name(&pod.metadata).to_owned()));
        }
        // A pod that we have not seen yet would lose its data.
        let api: Api<Pod> = Api::namespaced(self.0.client.clone(), namespace);
        let listed = api.list(&ListParams::default()).await;
        let listed = listed.acting(|| format!("cannot list the pods of {namespace}"))?;
        Ok(listed
            .items
            .iter()
            .find(uses)
            .map(|pod| owner::name(&pod.metadata).to_owned()))
    }

    fn sources(&self) -> Vec<Source> {
        let of_pod = |pod: &Pod| {
            let namespace = owner::namespace(&pod.metadata);
            users::claims_of(pod)
                .into_iter()
                .map(|claim| ObjectKey::new(namespace, claim))
                .collect()
        };
        vec![Source::new(&self.0.caches.pods, of_pod)]
    }
}

struct OfVolumes;

#[async_trait]
impl Usage<PersistentVolume> for OfVolumes {
    async fn user(&self, volume: &PersistentVolume) -> Result<Option<String>, ReconcileError> {
        Ok(users::user_of_volume(volume))
    }

    fn sources(&self) -> Vec<Source> {
        Vec::new()
    }
}

struct OfClasses(Context);

#[async_trait]
impl Usage<VolumeAttributesClass> for OfClasses {
    async fn user(&self, class: &VolumeAttributesClass) -> Result<Option<String>, ReconcileError> {
        let caches = &self.0.caches;
        let (claims, volumes) = (caches.claims.list(), caches.volumes.list());
        let name = owner::name(&class.metadata);
        Ok(users::user_of_class(
            name,
            claims.iter().map(|claim| &**claim),
            volumes.iter().map(|volume| &**volume),
        ))
    }

    fn sources(&self) -> Vec<Source> {
        let keys = |classes: Vec<String>| {
            let classes: BTreeSet<String> = classes.into_iter().collect();
            classes.into_iter().map(ObjectKey::cluster).collect::<Vec<_>>()
        };
        let of_claim = move |claim: &PersistentVolumeClaim| keys(users::classes_of_claim(claim));
        let of_volume = move |volume: &PersistentVolume| keys(users::class_of_volume(volume).into_iter().collect());
        vec![
            Source::new(&self.0.caches.claims, of_claim),
            Source::new(&self.0.caches.volumes, of_volume),
        ]
    }
}

#[async_trait]
impl<K, U> Controller for Protection<K, U>
where
    K: kube::Resource + Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static,
    U: Usage<K>,
{
    type Observed = Observed;
    type Action = Action;
    type Because = Because;

    fn name(&self) -> &'static str {
        self.name
    }

    fn sources(&self) -> Vec<Source> {
        let mut sources = self.usage.sources();
        sources.push(Source::primary(&self.objects));
        sources
    }

    fn keys(&self) -> Vec<ObjectKey> {
        self.objects.snapshot().keys().cloned().collect()
    }

    async fn observe(&self, key: &ObjectKey) -> Result<Option<Observed>, ReconcileError> {
        let Some(object) = self.objects.get(key) else {
            return Ok(None);
        };
        let user = self.usage.user(&object).await?;
        let meta = object.meta().clone();
        Ok(Some(Observed {
            meta,
            finalizer: self.finalizer,
            user,
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
        for action in &plan.actions {
            let Some(object) = self.objects.get(key) else {
                return Ok(());
            };
            let mut object = K::clone(&object);
            let finalizers = object.meta_mut().finalizers.get_or_insert_default();
            match action {
                Action::Protect => finalizers.push(self.finalizer.to_owned()),
                Action::Unprotect => finalizers.retain(|finalizer| finalizer != self.finalizer),
            }
            // Exactly the object that was looked at.
            object
                .meta_mut()
                .resource_version
                .clone_from(&observed.meta.resource_version);
            let api = (self.api)(self.client.clone(), &key.namespace);
            match api.replace(&key.name, &PostParams::default(), &object).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                written => {
                    let written = written.acting(|| format!("cannot change the protection of {key}"))?;
                    if *action == Action::Unprotect {
                        writes.deleted(&self.objects, key_of(&object), owner::uid(object.meta()));
                    } else {
                        writes.wrote(&self.objects, &written);
                    }
                }
            }
        }
        Ok(())
    }
}
