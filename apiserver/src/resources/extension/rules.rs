//! Validation of API services, flow control, drivers and policy bindings.

use std::collections::BTreeSet;

use serde_json::Value;
use timonel_api::{FieldError, Path, names};

use super::super::common::{any_of, wrong};
use super::super::value::{at, flag, has, int, list, text};

/// Checks an `APIService`.
pub(super) fn api_service(object: &Value) -> Vec<FieldError> {
    let (path, spec, mut errors) = (Path::new("spec"), at(object, "spec"), Vec::new());
    let (group, version) = (text(spec, "group"), text(spec, "version"));
    let (name, wanted) = (text(at(object, "metadata"), "name"), format!("{version}.{group}"));
    if name != wanted {
        let detail = format!("must be `spec.version+\".\"+spec.group`: {wanted:?}");
        errors.push(FieldError::invalid(&Path::new("metadata").child("name"), name, detail));
    }
    if !group.is_empty() {
        wrong(&path.child("group"), group, names::subdomain(group, false), &mut errors);
    } else if version != "v1" {
        let detail = "only v1 may have an empty group and it better be legacy kube";
        errors.push(FieldError::required(&path.child("group"), detail));
    }
    wrong(
        &path.child("version"),
        version,
        names::label_1035(version, false),
        &mut errors,
    );
    for (field, most) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1000)] {
        let priority = int(spec, field).unwrap_or(0);
        if !(1..=most).contains(&priority) {
            let detail = format!("must be positive and less than {most}");
            errors.push(FieldError::invalid(&path.child(field), priority, detail));
        }
    }
    let (service, insecure) = (at(spec, "service"), flag(spec, "insecureSkipTLSVerify"));
    let bundle = text(spec, "caBundle");
    let at_insecure = path.child("insecureSkipTLSVerify");
    if service.is_null() {
        if !bundle.is_empty() {
            let detail = "local APIServices may not have a caBundle";
            errors.push(FieldError::invalid(&path.child("caBundle"), bundle, detail));
        }
        if insecure {
            let detail = "local APIServices may not have insecureSkipTLSVerify";
            errors.push(FieldError::invalid(&at_insecure, true, detail));
        }
        return errors;
    }
    let path = path.child("service");
    for field in ["namespace", "name"] {
        if text(service, field).is_empty() {
            errors.push(FieldError::required(&path.child(field), ""));
        }
    }
    let port = int(service, "port").unwrap_or(443);
    for sentence in names::port_number(port) {
        let detail = format!("port is not valid: {sentence}");
        errors.push(FieldError::invalid(&path.child("port"), port, detail));
    }
    if insecure && !bundle.is_empty() {
        let detail = "may not be true if caBundle is present";
        errors.push(FieldError::invalid(&at_insecure, true, detail));
    }
    errors
}

/// Checks a `FlowSchema`.
pub(super) fn flow_schema(object: &Value) -> Vec<FieldError> {
    let (path, spec, mut errors) = (Path::new("spec"), at(object, "spec"), Vec::new());
    let (precedence, at_precedence) = (
        int(spec, "matchingPrecedence").unwrap_or(0),
        path.child("matchingPrecedence"),
    );
    if precedence <= 0 {
        let detail = "must be a positive value";
        errors.push(FieldError::invalid(&at_precedence, precedence, detail));
    } else if precedence > 10_000 {
        let detail = "must not be greater than 10000";
        errors.push(FieldError::invalid(&at_precedence, precedence, detail));
    } else if precedence == 1 && text(at(object, "metadata"), "name") != "exempt" {
        let detail = "only the schema named 'exempt' may have matchingPrecedence 1";
        errors.push(FieldError::invalid(&at_precedence, precedence, detail));
    }
    if has(spec, "distinguisherMethod") {
        let (kind, kinds) = (text(at(spec, "distinguisherMethod"), "type"), ["ByNamespace", "ByUser"]);
        if !kinds.contains(&kind) {
            let path = path.child("distinguisherMethod").child("type");
            errors.push(FieldError::not_supported(&path, kind, &kinds));
        }
    }
    let level = text(at(spec, "priorityLevelConfiguration"), "name");
    let path = path.child("priorityLevelConfiguration").child("name");
    if level.is_empty() {
        errors.push(FieldError::required(&path, "must reference a priority level"));
    } else {
        wrong(&path, level, names::subdomain(level, false), &mut errors);
    }
    errors
}

