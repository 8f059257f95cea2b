//! Jobs and CronJobs.

mod cronjob;
mod job;

pub(super) use cronjob::CronJobs;
pub(super) use job::Jobs;
