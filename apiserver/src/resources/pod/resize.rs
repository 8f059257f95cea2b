//! What a pod may use is changed while it runs: what such an update may say.

use k8s_openapi::api::core::v1::Pod;
use serde::Deserialize;
use serde_json::Value;
use timonel_api::{FieldError, Path};

use super::super::value::{at, each, entries, list, remove, set, text, within};
use super::annotations::MIRROR;
use super::update::still_valid;

/// What can be changed of a container or pod.
const RESIZABLE: [&str; 2] = ["cpu", "memory"];
const ONLY_THESE: &str = "only cpu and memory resources are mutable";

/// Checks an update through `resize`.
pub(super) fn validate(new: &Value, old: &Value) -> Vec<FieldError> {
    let path = Path::new("spec");
    let mut errors = still_valid(new, old);
    let refusal = if at(at(old, "metadata"), "annotations").get(MIRROR).is_some() {
        "static pods cannot be resized"
    } else if text(at(at(old, "spec"), "os"), "name") == "windows" {
        "windows pods cannot be resized"
    } else {
        ""
    };
    if !refusal.is_empty() {
        return vec![FieldError::forbidden(&Path::whole(), refusal)];
    }
    let class = |pod| Pod::deserialize(pod).map_or("", |pod| timonel_api::pod::qos_class(&pod));
    if class(old) != class(new) {
        let detail = "Pod QOS Class may not change as a result of resizing";
        let class = text(at(new, "status"), "qosClass");
        errors.push(FieldError::invalid(&path, class, detail));
    }
    if !is_supported(old) {
        let detail = "Pod running on node without support for resize";
        errors.push(FieldError::forbidden(&path, detail));
    }
    let (new, old) = (at(new, "spec"), at(old, "spec"));
    nothing_removed(
        at(new, "resources"),
        at(old, "resources"),
        &path.child("resources"),
        &mut errors,
    );
    containers(new, old, &path, &mut errors);
    if errors.is_empty() && unresized(new.clone(), old) != *old {
        errors.push(FieldError::forbidden(&path, ONLY_THESE));
    }
    errors
}

/// Whether the node of a pod tells what its containers really have; where nothing runs nobody knows, and all is well.
fn is_supported(pod: &Value) -> bool {
    let mut statuses = list(at(pod, "status"), "containerStatuses").iter();
    let running = statuses.find(|status| !at(at(status, "state"), "running").is_null());
    running.is_none_or(|status| !at(status, "resources").is_null())
}

fn is_sidecar(container: &Value) -> bool {
    text(container, "restartPolicy") == "Always"
}

fn containers(new: &Value, old: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    for field in ["initContainers", "containers"] {
        for (index, (before, after)) in list(old, field).iter().zip(list(new, field)).enumerate() {
            if field == "containers" || is_sidecar(before) {
                let path = path.child(field).index(index).child("resources");
                nothing_removed(at(after, "resources"), at(before, "resources"), &path, errors);
            }
        }
    }
    for field in ["containers", "initContainers"] {
        if list(new, field).len() != list(old, field).len() {
            errors.push(FieldError::forbidden(path, ONLY_THESE));
        }
        for (before, after) in list(old, field).iter().zip(list(new, field)) {
            let detail = match (field, is_sidecar(before)) {
                ("containers", _) => ONLY_THESE,
                (_, true) => "only cpu and memory resources for sidecar containers are mutable",
                (_, false) => "resources for non-sidecar init containers are immutable",
            };
            let fixed = field == "initContainers" && !is_sidecar(before);
            let same = if fixed {
                after == before
            } else {
                put_back(after.clone(), before) == *before
            };
            if !same {
                errors.push(FieldError::forbidden(path, detail));
            }
        }
    }
}

fn nothing_removed(new: &Value, old: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    for kind in ["requests", "limits"] {
        if entries(old, kind).any(|(name, _)| at(new, kind).get(name).is_none()) {
            let detail = format!("resource {kind} cannot be removed");
            errors.push(FieldError::forbidden(&path.child(kind), detail));
        }
    }
}

