//! Descriptions of types and fields, for `explain`: taken from `k8s-openapi`'s JSON schemas when a document is built.

use schemars::SchemaGenerator;
use serde_json::{Map, Value};

use super::generated::ROOTS;

/// A type of `k8s-openapi` that is a whole object.
pub(super) struct Root {
    /// Upstream's name.
    pub(super) name: &'static str,
    /// Adds the type and all that it refers to.
    pub(super) add: fn(&mut SchemaGenerator),
}

/// The JSON schemas of some types and all that they refer to, by upstream's names.
pub(super) struct Descriptions(Map<String, Value>);

/// Gathers the descriptions of some types and all that they refer to.
pub(super) fn for_roots(names: &[String]) -> Descriptions {
    let mut generator = SchemaGenerator::default();
    for root in ROOTS {
        // A list's items are described with their own kind; k8s-openapi's list is generic.
        let wanted = |name: &String| name == root.name || name.strip_suffix("List") == Some(root.name);
        if names.iter().any(wanted) {
            (root.add)(&mut generator);
        }
    }
    Descriptions(generator.take_definitions(true))
}

impl Descriptions {
    /// What a type is for.
    pub(super) fn of_type(&self, name: &str) -> Option<String> {
        if let Some(text) = self
            .0
            .get(name)
            .and_then(|schema| schema.get("description"))
            .and_then(Value::as_str)
        {
            return Some(text.to_owned());
        }
        let (_, short) = name.rsplit_once('.')?;
        Some(format!(
            "{short} is a list of {}s.",
            short.strip_suffix("List").filter(|kind| !kind.is_empty())?
        ))
    }

    /// What a field is for.
    pub(super) fn of_field(&self, name: &str, field: &str) -> Option<&str> {
        self.0
            .get(name)?
            .get("properties")?
            .get(field)?
            .get("description")?
            .as_str()
            .or(None)
    }
}
