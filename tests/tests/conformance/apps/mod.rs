//! sig-apps.

mod deployments;
mod objects;
mod replica_sets;
