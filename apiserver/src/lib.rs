//! The API server: HTTP -> authentication -> authorization -> admission -> registry -> store, and back through the watch cache.
//!
//! ```text
//! serve (TLS) ----\
//!                  http::Front --authn--> authz --> registry --admission--> store.commit
//! server.client --/      ^                             |  ^                     |
//! (in process)           |                             |  \--waits until--- cache <--one watch--/
//!                        \-- joined bytes, events -----/                        |
//!                                                      authorization, admission read it (reader)
//! ```
//!
//! *Invariants.* A write is answered after it is durable and all caches show it. Lists and watches hand out bytes that were
//! serialised once. No lock is held around a commit. A watcher that falls behind is ended, never buffered without bound.

// Started, served, configured.
pub mod config;
pub mod serve;
pub mod server;

// The way of a request.
pub mod admission;
pub mod audit;
pub mod authn;
pub mod authz;
pub mod cache;
pub mod encryption;
pub mod http;
pub mod identity;
pub mod reader;
pub mod registry;
pub mod resources;
pub mod security;
mod subresources;
pub mod usage;

// What it answers about itself, and how.
pub mod discovery;
pub mod error;
pub mod openapi;
pub mod table;

// What it stands on and leads to.
pub mod bootstrap;
pub mod kubelet_proxy;
pub mod pki;

pub use config::{BuildInfo, Config};
pub use error::ApiError;
pub use server::{ApiServer, Deps, StartError};
