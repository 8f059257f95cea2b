//! Objects whose owners are gone go too; objects that are deleted with their dependents wait for them.
//!
//! ```text
//! metadata informer of every resource --> Graph (who depends on whom) --> keys
//!   observe: owners (absent ones are asked for at the server), dependents --> plan --> delete, orphan, unfinalize
//! ```
//!
//! Upstream: `pkg/controller/garbagecollector`. A key names resource, namespace and name.

mod graph;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use serde_json::json;
use timonel_api::ObjectKey;
use timonel_api::resources::{self, ResourceInfo};
use timonel_client::informer::Reader;
use timonel_client::runner::{Acting as _, Controller, Plan, ReconcileError, Source, Writes};

use crate::context::Context;
use crate::owner;
use crate::resource::{Metadata, api};
use graph::Graph;
use plan::{Action, Because, Dependent, Observed, OwnerState, plan};

/// Uids that the server has said are gone; they never come back.
const ABSENT_MEMORY: usize = 500;

struct GarbageCollector {
    context: Context,
    watched: Arc<[(&'static ResourceInfo, Reader<Metadata>)]>,
    graph: Arc<Mutex<Graph>>,
    absent: Mutex<BTreeSet<String>>,
}

/// Runs the controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, ()> {
    let controller = GarbageCollector {
        watched: Arc::clone(&context.caches.metadata),
        context: context.clone(),
        graph: Arc::default(),
        absent: Mutex::default(),
    };
    Box::pin(context.run(controller, 20))
}

/// Names an object of a resource by one key.
fn key_for(resource: &ResourceInfo, namespace: &str, name: &str) -> ObjectKey {
    ObjectKey::new(format!("{}/{}/{namespace}", resource.group, resource.plural), name)
}

impl GarbageCollector {
    /// Finds the resource, its cache and the object's own key again.
    fn resolve(&self, key: &ObjectKey) -> Option<(&'static ResourceInfo, &Reader<Metadata>, ObjectKey)> {
        let mut parts = key.namespace.splitn(3, '/');
        let (group, plural, namespace) = (parts.next()?, parts.next()?, parts.next()?);
        let (resource, reader) = self
            .watched
            .iter()
            .find(|(info, _)| info.group == group && info.plural == plural)?;
        Some((resource, reader, ObjectKey::new(namespace, &key.name)))
    }

    async fn owner_state(&self, namespace: &str, reference: &OwnerReference) -> Result<OwnerState, ReconcileError> {
        let (group, version) = reference
            .api_version
            .rsplit_once('/')
            .unwrap_or(("", &reference.api_version));
        let known = resources::all()
            .iter()
            .find(|info| info.storage && info.group == group && info.kind == reference.kind);
        // A kind that we do not know cannot be judged: its dependents stay.
        let Some(info) = known else {
            return Ok(OwnerState::Unknown);
        };
        let namespace = if info.namespaced { namespace } else { "" };
        let cached = self
            .watched
            .iter()
            .find(|(other, _)| other.group == info.group && other.plural == info.plural)
            .and_then(|(_, reader)| reader.get(&ObjectKey::new(namespace, &reference.name)));
        if let Some(cached) = cached.filter(|cached| owner::uid(&cached.metadata) == reference.uid) {
            return Ok(plan::state_of(&cached.metadata));
        }
        if self
            .absent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&reference.uid)
        {
            return Ok(OwnerState::Absent);
        }
        if info.namespaced && namespace.is_empty() {
            // A cluster-scoped object cannot be owned by a namespaced one.
            return Ok(OwnerState::Unknown);
        }
        let live = api(&self.context.client, info, namespace)
            .get_metadata_opt(&reference.name)
            .await;
        let live = live.acting(|| format!("cannot look for {} {version} {}", reference.kind, reference.name))?;
        Ok(match live {
            Some(live) if owner::uid(&live.metadata) == reference.uid => plan::state_of(&live.metadata),
            _ => {
                let mut absent = self.absent.lock().unwrap_or_else(PoisonError::into_inner);
                if absent.len() >= ABSENT_MEMORY {
                    absent.pop_first();
                }
                absent.insert(reference.uid.clone());
                OwnerState::Absent
            }
        })
    }
}

#[async_trait]
impl Controller for GarbageCollector {
    type Observed = Observed;
    type Action = Action;
    type Because = Because;

