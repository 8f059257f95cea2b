//! Validation of storage drivers, of the classes that they serve, and of what they attach.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use timonel_api::quantity::Quantity;
use timonel_api::{FieldError, Path, names};

use super::super::common::{NOT_NEGATIVE, any_of, driver_name, immutable, label_key, label_selector, one_of, wrong};
use super::super::node_selector;
use super::super::value::{at, entries, has, int, list, remove, text};
use super::super::volumes::volume;

const PARAMETERS: usize = 512;
const SIZE: usize = 256 * 1024;
const MESSAGE: usize = 1024;
const NODE_ID: usize = 256;
const PERIOD: i64 = 10;

fn provisioner(object: &Value, field: &str, errors: &mut Vec<FieldError>) {
    let (name, path) = (text(object, field), Path::new(field));
    if name.is_empty() {
        errors.push(FieldError::required(&path, ""));
    } else {
        let lower = name.to_lowercase();
        wrong(&path, &lower, names::qualified_name(&lower), errors);
    }
}

fn parameters(object: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::new("parameters");
    let count = entries(object, "parameters").count();
    if count > PARAMETERS {
        errors.push(FieldError::too_long(&path, PARAMETERS));
        return;
    }
    if entries(object, "parameters").any(|(key, _)| key.is_empty()) {
        errors.push(FieldError::invalid(&path, "", "field can not be empty."));
    }
    if size(object, "parameters") > SIZE {
        errors.push(FieldError::too_long(&path, SIZE));
    }
}

fn size(object: &Value, field: &str) -> usize {
    entries(object, field)
        .map(|(key, value)| key.len() + value.as_str().map_or(0, str::len))
        .sum()
}

fn unchanged(new: &Value, old: &Value, fields: &[&str], errors: &mut Vec<FieldError>) {
    for field in fields.iter().filter(|field| at(new, field) != at(old, field)) {
        let detail = format!("updates to {field} are forbidden.");
        errors.push(FieldError::forbidden(&Path::new(field), detail));
    }
}

/// Checks a `StorageClass`.
pub(crate) fn storage_class(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    provisioner(object, "provisioner", &mut errors);
    parameters(object, &mut errors);
    let root = Path::root();
    if !text(object, "reclaimPolicy").is_empty() {
        any_of(object, "reclaimPolicy", &["Delete", "Retain"], &root, &mut errors);
    }
    let modes = ["Immediate", "WaitForFirstConsumer"];
    one_of(object, "volumeBindingMode", &modes, &root, &mut errors);
    topologies(
        list(object, "allowedTopologies"),
        &Path::new("allowedTopologies"),
        &mut errors,
    );
    errors
}

/// Checks an update of a `StorageClass`.
pub(crate) fn storage_class_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = storage_class(new);
    unchanged(new, old, &["parameters", "provisioner", "reclaimPolicy"], &mut errors);
    immutable(new, old, "volumeBindingMode", &Path::root(), &mut errors);
    errors
}

fn topologies(terms: &[Value], path: &Path, errors: &mut Vec<FieldError>) {
    let mut seen: Vec<BTreeMap<&str, BTreeSet<&str>>> = Vec::new();
    for (index, term) in terms.iter().enumerate() {
        let path = path.index(index).child("matchLabelExpressions");
        let mut keys = BTreeMap::new();
        for (index, expression) in list(term, "matchLabelExpressions").iter().enumerate() {
            let path = path.index(index);
            let (values, key) = (list(expression, "values"), text(expression, "key"));
            if values.is_empty() {
                errors.push(FieldError::required(&path.child("values"), ""));
            }
            let mut set = BTreeSet::new();
            for (index, value) in values.iter().filter_map(Value::as_str).enumerate() {
                if !set.insert(value) {
                    errors.push(FieldError::duplicate(&path.child("values").index(index), value));
                }
            }
            label_key(key, &path.child("key"), errors);
            if keys.insert(key, set).is_some() {
                errors.push(FieldError::duplicate(&path.child("key"), key));
            }
        }
        if seen.contains(&keys) {
            errors.push(FieldError::duplicate(&path, ""));
        }
        seen.push(keys);
    }
}

