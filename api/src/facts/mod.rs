//! Which fields exist, of which type they are, and how they merge: facts taken from Kubernetes' OpenAPI documents.
//!
//! ```text
//! reference --xtask facts--> generated/schemas.txt --table (lazily, once)--> Schema --walk--> decode, patch, openapi
//! ```
//!
//! There is no prose in here: descriptions come from `k8s-openapi` where somebody asks for them.

mod table;
mod types;

pub use table::{all, schema_by_name, schema_for};
pub use types::{Field, Kind, ListType, MapType, Scalar, Schema, SchemaRef, Type};

#[cfg(test)]
mod tests;
