//! A namespace that is deleted takes everything in it along, pods first.
//!
//! Upstream: `pkg/controller/namespace`, with ordered deletion (KEP-5080).

mod plan;

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;
use timonel_api::{ObjectKey, resources};
use timonel_client::runner::{Acting as _, Controller, Plan, ReconcileError, Source, Writes};

use crate::context::Context;
use crate::{owner, resource};
use plan::{Action, Because, Content, Observed, plan};

struct Namespaces {
    context: Context,
}

/// Runs the controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, ()> {
    let controller = Namespaces {
        context: context.clone(),
    };
    Box::pin(context.run(controller, 10))
}

#[async_trait]
impl Controller for Namespaces {
    type Observed = Observed;
    type Action = Action;
    type Because = Because;

    fn name(&self) -> &'static str {
        "namespace"
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source::primary(&self.context.caches.namespaces)]
    }

    fn keys(&self) -> Vec<ObjectKey> {
        self.context.caches.namespaces.snapshot().keys().cloned().collect()
    }

    async fn observe(&self, key: &ObjectKey) -> Result<Option<Observed>, ReconcileError> {
        let namespace = self.context.caches.namespaces.get(key);
        let Some(namespace) = namespace.filter(|namespace| namespace.metadata.deletion_timestamp.is_some()) else {
            return Ok(None);
        };
        let mut contents = Vec::new();
        for resource in resource::deletable().filter(|resource| resource.namespaced) {
            let api = resource::api(&self.context.client, resource, &key.name);
            let list = api.list_metadata(&ListParams::default()).await;
            let list = list.acting(|| format!("cannot list {} in namespace {key}", resource.group_resource()))?;
            if list.items.is_empty() {
                continue;
            }
            let mut finalizers: BTreeMap<String, usize> = BTreeMap::new();
            for finalizer in list
                .items
                .iter()
                .flat_map(|item| item.metadata.finalizers.iter().flatten())
            {
                *finalizers.entry(finalizer.clone()).or_insert(0) += 1;
            }
            contents.push(Content {
                resource: (resource.group, resource.version, resource.plural),
                count: list.items.len(),
                staying: list
                    .items
                    .iter()
                    .filter(|item| item.metadata.deletion_timestamp.is_none())
                    .count(),
                finalizers,
            });
        }
        Ok(Some(Observed {
            namespace,
            contents,
            retry: self.context.timings().namespace_retry,
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
        let namespaces: Api<Namespace> = Api::all(self.context.client.clone());
        for action in &plan.actions {
            match action {
                Action::DeleteAll((group, version, plural)) => {
                    let Some(info) = resources::by_plural(group, version, plural) else {
                        continue;
                    };
                    self.delete_all(info, key).await?;
                }
                Action::SetStatus(status) => {
                    let patch = json!({"metadata": {"uid": observed.namespace.metadata.uid}, "status": status});
                    let written = namespaces
                        .patch_status(&key.name, &PatchParams::default(), &Patch::Merge(&patch))
                        .await;
                    let written = written.acting(|| format!("cannot write the status of namespace {key}"))?;
                    writes.wrote(&self.context.caches.namespaces, &written);
                }
                Action::Finalize => {
                    let mut namespace = Namespace::clone(&observed.namespace);
                    // Its status may just have been written: the server checks the uid, not the version.
                    namespace.metadata.resource_version = None;
                    let finalizers = namespace
                        .spec
                        .get_or_insert_default()
                        .finalizers
                        .get_or_insert_default();
                    finalizers.retain(|finalizer| finalizer != "kubernetes");
                    let done = namespaces
                        .replace_subresource("finalize", &key.name, &PostParams::default(), &namespace)
                        .await;
                    match done {
                        Err(kube::Error::Api(status)) if status.code == 404 => {}
                        done => {
                            done.acting(|| format!("cannot finalize namespace {key}"))?;
                        }
                    }
                    let uid = owner::uid(&observed.namespace.metadata);
                    writes.deleted(&self.context.caches.namespaces, key.clone(), uid);
                }
            }
        }
        Ok(())
    }
}

impl Namespaces {
    async fn delete_all(&self, info: &resources::ResourceInfo, key: &ObjectKey) -> Result<(), ReconcileError> {
        let api = resource::api(&self.context.client, info, &key.name);
        let act = || format!("cannot delete {} in namespace {key}", info.group_resource());
        if info.has_verb("deletecollection") {
            api.delete_collection(&DeleteParams::background(), &ListParams::default())
                .await
                .acting(act)?;
            return Ok(());
        }
        for item in api.list_metadata(&ListParams::default()).await.acting(act)?.items {
            match api
                .delete(owner::name(&item.metadata), &DeleteParams::background())
                .await
            {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                deleted => {
                    deleted.acting(act)?;
                }
            }
        }
        Ok(())
    }
}
