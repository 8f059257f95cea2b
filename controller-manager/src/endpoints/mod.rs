//! Endpoints: the older form of EndpointSlices, for clients that still read it.
//!
//! Upstream: `pkg/controller/endpoint`.

mod plan;

use async_trait::async_trait;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Endpoints as Object, Pod};
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use timonel_api::ObjectKey;
use timonel_client::runner::{Acting as _, Controller, Plan, ReconcileError, Source, Writes};

use crate::backends;
use crate::context::Context;
use crate::owner;
use plan::{Action, Because, Observed, plan};

struct Endpoints {
    context: Context,
}

/// Runs the controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, ()> {
    let controller = Endpoints {
        context: context.clone(),
    };
    Box::pin(context.run(controller, 5))
}

#[async_trait]
impl Controller for Endpoints {
    type Observed = Observed;
    type Action = Action;
    type Because = Because;

    fn name(&self) -> &'static str {
        "endpoints"
    }

    fn sources(&self) -> Vec<Source> {
        let caches = &self.context.caches;
        let services = caches.services.clone();
        vec![
            Source::primary(&caches.services),
            Source::new(&caches.pods, move |pod: &Pod| backends::services_of(&services, pod)),
            Source::primary(&caches.endpoints),
        ]
    }

    fn keys(&self) -> Vec<ObjectKey> {
        let caches = &self.context.caches;
        let (services, endpoints) = (caches.services.snapshot(), caches.endpoints.snapshot());
        services.keys().chain(endpoints.keys()).cloned().collect()
    }

    async fn observe(&self, key: &ObjectKey) -> Result<Option<Observed>, ReconcileError> {
        let caches = &self.context.caches;
        let service = caches.services.get(key);
        if service.as_ref().is_some_and(|service| !backends::selects(service)) {
            return Ok(None);
        }
        let backends = service
            .as_ref()
            .map(|service| backends::of(service, &caches.pods.list_in(&key.namespace)));
        Ok(Some(Observed {
            backends: backends.unwrap_or_default(),
            endpoints: caches.endpoints.get(key),
            service,
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
        let api: Api<Object> = Api::namespaced(self.context.client.clone(), &key.namespace);
        for action in &plan.actions {
            let written = match action {
                Action::Create(endpoints) => api.create(&PostParams::default(), endpoints).await,
                Action::Replace(endpoints) => api.replace(&key.name, &PostParams::default(), endpoints).await,
                Action::Delete(endpoints) => {
                    let params = DeleteParams {
                        preconditions: Some(Preconditions {
                            uid: endpoints.metadata.uid.clone(),
                            resource_version: None,
                        }),
                        ..DeleteParams::default()
                    };
                    match api.delete(&key.name, &params).await {
                        Err(kube::Error::Api(status)) if status.code == 404 => continue,
                        deleted => drop(deleted.acting(|| format!("cannot delete the endpoints of service {key}"))?),
                    }
                    writes.deleted(
                        &self.context.caches.endpoints,
                        key.clone(),
                        owner::uid(&endpoints.metadata),
                    );
                    continue;
                }
            };
            let written = written.acting(|| format!("cannot write the endpoints of service {key}"))?;
            writes.wrote(&self.context.caches.endpoints, &written);
        }
        Ok(())
    }
}
