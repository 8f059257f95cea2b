//! EndpointSlices: the pods behind each Service, for proxies and DNS.
//!
//! Upstream: `pkg/controller/endpointslice`.

mod plan;

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DeleteParams, PostParams};
use timonel_api::ObjectKey;
use timonel_client::runner::{Acting as _, Controller, Plan, ReconcileError, Source, Writes, key_of};

use crate::context::Context;
use crate::{backends, owner};
use plan::{Action, Because, Observed, SERVICE_LABEL, is_ours, plan};

struct EndpointSlices {
    context: Context,
}

/// Runs the controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, ()> {
    let controller = EndpointSlices {
        context: context.clone(),
    };
    Box::pin(context.run(controller, 5))
}

fn service_of(slice: &EndpointSlice) -> Option<ObjectKey> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_LABEL)?;
    Some(ObjectKey::new(owner::namespace(&slice.metadata), name))
}

#[async_trait]
impl Controller for EndpointSlices {
    type Observed = Observed;
    type Action = Action;
    type Because = Because;

    fn name(&self) -> &'static str {
        "endpointslice"
    }

    fn sources(&self) -> Vec<Source> {
        let caches = &self.context.caches;
        let services = caches.services.clone();
        vec![
            Source::primary(&caches.services),
            Source::new(&caches.pods, move |pod: &Pod| backends::services_of(&services, pod)),
            Source::new(&caches.endpoint_slices, |slice| service_of(slice).into_iter().collect()),
            Source::looked_into(&caches.nodes),
        ]
    }

    fn keys(&self) -> Vec<ObjectKey> {
        self.context.caches.services.snapshot().keys().cloned().collect()
    }

    async fn observe(&self, key: &ObjectKey) -> Result<Option<Observed>, ReconcileError> {
        let caches = &self.context.caches;
        let Some(service) = caches.services.get(key).filter(|service| backends::selects(service)) else {
            return Ok(None);
        };
        let slices = caches.endpoint_slices.list_in(&key.namespace);
        let slices = slices
            .into_iter()
            .filter(|slice| is_ours(slice) && service_of(slice).as_ref() == Some(key))
            .collect();
        let backends = backends::of(&service, &caches.pods.list_in(&key.namespace));
        let zone = |name: String| {
            let node = caches.nodes.get(&ObjectKey::cluster(&name))?;
            let zone = node
                .metadata
                .labels
                .as_ref()?
                .get("topology.kubernetes.io/zone")?
                .clone();
            Some((name, zone))
        };
        let zones: BTreeMap<String, String> = backends.iter().filter_map(|backend| zone(backend.node()?)).collect();
        Ok(Some(Observed {
            service,
            backends,
            slices,
            zones,
        }))
    }

    fn plan(&self, observed: &Observed, _: Timestamp) -> Plan<Action, Because> {
        plan(observed)
    }

    async fn apply(
        &self,
        key: &ObjectKey,
        _: &Observed,
        plan: &Plan<Action, Because>,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        let api: Api<EndpointSlice> = Api::namespaced(self.context.client.clone(), &key.namespace);
        let cache = &self.context.caches.endpoint_slices;
        for action in &plan.actions {
            let written = match action {
                Action::Create(slice) => api.create(&PostParams::default(), slice).await,
                Action::Replace(slice) => {
                    api.replace(owner::name(&slice.metadata), &PostParams::default(), slice)
                        .await
                }
                Action::Delete(slice) => {
                    match api.delete(owner::name(&slice.metadata), &DeleteParams::default()).await {
                        Err(kube::Error::Api(status)) if status.code == 404 => {}
                        deleted => {
                            deleted.acting(|| format!("cannot delete endpoint slice {}", key_of(&**slice)))?;
                            writes.deleted(cache, key_of(&**slice), owner::uid(&slice.metadata));
                        }
                    }
                    continue;
                }
            };
            let written = written.acting(|| format!("cannot write an endpoint slice of service {key}"))?;
            writes.wrote(cache, &written);
        }
        Ok(())
    }
}
