//! One rule per kind of volume source, the same for pods and persistent volumes but for who names secrets' namespaces.

use serde_json::Value;
use timonel_api::{FieldError, Path, names};

use super::super::common::{any_of, driver_name, wrong};
use super::super::value::{at, entries, has, int, list, text};
use super::block::{fibre_channel, iscsi};
use super::paths::{key_to_path, no_backsteps};
use super::projected::{downward_file, projected};
use super::{is_set, required};

/// Where a source stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Within<'a> {
    /// In a pod's volume of this name.
    Pod(&'a str),
    /// In a PersistentVolume of this name.
    Volume(&'a str),
}

/// What is said of permissions that are none.
const FILE_MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";
const PARTITION: &str = "must be a number between 0 and 255, both inclusive";
const HOST_PATHS: [&str; 8] = [
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
];

/// The kinds of sources, in the order in which upstream looks at them.
const KINDS: [&str; 30] = [
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];

/// The same for PersistentVolumes, whose order differs.
const PERSISTENT: [&str; 22] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
];

/// Checks that there is one source, and checks it. Returns its kind.
pub(crate) fn one_source(
    volume: &Value,
    place: Within<'_>,
    path: &Path,
    errors: &mut Vec<FieldError>,
) -> Option<&'static str> {
    let kinds: &[&'static str] = match place {
        Within::Pod(_) => &KINDS,
        Within::Volume(_) => &PERSISTENT,
    };
    let mut found = None;
    for kind in kinds.iter().filter(|kind| has(volume, kind)) {
        if found.is_some() {
            // Two of upstream's paths are written otherwise than their fields.
            let shown = match *kind {
                "cephfs" => "cephFS",
                "downwardAPI" => "downwarAPI",
                kind => kind,
            };
            let detail = "may not specify more than 1 volume type";
            errors.push(FieldError::forbidden(&path.child(shown), detail));
            continue;
        }
        found = Some(*kind);
        source(kind, at(volume, kind), place, path, errors);
    }
    if found.is_none() {
        errors.push(FieldError::required(path, "must specify a volume type"));
    }
    found
}

fn source(kind: &str, source: &Value, place: Within<'_>, parent: &Path, errors: &mut Vec<FieldError>) {
    let path = &parent.child(if kind == "gcePersistentDisk" {
        "persistentDisk"
    } else {
        kind
    });
    let persistent = matches!(place, Within::Volume(_));
    match kind {
        "emptyDir" => empty_dir(source, path, errors),
        "hostPath" => host_path(source, path, errors),
        "gitRepo" => {
            required(source, &["repository"], path, errors);
            super::paths::descending(text(source, "directory"), &path.child("directory"), errors);
        }
        "gcePersistentDisk" => disk(source, "pdName", path, errors),
        "awsElasticBlockStore" => disk(source, "volumeID", path, errors),
        "secret" => keys(source, "secretName", path, errors),
        "configMap" => keys(source, "name", path, errors),
        "nfs" => nfs(source, path, errors),
        "iscsi" => iscsi(source, place, parent, path, errors),
        "glusterfs" => glusterfs(source, path, errors),
        "flocker" => flocker(source, path, errors),
        "persistentVolumeClaim" => required(source, &["claimName"], path, errors),
        "rbd" => required(source, &["monitors", "image"], path, errors),
        "cephfs" => required(source, &["monitors"], path, errors),
        "cinder" => {
            required(source, &["volumeID"], path, errors);
            secret(source, persistent, path, errors);
        }
        "quobyte" => quobyte(source, path, errors),
        "downwardAPI" => {
            file_mode(source, "defaultMode", path, errors);
            for file in list(source, "items") {
                downward_file(file, path, errors);
            }
        }
        "fc" => fibre_channel(source, path, errors),
        "flexVolume" => flex(source, path, errors),
        "azureFile" => {
            required(source, &["secretName", "shareName"], path, errors);
            if persistent && has(source, "secretNamespace") {
                required(source, &["secretNamespace"], path, errors);
            }
        }
        "azureDisk" => azure_disk(source, path, errors),
        "vsphereVolume" => required(source, &["volumePath"], path, errors),
        "photonPersistentDisk" => required(source, &["pdID"], path, errors),
        "portworxVolume" => required(source, &["volumeID"], path, errors),
        "scaleIO" => required(source, &["gateway", "system", "volumeName"], path, errors),
        "storageos" => storage_os(source, persistent, path, errors),
        "projected" => projected(source, path, errors),
        "local" if is_set(source, "path") => no_backsteps(text(source, "path"), &path.child("path"), errors),
        "local" => required(source, &["path"], path, errors),
        "csi" => csi(source, persistent, path, errors),
        "ephemeral" => ephemeral(source, path, errors),
        "image" => {
            let policies = ["Always", "IfNotPresent", "Never"];
            super::super::common::one_of(source, "pullPolicy", &policies, path, errors);
        }
        _ => {}
    }
}

