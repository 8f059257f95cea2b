//! From bytes to JSON values, as strictly as upstream: duplicate keys are found, numbers stay exact, size and nesting are limited.
//!
//! ```text
//! bytes --json | yaml--> Decoded { value, duplicates } --check::types--> TypeError (400, names the field)
//!                                      |---------------check::unknown_fields--> paths (error, warning or dropped)
//!                                      `---------------prune--> what a typed decoding would have kept
//! ```
//!
//! In upstream one decoder into Go structs does all of it. Here the JSON value is the truth (typed decoding would lose what
//! it does not know), and [`crate::facts`] says what the Go struct would have said.

mod check;
mod error;
mod json;
mod prune;
mod scalar;
mod write;
mod yaml;

pub use check::{types, unknown_fields};
pub use error::{DecodeError, TypeError, strict_error, strict_messages};
pub use json::json;
pub use prune::{prune, prune_with};
pub use write::to_yaml;
pub use yaml::{yaml, yaml_documents};

use serde_json::Value;

/// The largest single document: upstream's limit of a request body, 3 MiB.
pub const MAX_BYTES: usize = 3 * 1024 * 1024;

/// How many values a document may hold. Upstream has no such limit, but a small object costs a hundred times its two brackets in
/// memory. Of the largest document each value has ten bytes; those of real ones have thirty.
pub const MAX_VALUES: usize = 300_000;

/// How deep arrays and objects may nest. Upstream allows 10,000; we recurse over values, so we stop well before a stack ends.
/// The deepest built-in objects (JSON schemas of CRDs aside, two levels per level of schema) need about 25.
pub const MAX_DEPTH: usize = 120;

/// A decoded document.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The document. Of a duplicated key the last value counts.
    pub value: Value,
    /// Paths of keys that stood twice in one object: `spec.containers[0].volumeMounts`.
    pub duplicates: Vec<String>,
}

/// No more than this many duplicates or unknown fields are gathered, as upstream.
pub(crate) const MAX_FINDINGS: usize = 100;

/// Where a decoder stands: a list of steps that lives on the stack, so that no path is built unless somebody asks for it.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    Root,
    Key(&'a Place<'a>, &'a str),
    Index(&'a Place<'a>, usize),
}

impl Place<'_> {
    /// Writes the path as upstream's strict errors do: map keys after dots like fields.
    pub(crate) fn path(&self) -> String {
        match self {
            Place::Root => String::new(),
            Place::Key(parent, key) => match parent.path() {
                path if path.is_empty() => (*key).to_owned(),
                path => format!("{path}.{key}"),
            },
            Place::Index(parent, index) => format!("{}[{index}]", parent.path()),
        }
    }

    /// Writes the path as Go's type errors do: without list indexes.
    pub(crate) fn field_path(&self) -> String {
        match self {
            Place::Root => String::new(),
            Place::Key(parent, key) => match parent.field_path() {
                path if path.is_empty() => (*key).to_owned(),
                path => format!("{path}.{key}"),
            },
            Place::Index(parent, _) => parent.field_path(),
        }
    }
}

/// Adds a finding unless it is there already or there are too many.
pub(crate) fn note(findings: &mut Vec<String>, path: String) {
    if findings.len() < MAX_FINDINGS && !findings.contains(&path) {
        findings.push(path);
    }
}

#[cfg(test)]
mod tests;
