//! Carries out what was decided about a CronJob.

use k8s_openapi::api::batch::v1::{CronJob, CronJobStatus, Job};
use kube::api::{Api, DeleteParams, PostParams, Preconditions, PropagationPolicy};
use timonel_client::events::EventType::{self, Normal, Warning};
use timonel_client::runner::{Acting as _, Plan, ReconcileError, Writes, is_namespace_terminating, key_of};

use super::CronJobs;
use super::plan::{Action, Because, Observed, Say};
use crate::{owner, template};

impl CronJobs {
    pub(super) async fn carry_out(
        &self,
        observed: &Observed,
        plan: &Plan<Action, Because>,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        let cron = &*observed.cron;
        for action in &plan.actions {
            match action {
                Action::Tell(what) => {
                    self.say(cron, what);
                    self.remember(cron, what);
                }
                Action::SetStatus { status, say } => {
                    self.set_status(cron, status, writes).await?;
                    for what in say {
                        self.say(cron, what);
                    }
                }
                Action::Delete(job) => self.delete(cron, job, writes).await?,
                Action::Create(job) => self.create(cron, job, writes).await?,
            }
        }
        Ok(())
    }

    fn jobs(&self, cron: &CronJob) -> Api<Job> {
        Api::namespaced(self.context.client.clone(), owner::namespace(&cron.metadata))
    }

    async fn create(&self, cron: &CronJob, job: &Job, writes: &mut Writes) -> Result<(), ReconcileError> {
        match self.jobs(cron).create(&PostParams::default(), job).await {
            Ok(created) => {
                writes.wrote(&self.context.caches.jobs, &created);
                let text = format!("Created job {}", owner::name(&created.metadata));
                self.recorder.publish(cron, Normal, "SuccessfulCreate", text);
                Ok(())
            }
            Err(error) => {
                let exists = matches!(&error, kube::Error::Api(status) if status.reason == "AlreadyExists");
                if !exists && !is_namespace_terminating(&error) {
                    let text = format!("Error creating job: {}", template::words(&error));
                    self.recorder.publish(cron, Warning, "FailedCreate", text);
                }
                Err(error).acting(|| format!("cannot start a job of cron job {}", key_of(cron)))
            }
        }
    }

    async fn delete(&self, cron: &CronJob, job: &Job, writes: &mut Writes) -> Result<(), ReconcileError> {
        let name = owner::name(&job.metadata);
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            preconditions: Some(Preconditions {
                uid: job.metadata.uid.clone(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match self.jobs(cron).delete(name, &params).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => {
                let text = format!("Deleted job: {}", template::words(&error));
                self.recorder.publish(cron, Warning, "FailedDelete", text);
                return Err(error).acting(|| format!("cannot delete job {}", key_of(job)));
            }
            Ok(_) => self
                .recorder
                .publish(cron, Normal, "SuccessfulDelete", format!("Deleted job {name}")),
        }
        writes.deleted(&self.context.caches.jobs, key_of(job), owner::uid(&job.metadata));
        Ok(())
    }

    async fn set_status(
        &self,
        cron: &CronJob,
        status: &CronJobStatus,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        let api: Api<CronJob> = Api::namespaced(self.context.client.clone(), owner::namespace(&cron.metadata));
        let mut whole = cron.clone();
        whole.status = Some(status.clone());
        let written = api
            .replace_status(owner::name(&cron.metadata), &PostParams::default(), &whole)
            .await;
        let written = written.acting(|| format!("cannot write the status of cron job {}", key_of(cron)))?;
        writes.wrote(&self.cron_jobs, &written);
        Ok(())
    }

    fn say(&self, cron: &CronJob, what: &Say) {
        let (kind, reason, message): (EventType, &str, String) = match what {
            Say::UnexpectedJob { job } => {
                let text = format!("Saw a job that the controller did not create or forgot: {job}");
                (Warning, "UnexpectedJob", text)
            }
            Say::Completed { job, how } => (
                Normal,
                "SawCompletedJob",
                format!("Saw completed job: {job}, condition: {how}"),
            ),
            Say::Missing { job } => (Normal, "MissingJob", format!("Active job went missing: {job}")),
            Say::UnknownTimeZone { zone } => {
                let text = format!("invalid timeZone: {zone:?}: unknown time zone {zone}");
                (Warning, "UnknownTimeZone", text)
            }
            Say::Unparseable { schedule, error } => (
                Warning,
                "UnparseableSchedule",
                format!("unparseable schedule: {schedule:?} : {error}"),
            ),
            Say::Invalid { schedule, error } => (
                Warning,
                "InvalidSchedule",
                format!("invalid schedule: {schedule} : {error}"),
            ),
            Say::TooManyMissed => {
                let text =
                    "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
                (Warning, "TooManyMissedTimes", text.to_owned())
            }
            Say::MissedSchedule { at } => {
                let at = at.strftime("%a, %d %b %Y %H:%M:%S +0000");
                (
                    Warning,
                    "MissSchedule",
                    format!("Missed scheduled time to start a job: {at}"),
                )
            }
            Say::AlreadyActive { .. } => {
                let text = "Not starting job because prior execution is running and concurrency policy is Forbid";
                (Normal, "JobAlreadyActive", text.to_owned())
            }
        };
        self.recorder.publish(cron, kind, reason, message);
    }
}
