//! Namespaces and service accounts.

use jiff::Timestamp;
use serde_json::{Value, json};
use timonel_api::{FieldError, Path, names};

use super::super::cells::{age, name};
use super::super::common::wrong;
use super::super::strategy::{Column, Context, Strategy};
use super::super::value::{at, ensure, has, list, set, text};

/// `namespaces`.
pub(crate) struct Namespaces;

impl Strategy for Namespaces {
    fn has_generation(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        let own = text(at(object, "metadata"), "name").to_owned();
        if !own.is_empty()
            && let Some(labels) = ensure(object, "metadata").and_then(|metadata| ensure(metadata, "labels"))
        {
            set(labels, "kubernetes.io/metadata.name", own);
        }
    }

    fn prepare_create(&self, object: &mut Value, _context: &Context<'_>) {
        if let Some(spec) = ensure(object, "spec") {
            let finalizers = list(spec, "finalizers");
            if !finalizers.iter().any(|finalizer| finalizer == "kubernetes") {
                let mut finalizers = finalizers.to_vec();
                finalizers.push(json!("kubernetes"));
                set(spec, "finalizers", finalizers);
            }
        }
        if let Some(status) = ensure(object, "status") {
            set(status, "phase", "Active");
        }
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _context: &Context<'_>) {
        // Finalizers change only through the finalize subresource.
        let finalizers = at(at(old, "spec"), "finalizers").clone();
        if let Some(spec) = ensure(new, "spec") {
            set(spec, "finalizers", finalizers);
        }
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::label(name, prefix)
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let (path, mut errors) = (Path::new("spec").child("finalizers"), Vec::new());
        for name in finalizers(object) {
            finalizer(name, &path, &mut errors);
        }
        errors
    }

    fn validate_part_update(&self, _part: &str, new: &Value, _old: &Value) -> Vec<FieldError> {
        let (path, mut errors) = (Path::new("spec").child("finalizers"), Vec::new());
        for (index, name) in finalizers(new).enumerate() {
            finalizer(name, &path.index(index), &mut errors);
        }
        errors
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<FieldError> {
        let (expected, detail) = if has(at(new, "metadata"), "deletionTimestamp") {
            (
                "Terminating",
                "may only be 'Terminating' if `deletionTimestamp` is not empty",
            )
        } else {
            ("Active", "may only be 'Active' if `deletionTimestamp` is empty")
        };
        let phase = text(at(new, "status"), "phase");
        if phase == expected {
            return Vec::new();
        }
        // Upstream's capital.
        let path = Path::new("status").child("Phase");
        vec![FieldError::invalid(&path, phase, detail)]
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![("status.phase", text(at(object, "status"), "phase").to_owned())]
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[Column::name(), Column::new("Status"), Column::new("Age")];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            name(object),
            json!(text(at(object, "status"), "phase")),
            age(object, now),
        ]
    }
}

fn finalizers(object: &Value) -> impl Iterator<Item = &str> {
    let all = list(at(object, "spec"), "finalizers").iter();
    all.filter_map(Value::as_str)
}

/// Checks one of a namespace's own finalizers.
fn finalizer(name: &str, path: &Path, errors: &mut Vec<FieldError>) {
    wrong(path, name, names::qualified_name(name), errors);
    if !name.contains('/') && !["kubernetes", "orphan", "foregroundDeletion"].contains(&name) {
        let detail = "name is neither a standard finalizer name nor is it fully qualified";
        errors.push(FieldError::invalid(path, name, detail));
    }
}

/// `serviceaccounts`.
pub(crate) struct ServiceAccounts;

impl Strategy for ServiceAccounts {
    fn has_status(&self) -> bool {
        false
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[Column::name(), Column::new("Secrets"), Column::new("Age")];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![name(object), json!(list(object, "secrets").len()), age(object, now)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(errors: &[FieldError]) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_namespace_ends_by_finalizers_that_somebody_knows() {
        let held = |names: &[&str]| json!({"spec": {"finalizers": names}});
        assert_eq!(Namespaces.validate_create(&held(&["kubernetes", "a.b/c"])), []);
        let detail = "name is neither a standard finalizer name nor is it fully qualified";
        assert_eq!(
            words(&Namespaces.validate_create(&held(&["mine"]))),
            [format!("spec.finalizers: Invalid value: \"mine\": {detail}")]
        );
        assert_eq!(
            words(&Namespaces.validate_part_update("finalize", &held(&["a.b/c", "mine"]), &Value::Null)),
            [format!("spec.finalizers[1]: Invalid value: \"mine\": {detail}")]
        );
    }

    #[test]
    fn a_namespace_terminates_when_it_is_deleted() {
        let said = |namespace: Value| words(&Namespaces.validate_status_update(&namespace, &Value::Null));
        assert_eq!(said(json!({"status": {"phase": "Active"}})), Vec::<String>::new());
        assert_eq!(
            said(json!({"status": {"phase": "Terminating"}})),
            ["status.Phase: Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty"]
        );
        assert_eq!(
            said(json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {}})),
            ["status.Phase: Invalid value: \"\": may only be 'Terminating' if `deletionTimestamp` is not empty"]
        );
    }
}
