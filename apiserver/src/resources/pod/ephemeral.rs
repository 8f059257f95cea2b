//! Validation of ephemeral containers: they look into a pod, and the pod must not lean on them.

use std::collections::BTreeSet;

use serde_json::Value;
use timonel_api::{FieldError, Path};

use super::super::value::{at, list, text};
use super::containers::{self, Around};

const NOT_HERE: &str = "cannot be set for an Ephemeral Container";

/// What only containers have on which a pod leans, in upstream's order.
const LASTING: [&str; 9] = [
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
];

/// Checks a pod's ephemeral containers.
pub(super) fn validate(around: &Around<'_>, path: &Path, errors: &mut Vec<FieldError>) {
    let spec = around.spec;
    let others: BTreeSet<&str> = ["containers", "initContainers"]
        .iter()
        .flat_map(|field| list(spec, field))
        .map(|container| text(container, "name"))
        .collect();
    let mut names = others.clone();
    for (index, container) in list(spec, "ephemeralContainers").iter().enumerate() {
        let path = path.child("ephemeralContainers").index(index);
        containers::validate(container, &path, around, errors);
        containers::trimmed_image(container, &path, errors);
        let name = text(container, "name");
        if !names.insert(name) {
            errors.push(FieldError::duplicate(&path.child("name"), name));
        }
        let target = text(container, "targetContainerName");
        if !target.is_empty() && !others.contains(target) {
            errors.push(FieldError::not_found(&path.child("targetContainerName"), target));
        }
        for field in LASTING.iter().filter(|field| is_set(at(container, field))) {
            errors.push(FieldError::forbidden(&path.child(field), NOT_HERE));
        }
        for (index, mount) in list(container, "volumeMounts").iter().enumerate() {
            let path = path.child("volumeMounts").index(index);
            for field in ["subPath", "subPathExpr"] {
                if !text(mount, field).is_empty() {
                    errors.push(FieldError::forbidden(&path.child(field), NOT_HERE));
                }
            }
        }
    }
}

fn is_set(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(list) => !list.is_empty(),
        // Nothing asked for is what every container has by default.
        Value::Object(map) => !map.is_empty(),
        _ => true,
    }
}

/// Checks what an update does to the ephemeral containers: they are added, and never changed or removed.
pub(super) fn validate_update(new: &Value, old: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    const FIELD: &str = "ephemeralContainers";
    let path = path.child(FIELD);
    for before in list(old, FIELD) {
        let name = text(before, "name");
        let detail = match list(new, FIELD)
            .iter()
            .find(|container| text(container, "name") == name)
        {
            Some(after) if after == before => continue,
            Some(_) => format!("existing ephemeral containers {name:?} may not be changed\n"),
            None => format!("existing ephemeral containers {name:?} may not be removed\n"),
        };
        errors.push(FieldError::forbidden(&path, detail));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_does_not_lean_on_its_ephemeral_containers() {
        let mut debugger = json!({"name": "d", "image": "busybox ", "targetContainerName": "x", "terminationMessagePolicy": "File",
            "imagePullPolicy": "Always", "resources": {}, "volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "a", "subPathExpr": ""}]});
        for field in LASTING {
            debugger[field] = json!({"exec": {"command": ["a"]}});
        }
        debugger["restartPolicy"] = json!("Always");
        debugger["restartPolicyRules"] = json!([]);
        debugger["ports"] = json!([{"containerPort": 1, "protocol": "TCP"}]);
        let spec = json!({"containers": [{"name": "c"}], "ephemeralContainers": [debugger, {"name": "c", "image": "a", "terminationMessagePolicy": "File", "imagePullPolicy": "Always", "resources": {}, "targetContainerName": "c"}]});
        let (volume, mut errors) = (json!({"name": "v"}), Vec::new());
        let around = Around {
            spec: &spec,
            volumes: &BTreeMap::from([("v", &volume)]),
        };
        validate(&around, &Path::new("s"), &mut errors);
        let said: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let forbidden = |field: &str| format!("s.ephemeralContainers[0].{field}: Forbidden: {NOT_HERE}");
        let mut expected = vec![
            "s.ephemeralContainers[0].image: Invalid value: \"busybox \": must not have leading or trailing whitespace"
                .to_owned(),
            "s.ephemeralContainers[0].targetContainerName: Not found: \"x\"".to_owned(),
        ];
        expected.extend(
            LASTING
                .iter()
                .filter(|field| **field != "restartPolicyRules")
                .map(|field| forbidden(field)),
        );
        expected.push(forbidden("volumeMounts[0].subPath"));
        expected.push("s.ephemeralContainers[1].name: Duplicate value: \"c\"".to_owned());
        assert_eq!(said, expected);
    }

    #[test]
    fn ephemeral_containers_come_and_stay() {
        let said = |new: Value| {
            let mut errors = Vec::new();
            let old = json!({"ephemeralContainers": [{"name": "a", "image": "a"}]});
            validate_update(
                &json!({"ephemeralContainers": new}),
                &old,
                &Path::new("spec"),
                &mut errors,
            );
            errors.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(
            said(json!([{"name": "b"}, {"name": "a", "image": "a"}])),
            Vec::<String>::new()
        );
        assert_eq!(
            said(json!([])),
            ["spec.ephemeralContainers: Forbidden: existing ephemeral containers \"a\" may not be removed\n"]
        );
        assert_eq!(
            said(json!([{"name": "a", "image": "b"}])),
            ["spec.ephemeralContainers: Forbidden: existing ephemeral containers \"a\" may not be changed\n"]
        );
    }
}