/// Checks a `VolumeAttributesClass`.
pub(super) fn volume_attributes_class(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    provisioner(object, "driverName", &mut errors);
    parameters(object, &mut errors);
    if entries(object, "parameters").next().is_none() {
        let detail = "must contain at least one key/value pair";
        errors.push(FieldError::required(&Path::new("parameters"), detail));
    }
    errors
}

/// Checks an update of one: it is what it is.
pub(super) fn volume_attributes_class_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    unchanged(new, old, &["driverName", "parameters"], &mut errors);
    errors.extend(volume_attributes_class(new));
    errors
}

/// Checks a `CSIDriver`.
pub(super) fn csi_driver(object: &Value) -> Vec<FieldError> {
    let (path, spec, mut errors) = (Path::new("spec"), at(object, "spec"), Vec::new());
    let policies = ["File", "None", "ReadWriteOnceWithFSType"];
    any_of(spec, "fsGroupPolicy", &policies, &path, &mut errors);
    let mut seen = BTreeSet::new();
    for (index, request) in list(spec, "tokenRequests").iter().enumerate() {
        let path = path.child("tokenRequests").index(index);
        let audience = text(request, "audience");
        if !seen.insert(audience) {
            errors.push(FieldError::duplicate(&path.child("audience"), audience));
            continue;
        }
        let detail = match int(request, "expirationSeconds") {
            Some(..600) => "may not specify a duration less than 10 minutes",
            Some(seconds) if seconds > 1 << 32 => "may not specify a duration larger than 2^32 seconds",
            _ => continue,
        };
        let seconds = at(request, "expirationSeconds").clone();
        errors.push(FieldError::invalid(&path.child("expirationSeconds"), seconds, detail));
    }
    for mode in list(spec, "volumeLifecycleModes").iter().filter_map(Value::as_str) {
        let modes = ["Persistent", "Ephemeral"];
        if !modes.contains(&mode) {
            errors.push(FieldError::not_supported(
                &path.child("volumeLifecycleModes"),
                mode,
                &modes,
            ));
        }
    }
    let field = "nodeAllocatableUpdatePeriodSeconds";
    if let Some(seconds) = int(spec, field).filter(|seconds| *seconds < PERIOD) {
        let detail = "must be greater than or equal to 10 seconds";
        errors.push(FieldError::invalid(&path.child(field), seconds, detail));
    }
    errors
}

/// Checks an update of a `CSIDriver`. Upstream's paths say `attachedRequired`.
pub(super) fn csi_driver_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = csi_driver(new);
    let (path, new, old) = (Path::new("spec"), at(new, "spec"), at(old, "spec"));
    for (field, shown) in [
        ("attachRequired", "attachedRequired"),
        ("volumeLifecycleModes", "volumeLifecycleModes"),
    ] {
        if at(new, field) != at(old, field) {
            let (path, value) = (path.child(shown), at(new, field).clone());
            errors.push(FieldError::invalid(&path, value, "field is immutable"));
        }
    }
    errors
}

/// Checks a `CSINode`.
pub(super) fn csi_node(object: &Value) -> Vec<FieldError> {
    let (mut errors, mut seen) = (Vec::new(), BTreeSet::new());
    let path = Path::new("spec").child("drivers");
    for (index, driver) in list(at(object, "spec"), "drivers").iter().enumerate() {
        let path = path.index(index);
        let (name, id) = (text(driver, "name"), text(driver, "nodeID"));
        driver_name(name, &path.child("name"), &mut errors);
        if id.is_empty() {
            errors.push(FieldError::required(&path.child("nodeID"), ""));
        } else if id.len() > NODE_ID {
            let detail = format!("must be {NODE_ID} characters or less");
            errors.push(FieldError::invalid(&path.child("nodeID"), id, detail));
        }
        if let Some(count) = int(at(driver, "allocatable"), "count").filter(|count| *count < 0) {
            let path = path.child("allocatable").child("count");
            errors.push(FieldError::invalid(&path, count, NOT_NEGATIVE));
        }
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&path.child("name"), name));
        }
        let mut keys = BTreeSet::new();
        for key in list(driver, "topologyKeys").iter().filter_map(Value::as_str) {
            if key.is_empty() {
                errors.push(FieldError::required(&path, ""));
            }
            if !keys.insert(key) {
                errors.push(FieldError::duplicate(&path, key));
            }
            wrong(&path, key, names::qualified_name(key), &mut errors);
        }
    }
    errors
}

