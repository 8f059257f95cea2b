//! sig-apps.

mod cron_jobs;
mod deployments;
mod jobs;
mod objects;
mod replica_sets;
