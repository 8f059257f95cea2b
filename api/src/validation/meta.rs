//! The rules of `ObjectMeta` at creation.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta, OwnerReference};
use serde_json::json;

use crate::field::{FieldError, FieldErrorKind, Path};
use crate::names;

/// All annotations of an object together, keys and values.
const ANNOTATIONS_MAX: usize = 256 * 1024;
const MANAGER_MAX: usize = 128;
const SUBRESOURCE_MAX: usize = 256;

fn invalid(path: &Path, value: &str, sentences: Vec<String>, into: &mut Vec<FieldError>) {
    into.extend(
        sentences
            .into_iter()
            .map(|sentence| FieldError::invalid(path, value, sentence)),
    );
}

/// Checks the metadata of an object. `name_rule` is the kind's rule (`names::subdomain`, ...); its flag says that a `generateName` is checked.
pub fn object_meta(
    meta: &ObjectMeta,
    namespaced: bool,
    name_rule: impl Fn(&str, bool) -> Vec<String>,
    path: &Path,
) -> Vec<FieldError> {
    let mut wrong = Vec::new();
    let name = meta.name.as_deref().unwrap_or_default();
    let prefix = meta.generate_name.as_deref().unwrap_or_default();
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    if !prefix.is_empty() {
        invalid(&path.child("generateName"), prefix, name_rule(prefix, true), &mut wrong);
    }
    if name.is_empty() {
        wrong.push(FieldError::required(
            &path.child("name"),
            "name or generateName is required",
        ));
    } else {
        invalid(&path.child("name"), name, name_rule(name, false), &mut wrong);
    }
    let namespace_path = path.child("namespace");
    if namespaced {
        if namespace.is_empty() {
            wrong.push(FieldError::required(&namespace_path, ""));
        } else {
            invalid(&namespace_path, namespace, names::label(namespace, false), &mut wrong);
        }
    } else if !namespace.is_empty() {
        wrong.push(FieldError::forbidden(&namespace_path, "not allowed on this type"));
    }
    if let Some(generation) = meta.generation.filter(|generation| *generation < 0) {
        wrong.push(FieldError::invalid(
            &path.child("generation"),
            generation,
            "must be greater than or equal to 0",
        ));
    }
    wrong.extend(shared(meta, path));
    wrong.extend(standard_finalizers(meta, path));
    wrong
}

/// The rules that hold at creation and at every update.
pub(super) fn shared(meta: &ObjectMeta, path: &Path) -> Vec<FieldError> {
    let mut wrong = Vec::new();
    wrong.extend(meta.labels.iter().flat_map(|l| labels(l, &path.child("labels"))));
    wrong.extend(
        meta.annotations
            .iter()
            .flat_map(|a| annotations(a, &path.child("annotations"))),
    );
    let owners = meta.owner_references.as_deref().unwrap_or_default();
    wrong.extend(owner_references(owners, &path.child("ownerReferences")));
    wrong.extend(finalizers(
        meta.finalizers.as_deref().unwrap_or_default(),
        &path.child("finalizers"),
    ));
    let managed = meta.managed_fields.as_deref().unwrap_or_default();
    wrong.extend(managed_fields(managed, &path.child("managedFields")));
    wrong
}

/// Finalizers without a domain must be among the three that Kubernetes itself knows.
pub(super) fn standard_finalizers(meta: &ObjectMeta, path: &Path) -> Vec<FieldError> {
    let path = path.child("finalizers");
    let names = meta.finalizers.iter().flatten().enumerate();
    names
        .filter(|(_, name)| {
            !name.contains('/') && !matches!(name.as_str(), "kubernetes" | "orphan" | "foregroundDeletion")
        })
        .map(|(at, name)| {
            FieldError::invalid(
                &path.index(at),
                name.as_str(),
                "name is neither a standard finalizer name nor is it fully qualified",
            )
        })
        .collect()
}

/// Checks labels.
pub fn labels(labels: &BTreeMap<String, String>, path: &Path) -> Vec<FieldError> {
    let mut wrong = Vec::new();
    for (key, value) in labels {
        invalid(path, key, names::qualified_name(key), &mut wrong);
        invalid(path, value, names::label_value(value), &mut wrong);
    }
    wrong
}

