//! Persistent volumes, claims and their classes.

use serde_json::Value;

use super::Related;
use super::page::Page;
use super::values::{age, format_labels, go_list, joined, list, number, some, text, time};
use super::volumes::source;

/// `RWO,ROX`, each mode once.
fn access_modes(modes: &[Value]) -> String {
    let known = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let found: Vec<&str> = known
        .iter()
        .filter(|(name, _)| modes.iter().any(|mode| mode == name))
        .map(|(_, short)| *short)
        .collect();
    found.join(",")
}

fn class(object: &Value) -> &str {
    object["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"]
        .as_str()
        .unwrap_or_else(|| text(object, "/spec/storageClassName"))
}

fn status(page: &mut Page, object: &Value, related: &Related) {
    if object["metadata"]["deletionTimestamp"].is_string() {
        let lasts = age(object, "/metadata/deletionTimestamp", related.now);
        page.field(0, "Status", format_args!("Terminating (lasts {lasts})"));
    } else {
        page.field(0, "Status", text(object, "/status/phase"));
    }
}

pub(super) fn persistent_volume(page: &mut Page, volume: &Value, related: &Related) {
    page.field(0, "Name", text(volume, "/metadata/name"));
    page.labels("", "Labels", &volume["metadata"]["labels"]);
    page.annotations("", &volume["metadata"]["annotations"]);
    page.field(0, "Finalizers", go_list(list(volume, "/metadata/finalizers")));
    page.field(0, "StorageClass", class(volume));
    status(page, volume, related);
    let claim = &volume["spec"]["claimRef"];
    let claim = if claim.is_object() {
        format!("{}/{}", text(claim, "/namespace"), text(claim, "/name"))
    } else {
        String::new()
    };
    page.field(0, "Claim", claim);
    page.field(0, "Reclaim Policy", text(volume, "/spec/persistentVolumeReclaimPolicy"));
    page.field(0, "Access Modes", access_modes(list(volume, "/spec/accessModes")));
    if let Some(mode) = some(volume, "/spec/volumeMode") {
        page.field(0, "VolumeMode", mode);
    }
    let capacity = some(volume, "/spec/capacity/storage");
    page.field(0, "Capacity", capacity.as_deref().unwrap_or("0"));
    affinity(page, &volume["spec"]["nodeAffinity"]["required"]);
    page.field(0, "Message", text(volume, "/status/message"));
    page.line(0, "Source:");
    source(page, &volume["spec"]);
}

fn affinity(page: &mut Page, required: &Value) {
    if !required.is_object() {
        page.field(0, "Node Affinity", "<none>");
        return;
    }
    page.line(0, "Node Affinity:\t");
    let terms = list(required, "/nodeSelectorTerms");
    page.field(1, "Required Terms", if terms.is_empty() { "<none>" } else { "" });
    for (index, term) in terms.iter().enumerate() {
        let lines: Vec<String> = list(term, "/matchExpressions")
            .iter()
            .map(|requirement| {
                let values = list(requirement, "/values");
                let mut line = format!(
                    "{} {}",
                    text(requirement, "/key"),
                    text(requirement, "/operator").to_lowercase()
                );
                if !values.is_empty() {
                    line += &format!(" [{}]", joined(values, ", "));
                }
                line
            })
            .collect();
        page.several("    ", &format!("Term {index}"), &lines);
    }
}

