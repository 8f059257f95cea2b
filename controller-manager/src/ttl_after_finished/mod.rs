//! Finished Jobs go after `ttlSecondsAfterFinished`.
//!
//! Upstream: `pkg/controller/ttlafterfinished`. The Job is deleted in the foreground, and only as it was looked at: who has just given it a
//! longer life is asked again.

mod plan;

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::api::{Api, DeleteParams, Preconditions, PropagationPolicy};
use timonel_api::ObjectKey;
use timonel_client::runner::{Acting as _, Controller, Plan, ReconcileError, Source, Writes, key_of};

use crate::context::Context;
use crate::owner;
use plan::{Action, Because, plan};

struct TtlAfterFinished {
    context: Context,
}

/// Runs the controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, ()> {
    let controller = TtlAfterFinished {
        context: context.clone(),
    };
    Box::pin(context.run(controller, 5))
}

#[async_trait]
impl Controller for TtlAfterFinished {
    type Observed = Arc<Job>;
    type Action = Action;
    type Because = Because;

    fn name(&self) -> &'static str {
        "ttl-after-finished"
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source::primary(&self.context.caches.jobs)]
    }

    fn keys(&self) -> Vec<ObjectKey> {
        self.context.caches.jobs.snapshot().keys().cloned().collect()
    }

    async fn observe(&self, key: &ObjectKey) -> Result<Option<Arc<Job>>, ReconcileError> {
        Ok(self.context.caches.jobs.get(key))
    }

    fn plan(&self, job: &Arc<Job>, now: Timestamp) -> Plan<Action, Because> {
        plan(job, now)
    }

    async fn apply(
        &self,
        _: &ObjectKey,
        _: &Arc<Job>,
        plan: &Plan<Action, Because>,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        for Action::Delete(job) in &plan.actions {
            let api: Api<Job> = Api::namespaced(self.context.client.clone(), owner::namespace(&job.metadata));
            let params = DeleteParams {
                propagation_policy: Some(PropagationPolicy::Foreground),
                preconditions: Some(Preconditions {
                    uid: job.metadata.uid.clone(),
                    resource_version: job.metadata.resource_version.clone(),
                }),
                ..DeleteParams::default()
            };
            match api.delete(owner::name(&job.metadata), &params).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                deleted => {
                    deleted.acting(|| format!("cannot delete finished job {}", key_of(&**job)))?;
                }
            }
            writes.deleted(&self.context.caches.jobs, key_of(&**job), owner::uid(&job.metadata));
        }
        Ok(())
    }
}
