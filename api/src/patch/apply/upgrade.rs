//! From client-side apply to server-side apply, the client's half of it (`k8s.io/client-go/util/csaupgrade`).
//!
//! What `kubectl apply` set before is owned by an update manager. As long as it is, a server-side apply cannot remove it, for somebody else
//! seems to want it. So the client hands that ownership over to its apply manager, and applies once more.

use serde_json::{Value, json};

use super::managed::{Managed, ManagerKey, Owned};
use super::set::FieldSet;

/// Makes the JSON patch that hands over what update managers own through the main resource to an apply manager; `None` where they own
/// nothing.
///
/// The annotation of client-side apply is given up by everybody, so that it goes once it is no longer applied. The patch tests the
/// resourceVersion by setting it: a conflict means to read the object and try again.
pub fn upgrade_from_client_side(object: &Value, client_side: &[&str], manager: &str) -> Option<Value> {
    let mut managed = Managed::of(object);
    let taken: Vec<ManagerKey> = managed
        .0
        .keys()
        .filter(|key| !key.applied && key.subresource.is_empty() && client_side.contains(&key.name.as_str()))
        .cloned()
        .collect();
    if taken.is_empty() {
        return None;
    }
    let mut fields = FieldSet::default();
    let mut latest: Option<Owned> = None;
    for key in taken {
        let owned = managed.0.remove(&key)?;
        fields.union_with(owned.set.clone());
        if latest.as_ref().is_none_or(|latest| latest.time < owned.time) {
            latest = Some(owned);
        }
    }
    let entry = managed.0.entry(ManagerKey::applier(manager, "")).or_insert(Owned {
        set: FieldSet::default(),
        ..latest?
    });
    entry.set.union_with(fields);
    for owned in managed.0.values_mut() {
        owned
            .set
            .cut_fields(&["metadata", "annotations", super::last_applied::ANNOTATION]);
    }
    managed.drop_empty();
    let mut upgraded = json!({});
    managed.write(&mut upgraded);
    let entries = upgraded
        .pointer("/metadata/managedFields")
        .cloned()
        .unwrap_or_else(|| json!([{}]));
    let version = object.pointer("/metadata/resourceVersion").cloned().unwrap_or_default();
    Some(json!([
        {"op": "replace", "path": "/metadata/managedFields", "value": entries},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": version},
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(manager: &str, operation: &str, fields: Value) -> Value {
        json!({"manager": manager, "operation": operation, "apiVersion": "v1", "time": "2026-01-01T00:00:00Z",
            "fieldsType": "FieldsV1", "fieldsV1": fields})
    }

    #[test]
    fn ownership_is_handed_over_and_the_annotation_given_up() {
        let annotation = format!("f:{}", super::super::last_applied::ANNOTATION);
        let object = json!({"metadata": {"resourceVersion": "7", "managedFields": [
            entry("kubectl", "Apply", json!({"f:data": {"f:new": {}}})),
            entry("kubectl-client-side-apply", "Update", json!({"f:data": {".": {}, "f:old": {}}, "f:metadata": {"f:annotations": {".": {}, annotation: {}}}})),
            entry("other", "Update", json!({"f:data": {"f:theirs": {}}}))]}});
        let patch = upgrade_from_client_side(&object, &["kubectl-client-side-apply"], "kubectl").unwrap();
        assert_eq!(
            patch[0]["value"],
            json!([
                entry(
                    "kubectl",
                    "Apply",
                    json!({"f:data": {".": {}, "f:new": {}, "f:old": {}}, "f:metadata": {"f:annotations": {}}})
                ),
                entry("other", "Update", json!({"f:data": {"f:theirs": {}}}))
            ])
        );
        assert_eq!(patch[1]["value"], "7");
        assert_eq!(upgrade_from_client_side(&object, &["nobody"], "kubectl"), None);
    }
}