/// Checks an update of a `CSINode`: a driver changes nothing but how much it can attach.
pub(super) fn csi_node_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = csi_node(new);
    let drivers = |object: &Value| -> Vec<Value> {
        let mut drivers = list(at(object, "spec"), "drivers").to_vec();
        for driver in &mut drivers {
            remove(driver, "allocatable");
        }
        drivers
    };
    let new = drivers(new);
    for before in drivers(old) {
        let changed = new
            .iter()
            .filter(|now| at(now, "name") == at(&before, "name") && **now != before);
        for now in changed {
            let path = Path::new("spec").child("drivers");
            errors.push(FieldError::invalid(&path, now.clone(), "field is immutable"));
        }
    }
    errors
}

/// Checks a `VolumeAttachment`.
pub(super) fn volume_attachment(object: &Value) -> Vec<FieldError> {
    let mut errors = attachment(object);
    let spec = at(object, "spec");
    let attacher = text(spec, "attacher");
    if !attacher.is_empty() {
        driver_name(attacher, &Path::new("spec").child("attacher"), &mut errors);
    }
    let volume = text(at(spec, "source"), "persistentVolumeName");
    if !volume.is_empty() {
        let path = Path::new("spec").child("source").child("persistentVolumeName");
        wrong(&path, volume, names::subdomain(volume, false), &mut errors);
    }
    errors
}

fn attachment(object: &Value) -> Vec<FieldError> {
    let (path, spec, mut errors) = (Path::new("spec"), at(object, "spec"), Vec::new());
    if text(spec, "attacher").is_empty() {
        errors.push(FieldError::required(&path.child("attacher"), ""));
    }
    let (source, at_source) = (at(spec, "source"), path.child("source"));
    let one = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (has(source, "inlineVolumeSpec"), has(source, "persistentVolumeName")) {
        (false, false) => errors.push(FieldError::required(&at_source, one)),
        (true, true) => errors.push(FieldError::forbidden(&at_source, one)),
        (false, true) if text(source, "persistentVolumeName").is_empty() => {
            let path = at_source.child("persistentVolumeName");
            errors.push(FieldError::required(
                &path,
                "must specify non empty persistentVolumeName",
            ));
        }
        (true, false) => {
            let path = at_source.child("inlineVolumeSpec");
            volume::inline(at(source, "inlineVolumeSpec"), "", &path, &mut errors);
        }
        _ => {}
    }
    let node = text(spec, "nodeName");
    wrong(
        &path.child("nodeName"),
        node,
        names::subdomain(node, false),
        &mut errors,
    );
    let (path, status) = (Path::new("status"), at(object, "status"));
    if size(status, "attachmentMetadata") > SIZE {
        errors.push(FieldError::too_long(&path.child("attachmentMetadata"), SIZE));
    }
    for field in ["attachError", "detachError"] {
        let (error, path) = (at(status, field), path.child(field));
        if text(error, "message").len() > MESSAGE {
            errors.push(FieldError::too_long(&path.child("message"), SIZE));
        }
        if let Some(code) = int(error, "errorCode").filter(|code| *code < 0) {
            let sentences = names::in_range(code, 0, i64::from(i32::MAX));
            let detail = sentences.join("");
            errors.push(FieldError::invalid(&path.child("errorCode"), code, detail));
        }
    }
    errors
}

/// Checks an update of a `VolumeAttachment`: what is attached where stays.
pub(super) fn volume_attachment_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = attachment(new);
    immutable(new, old, "spec", &Path::root(), &mut errors);
    errors
}

/// Checks a `CSIStorageCapacity`.
pub(super) fn capacity(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    label_selector(at(object, "nodeTopology"), &Path::new("nodeTopology"), &mut errors);
    let (class, path) = (text(object, "storageClassName"), Path::new("storageClassName"));
    wrong(&path, class, names::subdomain(class, false), &mut errors);
    let amount = text(object, "capacity");
    if Quantity::parse(amount).is_ok_and(|amount| amount.sign() < 0) {
        errors.push(FieldError::invalid(&Path::new("capacity"), amount, NOT_NEGATIVE));
    }
    errors
}

