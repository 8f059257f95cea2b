//! sig-apps.

mod cron_jobs;
mod daemon_sets;
mod deployments;
mod jobs;
mod objects;
mod replica_sets;
mod replication_controllers;
mod stateful_sets;
