//! CronJobs: Jobs started when their time comes.
//!
//! Upstream: `pkg/controller/cronjob` (version 2). Differences: what upstream says again at each look (a missed time, a Job that is in
//! the way) is said once; a schedule without a time zone means UTC, whatever the machine's is.

mod apply;
mod history;
mod plan;
#[cfg(test)]
mod tests;
mod times;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use kube::api::Api;
use timonel_api::ObjectKey;
use timonel_client::events::Recorder;
use timonel_client::informer::{self, Reader, Selection};
use timonel_client::runner::{Acting as _, Controller, Plan, ReconcileError, Source, Writes, key_of};

use crate::context::Context;
use crate::owner;
use plan::{Action, Because, Observed, Say, plan};

/// The controller.
pub(crate) struct CronJobs {
    context: Context,
    recorder: Recorder,
    cron_jobs: Reader<CronJob>,
    /// What people were told of each CronJob, so that it is said once.
    told: Mutex<BTreeMap<ObjectKey, BTreeSet<Say>>>,
}

/// Runs the controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, ()> {
    let all: Api<CronJob> = Api::all(context.client.clone());
    let controller = CronJobs {
        recorder: context.recorder("cronjob-controller"),
        cron_jobs: informer::start_with(
            all,
            Selection::all(),
            Arc::clone(&context.rng),
            context.shutdown.clone(),
        ),
        context: context.clone(),
        told: Mutex::default(),
    };
    Box::pin(context.run(controller, 5))
}

#[async_trait]
impl Controller for CronJobs {
    type Observed = Observed;
    type Action = Action;
    type Because = Because;

    fn name(&self) -> &'static str {
        "cronjob"
    }

    fn sources(&self) -> Vec<Source> {
        let of_job = |job: &Job| {
            let controller = owner::controller_of(&job.metadata).filter(|owner| owner.kind == "CronJob");
            let key = controller.map(|owner| ObjectKey::new(owner::namespace(&job.metadata), owner.name.clone()));
            key.into_iter().collect()
        };
        vec![
            Source::primary(&self.cron_jobs),
            Source::new(&self.context.caches.jobs, of_job),
        ]
    }

    fn keys(&self) -> Vec<ObjectKey> {
        self.cron_jobs.snapshot().keys().cloned().collect()
    }

    async fn observe(&self, key: &ObjectKey) -> Result<Option<Observed>, ReconcileError> {
        let Some(cron) = self.cron_jobs.get(key) else {
            self.told.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
            return Ok(None);
        };
        let uid = owner::uid(&cron.metadata);
        let jobs = self.context.caches.jobs.list_in(&key.namespace);
        let jobs: Vec<Arc<Job>> = jobs
            .into_iter()
            .filter(|job| owner::is_controlled_by(&job.metadata, uid))
            .collect();
        let mut gone = BTreeSet::new();
        let active = cron.status.as_ref().and_then(|status| status.active.as_ref());
        for listed in active.into_iter().flatten() {
            let (uid, name) = (
                listed.uid.clone().unwrap_or_default(),
                listed.name.clone().unwrap_or_default(),
            );
            if jobs.iter().any(|job| owner::uid(&job.metadata) == uid) {
                continue;
            }
            // Our copy may be behind: only the server knows.
            let api: Api<Job> = Api::namespaced(self.context.client.clone(), &key.namespace);
            let found = api
                .get_opt(&name)
                .await
                .acting(|| format!("cannot look for job {}/{name}", key.namespace))?;
            if found.is_none_or(|job| owner::uid(&job.metadata) != uid) {
                gone.insert(uid);
            }
        }
        let told = self
            .told
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .cloned();
        Ok(Some(Observed {
            jobs,
            gone,
            told: told.unwrap_or_default(),
            cron,
        }))
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

impl CronJobs {
    /// Keeps in mind that something was said; of what may be said of many times, only the last time.
    fn remember(&self, cron: &CronJob, what: &Say) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let said = told.entry(key_of(cron)).or_default();
        let kind = std::mem::discriminant(what);
        if !matches!(what, Say::UnexpectedJob { .. }) || said.len() > 100 {
            said.retain(|other| std::mem::discriminant(other) != kind);
        }
        said.insert(what.clone());
    }
}