/// Checks a field that holds permissions.
pub(super) fn file_mode(object: &Value, field: &str, path: &Path, errors: &mut Vec<FieldError>) {
    if let Some(mode) = int(object, field).filter(|mode| !(0..=0o777).contains(mode)) {
        errors.push(FieldError::invalid(&path.child(field), mode, FILE_MODE));
    }
}

fn empty_dir(source: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let limit = timonel_api::quantity::Quantity::parse(text(source, "sizeLimit"));
    if limit.is_ok_and(|limit| limit.sign() < 0) {
        let detail = "SizeLimit field must be a valid resource quantity";
        errors.push(FieldError::forbidden(&path.child("sizeLimit"), detail));
    }
}

fn host_path(source: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    if !is_set(source, "path") {
        return required(source, &["path"], path, errors);
    }
    no_backsteps(text(source, "path"), &path.child("path"), errors);
    any_of(source, "type", &HOST_PATHS, path, errors);
}

fn disk(source: &Value, name: &str, path: &Path, errors: &mut Vec<FieldError>) {
    required(source, &[name], path, errors);
    if let Some(number) = int(source, "partition").filter(|number| !(0..=255).contains(number)) {
        errors.push(FieldError::invalid(&path.child("partition"), number, PARTITION));
    }
}

fn keys(source: &Value, name: &str, path: &Path, errors: &mut Vec<FieldError>) {
    required(source, &[name], path, errors);
    file_mode(source, "defaultMode", path, errors);
    for (index, item) in list(source, "items").iter().enumerate() {
        key_to_path(item, &path.child("items").index(index), errors);
    }
}

fn nfs(source: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    required(source, &["server", "path"], path, errors);
    let folder = text(source, "path");
    if !folder.starts_with('/') {
        errors.push(FieldError::invalid(
            &path.child("path"),
            folder,
            "must be an absolute path",
        ));
    }
}

fn glusterfs(source: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    required(source, &["endpoints", "path"], path, errors);
    if has(source, "endpointsNamespace") {
        let (name, path) = (text(source, "endpointsNamespace"), path.child("endpointsNamespace"));
        if name.is_empty() {
            let detail = "if the endpointnamespace is set, it must be a valid namespace name";
            errors.push(FieldError::invalid(&path, name, detail));
        } else {
            wrong(&path, name, names::label(name, false), errors);
        }
    }
}

fn flocker(source: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (name, id) = (text(source, "datasetName"), text(source, "datasetUUID"));
    match (name.is_empty(), id.is_empty()) {
        (true, true) => errors.push(FieldError::required(
            path,
            "one of datasetName and datasetUUID is required",
        )),
        (false, false) => errors.push(FieldError::invalid(
            path,
            "resource",
            "datasetName and datasetUUID can not be specified simultaneously",
        )),
        _ => {}
    }
    if name.contains('/') {
        errors.push(FieldError::invalid(
            &path.child("datasetName"),
            name,
            "must not contain '/'",
        ));
    }
}