/// Checks annotations: their keys, in which upper case is fine throughout, and their size.
pub fn annotations(annotations: &BTreeMap<String, String>, path: &Path) -> Vec<FieldError> {
    let mut wrong = Vec::new();
    for key in annotations.keys() {
        invalid(path, key, names::qualified_name(&key.to_lowercase()), &mut wrong);
    }
    let size: usize = annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    if size > ANNOTATIONS_MAX {
        wrong.push(FieldError::too_long(path, ANNOTATIONS_MAX));
    }
    wrong
}

/// Checks owner references; only one of them may control.
pub fn owner_references(owners: &[OwnerReference], path: &Path) -> Vec<FieldError> {
    let mut wrong = Vec::new();
    let mut controller: Option<String> = None;
    for owner in owners {
        let version = owner.api_version.rsplit('/').next().unwrap_or_default();
        if version.is_empty() {
            let path = path.child("apiVersion");
            wrong.push(FieldError::invalid(
                &path,
                owner.api_version.as_str(),
                "version must not be empty",
            ));
        }
        for (field, value) in [("kind", &owner.kind), ("name", &owner.name), ("uid", &owner.uid)] {
            if value.is_empty() {
                wrong.push(FieldError::invalid(&path.child(field), "", "must not be empty"));
            }
        }
        if owner.api_version == "v1" && owner.kind == "Event" {
            let value = serde_json::to_value(owner).unwrap_or_default();
            wrong.push(FieldError::invalid(
                path,
                value,
                "/v1, Kind=Event is disallowed from being an owner",
            ));
        }
        if owner.controller == Some(true) {
            let name = format!("{}/{}", owner.kind, owner.name);
            match &controller {
                None => controller = Some(name),
                Some(first) => wrong.push(FieldError::invalid(
                    path,
                    json!(owners),
                    format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {name}"
                    ),
                )),
            }
        }
    }
    wrong
}

/// Checks finalizers.
pub fn finalizers(finalizers: &[String], path: &Path) -> Vec<FieldError> {
    let mut wrong = Vec::new();
    for name in finalizers {
        invalid(path, name, names::qualified_name(name), &mut wrong);
    }
    let has = |wanted: &str| finalizers.iter().any(|name| name == wanted);
    if has("orphan") && has("foregroundDeletion") {
        wrong.push(FieldError::invalid(
            path,
            json!(finalizers),
            "finalizer orphan and foregroundDeletion cannot be both set",
        ));
    }
    wrong
}

/// Checks the entries of `managedFields`.
pub fn managed_fields(entries: &[ManagedFieldsEntry], path: &Path) -> Vec<FieldError> {
    let mut wrong = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        let path = path.index(at);
        let operation = entry.operation.as_deref().unwrap_or_default();
        if !matches!(operation, "Apply" | "Update") {
            wrong.push(FieldError::invalid(
                &path.child("operation"),
                operation,
                "must be `Apply` or `Update`",
            ));
        }
        if let Some(kind) = entry
            .fields_type
            .as_deref()
            .filter(|kind| !matches!(*kind, "" | "FieldsV1"))
        {
            wrong.push(FieldError::invalid(
                &path.child("fieldsType"),
                kind,
                "must be `FieldsV1`",
            ));
        }
        wrong.extend(field_manager(
            entry.manager.as_deref().unwrap_or_default(),
            &path.child("manager"),
        ));
        if entry
            .subresource
            .as_ref()
            .is_some_and(|name| name.len() > SUBRESOURCE_MAX)
        {
            wrong.push(FieldError::too_long(&path.child("subresource"), SUBRESOURCE_MAX));
        }
    }
    wrong
}

/// Checks the name of a field manager.
pub(super) fn field_manager(manager: &str, path: &Path) -> Vec<FieldError> {
    let mut wrong = Vec::new();
    if manager.len() > MANAGER_MAX {
        wrong.push(FieldError {
            kind: FieldErrorKind::TooLong,
            path: path.clone(),
            value: None,
            detail: format!("may not be more than {MANAGER_MAX} bytes"),
        });
    }
    for (at, c) in manager.char_indices().filter(|(_, c)| c.is_control()) {
        wrong.push(FieldError::invalid(
            path,
            manager,
            format!("invalid character U+{:04X} (at position {at})", u32::from(c)),
        ));
    }
    wrong
}
