//! Validation of API services.

use serde_json::{Value, json};
use timonel_api::{FieldError, Path, names};

use super::super::common::wrong;
use super::super::strategy::Context;
use super::super::value::{at, ensure, flag, has, int, list, set, text};

/// What this server serves itself is there as soon as it is asked for.
pub(super) fn prepare(object: &mut Value, context: &Context<'_>) {
    if has(at(object, "spec"), "service") {
        return;
    }
    if let Some(status) = ensure(object, "status") {
        let condition = json!({
            "type": "Available", "status": "True", "lastTransitionTime": crate::registry::meta_time(context.now),
            "reason": "Local", "message": "Local APIServices are always available",
        });
        set(status, "conditions", json!([condition]));
    }
}

/// Checks the status of an `APIService`.
pub(super) fn status(new: &Value, _old: &Value) -> Vec<FieldError> {
    let (path, mut errors) = (Path::new("status").child("conditions"), Vec::new());
    for (index, condition) in list(at(new, "status"), "conditions").iter().enumerate() {
        let statuses = ["True", "False", "Unknown"];
        let status = text(condition, "status");
        if !statuses.contains(&status) {
            let path = path.index(index).child("status");
            errors.push(FieldError::not_supported(&path, status, &statuses));
        }
    }
    errors
}

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