pub(super) fn claim(page: &mut Page, claim: &Value, related: &Related) {
    page.field(0, "Name", text(claim, "/metadata/name"));
    page.field(0, "Namespace", text(claim, "/metadata/namespace"));
    page.field(0, "StorageClass", class(claim));
    status(page, claim, related);
    let volume = text(claim, "/spec/volumeName");
    page.field(0, "Volume", volume);
    page.labels("", "Labels", &claim["metadata"]["labels"]);
    page.annotations("", &claim["metadata"]["annotations"]);
    page.field(0, "Finalizers", go_list(list(claim, "/metadata/finalizers")));
    let (capacity, modes) = if volume.is_empty() {
        (String::new(), String::new())
    } else {
        (
            some(claim, "/status/capacity/storage").unwrap_or_else(|| "0".to_owned()),
            access_modes(list(claim, "/status/accessModes")),
        )
    };
    page.field(0, "Capacity", capacity);
    page.field(0, "Access Modes", modes);
    if let Some(mode) = some(claim, "/spec/volumeMode") {
        page.field(0, "VolumeMode", mode);
    }
    let data = &claim["spec"]["dataSource"];
    if data.is_object() {
        page.line(0, "DataSource:");
        if let Some(group) = some(data, "/apiGroup") {
            page.field(1, "APIGroup", group);
        }
        page.field(1, "Kind", text(data, "/kind"));
        page.field(1, "Name", text(data, "/name"));
    }
    let mut users: Vec<String> = related
        .pods
        .iter()
        .flatten()
        .map(|pod| text(pod, "/metadata/name").to_owned())
        .collect();
    users.sort();
    page.several("", "Used By", &users);
    let conditions = list(claim, "/status/conditions");
    if !conditions.is_empty() {
        page.line(0, "Conditions:");
        page.line(1, "Type\tStatus\tLastProbeTime\tLastTransitionTime\tReason\tMessage");
        page.line(
            1,
            "----\t------\t-----------------\t------------------\t------\t-------",
        );
        for condition in conditions {
            page.line(
                1,
                format_args!(
                    "{} \t{} \t{} \t{} \t{} \t{}",
                    text(condition, "/type"),
                    text(condition, "/status"),
                    time(condition, "/lastProbeTime"),
                    time(condition, "/lastTransitionTime"),
                    text(condition, "/reason"),
                    text(condition, "/message")
                ),
            );
        }
    }
}

pub(super) fn storage_class(page: &mut Page, class: &Value) {
    page.field(0, "Name", text(class, "/metadata/name"));
    let annotations = &class["metadata"]["annotations"];
    let default = [
        "storageclass.kubernetes.io/is-default-class",
        "storageclass.beta.kubernetes.io/is-default-class",
    ]
    .iter()
    .any(|key| annotations[*key] == "true");
    page.field(0, "IsDefaultClass", if default { "Yes" } else { "No" });
    page.field(0, "Annotations", format_labels(annotations));
    page.field(0, "Provisioner", text(class, "/provisioner"));
    page.field(0, "Parameters", format_labels(&class["parameters"]));
    let expansion = match class["allowVolumeExpansion"].as_bool() {
        None => "<unset>",
        Some(true) => "True",
        Some(false) => "False",
    };
    page.field(0, "AllowVolumeExpansion", expansion);
    let options = list(class, "/mountOptions");
    if options.is_empty() {
        page.field(0, "MountOptions", "<none>");
    } else {
        page.line(0, "MountOptions:");
        for option in options {
            page.line(1, option.as_str().unwrap_or(""));
        }
    }
    for (title, pointer) in [
        ("ReclaimPolicy", "/reclaimPolicy"),
        ("VolumeBindingMode", "/volumeBindingMode"),
    ] {
        if let Some(value) = some(class, pointer) {
            page.field(0, title, value);
        }
    }
    let topologies = list(class, "/allowedTopologies");
    if !topologies.is_empty() {
        page.line(0, "AllowedTopologies:\t");
        for (index, term) in topologies.iter().enumerate() {
            let lines: Vec<String> = list(term, "/matchLabelExpressions")
                .iter()
                .map(|r| format!("{} in [{}]", text(r, "/key"), joined(list(r, "/values"), ", ")))
                .collect();
            page.several("  ", &format!("Term {index}"), &lines);
        }
    }
}

pub(super) fn csi_node(page: &mut Page, node: &Value) {
    page.field(0, "Name", text(node, "/metadata/name"));
    page.labels("", "Labels", &node["metadata"]["labels"]);
    page.annotations("", &node["metadata"]["annotations"]);
    page.field(0, "CreationTimestamp", time(node, "/metadata/creationTimestamp"));
    page.line(0, "Spec:");
    if node["spec"]["drivers"].is_array() {
        page.line(1, "Drivers:");
    }
    for driver in list(node, "/spec/drivers") {
        page.line(2, format_args!("{}:", text(driver, "/name")));
        page.field(3, "Node ID", text(driver, "/nodeID"));
        if driver["allocatable"]["count"].is_number() {
            page.line(3, "Allocatables:");
            page.field(4, "Count", number(driver, "/allocatable/count"));
        }
        if driver["topologyKeys"].is_array() {
            page.field(3, "Topology Keys", go_list(list(driver, "/topologyKeys")));
        }
    }
}
