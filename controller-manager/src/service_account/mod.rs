//! Every namespace has a service account called `default`.
//!
//! Upstream: `pkg/controller/serviceaccount/serviceaccounts_controller.go`.

pub(crate) mod plan;

use async_trait::async_trait;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, PostParams};
use timonel_api::ObjectKey;
use timonel_client::runner::{Acting as _, Controller, Plan, ReconcileError, Source, Writes};

use crate::context::Context;
use crate::owner;
use plan::{Action, Because, NAME, Observed, plan};

struct ServiceAccounts {
    context: Context,
}

/// Runs the controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, ()> {
    let controller = ServiceAccounts {
        context: context.clone(),
    };
    Box::pin(context.run(controller, 1))
}

#[async_trait]
impl Controller for ServiceAccounts {
    type Observed = Observed;
    type Action = Action;
    type Because = Because;

    fn name(&self) -> &'static str {
        "serviceaccount"
    }

    fn sources(&self) -> Vec<Source> {
        let of = |account: &ServiceAccount| {
            let mine = owner::name(&account.metadata) == NAME;
            let key = ObjectKey::cluster(owner::namespace(&account.metadata));
            mine.then_some(key).into_iter().collect()
        };
        vec![
            Source::primary(&self.context.caches.namespaces),
            Source::new(&self.context.caches.service_accounts, of),
        ]
    }

    fn keys(&self) -> Vec<ObjectKey> {
        self.context.caches.namespaces.snapshot().keys().cloned().collect()
    }

    async fn observe(&self, key: &ObjectKey) -> Result<Option<Observed>, ReconcileError> {
        let caches = &self.context.caches;
        Ok(caches.namespaces.get(key).map(|namespace| Observed {
            exists: caches.service_accounts.get(&ObjectKey::new(&key.name, NAME)).is_some(),
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
        let api: Api<ServiceAccount> = Api::namespaced(self.context.client.clone(), &key.name);
        for Action::Create in &plan.actions {
            let account = ServiceAccount {
                metadata: ObjectMeta {
                    name: Some(NAME.into()),
                    namespace: Some(key.name.clone()),
                    ..ObjectMeta::default()
                },
                ..ServiceAccount::default()
            };
            match api.create(&PostParams::default(), &account).await {
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                created => {
                    let created = created.acting(|| format!("cannot create the default service account of {key}"))?;
                    writes.wrote(&self.context.caches.service_accounts, &created);
                }
            }
        }
        Ok(())
    }
}