/// A container or pod with its processors and memory as they were.
fn put_back(mut object: Value, old: &Value) -> Value {
    within(&mut object, "resources", |resources| {
        for kind in ["requests", "limits"] {
            let before = at(at(old, "resources"), kind);
            within(resources, kind, |amounts| {
                for name in RESIZABLE {
                    match before.get(name) {
                        Some(amount) => set(amounts, name, amount.clone()),
                        None => drop(remove(amounts, name)),
                    }
                }
            });
            if before.is_null() && entries(resources, kind).next().is_none() {
                remove(resources, kind);
            }
        }
    });
    object
}

fn unresized(new: Value, old: &Value) -> Value {
    let mut spec = put_back(new, old);
    for field in ["containers", "initContainers"] {
        let mut before = list(old, field).iter();
        each(&mut spec, field, |container| {
            if let Some(before) = before.next() {
                *container = put_back(container.clone(), before);
            }
        });
    }
    spec
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(spec: &Value) -> Value {
        let mut pod = json!({"metadata": {"name": "p"}, "spec": spec, "status": {"qosClass": "Burstable"}});
        super::super::defaults::pod(&mut pod);
        pod
    }

    fn with(requests: Value) -> Value {
        json!({"containers": [{"name": "c", "image": "i", "resources": {"requests": requests}}]})
    }

    fn words(errors: &[FieldError]) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_pod_grows_and_shrinks_and_stays_what_it_is() {
        let said = |new: &Value, old: &Value| words(&validate(&pod(new), &pod(old)));
        let small = with(json!({"cpu": "1", "memory": "1Gi"}));
        assert_eq!(
            said(&with(json!({"cpu": "2", "memory": "2Gi"})), &small),
            Vec::<String>::new()
        );
        assert_eq!(
            said(&with(json!({"cpu": "2"})), &small),
            ["spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed"]
        );
        assert_eq!(
            said(
                &with(json!({"cpu": "1", "memory": "1Gi", "ephemeral-storage": "1Gi"})),
                &small
            ),
            [format!("spec: Forbidden: {ONLY_THESE}")]
        );
        assert_eq!(
            said(&with(json!({"cpu": "1"})), &with(json!({}))),
            ["spec: Invalid value: \"Burstable\": Pod QOS Class may not change as a result of resizing"]
        );
        let init = |policy: Value, cpu: &str| {
            let mut spec = small.clone();
            spec["initContainers"] = json!([{"name": "i", "image": "i", "resources": {"requests": {"cpu": cpu}}}]);
            if !policy.is_null() {
                spec["initContainers"][0]["restartPolicy"] = policy;
            }
            spec
        };
        assert_eq!(
            said(&init(json!("Always"), "2"), &init(json!("Always"), "1")),
            Vec::<String>::new()
        );
        assert_eq!(
            said(&init(Value::Null, "2"), &init(Value::Null, "1")),
            ["spec: Forbidden: resources for non-sidecar init containers are immutable"]
        );
        let mut renamed = small.clone();
        renamed["containers"][0]["name"] = json!("d");
        assert_eq!(said(&renamed, &small), [format!("spec: Forbidden: {ONLY_THESE}")]);
        let whole = |cpu: &str| {
            let mut spec = small.clone();
            spec["resources"] = json!({"requests": {"cpu": cpu, "memory": "1Gi"}});
            spec
        };
        assert_eq!(said(&whole("3"), &whole("2")), Vec::<String>::new());
    }

    #[test]
    fn some_pods_cannot_be_resized() {
        let small = pod(&with(json!({"cpu": "1"})));
        let mut mirror = small.clone();
        mirror["metadata"]["annotations"] = json!({MIRROR: "x"});
        assert_eq!(
            words(&validate(&mirror, &mirror)),
            ["[]: Forbidden: static pods cannot be resized"]
        );
        let mut windows = small.clone();
        windows["spec"]["os"] = json!({"name": "windows"});
        assert_eq!(
            words(&validate(&windows, &windows)),
            ["[]: Forbidden: windows pods cannot be resized"]
        );
        let mut running = small;
        running["status"]["containerStatuses"] = json!([{"name": "c", "state": {"running": {}}}]);
        assert_eq!(
            words(&validate(&running, &running)),
            ["spec: Forbidden: Pod running on node without support for resize"]
        );
        running["status"]["containerStatuses"][0]["resources"] = json!({});
        assert_eq!(words(&validate(&running, &running)), Vec::<String>::new());
    }
}
