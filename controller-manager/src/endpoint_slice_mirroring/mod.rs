//! Endpoints that people keep for Services without a selector are mirrored to EndpointSlices, which is what proxies and DNS read.
//!
//! Upstream: `pkg/controller/endpointslicemirroring`.

mod plan;

use async_trait::async_trait;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Endpoints, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DeleteParams, PostParams};
use timonel_api::ObjectKey;
use timonel_client::events::{EventType, Recorder};
use timonel_client::runner::{Acting as _, Controller, Plan, ReconcileError, Source, Writes, key_of};

use crate::context::Context;
use crate::owner;
use plan::{Action, Because, Observed, is_ours, plan, service_of};

struct Mirroring {
    context: Context,
    recorder: Recorder,
}

/// Runs the controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, ()> {
    let controller = Mirroring {
        recorder: context.recorder("endpoint-slice-mirroring-controller"),
        context: context.clone(),
    };
    Box::pin(context.run(controller, 5))
}

fn ours(slice: Option<&EndpointSlice>) -> Option<&EndpointSlice> {
    slice.filter(|slice| is_ours(slice))
}

#[async_trait]
impl Controller for Mirroring {
    type Observed = Observed;
    type Action = Action;
    type Because = Because;

    fn name(&self) -> &'static str {
        "endpointslice-mirroring"
    }

    fn sources(&self) -> Vec<Source> {
        let caches = &self.context.caches;
        vec![
            Source::primary(&caches.endpoints),
            Source::filtered(
                &caches.services,
                |old: Option<&Service>, new: Option<&Service>| {
                    let selects = |service: &Service| service.spec.as_ref().is_some_and(|spec| spec.selector.is_some());
                    old.map(selects) != new.map(selects)
                },
                |service: &Service| vec![key_of(service)],
            ),
            Source::filtered(
                &caches.endpoint_slices,
                |old, new| ours(old) != ours(new),
                |slice: &EndpointSlice| service_of(slice).into_iter().collect(),
            ),
        ]
    }

    fn keys(&self) -> Vec<ObjectKey> {
        let caches = &self.context.caches;
        let slices = caches.endpoint_slices.list();
        let mirrored = slices.iter().filter(|slice| is_ours(slice));
        let mirrored = mirrored.filter_map(|slice| service_of(slice));
        let endpoints = caches.endpoints.snapshot();
        endpoints.keys().cloned().chain(mirrored).collect()
    }

    async fn observe(&self, key: &ObjectKey) -> Result<Option<Observed>, ReconcileError> {
        let caches = &self.context.caches;
        let slices = caches.endpoint_slices.list_in(&key.namespace);
        let slices = slices
            .into_iter()
            .filter(|slice| is_ours(slice) && service_of(slice).as_ref() == Some(key));
        Ok(Some(Observed {
            endpoints: caches.endpoints.get(key),
            service: caches.services.get(key),
            slices: slices.collect(),
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
        let api: Api<EndpointSlice> = Api::namespaced(self.context.client.clone(), &key.namespace);
        let cache = &self.context.caches.endpoint_slices;
        for action in &plan.actions {
            let written = match action {
                Action::Create(slice) => api.create(&PostParams::default(), slice).await,
                Action::Replace(slice) => {
                    let name = owner::name(&slice.metadata);
                    api.replace(name, &PostParams::default(), slice).await
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
            let written = written.acting(|| format!("cannot mirror the endpoints {key}"))?;
            writes.wrote(cache, &written);
        }
        if let (false, Some(endpoints)) = (plan.is_empty(), &observed.endpoints) {
            self.say(endpoints);
        }
        Ok(())
    }
}

impl Mirroring {
    /// Tells what could not be mirrored.
    fn say(&self, endpoints: &Endpoints) {
        let skipped = plan::skipped(endpoints);
        if skipped.invalid > 0 {
            let text = format!(
                "Skipped {} invalid IP addresses when mirroring to EndpointSlices",
                skipped.invalid
            );
            self.recorder
                .publish(endpoints, EventType::Warning, "InvalidIPAddress", text);
        }
        if skipped.too_many > 0 {
            let text = format!(
                "A max of {} addresses can be mirrored to EndpointSlices per Endpoints subset. {} addresses were skipped",
                plan::MOST,
                skipped.invalid + skipped.too_many
            );
            self.recorder
                .publish(endpoints, EventType::Warning, "TooManyAddressesToMirror", text);
        }
    }
}
