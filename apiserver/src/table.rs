//! Server-side Tables and PartialObjectMetadata: objects for people and for those who only look at metadata.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::registry::Target;

/// What a row holds besides its cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncludeObject {
    /// Nothing.
    None,
    /// The metadata.
    Metadata,
    /// Everything.
    Object,
}

impl IncludeObject {
    /// Reads the `includeObject` parameter.
    pub fn parse(text: &str) -> Self {
        match text {
            "None" => Self::None,
            "Object" => Self::Object,
            _ => Self::Metadata,
        }
    }
}

/// Only the metadata of an object.
pub fn partial(object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": object["metadata"],
    })
}

/// The columns of a resource.
pub fn columns(target: &Target) -> Value {
    target
        .slot
        .strategy
        .columns()
        .iter()
        .map(|column| {
            json!({
                "name": column.name,
                "type": column.kind,
                "format": column.format,
                "description": describe(column.name),
                "priority": column.priority,
            })
        })
        .collect()
}

fn describe(name: &str) -> &'static str {
    match name {
        "Name" => "The object's name, unique within its namespace and resource.",
        "Age" | "Created At" => "The time since the object was created.",
        _ => "",
    }
}

/// Writes objects, in stored shape, as a Table.
pub fn render(
    target: &Target,
    objects: impl Iterator<Item = Arc<Value>>,
    revision: &str,
    include: IncludeObject,
    now: Timestamp,
) -> Value {
    let strategy = target.slot.strategy;
    let rows: Vec<Value> = objects
        .map(|object| {
            let stored = target.stored_value(&object);
            let mut row = json!({"cells": strategy.row(&stored, now)});
            match include {
                IncludeObject::None => {}
                IncludeObject::Metadata => row["object"] = partial(&object),
                IncludeObject::Object => row["object"] = (*object).clone(),
            }
            row
        })
        .collect();
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": revision},
        "columnDefinitions": columns(target),
        "rows": rows,
    })
}

/// Writes one object of a watch as a Table of one row.
pub fn event(target: &Target, object: Value, revision: &str, include: IncludeObject, now: Timestamp) -> Value {
    if object["metadata"]["name"].is_null() {
        // A bookmark: columns and a revision, no rows.
        return render(target, std::iter::empty(), revision, include, now);
    }
    render(target, std::iter::once(Arc::new(object)), revision, include, now)
}
