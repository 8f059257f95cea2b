//! The API server: HTTP -> authentication -> authorization -> admission -> registry -> store, and back through the watch cache.

pub mod authn;
pub mod authz;
pub mod error;
pub mod identity;
pub mod pki;
pub mod reader;
pub mod resources;

pub use error::ApiError;