/// Checks a `PriorityLevelConfiguration`.
pub(super) fn priority_level(object: &Value) -> Vec<FieldError> {
    let (path, spec, mut errors) = (Path::new("spec"), at(object, "spec"), Vec::new());
    let (kind, at_limited) = (text(spec, "type"), path.child("limited"));
    match (kind, has(spec, "limited")) {
        ("Exempt", true) => errors.push(FieldError::forbidden(
            &at_limited,
            "must be nil if the type is not Limited",
        )),
        ("Limited", false) => errors.push(FieldError::required(
            &at_limited,
            "must not be empty when type is Limited",
        )),
        ("Exempt" | "Limited", _) => {}
        (other, _) => errors.push(FieldError::not_supported(
            &path.child("type"),
            other,
            &["Exempt", "Limited"],
        )),
    }
    let limited = at(spec, "limited");
    if limited.is_null() {
        return errors;
    }
    if let Some(shares) = int(limited, "nominalConcurrencyShares").filter(|shares| *shares < 0) {
        let detail = "must be a non-negative integer";
        errors.push(FieldError::invalid(
            &at_limited.child("nominalConcurrencyShares"),
            shares,
            detail,
        ));
    }
    if let Some(percent) = int(limited, "lendablePercent").filter(|percent| !(0..=100).contains(percent)) {
        let detail = "must be between 0 and 100, inclusive";
        errors.push(FieldError::invalid(
            &at_limited.child("lendablePercent"),
            percent,
            detail,
        ));
    }
    let (response, path) = (at(limited, "limitResponse"), at_limited.child("limitResponse"));
    let queuing = at(response, "queuing");
    match (text(response, "type"), queuing.is_null()) {
        ("Reject", false) => errors.push(FieldError::forbidden(
            &path.child("queuing"),
            "must be nil if limited.limitResponse.type is not Limited",
        )),
        ("Queue", true) => errors.push(FieldError::required(
            &path.child("queuing"),
            "must not be empty if limited.limitResponse.type is Limited",
        )),
        ("Queue" | "Reject", _) => {}
        (other, _) => errors.push(FieldError::not_supported(
            &path.child("type"),
            other,
            &["Queue", "Reject"],
        )),
    }
    if !queuing.is_null() {
        let path = path.child("queuing");
        for field in ["queueLengthLimit", "queues", "handSize"] {
            let number = int(queuing, field).unwrap_or(0);
            if number <= 0 {
                errors.push(FieldError::invalid(&path.child(field), number, "must be positive"));
            }
        }
        let (queues, hand) = (
            int(queuing, "queues").unwrap_or(0),
            int(queuing, "handSize").unwrap_or(0),
        );
        if hand > queues {
            let detail = format!("should not be greater than queues ({queues})");
            errors.push(FieldError::invalid(&path.child("handSize"), hand, detail));
        }
    }
    errors
}

