//! sig-apps.

mod daemon_sets;
mod deployments;
mod objects;
mod replica_sets;
mod replication_controllers;
mod stateful_sets;
