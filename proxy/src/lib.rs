//! The node's network: services as nftables rules, and pods that reach each other.
//!
//! ```text
//! Services, EndpointSlices --observe--> Observed --plan--> RuleSet --render--> text --apply--> nft -f -
//! Nodes ------------------------------> network::plan ---> CNI configuration, routes --apply--> files, ip -batch -
//! ```
//!
//! The first load replaces the whole table in one transaction; after that only what changed is added and deleted, so that
//! one more service is one more element. Rules that were loaded stay when the proxy stops: established and new
//! connections go on while it restarts.

mod apply;
pub mod network;
mod observe;
mod plan;
mod render;
mod run;
#[cfg(test)]
mod tests;

pub use apply::{Dataplane, DataplaneError, LinuxDataplane};
pub use observe::Observed;
pub use plan::{Backend, Front, NodeFront, Pick, RuleSet, Unserved, plan};
pub use render::{render_all, render_changes};
pub use run::{Config, Deps, Error, run};
