//! The API server: HTTP -> authentication -> authorization -> admission -> registry -> store, and back through the watch cache.

pub mod admission;
pub mod authn;
pub mod authz;
pub mod discovery;
pub mod encryption;
pub mod bootstrap;
pub mod error;
pub mod cache;
pub mod config;
pub mod registry;
pub mod security;
pub mod http;
pub mod serve;
pub mod server;
mod subresources;
pub mod table;
pub mod identity;
pub mod kubelet_proxy;
pub mod openapi;
pub mod pki;
pub mod reader;
pub mod resources;

pub use error::ApiError;
pub use config::Config;
pub use server::{ApiServer, Deps, StartError};
