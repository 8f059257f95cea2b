//! Strategic merge patches: like merge patches, but lists merge by the keys that the facts name, and directives steer how.
//!
//! `$patch: replace | delete`, `$retainKeys`, `$setElementOrder/FIELD`, `$deleteFromPrimitiveList/FIELD`.
//! The rules are those of `k8s.io/apimachinery/pkg/util/strategicpatch`.

mod list;
mod merge;
mod order;

#[cfg(test)]
mod tests;

use serde_json::Value;

use super::PatchError;
use super::shape::Shape;
use crate::facts::Schema;

pub(crate) use merge::{Mode, merge_map};
pub(crate) use order::sort_by;

pub(crate) const PATCH: &str = "$patch";
pub(crate) const RETAIN_KEYS: &str = "$retainKeys";
pub(crate) const SET_ORDER: &str = "$setElementOrder";
pub(crate) const DELETE_FROM: &str = "$deleteFromPrimitiveList";

/// Lays a strategic merge patch over an object.
///
/// # Errors
/// Malformed directives, list items without their merge key.
pub fn strategic_merge(schema: &Schema, target: &Value, patch: &Value) -> Result<Value, PatchError> {
    let (Value::Object(target), Value::Object(patch)) = (target, patch) else {
        return Err(PatchError::bad("invalid JSON document"));
    };
    merge_map(target.clone(), patch.clone(), Shape::Struct(schema), Mode::Final).map(Value::Object)
}

/// Prints a value as Go's `%v` does, for messages.
pub(super) fn go(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(go).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let mut pairs: Vec<String> = map.iter().map(|(key, value)| format!("{key}:{}", go(value))).collect();
            pairs.sort();
            format!("map[{}]", pairs.join(" "))
        }
        other => other.to_string(),
    }
}

pub(crate) fn no_merge_key(item: &Value, key: &str) -> PatchError {
    PatchError::unprocessable(format!("map: {} does not contain declared merge key: {key}", go(item)))
}