/// Checks a `CSIDriver`.
pub(super) fn csi_driver(object: &Value) -> Vec<FieldError> {
    let (path, spec, mut errors) = (Path::new("spec"), at(object, "spec"), Vec::new());
    let name = text(at(object, "metadata"), "name");
    if name.len() > names::LABEL_MAX {
        errors.push(FieldError::too_long(
            &Path::new("metadata").child("name"),
            names::LABEL_MAX,
        ));
    }
    let policies = ["File", "None", "ReadWriteOnceWithFSType"];
    any_of(spec, "fsGroupPolicy", &policies, &path, &mut errors);
    for mode in list(spec, "volumeLifecycleModes").iter().filter_map(Value::as_str) {
        let modes = ["Ephemeral", "Persistent"];
        if !modes.contains(&mode) {
            let path = path.child("volumeLifecycleModes");
            errors.push(FieldError::not_supported(&path, mode, &modes));
        }
    }
    let mut seen = BTreeSet::new();
    for (index, request) in list(spec, "tokenRequests").iter().enumerate() {
        let path = path.child("tokenRequests").index(index);
        if !seen.insert(text(request, "audience")) {
            let audience = text(request, "audience");
            errors.push(FieldError::duplicate(&path.child("audience"), audience));
        }
        let seconds = int(request, "expirationSeconds");
        let path = path.child("expirationSeconds");
        if let Some(seconds) = seconds.filter(|seconds| *seconds < 600) {
            let detail = "may not specify a duration less than 10 minutes";
            errors.push(FieldError::invalid(&path, seconds, detail));
        } else if let Some(seconds) = seconds.filter(|seconds| *seconds > 1 << 32) {
            let detail = "may not specify a duration larger than 2^32 seconds";
            errors.push(FieldError::invalid(&path, seconds, detail));
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
        let name = text(driver, "name");
        if name.is_empty() {
            errors.push(FieldError::required(&path.child("name"), ""));
        } else if !seen.insert(name) {
            errors.push(FieldError::duplicate(&path.child("name"), name));
        }
        let node = text(driver, "nodeID");
        if node.is_empty() {
            errors.push(FieldError::required(&path.child("nodeID"), node));
        }
        if let Some(count) = int(at(driver, "allocatable"), "count").filter(|count| *count < 0) {
            let path = path.child("allocatable").child("count");
            errors.push(FieldError::invalid(&path, count, super::super::common::NOT_NEGATIVE));
        }
    }
    errors
}

/// Checks a `VolumeAttachment`.
pub(super) fn volume_attachment(object: &Value) -> Vec<FieldError> {
    let (path, spec, mut errors) = (Path::new("spec"), at(object, "spec"), Vec::new());
    for field in ["attacher", "nodeName"] {
        if text(spec, field).is_empty() {
            errors.push(FieldError::required(&path.child(field), ""));
        }
    }
    let (source, path) = (at(spec, "source"), path.child("source"));
    match (has(source, "persistentVolumeName"), has(source, "inlineVolumeSpec")) {
        (false, false) => errors.push(FieldError::required(
            &path,
            "must specify exactly one of inlineVolumeSpec and persistentVolumeName",
        )),
        (true, true) => errors.push(FieldError::forbidden(
            &path,
            "must specify exactly one of inlineVolumeSpec and persistentVolumeName",
        )),
        (true, false) if text(source, "persistentVolumeName").is_empty() => {
            let path = path.child("persistentVolumeName");
            errors.push(FieldError::required(
                &path,
                "must specify non empty persistentVolumeName",
            ));
        }
        _ => {}
    }
    errors
}

/// Checks a `VolumeAttributesClass`.
pub(super) fn volume_attributes_class(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if text(object, "driverName").is_empty() {
        errors.push(FieldError::required(&Path::new("driverName"), ""));
    }
    if super::super::value::entries(object, "parameters").next().is_none() {
        let detail = "must contain at least one key/value pair";
        errors.push(FieldError::required(&Path::new("parameters"), detail));
    }
    errors
}

/// Checks an update of one: it is what it is.
pub(super) fn volume_attributes_class_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for field in ["driverName", "parameters"] {
        if at(new, field) != at(old, field) {
            let detail = format!("updates to {field} are forbidden.");
            errors.push(FieldError::forbidden(&Path::new(field), detail));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(errors: &[FieldError]) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_api_service_is_named_after_what_it_serves() {
        let spec = json!({"group": "a.io", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10,
                          "service": {"namespace": "n", "name": "s"}});
        assert_eq!(api_service(&json!({"metadata": {"name": "v1.a.io"}, "spec": spec})), []);
        assert_eq!(
            said(&api_service(
                &json!({"metadata": {"name": "x"}, "spec": {"version": "v2", "insecureSkipTLSVerify": true}})
            )),
            [
                "metadata.name: Invalid value: \"x\": must be `spec.version+\".\"+spec.group`: \"v2.\"",
                "spec.group: Required value: only v1 may have an empty group and it better be legacy kube",
                "spec.groupPriorityMinimum: Invalid value: 0: must be positive and less than 20000",
                "spec.versionPriority: Invalid value: 0: must be positive and less than 1000",
                "spec.insecureSkipTLSVerify: Invalid value: true: local APIServices may not have insecureSkipTLSVerify",
            ]
        );
    }

    #[test]
    fn flow_control_is_checked() {
        assert_eq!(
            said(&flow_schema(
                &json!({"spec": {"matchingPrecedence": 10_001, "distinguisherMethod": {"type": "ByHat"}}})
            )),
            [
                "spec.matchingPrecedence: Invalid value: 10001: must not be greater than 10000",
                "spec.distinguisherMethod.type: Unsupported value: \"ByHat\": supported values: \"ByNamespace\", \"ByUser\"",
                "spec.priorityLevelConfiguration.name: Required value: must reference a priority level",
            ]
        );
        let queuing = json!({"queues": 1, "handSize": 2, "queueLengthLimit": 0});
        let limited = json!({"lendablePercent": 101, "limitResponse": {"type": "Queue", "queuing": queuing}});
        assert_eq!(
            said(&priority_level(
                &json!({"spec": {"type": "Limited", "limited": limited}})
            )),
            [
                "spec.limited.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive",
                "spec.limited.limitResponse.queuing.queueLengthLimit: Invalid value: 0: must be positive",
                "spec.limited.limitResponse.queuing.handSize: Invalid value: 2: should not be greater than queues (1)",
            ]
        );
    }
}
