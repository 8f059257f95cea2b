//! sig-api-machinery.

mod admission_registration;
mod chunking;
mod definitions;
mod discovery;
mod field_validation;
mod flow_control;
mod garbage_collector;
mod namespaces;
mod quota;
mod quota_usage;
mod watches;
