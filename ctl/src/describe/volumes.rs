//! Volumes of pods and the sources of persistent volumes.

use serde_json::Value;

use super::page::Page;
use super::values::{is_true, list, number, or_none, some, text, text_map};

/// Adds a pod's volumes.
pub(super) fn volumes(page: &mut Page, volumes: &[Value], space: &str) {
    if volumes.is_empty() {
        page.put(format_args!("{space}Volumes:\t<none>\n"));
        return;
    }
    page.put(format_args!("{space}Volumes:\n"));
    for volume in volumes {
        let indent = if space.is_empty() { "" } else { " " };
        page.line(1, format_args!("{indent}{}:", text(volume, "/name")));
        source(page, volume);
    }
}

/// Adds the fields of one kind of source.
type Print = fn(&mut Page, &Value);

/// Adds the one source that a volume has.
pub(super) fn source(page: &mut Page, volume: &Value) {
    let known: [(&str, Print); 12] = [
        ("hostPath", host_path),
        ("emptyDir", empty_dir),
        ("secret", secret),
        ("configMap", config_map),
        ("nfs", nfs),
        ("persistentVolumeClaim", claim),
        ("ephemeral", ephemeral),
        ("downwardAPI", downward_api),
        ("projected", projected),
        ("csi", csi),
        ("local", local),
        ("image", image),
    ];
    match known.iter().find(|(field, _)| volume[field].is_object()) {
        Some((field, print)) => print(page, &volume[field]),
        None => page.line(1, "<unknown>"),
    }
}

fn fields(page: &mut Page, pairs: &[(&str, String)]) {
    for (title, value) in pairs {
        page.field(2, title, value);
    }
}

fn host_path(page: &mut Page, source: &Value) {
    fields(
        page,
        &[
            ("Type", "HostPath (bare host directory volume)".to_owned()),
            ("Path", text(source, "/path").to_owned()),
            (
                "HostPathType",
                some(source, "/type").unwrap_or_else(|| "<none>".to_owned()),
            ),
        ],
    );
}

fn empty_dir(page: &mut Page, source: &Value) {
    let limit = some(source, "/sizeLimit").filter(|limit| limit != "0");
    fields(
        page,
        &[
            (
                "Type",
                "EmptyDir (a temporary directory that shares a pod's lifetime)".to_owned(),
            ),
            ("Medium", text(source, "/medium").to_owned()),
            ("SizeLimit", limit.unwrap_or_else(|| "<unset>".to_owned())),
        ],
    );
}

fn secret(page: &mut Page, source: &Value) {
    fields(
        page,
        &[
            ("Type", "Secret (a volume populated by a Secret)".to_owned()),
            ("SecretName", text(source, "/secretName").to_owned()),
            ("Optional", is_true(source, "/optional").to_string()),
        ],
    );
}

fn config_map(page: &mut Page, source: &Value) {
    fields(
        page,
        &[
            ("Type", "ConfigMap (a volume populated by a ConfigMap)".to_owned()),
            ("Name", text(source, "/name").to_owned()),
            ("Optional", is_true(source, "/optional").to_string()),
        ],
    );
}

fn nfs(page: &mut Page, source: &Value) {
    fields(
        page,
        &[
            ("Type", "NFS (an NFS mount that lasts the lifetime of a pod)".to_owned()),
            ("Server", text(source, "/server").to_owned()),
            ("Path", text(source, "/path").to_owned()),
            ("ReadOnly", is_true(source, "/readOnly").to_string()),
        ],
    );
}

fn claim(page: &mut Page, source: &Value) {
    fields(
        page,
        &[
            (
                "Type",
                "PersistentVolumeClaim (a reference to a PersistentVolumeClaim in the same namespace)".to_owned(),
            ),
            ("ClaimName", text(source, "/claimName").to_owned()),
            ("ReadOnly", is_true(source, "/readOnly").to_string()),
        ],
    );
}

fn ephemeral(page: &mut Page, source: &Value) {
    page.field(
        2,
        "Type",
        "EphemeralVolume (an inline specification for a volume that gets created and deleted with the pod)",
    );
    let template = &source["volumeClaimTemplate"];
    if template.is_object() {
        page.field(0, "StorageClass", text(template, "/spec/storageClassName"));
        page.field(0, "Volume", "");
        page.labels("", "Labels", &template["metadata"]["labels"]);
        page.annotations("", &template["metadata"]["annotations"]);
        page.field(0, "Capacity", "");
        page.field(0, "Access Modes", "");
        if let Some(mode) = some(template, "/spec/volumeMode") {
            page.field(0, "VolumeMode", mode);
        }
    }
}

fn downward_api(page: &mut Page, source: &Value) {
    page.field(
        2,
        "Type",
        "DownwardAPI (a volume populated by information about the pod)",
    );
    page.line(2, "Items:");
    for item in list(source, "/items") {
        if item["fieldRef"].is_object() {
            let (from, path) = (text(item, "/fieldRef/fieldPath"), text(item, "/path"));
            page.line(3, format_args!("{from} -> {path}"));
        }
        if item["resourceFieldRef"].is_object() {
            let (from, path) = (text(item, "/resourceFieldRef/resource"), text(item, "/path"));
            page.line(3, format_args!("{from} -> {path}"));
        }
    }
}

fn projected(page: &mut Page, source: &Value) {
    page.field(
        2,
        "Type",
        "Projected (a volume that contains injected data from multiple sources)",
    );
    for source in list(source, "/sources") {
        if source["secret"].is_object() {
            page.field(2, "SecretName", text(source, "/secret/name"));
            page.field(2, "Optional", is_true(source, "/secret/optional"));
        } else if source["downwardAPI"].is_object() {
            page.field(2, "DownwardAPI", "true");
        } else if source["configMap"].is_object() {
            page.field(2, "ConfigMapName", text(source, "/configMap/name"));
            page.field(2, "Optional", is_true(source, "/configMap/optional"));
        } else if source["serviceAccountToken"].is_object() {
            let seconds = number(source, "/serviceAccountToken/expirationSeconds");
            page.field(2, "TokenExpirationSeconds", seconds);
        }
    }
}

fn csi(page: &mut Page, source: &Value) {
    page.field(2, "Type", "CSI (a Container Storage Interface (CSI) volume source)");
    page.field(2, "Driver", text(source, "/driver"));
    page.field(2, "FSType", text(source, "/fsType"));
    if source["volumeHandle"].is_string() {
        page.field(2, "VolumeHandle", text(source, "/volumeHandle"));
    }
    page.field(2, "ReadOnly", is_true(source, "/readOnly"));
    let attributes: Vec<String> = text_map(&source["volumeAttributes"])
        .into_iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    page.several("    ", "VolumeAttributes", &attributes);
}

fn local(page: &mut Page, source: &Value) {
    page.field(
        2,
        "Type",
        "LocalVolume (a persistent volume backed by local storage on a node)",
    );
    page.field(2, "Path", text(source, "/path"));
}

fn image(page: &mut Page, source: &Value) {
    page.field(2, "Type", "Image (a container image or OCI artifact)");
    page.field(2, "Reference", text(source, "/reference"));
    page.field(2, "PullPolicy", or_none(text(source, "/pullPolicy")));
}
