//! This machine as a Node object: it joins, tells how it is, and renews its lease.

pub mod bootstrap;
pub mod join;
mod lease;
mod machine;
mod object;
mod status;

pub(crate) use lease::run as run_lease;
pub(crate) use machine::{Disk, Machine, booted, disk_of};
pub use status::NodeReport;
pub(crate) use status::run as run_status;
