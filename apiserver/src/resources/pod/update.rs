//! What an update of a pod may change.

use serde_json::Value;
use timonel_api::{FieldError, Path};

use super::super::value::{at, each, has, int, list, remove, set};
use super::template;

const FORBIDDEN: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Checks an update through the main resource: images, a shorter deadline, more tolerations, nothing else.
pub(super) fn pod(new: &Value, old: &Value) -> Vec<FieldError> {
    let path = Path::new("spec");
    let (new_spec, old_spec) = (at(new, "spec"), at(old, "spec"));
    let mut errors = template::pod_metadata(at(new, "metadata"), &Path::new("metadata"));
    errors.extend(template::pod_spec(new_spec, Some(new), &path));
    for field in ["containers", "initContainers"] {
        if list(new_spec, field).len() != list(old_spec, field).len() {
            errors.push(FieldError::forbidden(
                &path.child(field),
                "pod updates may not add or remove containers",
            ));
            return errors;
        }
    }
    deadline(new_spec, old_spec, &path, &mut errors);
    let kept = list(new_spec, "tolerations");
    if !list(old_spec, "tolerations")
        .iter()
        .all(|toleration| kept.contains(toleration))
    {
        errors.push(FieldError::forbidden(
            &path.child("tolerations"),
            "existing toleration can not be modified except its tolerationSeconds",
        ));
    }
    if mutable_parts_removed(new_spec, old_spec) != *old_spec {
        errors.push(FieldError::forbidden(&path, FORBIDDEN));
    }
    errors
}

fn deadline(new: &Value, old: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let path = path.child("activeDeadlineSeconds");
    match (int(new, "activeDeadlineSeconds"), int(old, "activeDeadlineSeconds")) {
        (Some(new), Some(old)) if new > old => {
            errors.push(FieldError::invalid(
                &path,
                new,
                "must be less than or equal to previous value",
            ));
        }
        (None, Some(_)) => {
            errors.push(FieldError::invalid(
                &path,
                Value::Null,
                "must not update from a positive integer to nil value",
            ));
        }
        _ => {}
    }
}

/// The new spec with everything that may change put back to what it was.
fn mutable_parts_removed(new: &Value, old: &Value) -> Value {
    let mut spec = new.clone();
    for field in ["containers", "initContainers"] {
        let mut images = list(old, field).iter().map(|container| at(container, "image").clone());
        each(&mut spec, field, |container| {
            if let Some(image) = images.next() {
                set(container, "image", image);
            }
        });
    }
    let mut restored = vec!["activeDeadlineSeconds", "tolerations"];
    if list(old, "schedulingGates").len() > list(new, "schedulingGates").len() {
        restored.extend(["schedulingGates", "nodeSelector", "affinity"]);
    }
    if int(old, "terminationGracePeriodSeconds").is_some_and(|s| s < 0) {
        restored.push("terminationGracePeriodSeconds");
    }
    for field in restored {
        if has(old, field) {
            set(&mut spec, field, at(old, field).clone());
        } else {
            remove(&mut spec, field);
        }
    }
    spec
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn valid() -> Value {
        let mut pod = json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "a", "image": "a:1"}]}});
        super::super::defaults::pod(&mut pod);
        pod
    }

    #[test]
    fn an_image_may_change_and_a_command_may_not() {
        let old = valid();
        let mut new = old.clone();
        new["spec"]["containers"][0]["image"] = json!("a:2");
        assert_eq!(pod(&new, &old), []);
        new["spec"]["containers"][0]["command"] = json!(["x"]);
        let errors = pod(&new, &old);
        assert_eq!(errors.len(), 1);
        assert!(
            errors[0]
                .to_string()
                .starts_with("spec: Forbidden: pod updates may not change fields other than")
        );
    }
}
