//! Bootstrap tokens that have expired are deleted.
//!
//! Upstream: `pkg/controller/bootstrap/tokencleaner.go`.

mod plan;

use async_trait::async_trait;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, Preconditions};
use timonel_api::ObjectKey;
use timonel_client::runner::{Acting as _, Controller, Plan, ReconcileError, Source, Writes};

use crate::context::Context;
use crate::owner;
use plan::{Action, Because, Observed, plan};

struct TokenCleaner {
    context: Context,
}

/// Runs the controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, ()> {
    let controller = TokenCleaner {
        context: context.clone(),
    };
    Box::pin(context.run(controller, 1))
}

#[async_trait]
impl Controller for TokenCleaner {
    type Observed = Observed;
    type Action = Action;
    type Because = Because;

    fn name(&self) -> &'static str {
        "token-cleaner"
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source::primary(&self.context.caches.system_secrets)]
    }

    fn keys(&self) -> Vec<ObjectKey> {
        self.context.caches.system_secrets.snapshot().keys().cloned().collect()
    }

    async fn observe(&self, key: &ObjectKey) -> Result<Option<Observed>, ReconcileError> {
        let secret = self.context.caches.system_secrets.get(key);
        let secret = secret.filter(|secret| secret.type_.as_deref() == Some("bootstrap.kubernetes.io/token"));
        Ok(secret.map(|secret| Observed { secret }))
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
        let api: Api<Secret> = Api::namespaced(self.context.client.clone(), &key.namespace);
        for Action::Delete in &plan.actions {
            let params = DeleteParams {
                preconditions: Some(Preconditions {
                    uid: observed.secret.metadata.uid.clone(),
                    resource_version: observed.secret.metadata.resource_version.clone(),
                }),
                ..DeleteParams::default()
            };
            match api.delete(&key.name, &params).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                deleted => {
                    deleted.acting(|| format!("cannot delete expired token {key}"))?;
                    writes.deleted(
                        &self.context.caches.system_secrets,
                        key.clone(),
                        owner::uid(&observed.secret.metadata),
                    );
                }
            }
        }
        Ok(())
    }
}