    fn name(&self) -> &'static str {
        "garbage-collector"
    }

    fn sources(&self) -> Vec<Source> {
        let source = |(resource, reader): &(&'static ResourceInfo, Reader<Metadata>)| {
            let (resource, graph) = (*resource, Arc::clone(&self.graph));
            let lookup = Arc::clone(&self.graph);
            let key = move |object: &Metadata| {
                key_for(
                    resource,
                    owner::namespace(&object.metadata),
                    owner::name(&object.metadata),
                )
            };
            Source::filtered(
                reader,
                move |old: Option<&Metadata>, new: Option<&Metadata>| {
                    let Some(any) = new.or(old) else { return false };
                    let mut graph = graph.lock().unwrap_or_else(PoisonError::into_inner);
                    graph.change(&key(any), old.map(|old| &old.metadata), new.map(|new| &new.metadata))
                },
                move |object: &Metadata| {
                    let graph = lookup.lock().unwrap_or_else(PoisonError::into_inner);
                    graph.concerned(&key(object), &object.metadata)
                },
            )
        };
        self.watched.iter().map(source).collect()
    }

    fn keys(&self) -> Vec<ObjectKey> {
        let mut graph = self.graph.lock().unwrap_or_else(PoisonError::into_inner);
        let mut keys = Vec::new();
        for (resource, reader) in self.watched.iter() {
            for object in reader.list() {
                let key = key_for(
                    resource,
                    owner::namespace(&object.metadata),
                    owner::name(&object.metadata),
                );
                graph.change(&key, None, Some(&object.metadata));
                if object.metadata.owner_references.is_some() || object.metadata.deletion_timestamp.is_some() {
                    keys.push(key);
                }
            }
        }
        keys
    }

    async fn observe(&self, key: &ObjectKey) -> Result<Option<Observed>, ReconcileError> {
        let Some((_, reader, object)) = self.resolve(key) else {
            return Ok(None);
        };
        let Some(object) = reader.get(&object) else {
            return Ok(None);
        };
        let meta = object.metadata.clone();
        let mut owners = Vec::new();
        if meta.deletion_timestamp.is_none() {
            for reference in meta.owner_references.iter().flatten() {
                let state = self.owner_state(owner::namespace(&meta), reference).await?;
                owners.push((reference.clone(), state));
            }
        }
        let keys = self
            .graph
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .dependents(owner::uid(&meta));
        let dependents = keys.into_iter().filter_map(|key| {
            let (_, reader, object) = self.resolve(&key)?;
            let object = reader.get(&object)?;
            let references = object.metadata.owner_references.as_ref()?;
            let reference = references.iter().find(|reference| reference.uid == owner::uid(&meta))?;
            Some(Dependent {
                key,
                uid: owner::uid(&object.metadata).to_owned(),
                blocks: reference.block_owner_deletion.unwrap_or(false),
                waits: plan::state_of(&object.metadata) == OwnerState::Waiting,
                owners: references.clone(),
            })
        });
        let dependents = dependents.collect();
        Ok(Some(Observed {
            meta,
            owners,
            dependents,
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
        let meta = &observed.meta;
        for action in &plan.actions {
            match action {
                Action::Delete(policy) => self.delete(key, observed, policy.clone(), writes).await?,
                Action::SetOwners(owners) => {
                    let owners =
                        json!({"uid": meta.uid, "resourceVersion": meta.resource_version, "ownerReferences": owners});
                    self.patch(key, &json!({"metadata": owners}), writes).await?;
                }
                Action::SetFinalizers(finalizers) => {
                    let finalizers =
                        json!({"uid": meta.uid, "resourceVersion": meta.resource_version, "finalizers": finalizers});
                    self.patch(key, &json!({"metadata": finalizers}), writes).await?;
                }
                Action::Orphan(dependent) => {
                    let rest: Vec<_> = dependent
                        .owners
                        .iter()
                        .filter(|owner| Some(&owner.uid) != meta.uid.as_ref())
                        .collect();
                    let patch = json!({"metadata": {"uid": dependent.uid, "ownerReferences": (!rest.is_empty()).then_some(rest)}});
                    self.patch(&dependent.key, &patch, writes).await?;
                }
            }
        }
        Ok(())
    }
}

impl GarbageCollector {
    async fn delete(
        &self,
        key: &ObjectKey,
        observed: &Observed,
        policy: PropagationPolicy,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        let Some((info, reader, object)) = self.resolve(key) else {
            return Ok(());
        };
        let params = DeleteParams {
            propagation_policy: Some(policy),
            preconditions: Some(Preconditions {
                uid: observed.meta.uid.clone(),
                // An owner that adopts it meanwhile saves it.
                resource_version: observed.meta.resource_version.clone(),
            }),
            ..DeleteParams::default()
        };
        match api(&self.context.client, info, &object.namespace)
            .delete(&object.name, &params)
            .await
        {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            deleted => {
                deleted.acting(|| format!("cannot delete {} {object}", info.group_resource()))?;
                writes.deleted(reader, object, owner::uid(&observed.meta));
                Ok(())
            }
        }
    }

    async fn patch(
        &self,
        key: &ObjectKey,
        patch: &serde_json::Value,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        let Some((info, reader, object)) = self.resolve(key) else {
            return Ok(());
        };
        let api = api(&self.context.client, info, &object.namespace);
        match api
            .patch_metadata(&object.name, &PatchParams::default(), &Patch::Merge(patch))
            .await
        {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            written => {
                let written = written.acting(|| format!("cannot patch {} {object}", info.group_resource()))?;
                if written.metadata.deletion_timestamp.is_some() {
                    // Without its last finalizer it is gone: no event of this revision may come.
                    return Ok(());
                }
                writes.wrote(reader, &written);
                Ok(())
            }
        }
    }
}
