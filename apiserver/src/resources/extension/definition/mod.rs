//! Custom resource definitions: their names, versions, schemas and defaults. What they define is not served yet.

mod schema;
mod structure;
mod version;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use timonel_api::{FieldError, Path, names};

use super::super::common::{immutable, one_of};
use super::super::strategy::{Context, Strategy};
use super::super::value::{at, default, default_text, ensure, flag, list, set, text, within};
use super::webhooks;

/// `customresourcedefinitions.apiextensions.k8s.io`.
pub(crate) struct CustomResourceDefinitions;

impl Strategy for CustomResourceDefinitions {
    fn default(&self, object: &mut Value) {
        within(object, "spec", |spec| {
            within(spec, "names", |names| {
                let kind = text(names, "kind").to_owned();
                default_text(names, "singular", &kind.to_lowercase());
                if !kind.is_empty() {
                    default_text(names, "listKind", &format!("{kind}List"));
                }
            });
            if let Some(conversion) = ensure(spec, "conversion") {
                default_text(conversion, "strategy", "None");
                within(conversion, "webhook", |webhook| {
                    within(webhook, "clientConfig", |client| {
                        within(client, "service", |service| default(service, "port", 443));
                    });
                });
            }
        });
    }

    fn prepare_create(&self, object: &mut Value, _context: &Context<'_>) {
        note_storage_version(object);
    }

    fn prepare_update(&self, new: &mut Value, _old: &Value, _context: &Context<'_>) {
        note_storage_version(new);
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = definition(object);
        stored_versions(object, &mut errors);
        errors.extend(approval(object));
        if flag(at(object, "spec"), "preserveUnknownFields") {
            errors.push(no_preserving());
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = definition(new);
        let (path, spec, before) = (Path::new("spec"), at(new, "spec"), at(old, "spec"));
        let (names, names_before, at_names) = (at(spec, "names"), at(before, "names"), path.child("names"));
        let established = list(at(old, "status"), "conditions")
            .iter()
            .any(|condition| text(condition, "type") == "Established" && text(condition, "status") == "True");
        if established {
            immutable(spec, before, "scope", &path, &mut errors);
            immutable(names, names_before, "kind", &at_names, &mut errors);
        }
        immutable(spec, before, "group", &path, &mut errors);
        immutable(names, names_before, "plural", &at_names, &mut errors);
        stored_versions(new, &mut errors);
        if approval_state(new) != approval_state(old) {
            errors.extend(approval(new));
        }
        if flag(spec, "preserveUnknownFields") && !flag(before, "preserveUnknownFields") {
            errors.push(no_preserving());
        }
        errors
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let path = Path::new("status").child("acceptedNames");
        well_formed(at(at(new, "status"), "acceptedNames"), &path, &mut errors);
        errors
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        unknown_formats(object).into_iter().map(warning).collect()
    }

    fn update_warnings(&self, new: &Value, old: &Value) -> Vec<String> {
        let old = unknown_formats(old);
        let new = unknown_formats(new).into_iter();
        new.filter(|format| !old.contains(format)).map(warning).collect()
    }
}

fn warning(format: &str) -> String {
    format!("unrecognized format {format:?}")
}

/// The formats of a schema that nobody checks.
fn unknown_formats(object: &Value) -> Vec<&str> {
    let mut formats = Vec::new();
    for schema in version::shared(at(object, "spec"), "schema").schemas() {
        version::unknown_formats(at(schema, "openAPIV3Schema"), &mut formats);
    }
    formats
}

/// Remembers every version that objects may have been stored in.
fn note_storage_version(object: &mut Value) {
    let versions = list(at(object, "spec"), "versions");
    let storage = versions.iter().find(|version| flag(version, "storage"));
    let storage = storage.map(|version| at(version, "name").clone());
    if let Some(status) = ensure(object, "status") {
        default(status, "acceptedNames", json!({"plural": "", "kind": ""}));
        let mut stored = list(status, "storedVersions").to_vec();
        stored.extend(storage.filter(|storage| !stored.contains(storage)));
        set(status, "storedVersions", stored);
    }
}

fn definition(object: &Value) -> Vec<FieldError> {
    let (path, spec, mut errors) = (Path::new("spec"), at(object, "spec"), Vec::new());
    let (group, own) = (text(spec, "group"), text(at(object, "metadata"), "name"));
    let plural = text(at(spec, "names"), "plural");
    if own != format!("{plural}.{group}") {
        let detail = "must be spec.names.plural+\".\"+spec.group";
        errors.push(FieldError::invalid(&Path::new("metadata").child("name"), own, detail));
    }
    let (at_group, wrong) = (path.child("group"), names::subdomain(group, false));
    if group.is_empty() {
        errors.push(FieldError::required(&at_group, ""));
    } else if !wrong.is_empty() {
        errors.push(FieldError::invalid(&at_group, group, wrong.join(",")));
    } else if !group.contains('.') {
        let detail = "should be a domain with at least one dot";
        errors.push(FieldError::invalid(&at_group, group, detail));
    }
    one_of(spec, "scope", &["Cluster", "Namespaced"], &path, &mut errors);
    version::versions(spec, &path, &mut errors);
    defined_names(at(spec, "names"), &path.child("names"), &mut errors);
    version::hoisted(spec, &path, &mut errors);
    conversion(at(spec, "conversion"), &path.child("conversion"), &mut errors);
    let path = Path::new("status").child("acceptedNames");
    well_formed(at(at(object, "status"), "acceptedNames"), &path, &mut errors);
    errors
}

fn defined_names(given: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    for field in ["plural", "singular", "kind", "listKind"] {
        if text(given, field).is_empty() {
            errors.push(FieldError::required(&path.child(field), ""));
        }
    }
    well_formed(given, path, errors);
}

/// Checks the names that are there.
fn well_formed(given: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    for (field, mixed) in [
        ("plural", false),
        ("singular", false),
        ("kind", true),
        ("listKind", true),
    ] {
        let (name, path) = (text(given, field), path.child(field));
        if name.is_empty() {
            continue;
        }
        let (name_as_label, before) = if mixed {
            (name.to_lowercase(), "may have mixed case, but should otherwise match: ")
        } else {
            (name.to_owned(), "")
        };
        let wrong = names::label_1035(&name_as_label, false);
        if !wrong.is_empty() {
            errors.push(FieldError::invalid(&path, name, format!("{before}{}", wrong.join(","))));
        }
    }
    let list_of_labels = |field: &str, errors: &mut Vec<FieldError>| {
        for (index, name) in list(given, field).iter().filter_map(Value::as_str).enumerate() {
            let wrong = names::label_1035(name, false);
            if !wrong.is_empty() {
                let path = path.child(field).index(index);
                errors.push(FieldError::invalid(&path, name, wrong.join(",")));
            }
        }
    };
    list_of_labels("shortNames", errors);
    let kind = text(given, "kind");
    if !kind.is_empty() && kind == text(given, "listKind") {
        let detail = "kind and listKind may not be the same";
        errors.push(FieldError::invalid(&path.child("listKind"), kind, detail));
    }
    list_of_labels("categories", errors);
}

/// Checks how versions are converted into each other. The paths are those of upstream's own form.
fn conversion(conversion: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    if conversion.is_null() {
        return;
    }
    one_of(conversion, "strategy", &["None", "Webhook"], path, errors);
    let webhook = at(conversion, "webhook");
    let (client, versions) = (at(webhook, "clientConfig"), list(webhook, "conversionReviewVersions"));
    let (at_client, at_versions) = (
        path.child("webhookClientConfig"),
        path.child("conversionReviewVersions"),
    );
    if text(conversion, "strategy") == "Webhook" {
        if client.is_null() {
            let detail = "required when strategy is set to Webhook";
            errors.push(FieldError::required(&at_client, detail));
        } else {
            webhooks::client(client, &at_client, errors);
        }
        if versions.is_empty() {
            errors.push(FieldError::required(&at_versions, ""));
        } else {
            webhooks::review_versions(versions, true, &at_versions, errors);
        }
        return;
    }
    let detail = "should not be set when strategy is not set to Webhook";
    if !client.is_null() {
        errors.push(FieldError::forbidden(&at_client, detail));
    }
    if !versions.is_empty() {
        errors.push(FieldError::forbidden(&at_versions, detail));
    }
}

/// A version that objects are stored in stays until they have been moved.
fn stored_versions(object: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::new("status").child("storedVersions");
    let (stored, versions) = (
        list(at(object, "status"), "storedVersions"),
        list(at(object, "spec"), "versions"),
    );
    if stored.is_empty() {
        let detail = "must have at least one stored version";
        errors.push(FieldError::invalid(&path, stored.to_vec(), detail));
        return;
    }
    let known: BTreeSet<&str> = versions.iter().map(|version| text(version, "name")).collect();
    for version in versions.iter().filter(|version| flag(version, "storage")) {
        if !stored.contains(at(version, "name")) {
            let detail = format!("must have the storage version {}", text(version, "name"));
            errors.push(FieldError::invalid(&path, stored.to_vec(), detail));
        }
    }
    for (index, name) in stored.iter().filter_map(Value::as_str).enumerate() {
        if !known.contains(name) {
            let detail = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
            );
            errors.push(FieldError::invalid(&path.index(index), name, detail));
        }
    }
}

