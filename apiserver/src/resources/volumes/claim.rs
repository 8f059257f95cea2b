//! Claims of volumes, and the templates from which pods and StatefulSets make them.

use serde_json::Value;
use timonel_api::quantity::Quantity;
use timonel_api::{FieldError, Path, names};

use super::super::common::{any_of, label_selector, labels, wrong};
use super::super::value::{at, entries, has, remove, set, text};
use super::{VOLUME_MODES, access_modes, unchanged};

const OLD_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const POSITIVE: &str = "must be greater than zero";

/// Checks the specification of a claim.
pub(crate) fn spec(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    access_modes(spec, path, "at least 1 access mode is required", errors);
    if has(spec, "selector") {
        label_selector(at(spec, "selector"), &path.child("selector"), errors);
    }
    let resources = path.child("resources");
    match size(spec) {
        None if !has(at(at(spec, "resources"), "requests"), "storage") => {
            errors.push(FieldError::required(&resources.key("storage"), ""));
        }
        Some(size) if size.sign() <= 0 => {
            let shown = at(at(at(spec, "resources"), "requests"), "storage").clone();
            errors.push(FieldError::invalid(&resources.key("storage"), shown, POSITIVE));
        }
        _ => {}
    }
    for field in ["storageClassName", "volumeAttributesClassName"] {
        let name = text(spec, field);
        if !name.is_empty() {
            wrong(&path.child(field), name, names::subdomain(name, false), errors);
        }
    }
    any_of(spec, "volumeMode", &VOLUME_MODES, path, errors);
    data_source(spec, "dataSource", path, errors);
    data_source(spec, "dataSourceRef", path, errors);
    both_sources(spec, path, errors);
}

fn size(spec: &Value) -> Option<Quantity> {
    quantity(at(at(at(spec, "resources"), "requests"), "storage"))
}

fn quantity(value: &Value) -> Option<Quantity> {
    let written = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Quantity::parse(&written).ok()
}

fn data_source(spec: &Value, field: &str, path: &Path, errors: &mut Vec<FieldError>) {
    let (source, path) = (at(spec, field), path.child(field));
    if source.is_null() {
        return;
    }
    super::required(source, &["name", "kind"], &path, errors);
    let (group, kind) = (text(source, "apiGroup"), text(source, "kind"));
    if group.is_empty() && kind != "PersistentVolumeClaim" {
        let detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        errors.push(FieldError::invalid(&path, kind, detail));
    }
    if !group.is_empty() {
        wrong(&path.child("apiGroup"), group, names::subdomain(group, false), errors);
    }
    let namespace = text(source, "namespace");
    if !namespace.is_empty() {
        wrong(
            &path.child("namespace"),
            namespace,
            names::label(namespace, false),
            errors,
        );
    }
}

fn both_sources(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (source, reference) = (at(spec, "dataSource"), at(spec, "dataSourceRef"));
    if source.is_null() || reference.is_null() {
        return;
    }
    let same = ["apiGroup", "kind", "name"]
        .iter()
        .all(|field| at(source, field) == at(reference, field));
    let shown = path.child("dataSource").to_string();
    if !text(reference, "namespace").is_empty() {
        let detail = "may not be specified when dataSourceRef.namespace is specified";
        errors.push(FieldError::invalid(path, shown, detail));
    } else if !same {
        errors.push(FieldError::invalid(path, shown, "must match dataSourceRef"));
    }
}

/// Checks the template of a claim: labels, annotations and a specification, and nothing else.
pub(crate) fn template(template: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (metadata, at_metadata) = (at(template, "metadata"), path.child("metadata"));
    errors.extend(labels(metadata, &at_metadata.child("labels")));
    for (field, value) in metadata.as_object().into_iter().flatten() {
        let empty = value.is_null() || value == "" || value == &serde_json::json!([]);
        if !empty && !["annotations", "labels"].contains(&field.as_str()) {
            errors.push(FieldError::forbidden(&at_metadata.child(field), "cannot be set"));
        }
    }
    spec(at(template, "spec"), &path.child("spec"), errors);
}

