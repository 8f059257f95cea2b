//! Volumes that show a pod what the cluster knows: files of the downward API, of ConfigMaps, Secrets, tokens and trust.

use std::collections::BTreeSet;

use serde_json::Value;
use timonel_api::{FieldError, Path};

use super::super::common::label_selector;
use super::super::value::{at, has, int, list, text};
use super::paths::{key_to_path, not_reserved};
use super::sources::file_mode;
use super::{is_set, required};
use crate::resources::pod::fields;

/// Checks a file of the downward API.
pub(super) fn downward_file(file: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    required(file, &["path"], path, errors);
    not_reserved(text(file, "path"), &path.child("path"), errors);
    let (field, resource) = (at(file, "fieldRef"), at(file, "resourceFieldRef"));
    if !field.is_null() {
        fields::object_field(field, fields::Use::File, &path.child("fieldRef"), errors);
        if !resource.is_null() {
            let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
            errors.push(FieldError::invalid(path, "resource", detail));
        }
    } else if !resource.is_null() {
        fields::resource_field(resource, fields::Use::File, &path.child("resourceFieldRef"), errors);
    } else {
        let detail = "one of fieldRef and resourceFieldRef is required";
        errors.push(FieldError::required(path, detail));
    }
    file_mode(file, "mode", path, errors);
}

/// Checks a projected volume: its sources, and that no two of them want one path.
pub(super) fn projected(source: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    file_mode(source, "defaultMode", path, errors);
    let mut taken = BTreeSet::new();
    for (index, source) in list(source, "sources").iter().enumerate() {
        let at_source = path.child("sources").index(index);
        let mut count = 0;
        for kind in ["secret", "configMap"] {
            let (part, path_of_part) = (at(source, kind), at_source.child(kind));
            if part.is_null() {
                continue;
            }
            count += 1;
            required(part, &["name"], &path_of_part, errors);
            for (index, item) in list(part, "items").iter().enumerate() {
                key_to_path(item, &path_of_part.child("items").index(index), errors);
                take(&mut taken, text(item, "path"), text(part, "name"), path, errors);
            }
        }
        if has(source, "downwardAPI") {
            count += 1;
            for file in list(at(source, "downwardAPI"), "items") {
                downward_file(file, &at_source.child("downwardAPI"), errors);
                let place = text(file, "path");
                take(&mut taken, place, place, path, errors);
            }
        }
        if has(source, "serviceAccountToken") {
            count += 1;
            token(at(source, "serviceAccountToken"), &at_source, path, errors);
        }
        if has(source, "clusterTrustBundle") {
            count += 1;
            let bundle = at(source, "clusterTrustBundle");
            trust_bundle(bundle, &at_source.child("clusterTrustBundle"), errors);
            let place = text(bundle, "path");
            take(&mut taken, place, place, path, errors);
        }
        if count > 1 {
            let detail = "may not specify more than 1 volume type per source";
            errors.push(FieldError::forbidden(&at_source, detail));
        }
    }
}

fn take<'a>(taken: &mut BTreeSet<&'a str>, place: &'a str, shown: &str, path: &Path, errors: &mut Vec<FieldError>) {
    if !place.is_empty() && !taken.insert(place) {
        errors.push(FieldError::invalid(path, shown, "conflicting duplicate paths"));
    }
}

/// The path of a token's file is told at the volume, as upstream does.
fn token(token: &Value, source: &Path, volume: &Path, errors: &mut Vec<FieldError>) {
    let seconds = int(token, "expirationSeconds").unwrap_or(0);
    let detail = match seconds {
        ..600 => Some("may not specify a duration less than 10 minutes"),
        _ if seconds > 1 << 32 => Some("may not specify a duration larger than 2^32 seconds"),
        _ => None,
    };
    if let Some(detail) = detail {
        let path = source.child("serviceAccountToken").child("expirationSeconds");
        errors.push(FieldError::invalid(&path, seconds, detail));
    }
    if is_set(token, "path") {
        not_reserved(text(token, "path"), &volume.child("path"), errors);
    } else {
        required(token, &["path"], volume, errors);
    }
}

fn trust_bundle(bundle: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    match (has(bundle, "name"), has(bundle, "signerName")) {
        (true, true) => errors.push(FieldError::invalid(
            path,
            bundle.clone(),
            "only one of name and signerName may be used",
        )),
        (false, false) => errors.push(FieldError::required(
            path,
            "either name or signerName must be specified",
        )),
        (true, false) => {
            if text(bundle, "name").is_empty() {
                errors.push(FieldError::required(&path.child("name"), "must be a valid object name"));
            }
            if has(bundle, "labelSelector") {
                let detail = "labelSelector must be unset if name is specified";
                let selector = at(bundle, "labelSelector").clone();
                errors.push(FieldError::invalid(&path.child("labelSelector"), selector, detail));
            }
        }
        (false, true) => {
            if text(bundle, "signerName").is_empty() {
                let detail = "must be a valid signer name";
                errors.push(FieldError::required(&path.child("signerName"), detail));
            }
            label_selector(at(bundle, "labelSelector"), &path.child("labelSelector"), errors);
        }
    }
    required(bundle, &["path"], path, errors);
    not_reserved(text(bundle, "path"), &path.child("path"), errors);
}