fn no_preserving() -> FieldError {
    let detail =
        "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
    FieldError::invalid(&Path::new("spec").child("preserveUnknownFields"), true, detail)
}

const APPROVED: &str = "api-approved.kubernetes.io";

/// Whether the community has approved of an API in one of its groups.
#[derive(PartialEq, Eq)]
enum Approval {
    Missing,
    Bypassed,
    Given,
    Invalid,
}

fn approval_state(object: &Value) -> Approval {
    let annotation = text(at(at(object, "metadata"), "annotations"), APPROVED);
    match annotation.split_once("://") {
        _ if annotation.is_empty() => Approval::Missing,
        _ if annotation.starts_with("unapproved") => Approval::Bypassed,
        Some((scheme, rest)) if !scheme.is_empty() && !rest.is_empty() && !rest.starts_with('/') => Approval::Given,
        _ => Approval::Invalid,
    }
}

fn approval(object: &Value) -> Option<FieldError> {
    let group = text(at(object, "spec"), "group");
    let protected = ["k8s.io", "kubernetes.io"];
    if !protected
        .iter()
        .any(|domain| group == *domain || group.ends_with(&format!(".{domain}")))
    {
        return None;
    }
    let path = Path::new("metadata").child("annotations").key(APPROVED);
    let wanted = format!("protected groups must have approval annotation {APPROVED:?}");
    let see = "see https://github.com/kubernetes/enhancements/pull/1111";
    match approval_state(object) {
        Approval::Missing => Some(FieldError::required(&path, format!("{wanted}, {see}"))),
        Approval::Invalid => {
            let given = text(at(at(object, "metadata"), "annotations"), APPROVED);
            let detail = format!("{wanted} with either a URL or a reason starting with \"unapproved\", {see}");
            Some(FieldError::invalid(&path, given, detail))
        }
        Approval::Bypassed | Approval::Given => None,
    }
}

#[cfg(test)]
mod tests;
