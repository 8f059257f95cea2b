//! Patches: each changes a JSON value into another, or says why not.
//!
//! ```text
//! application/json-patch+json            --json-------> list of operations (RFC 6902)
//! application/merge-patch+json           --merge------> object laid over object (RFC 7386)
//! application/strategic-merge-patch+json --strategic--> the same, but lists merge by the keys that the facts name
//! application/apply-patch+yaml           --apply------> an intent, merged by who owns which field (KEP-555)
//! last applied, modified, live           --diff-------> the patch that kubectl's client-side apply sends
//! ```

pub mod apply;
pub mod diff;
mod error;
mod json;
mod merge;
mod shape;
mod strategic;

pub use error::PatchError;
pub use json::json_patch;
pub use merge::merge_patch;
pub use strategic::strategic_merge;

/// How deep a value may nest: `serde_json` reads 127 levels, and what is written must be readable again.
pub(crate) const MAX_DEPTH: usize = 120;

/// Whether a value nests deeper than `limit`.
pub(crate) fn deeper_than(value: &serde_json::Value, limit: usize) -> bool {
    use serde_json::Value;
    match value {
        Value::Array(items) => limit == 0 || items.iter().any(|item| deeper_than(item, limit - 1)),
        Value::Object(map) => limit == 0 || map.values().any(|item| deeper_than(item, limit - 1)),
        _ => false,
    }
}
