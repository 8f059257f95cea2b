//! Every namespace has a ConfigMap `kube-root-ca.crt` by which its pods verify the API server.
//!
//! Upstream: `pkg/controller/certificates/rootcacertpublisher`.

mod plan;

use async_trait::async_trait;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use timonel_api::ObjectKey;
use timonel_client::runner::{Acting as _, Controller, Plan, ReconcileError, Source, Writes};

use crate::context::Context;
use crate::owner;
use plan::{Action, Because, NAME, Observed, plan};

struct RootCas {
    context: Context,
    ca: String,
}

/// Runs the controller; without a certificate there is nothing to publish, and it only waits.
pub(crate) fn start(context: Context) -> BoxFuture<'static, ()> {
    let Some(ca) = context.config.root_ca_pem.clone() else {
        return Box::pin(async move { context.shutdown.cancelled().await });
    };
    let controller = RootCas {
        context: context.clone(),
        ca,
    };
    Box::pin(context.run(controller, 1))
}

#[async_trait]
impl Controller for RootCas {
    type Observed = Observed;
    type Action = Action;
    type Because = Because;

    fn name(&self) -> &'static str {
        "root-ca-certificate-publisher"
    }

    fn sources(&self) -> Vec<Source> {
        let of = |map: &ConfigMap| vec![ObjectKey::cluster(owner::namespace(&map.metadata))];
        vec![
            Source::primary(&self.context.caches.namespaces),
            Source::new(&self.context.caches.root_cas, of),
        ]
    }

    fn keys(&self) -> Vec<ObjectKey> {
        self.context.caches.namespaces.snapshot().keys().cloned().collect()
    }

    async fn observe(&self, key: &ObjectKey) -> Result<Option<Observed>, ReconcileError> {
        let caches = &self.context.caches;
        Ok(caches.namespaces.get(key).map(|namespace| Observed {
            published: caches.root_cas.get(&ObjectKey::new(&key.name, NAME)),
            ca: self.ca.clone(),
            namespace,
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
        let api: Api<ConfigMap> = Api::namespaced(self.context.client.clone(), &key.name);
        for action in &plan.actions {
            let written = match action {
                Action::Create(map) => match api.create(&PostParams::default(), map).await {
                    Err(kube::Error::Api(status)) if status.code == 409 => continue,
                    created => created,
                },
                Action::Correct(map) => {
                    let patch = json!({"metadata": {"annotations": map.metadata.annotations}, "data": map.data});
                    api.patch(NAME, &PatchParams::default(), &Patch::Merge(&patch)).await
                }
            };
            let written = written.acting(|| format!("cannot publish the root certificate in {key}"))?;
            writes.wrote(&self.context.caches.root_cas, &written);
        }
        Ok(())
    }
}
