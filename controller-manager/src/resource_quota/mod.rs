//! What is used of each quota, written into its status.
//!
//! Upstream: `pkg/controller/resourcequota`, with help of admission, which notes what it lets in. Here admission counts for itself
//! (`apiserver::admission::resource_quota`), and this controller alone writes down what there is, whatever way it came or went.

mod plan;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, Service};
use kube::api::{Api, PostParams};
use serde::Serialize;
use serde_json::Value;
use timonel_api::{ObjectKey, pod};
use timonel_client::informer::{self, Reader, Selection};
use timonel_client::runner::{Acting as _, Controller, Plan, ReconcileError, Source, Writes, key_of};

use crate::context::Context;
use crate::owner;
use crate::resource::Metadata;
use plan::{Action, Because, Observed, plan};

struct ResourceQuotas {
    context: Context,
    quotas: Reader<ResourceQuota>,
}

/// Runs the controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, ()> {
    let all: Api<ResourceQuota> = Api::all(context.client.clone());
    let controller = ResourceQuotas {
        quotas: informer::start_with(
            all,
            Selection::all(),
            Arc::clone(&context.rng),
            context.shutdown.clone(),
        ),
        context: context.clone(),
    };
    Box::pin(context.run(controller, 5))
}

/// Resources whose objects use more than their own number.
const LOOKED_INTO: [&str; 3] = ["pods", "services", "persistentvolumeclaims"];

fn values<K: Serialize>(objects: &[Arc<K>]) -> Vec<Value> {
    objects
        .iter()
        .filter_map(|object| serde_json::to_value(&**object).ok())
        .collect()
}

impl ResourceQuotas {
    /// Follows a cache: a change that matters concerns every quota of its namespace.
    fn source<K, M>(&self, reader: &Reader<K>, matters: M) -> Source
    where
        K: kube::Resource + Send + Sync + 'static,
        M: Fn(Option<&K>, Option<&K>) -> bool + Send + 'static,
    {
        let quotas = self.quotas.clone();
        Source::filtered(reader, matters, move |object: &K| {
            let namespace = owner::namespace(object.meta());
            quotas.list_in(namespace).iter().map(|quota| key_of(&**quota)).collect()
        })
    }
}

#[async_trait]
impl Controller for ResourceQuotas {
    type Observed = Observed;
    type Action = Action;
    type Because = Because;

    fn name(&self) -> &'static str {
        "resourcequota"
    }

    fn sources(&self) -> Vec<Source> {
        let caches = &self.context.caches;
        let counts = |pod: Option<&Pod>| pod.filter(|pod| !pod::is_terminal(pod)).map(|pod| pod.spec.clone());
        let pods =
            move |old: Option<&Pod>, new: Option<&Pod>| old.is_some() != new.is_some() || counts(old) != counts(new);
        let services =
            |old: Option<&Service>, new: Option<&Service>| old.map(|old| &old.spec) != new.map(|new| &new.spec);
        let claims = |old: Option<&PersistentVolumeClaim>, new: Option<&PersistentVolumeClaim>| {
            old.map(|old| &old.spec) != new.map(|new| &new.spec)
        };
        let mut sources = vec![
            Source::primary(&self.quotas),
            self.source(&caches.pods, pods),
            self.source(&caches.services, services),
            self.source(&caches.claims, claims),
        ];
        for (resource, reader) in caches.metadata.iter().filter(|(resource, _)| resource.namespaced) {
            if !LOOKED_INTO.contains(&resource.group_resource().as_str()) {
                let came_or_went = |old: Option<&Metadata>, new: Option<&Metadata>| old.is_some() != new.is_some();
                let quotas = self.quotas.clone();
                sources.push(Source::filtered(reader, came_or_went, move |object: &Metadata| {
                    let quotas = quotas.list_in(owner::namespace(&object.metadata));
                    quotas.iter().map(|quota| key_of(&**quota)).collect()
                }));
            }
        }
        sources
    }

    fn keys(&self) -> Vec<ObjectKey> {
        self.quotas.snapshot().keys().cloned().collect()
    }

    async fn observe(&self, key: &ObjectKey) -> Result<Option<Observed>, ReconcileError> {
        let Some(quota) = self.quotas.get(key) else {
            return Ok(None);
        };
        let (caches, namespace) = (&self.context.caches, key.namespace.as_str());
        let objects = BTreeMap::from([
            ("pods".to_owned(), values(&caches.pods.list_in(namespace))),
            ("services".to_owned(), values(&caches.services.list_in(namespace))),
            (
                "persistentvolumeclaims".to_owned(),
                values(&caches.claims.list_in(namespace)),
            ),
        ]);
        let others = caches.metadata.iter().filter(|(resource, _)| resource.namespaced);
        let mut counts: BTreeMap<String, usize> = others
            .map(|(resource, reader)| (resource.group_resource(), reader.list_in(namespace).len()))
            .filter(|(resource, _)| !LOOKED_INTO.contains(&resource.as_str()))
            .collect();
        // Our own copy shows this very quota.
        counts.insert("resourcequotas".to_owned(), self.quotas.list_in(namespace).len());
        Ok(Some(Observed { quota, objects, counts }))
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
        for Action::SetStatus(status) in &plan.actions {
            let api: Api<ResourceQuota> = Api::namespaced(self.context.client.clone(), &key.namespace);
            let mut whole = ResourceQuota::clone(&observed.quota);
            whole.status = Some((**status).clone());
            let written = api.replace_status(&key.name, &PostParams::default(), &whole).await;
            let written = written.acting(|| format!("cannot write the status of quota {key}"))?;
            writes.wrote(&self.quotas, &written);
        }
        Ok(())
    }
}
