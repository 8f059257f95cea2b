//! ReplicaSets and ReplicationControllers: as many pods of a template as asked for.
//!
//! Upstream: `pkg/controller/replicaset`, `pkg/controller/replication`. Read-your-own-writes of the runner replaces its expectations.

mod apply;
mod kind;
mod observe;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Mutex;

use async_trait::async_trait;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use timonel_api::ObjectKey;
use timonel_client::events::Recorder;
use timonel_client::runner::{Controller, Plan, ReconcileError, Source, Writes};

use crate::claim;
use crate::context::Context;
use kind::Kind;
pub(crate) use observe::{Failure, Observed};
pub(crate) use plan::{Action, Because, plan};

/// The controller, of one of the kinds.
pub(crate) struct ReplicaSets<K> {
    context: Context,
    recorder: Recorder,
    /// What the last attempt to create or delete pods failed with, by uid; shown as a condition.
    failures: Mutex<BTreeMap<String, Failure>>,
    kind: PhantomData<K>,
}

/// Runs the controller of ReplicaSets.
pub(crate) fn start(context: Context) -> BoxFuture<'static, ()> {
    run::<ReplicaSet>(context)
}

/// Runs the controller of ReplicationControllers.
pub(crate) fn start_replication_controllers(context: Context) -> BoxFuture<'static, ()> {
    run::<ReplicationController>(context)
}

fn run<K: Kind>(context: Context) -> BoxFuture<'static, ()> {
    let controller = ReplicaSets::<K> {
        recorder: context.recorder(K::COMPONENT),
        context: context.clone(),
        failures: Mutex::default(),
        kind: PhantomData,
    };
    Box::pin(context.run(controller, 5))
}

#[async_trait]
impl<K: Kind> Controller for ReplicaSets<K> {
    type Observed = Observed;
    type Action = Action;
    type Because = Because;

    fn name(&self) -> &'static str {
        K::NAME
    }

    fn sources(&self) -> Vec<Source> {
        let caches = &self.context.caches;
        let sets = K::cache(caches).clone();
        let of_pod = move |pod: &Pod| claim::concerned(&sets, &pod.metadata, K::selector);
        vec![Source::primary(K::cache(caches)), Source::new(&caches.pods, of_pod)]
    }

    fn keys(&self) -> Vec<ObjectKey> {
        K::cache(&self.context.caches).snapshot().keys().cloned().collect()
    }

    async fn observe(&self, key: &ObjectKey) -> Result<Option<Observed>, ReconcileError> {
        Ok(self.observe_now(key))
    }

    fn plan(&self, observed: &Observed, now: Timestamp) -> Plan<Action, Because> {
        plan(observed, now)
    }

    async fn apply(
        &self,
        _: &ObjectKey,
        observed: &Observed,
        plan: &Plan<Action, Because>,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        self.carry_out(observed, plan, writes).await
    }
}
