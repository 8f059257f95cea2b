//! ClusterRoles that are made of others: `admin`, `edit` and `view` grow with every role that is labelled for them.
//!
//! Upstream: `pkg/controller/clusterroleaggregation`.

mod plan;

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use timonel_api::ObjectKey;
use timonel_client::informer::{self, Reader, Selection};
use timonel_client::runner::{Acting as _, Controller, Plan, ReconcileError, Source, Writes, key_of};

use crate::context::Context;
use plan::{Action, Because, Observed, plan};

struct RoleAggregation {
    client: kube::Client,
    roles: Reader<ClusterRole>,
}

/// Runs the controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, ()> {
    let all: Api<ClusterRole> = Api::all(context.client.clone());
    let controller = RoleAggregation {
        roles: informer::start_with(
            all,
            Selection::all(),
            Arc::clone(&context.rng),
            context.shutdown.clone(),
        ),
        client: context.client.clone(),
    };
    Box::pin(context.run(controller, 1))
}

fn aggregated(roles: &Reader<ClusterRole>) -> Vec<ObjectKey> {
    let roles = roles.list();
    let aggregated = roles.iter().filter(|role| role.aggregation_rule.is_some());
    aggregated.map(|role| key_of(&**role)).collect()
}

#[async_trait]
impl Controller for RoleAggregation {
    type Observed = Observed;
    type Action = Action;
    type Because = Because;

    fn name(&self) -> &'static str {
        "clusterrole-aggregation"
    }

    fn sources(&self) -> Vec<Source> {
        let roles = self.roles.clone();
        // Any role may be part of any other.
        vec![Source::new(&self.roles, move |_: &ClusterRole| aggregated(&roles))]
    }

    fn keys(&self) -> Vec<ObjectKey> {
        aggregated(&self.roles)
    }

    async fn observe(&self, key: &ObjectKey) -> Result<Option<Observed>, ReconcileError> {
        let role = self.roles.get(key);
        Ok(role.map(|role| Observed {
            role,
            all: self.roles.list(),
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
        for Action::SetRules(rules) in &plan.actions {
            let meta = &observed.role.metadata;
            let api: Api<ClusterRole> = Api::all(self.client.clone());
            let patch =
                json!({"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version}, "rules": rules});
            let written = api
                .patch(&key.name, &PatchParams::default(), &Patch::Merge(&patch))
                .await;
            let written = written.acting(|| format!("cannot write the rules of cluster role {key}"))?;
            writes.wrote(&self.roles, &written);
        }
        Ok(())
    }
}