/// Checks an update of a claim: it may grow while it is bound, and get the class that it was left without.
pub(crate) fn update(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    spec(at(new, "spec"), &Path::new("spec"), errors);
    let (mut now, mut before) = (at(new, "spec").clone(), at(old, "spec").clone());
    if text(&before, "volumeName").is_empty() {
        let name = at(&now, "volumeName").clone();
        set(&mut before, "volumeName", name);
    }
    class(new, old, &mut now, errors);
    if text(at(new, "status"), "phase") == "Bound" {
        let size = at(at(at(&before, "resources"), "requests"), "storage").clone();
        if let Some(requests) = now.pointer_mut("/resources/requests") {
            set(requests, "storage", size);
        }
        if has(&now, "volumeAttributesClassName") {
            let class = at(&before, "volumeAttributesClassName").clone();
            set(&mut now, "volumeAttributesClassName", class);
        }
    }
    if !same(&now, &before) {
        let detail =
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        errors.push(FieldError::forbidden(&Path::new("spec"), detail));
    }
    let status = quantity(at(at(at(old, "status"), "capacity"), "storage")).unwrap_or_default();
    if let (Some(size), Some(former)) = (size(at(new, "spec")), size(at(old, "spec")))
        && size < former
        && size <= status
    {
        let path = ["resources", "requests", "storage"]
            .iter()
            .fold(Path::new("spec"), |path, field| path.child(field));
        let detail = "field can not be less than status.capacity";
        errors.push(FieldError::forbidden(&path, detail));
    }
    let (new, old) = (at(new, "spec"), at(old, "spec"));
    unchanged(new, old, "volumeMode", errors);
    let class = "volumeAttributesClassName";
    let path = Path::new("spec").child(class);
    if has(old, class) && !has(new, class) {
        let detail = "update from non-nil value to nil is forbidden";
        errors.push(FieldError::forbidden(&path, detail));
    } else if has(old, class) && !text(old, class).is_empty() && text(new, class).is_empty() {
        let detail = "update from non-nil value to an empty string is forbidden";
        errors.push(FieldError::forbidden(&path, detail));
    }
}

/// Amounts are the same however they are written, and what is null is not there.
fn same(now: &Value, before: &Value) -> bool {
    let plain = |spec: &Value| {
        let mut spec = spec.clone();
        for field in ["requests", "limits"] {
            if let Some(Value::Object(amounts)) = spec.pointer_mut(&format!("/resources/{field}")) {
                for amount in amounts.values_mut() {
                    if let Some(quantity) = quantity(amount) {
                        *amount = quantity.to_string().into();
                    }
                }
            }
        }
        if let Some(map) = spec.as_object_mut() {
            map.retain(|_, value| !value.is_null());
        }
        spec
    };
    plain(now) == plain(before)
}

/// A claim that has no class yet may get one: the default that came later, or the one that its annotation named.
fn class(new: &Value, old: &Value, now: &mut Value, errors: &mut Vec<FieldError>) {
    let annotation = |object: &Value| {
        let annotations = at(at(object, "metadata"), "annotations");
        annotations.get(OLD_CLASS).and_then(Value::as_str).map(str::to_owned)
    };
    let (before, after) = (annotation(old), annotation(new));
    let name = at(now, "storageClassName").as_str().map(str::to_owned);
    let unset = !has(at(old, "spec"), "storageClassName");
    let named = unset && before.is_some() && name == before;
    if named && (after.is_none() || after == before) {
        remove(now, "storageClassName");
        return;
    }
    if before.clone().unwrap_or_default() != after.clone().unwrap_or_default() {
        let path = Path::new("metadata").child("annotations").key(OLD_CLASS);
        let detail = "field is immutable";
        errors.push(FieldError::invalid(&path, after.unwrap_or_default(), detail));
    }
    if unset && name.is_some() && (before.is_none() || before == name) {
        remove(now, "storageClassName");
    }
}

const RESIZING: [&str; 5] = [
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
];

/// Checks the status of a claim.
pub(crate) fn status(object: &Value) -> Vec<FieldError> {
    let (path, status, mut errors) = (Path::new("status"), at(object, "status"), Vec::new());
    amounts(status, "capacity", false, &path, &mut errors);
    let at_states = path.child("allocatedResourceStatus");
    for (name, state) in entries(status, "allocatedResourceStatuses") {
        resource(name, &at_states, &mut errors);
        if !state.as_str().is_some_and(|state| RESIZING.contains(&state)) {
            errors.push(FieldError::not_supported(&at_states, name, &RESIZING));
        }
    }
    amounts(status, "allocatedResources", true, &path, &mut errors);
    errors
}

fn resource(name: &str, path: &Path, errors: &mut Vec<FieldError>) -> bool {
    let before = errors.len();
    wrong(path, name, names::qualified_name(name), errors);
    let native = !name.contains('/') || name.contains("kubernetes.io/");
    if errors.len() == before && native && name != "storage" {
        errors.push(FieldError::not_supported(path, name, &["storage"]));
    }
    errors.len() == before
}

fn amounts(status: &Value, field: &str, names: bool, path: &Path, errors: &mut Vec<FieldError>) {
    let path = path.child(field);
    for (name, amount) in entries(status, field) {
        if names && !resource(name, &path, errors) {
            continue;
        }
        if let Some(amount) = quantity(amount).filter(|amount| amount.sign() < 0) {
            let detail = "must be a valid resource quantity";
            errors.push(FieldError::invalid(&path.key(name), amount.value(), detail));
        }
    }
}
