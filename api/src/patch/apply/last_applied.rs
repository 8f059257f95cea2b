//! From client-side apply to server-side apply, the server's half of it.
//!
//! kubectl's client-side apply keeps what it applied in an annotation and owns it as an updater. When `kubectl apply --server-side` comes
//! along, what the annotation says and the live object still has is no conflict; and while the annotation is there it is kept in step, so
//! that one can go back.

use serde_json::Value;

use super::compare::compare;
use super::set::FieldSet;
use super::typed::{Atom, fields_of};

/// The only manager for which this is done; who wants none of it uses another name.
const KUBECTL: &str = "kubectl";
pub(super) const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";

fn annotation(object: &Value) -> Option<&str> {
    let text = object.get("metadata")?.get("annotations")?.get(ANNOTATION)?.as_str()?;
    (!text.is_empty()).then_some(text)
}

/// The fields that may be taken over without force.
pub(super) fn allowed_conflicts(manager: &str, live: Option<&Value>, atom: Atom<'_>) -> FieldSet {
    let parsed = || {
        let live = live.filter(|_| manager == KUBECTL)?;
        let last: Value = serde_json::from_str(annotation(live)?).ok()?;
        let mut fields = fields_of(&last, atom);
        let comparison = compare(&last, live, atom);
        fields.subtract(&comparison.modified);
        fields.subtract(&comparison.added);
        fields.subtract(&comparison.removed);
        Some(fields)
    };
    parsed().unwrap_or_default()
}

/// Writes what was applied into the annotation, where there is one.
pub(super) fn sync(manager: &str, object: &mut Value, applied: &Value) {
    if manager != KUBECTL || annotation(object).is_none() {
        return;
    }
    let mut last = applied.clone();
    if let Some(annotations) = last.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove(ANNOTATION);
    }
    let annotations = object
        .pointer_mut("/metadata/annotations")
        .and_then(Value::as_object_mut);
    if let Some(annotations) = annotations {
        annotations.insert(ANNOTATION.to_owned(), Value::String(format!("{last}\n")));
    }
}
