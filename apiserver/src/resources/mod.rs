//! What is particular to each kind: defaults, validation, what a write may change, table columns.
//!
//! A folder per group, a file or folder per kind, one line in [`strategy`] each. The registry is generic and calls a [`Strategy`].

pub mod strategy;

pub use strategy::{Column, Context, Strategy};

/// A kind without particulars: everything is the trait's default behaviour.
struct Plain;

impl Strategy for Plain {}

/// Returns the strategy of a resource: `pods`, `deployments.apps`. Kinds without particulars share one.
pub fn strategy(resource: &str) -> &'static dyn Strategy {
    match resource {
        _ => &Plain,
    }
}