/// Checks an update of a `CSIStorageCapacity`: what was measured stays what it is.
pub(super) fn capacity_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for field in ["nodeTopology", "storageClassName"] {
        immutable(new, old, field, &Path::root(), &mut errors);
    }
    errors
}

/// Checks the nodes that a volume can be reached from.
pub(crate) fn volume_node_affinity(affinity: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    if affinity.is_null() {
        return;
    }
    let path = path.child("required");
    if has(affinity, "required") {
        node_selector::node_selector(at(affinity, "required"), &path, errors);
    } else {
        errors.push(FieldError::required(&path, "must specify required node constraints"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(errors: &[FieldError]) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_class_names_its_provisioner_and_keeps_it() {
        let term = json!({"matchLabelExpressions": [{"key": "zone", "values": ["a", "b"]}]});
        let good = json!({"provisioner": "Example.com/disk", "reclaimPolicy": "Delete", "volumeBindingMode": "Immediate", "allowedTopologies": [term]});
        assert_eq!(storage_class(&good), []);
        let expressions = json!([{"key": "zone", "values": ["a", "a"]}, {"key": "zone"}]);
        let bad = json!({"provisioner": "", "parameters": {"": "x"}, "reclaimPolicy": "Recycle", "volumeBindingMode": "Late",
            "allowedTopologies": [term, term, {"matchLabelExpressions": expressions}]});
        let at = "allowedTopologies";
        assert_eq!(
            said(&storage_class(&bad)),
            [
                "provisioner: Required value".to_owned(),
                "parameters: Invalid value: \"\": field can not be empty.".to_owned(),
                "reclaimPolicy: Unsupported value: \"Recycle\": supported values: \"Delete\", \"Retain\"".to_owned(),
                "volumeBindingMode: Unsupported value: \"Late\": supported values: \"Immediate\", \"WaitForFirstConsumer\"".to_owned(),
                format!("{at}[1].matchLabelExpressions: Duplicate value: \"\""),
                format!("{at}[2].matchLabelExpressions[0].values[1]: Duplicate value: \"a\""),
                format!("{at}[2].matchLabelExpressions[1].values: Required value"),
                format!("{at}[2].matchLabelExpressions[1].key: Duplicate value: \"zone\""),
            ]
        );
        let mut other = good.clone();
        other["provisioner"] = json!("b.io");
        other["parameters"] = json!({"a": "b"});
        other["reclaimPolicy"] = json!("Retain");
        other["volumeBindingMode"] = json!("WaitForFirstConsumer");
        assert_eq!(
            said(&storage_class_update(&other, &good)),
            [
                "parameters: Forbidden: updates to parameters are forbidden.",
                "provisioner: Forbidden: updates to provisioner are forbidden.",
                "reclaimPolicy: Forbidden: updates to reclaimPolicy are forbidden.",
                "volumeBindingMode: Invalid value: \"WaitForFirstConsumer\": field is immutable",
            ]
        );
        let class = |driver: &str| json!({"driverName": driver, "parameters": {"iops": "1"}});
        assert_eq!(volume_attributes_class(&class("d")), []);
        assert_eq!(
            said(&volume_attributes_class(&json!({}))),
            [
                "driverName: Required value",
                "parameters: Required value: must contain at least one key/value pair"
            ]
        );
        assert_eq!(
            said(&volume_attributes_class_update(&class("e"), &class("d"))),
            ["driverName: Forbidden: updates to driverName are forbidden."]
        );
    }

    #[test]
    fn a_driver_is_told_with_tokens_of_different_audiences() {
        let good = json!({"spec": {"attachRequired": true, "volumeLifecycleModes": ["Persistent"]}});
        assert_eq!(csi_driver(&good), []);
        let bad = json!({"spec": {"fsGroupPolicy": "Maybe", "tokenRequests": [{"audience": "a", "expirationSeconds": 1}, {"audience": "a"}, {"expirationSeconds": 1_u64 << 33}],
            "volumeLifecycleModes": ["Eternal"], "nodeAllocatableUpdatePeriodSeconds": 9}});
        assert_eq!(
            said(&csi_driver(&bad)),
            [
                "spec.fsGroupPolicy: Unsupported value: \"Maybe\": supported values: \"File\", \"None\", \"ReadWriteOnceWithFSType\"",
                "spec.tokenRequests[0].expirationSeconds: Invalid value: 1: may not specify a duration less than 10 minutes",
                "spec.tokenRequests[1].audience: Duplicate value: \"a\"",
                "spec.tokenRequests[2].expirationSeconds: Invalid value: 8589934592: may not specify a duration larger than 2^32 seconds",
                "spec.volumeLifecycleModes: Unsupported value: \"Eternal\": supported values: \"Persistent\", \"Ephemeral\"",
                "spec.nodeAllocatableUpdatePeriodSeconds: Invalid value: 9: must be greater than or equal to 10 seconds",
            ]
        );
        let mut other = good.clone();
        other["spec"]["attachRequired"] = json!(false);
        assert_eq!(
            said(&csi_driver_update(&other, &good)),
            ["spec.attachedRequired: Invalid value: false: field is immutable"]
        );
    }

    #[test]
    fn a_nodes_drivers_change_only_how_much_they_attach() {
        let node = |id: &str, count: i64| json!({"spec": {"drivers": [{"name": "d.io", "nodeID": id, "topologyKeys": ["a"], "allocatable": {"count": count}}]}});
        assert_eq!(csi_node_update(&node("n", 5), &node("n", 4)), []);
        assert_eq!(
            said(&csi_node_update(&node("m", -5), &node("n", 4))),
            [
                "spec.drivers[0].allocatable.count: Invalid value: -5: must be greater than or equal to 0",
                "spec.drivers: Invalid value: {\"name\":\"d.io\",\"nodeID\":\"m\",\"topologyKeys\":[\"a\"]}: field is immutable",
            ]
        );
        let bad = json!({"spec": {"drivers": [{"name": "", "nodeID": ""}, {"name": "d", "nodeID": "x".repeat(300)}, {"name": "d", "nodeID": "n", "topologyKeys": ["a", "a"]}]}});
        let words = said(&csi_node(&bad));
        assert_eq!(
            words[..2],
            [
                "spec.drivers[0].name: Required value",
                "spec.drivers[0].nodeID: Required value"
            ]
        );
        assert!(words[2].ends_with("must be 256 characters or less"));
        assert_eq!(
            words[3..],
            [
                "spec.drivers[2].name: Duplicate value: \"d\"",
                "spec.drivers[2]: Duplicate value: \"a\""
            ]
        );
    }

    #[test]
    fn an_attachment_stays_where_it_is() {
        let good = json!({"spec": {"attacher": "d.io", "nodeName": "n", "source": {"persistentVolumeName": "v"}}});
        assert_eq!(volume_attachment(&good), []);
        let bad = json!({"spec": {"source": {"persistentVolumeName": ""}, "nodeName": "n"}, "status": {"attachError": {"errorCode": -1, "message": "x".repeat(1025)}}});
        assert_eq!(
            said(&volume_attachment(&bad)),
            [
                "spec.attacher: Required value",
                "spec.source.persistentVolumeName: Required value: must specify non empty persistentVolumeName",
                "status.attachError.message: Too long: may not be more than 262144 bytes",
                "status.attachError.errorCode: Invalid value: -1: must be between 0 and 2147483647, inclusive",
            ]
        );
        let mut other = good.clone();
        other["spec"]["nodeName"] = json!("m");
        assert!(said(&volume_attachment_update(&other, &good))[0].starts_with("spec: Invalid value: {"));
        let capacity_of = |class: &str, amount: &str| json!({"storageClassName": class, "capacity": amount});
        assert_eq!(capacity(&capacity_of("a", "1Gi")), []);
        assert_eq!(
            said(&capacity(&capacity_of("a", "-1"))),
            ["capacity: Invalid value: \"-1\": must be greater than or equal to 0"]
        );
        assert_eq!(
            said(&capacity_update(&capacity_of("b", "1"), &capacity_of("a", "1"))),
            ["storageClassName: Invalid value: \"b\": field is immutable"]
        );
    }
}
