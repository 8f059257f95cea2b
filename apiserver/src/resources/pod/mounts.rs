//! Validation of what a container sees of its pod's volumes: folders, and raw devices.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use timonel_api::{FieldError, Path};

use super::super::value::{at, flag, has, list, text};
use super::super::volumes::paths::descending;

/// Checks mounts and devices. Some paths are told at the list and not at the mount, as upstream does.
pub(super) fn validate(container: &Value, path: &Path, volumes: &BTreeMap<&str, &Value>, errors: &mut Vec<FieldError>) {
    mounts(container, &path.child("volumeMounts"), volumes, errors);
    devices(container, &path.child("volumeDevices"), volumes, errors);
}

fn mounts(container: &Value, list_path: &Path, volumes: &BTreeMap<&str, &Value>, errors: &mut Vec<FieldError>) {
    let (mut places, devices) = (BTreeSet::new(), list(container, "volumeDevices"));
    for (index, mount) in list(container, "volumeMounts").iter().enumerate() {
        let path = list_path.index(index);
        let (name, place) = (text(mount, "name"), text(mount, "mountPath"));
        let (at_name, at_place) = (path.child("name"), path.child("mountPath"));
        if name.is_empty() {
            errors.push(FieldError::required(&at_name, ""));
        }
        if !volumes.contains_key(name) {
            errors.push(FieldError::not_found(&at_name, name));
        }
        if place.is_empty() {
            errors.push(FieldError::required(&at_place, ""));
        }
        if !places.insert(place) {
            errors.push(FieldError::invalid(&at_place, place, "must be unique"));
        }
        if devices.iter().any(|device| text(device, "name") == name) {
            let detail = "must not already exist in volumeDevices";
            errors.push(FieldError::invalid(&at_name, name, detail));
        }
        if devices.iter().any(|device| text(device, "devicePath") == place) {
            let detail = "must not already exist as a path in volumeDevices";
            errors.push(FieldError::invalid(&at_place, place, detail));
        }
        let (sub, expression) = (text(mount, "subPath"), text(mount, "subPathExpr"));
        if !sub.is_empty() {
            descending(sub, &list_path.child("subPath"), errors);
        }
        if !sub.is_empty() && !expression.is_empty() {
            let detail = "subPathExpr and subPath are mutually exclusive";
            errors.push(FieldError::invalid(&path.child("subPathExpr"), expression, detail));
        }
        if !expression.is_empty() {
            descending(expression, &list_path.child("subPathExpr"), errors);
        }
        propagation(mount, container, list_path, errors);
        read_only(mount, &list_path.child("recursiveReadOnly"), errors);
    }
}

fn propagation(mount: &Value, container: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let ways = ["Bidirectional", "HostToContainer", "None"];
    super::super::common::any_of(mount, "mountPropagation", &ways, path, errors);
    let privileged = flag(at(container, "securityContext"), "privileged");
    if text(mount, "mountPropagation") == "Bidirectional" && !privileged {
        let detail = "Bidirectional mount propagation is available only to privileged containers";
        errors.push(FieldError::forbidden(&path.child("mountPropagation"), detail));
    }
}

fn read_only(mount: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    match text(mount, "recursiveReadOnly") {
        "Disabled" => {}
        "" if !has(mount, "recursiveReadOnly") => {}
        "Enabled" | "IfPossible" => {
            if !flag(mount, "readOnly") {
                let detail = "may only be specified when readOnly is true";
                errors.push(FieldError::forbidden(path, detail));
            }
            if !matches!(text(mount, "mountPropagation"), "" | "None") {
                let detail = "may only be specified when mountPropagation is None or not specified";
                errors.push(FieldError::forbidden(path, detail));
            }
        }
        other => {
            let supported = ["Disabled", "Enabled", "IfPossible"];
            errors.push(FieldError::not_supported(path, other, &supported));
        }
    }
}

fn devices(container: &Value, path: &Path, volumes: &BTreeMap<&str, &Value>, errors: &mut Vec<FieldError>) {
    let (mut names, mut places) = (BTreeSet::new(), BTreeSet::new());
    let mounts = list(container, "volumeMounts");
    for (index, device) in list(container, "volumeDevices").iter().enumerate() {
        let path = path.index(index);
        let (name, place) = (text(device, "name"), text(device, "devicePath"));
        let (at_name, at_place) = (path.child("name"), path.child("devicePath"));
        if name.is_empty() {
            errors.push(FieldError::required(&at_name, ""));
        } else if !names.insert(name) {
            errors.push(FieldError::invalid(&at_name, name, "must be unique"));
        }
        match volumes.get(name) {
            None => errors.push(FieldError::not_found(&at_name, name)),
            Some(volume) if !has(volume, "persistentVolumeClaim") && !has(volume, "ephemeral") => {
                let detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.push(FieldError::invalid(&at_name, name, detail));
            }
            Some(_) => {}
        }
        if place.is_empty() {
            errors.push(FieldError::required(&at_place, ""));
        }
        if places.contains(place) {
            errors.push(FieldError::invalid(&at_place, place, "must be unique"));
        }
        if place.split('/').any(|part| part == "..") {
            let detail = "can not contain backsteps ('..')";
            errors.push(FieldError::invalid(&at_place, place, detail));
        } else {
            places.insert(place);
        }
        if mounts.iter().any(|mount| text(mount, "name") == name) {
            let detail = "must not already exist in volumeMounts";
            errors.push(FieldError::invalid(&at_name, name, detail));
        }
        if mounts.iter().any(|mount| text(mount, "mountPath") == place) {
            let detail = "must not already exist as a path in volumeMounts";
            errors.push(FieldError::invalid(&at_place, place, detail));
        }
    }
}
