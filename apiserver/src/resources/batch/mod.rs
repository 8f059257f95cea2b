//! Jobs and CronJobs.

mod cronjob;
mod job;
mod policy;
mod status;

pub(super) use cronjob::CronJobs;
pub(super) use job::Jobs;