fn quobyte(source: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let pairs = "must be a host:port pair or multiple pairs separated by commas";
    let registry = text(source, "registry");
    if registry.is_empty() {
        errors.push(FieldError::required(&path.child("registry"), pairs));
    } else if text(source, "tenant").len() >= 65 {
        let detail = "must be a UUID and may not exceed a length of 64 characters";
        errors.push(FieldError::required(&path.child("tenant"), detail));
    } else {
        let is_pair = |pair: &str| {
            pair.rsplit_once(':').is_some_and(|(host, _)| {
                let bracketed = host.starts_with('[') && host.ends_with(']');
                bracketed || !host.contains([':', '[', ']'])
            })
        };
        for _ in registry.split(',').filter(|pair| !is_pair(pair)) {
            errors.push(FieldError::invalid(&path.child("registry"), registry, pairs));
        }
    }
    required(source, &["volume"], path, errors);
}

fn flex(source: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    required(source, &["driver"], path, errors);
    for (key, _) in entries(source, "options") {
        let namespace = key.split_once('/').map_or(key, |(namespace, _)| namespace);
        let namespace = format!(".{}", namespace.to_lowercase());
        if namespace.ends_with(".kubernetes.io") || namespace.ends_with(".k8s.io") {
            let detail = "kubernetes.io and k8s.io namespaces are reserved";
            errors.push(FieldError::invalid(&path.child("options").key(key), key, detail));
        }
    }
}

fn azure_disk(source: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    required(source, &["diskName", "diskURI"], path, errors);
    any_of(source, "cachingMode", &["None", "ReadOnly", "ReadWrite"], path, errors);
    any_of(source, "kind", &["Dedicated", "Managed", "Shared"], path, errors);
    if !has(source, "kind") {
        return;
    }
    let (start, form) = if text(source, "kind") == "Managed" {
        (
            "/subscriptions/",
            "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}",
        )
    } else {
        (
            "https://",
            "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd",
        )
    };
    let disk = text(source, "diskURI");
    if !disk.starts_with(start) {
        errors.push(FieldError::not_supported(&path.child("diskURI"), disk, &[form]));
    }
}

fn storage_os(source: &Value, persistent: bool, path: &Path, errors: &mut Vec<FieldError>) {
    required(source, &["volumeName"], path, errors);
    for field in ["volumeName", "volumeNamespace"] {
        let name = text(source, field);
        if !name.is_empty() {
            wrong(&path.child(field), name, names::label(name, false), errors);
        }
    }
    secret(source, persistent, path, errors);
}

/// Checks that a secret is named, and its namespace where it can be any.
pub(super) fn secret(source: &Value, namespaced: bool, path: &Path, errors: &mut Vec<FieldError>) {
    let fields: &[&str] = if namespaced { &["name", "namespace"] } else { &["name"] };
    if has(source, "secretRef") {
        required(at(source, "secretRef"), fields, &path.child("secretRef"), errors);
    }
}

fn csi(source: &Value, persistent: bool, path: &Path, errors: &mut Vec<FieldError>) {
    driver_name(text(source, "driver"), &path.child("driver"), errors);
    if !persistent {
        let secret = at(source, "nodePublishSecretRef");
        let name = text(secret, "name");
        if !name.is_empty() {
            // As upstream's path is.
            wrong(&path.child("name"), name, names::subdomain(name, false), errors);
        } else if !secret.is_null() {
            required(secret, &["name"], &path.child("nodePublishSecretRef"), errors);
        }
        return;
    }
    required(source, &["volumeHandle"], path, errors);
    for field in [
        "controllerPublishSecretRef",
        "controllerExpandSecretRef",
        "nodePublishSecretRef",
        "nodeExpandSecretRef",
    ] {
        let (secret, path) = (at(source, field), path.child(field));
        if secret.is_null() {
            continue;
        }
        for (field, rule) in [
            ("name", names::subdomain as fn(&str, bool) -> Vec<String>),
            ("namespace", names::label),
        ] {
            let (value, path) = (text(secret, field), path.child(field));
            if value.is_empty() {
                errors.push(FieldError::required(&path, ""));
            } else {
                wrong(&path, value, rule(value, false), errors);
            }
        }
    }
}

fn ephemeral(source: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (template, path) = (at(source, "volumeClaimTemplate"), path.child("volumeClaimTemplate"));
    if template.is_null() {
        errors.push(FieldError::required(&path, ""));
    } else {
        super::claim::template(template, &path, errors);
    }
}
