//! Signs `cluster-info` with every bootstrap token that may sign: whoever joins with one of them can trust what it reads there.
//!
//! Upstream: `pkg/controller/bootstrap/bootstrapsigner.go`.

mod plan;

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, PostParams};
use timonel_api::ObjectKey;
use timonel_client::informer::{self, Reader, Selection};
use timonel_client::runner::{Acting as _, Controller, Plan, ReconcileError, Source, Writes};

use crate::context::Context;
use plan::{Action, Because, Observed, is_token, plan};

const NAMESPACE: &str = "kube-public";
const NAME: &str = "cluster-info";

struct BootstrapSigner {
    context: Context,
    maps: Reader<ConfigMap>,
}

/// Runs the controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, ()> {
    let api: Api<ConfigMap> = Api::namespaced(context.client.clone(), NAMESPACE);
    let maps = informer::start_with(
        api,
        Selection::fields("metadata.name=cluster-info"),
        Arc::clone(&context.rng),
        context.shutdown.clone(),
    );
    let controller = BootstrapSigner {
        maps,
        context: context.clone(),
    };
    Box::pin(context.run(controller, 1))
}

fn the_one() -> Vec<ObjectKey> {
    vec![ObjectKey::new(NAMESPACE, NAME)]
}

#[async_trait]
impl Controller for BootstrapSigner {
    type Observed = Observed;
    type Action = Action;
    type Because = Because;

    fn name(&self) -> &'static str {
        "bootstrap-signer"
    }

    fn sources(&self) -> Vec<Source> {
        let tokens = |secret: &Secret| if is_token(secret) { the_one() } else { Vec::new() };
        vec![
            Source::primary(&self.maps),
            Source::new(&self.context.caches.system_secrets, tokens),
        ]
    }

    fn keys(&self) -> Vec<ObjectKey> {
        the_one()
    }

    async fn observe(&self, key: &ObjectKey) -> Result<Option<Observed>, ReconcileError> {
        let secrets = self.context.caches.system_secrets.list();
        Ok(self.maps.get(key).map(|info| Observed {
            info,
            tokens: secrets.into_iter().filter(|secret| is_token(secret)).collect(),
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
        let api: Api<ConfigMap> = Api::namespaced(self.context.client.clone(), &key.namespace);
        for Action::SetData(data) in &plan.actions {
            let mut info = ConfigMap::clone(&observed.info);
            info.data = Some(data.clone());
            let written = api.replace(&key.name, &PostParams::default(), &info).await;
            let written = written.acting(|| format!("cannot sign {key}"))?;
            writes.wrote(&self.maps, &written);
        }
        Ok(())
    }
}
