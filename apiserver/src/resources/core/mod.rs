//! The rest of the core group.

mod cluster;
mod component;
mod config;
mod endpoints;
mod event;
mod limits;
mod node;
mod quota;
mod service;
mod storage;

pub(super) use cluster::{Namespaces, ServiceAccounts};
pub(super) use component::ComponentStatuses;
pub(super) use config::{ConfigMaps, Secrets};
pub(super) use endpoints::Endpoints;
pub(super) use event::Events;
pub(super) use limits::LimitRanges;
pub(super) use node::Nodes;
pub(super) use quota::ResourceQuotas;
pub(super) use service::Services;
pub(crate) use service::{cluster_ips, is_headless, needs_health_check};
pub(super) use storage::{PersistentVolumeClaims, PersistentVolumes, StorageClasses};
