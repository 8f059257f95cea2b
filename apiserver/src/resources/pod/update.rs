//! What an update of a pod may change.

use serde_json::Value;
use timonel_api::{FieldError, Path};

use super::super::value::{at, each, entries, has, int, list, remove, set, text};
use super::{annotations, ephemeral, template, tolerations};

const FORBIDDEN: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// What is wrong with a pod, but for what was wrong with it before: rules grow stricter, and who runs stays.
pub(super) fn still_valid(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = template::pod(new);
    if !errors.is_empty() {
        let before = template::pod(old);
        errors.retain(|error| !before.contains(error));
    }
    errors
}

/// Checks an update through the main resource: images, a shorter deadline, more tolerations, nothing else.
pub(super) fn pod(new: &Value, old: &Value) -> Vec<FieldError> {
    let path = Path::new("spec");
    let mut errors = still_valid(new, old);
    let at_annotations = Path::new("metadata").child("annotations");
    annotations::validate_update(at(new, "metadata"), at(old, "metadata"), &at_annotations, &mut errors);
    let (new, old) = (at(new, "spec"), at(old, "spec"));
    for field in ["containers", "initContainers"] {
        if list(new, field).len() != list(old, field).len() {
            let detail = "pod updates may not add or remove containers";
            errors.push(FieldError::forbidden(&path.child(field), detail));
            return errors;
        }
    }
    if !deadline(new, old, &path, &mut errors) {
        return errors;
    }
    tolerations::only_added(new, old, &path.child("tolerations"), &mut errors);
    gates_only_removed(new, old, &path.child("schedulingGates"), &mut errors);
    if !list(old, "schedulingGates").is_empty() {
        gated(new, old, &path, &mut errors);
    }
    if mutable_parts_removed(new, old) != *old {
        errors.push(FieldError::forbidden(&path, FORBIDDEN));
    }
    errors
}

/// Checks an update of the ephemeral containers.
pub(super) fn ephemeral_containers(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = still_valid(new, old);
    if at(at(old, "metadata"), "annotations")
        .get(annotations::MIRROR)
        .is_some()
    {
        let detail = "static pods do not support ephemeral containers";
        return vec![FieldError::forbidden(&Path::whole(), detail)];
    }
    ephemeral::validate_update(at(new, "spec"), at(old, "spec"), &Path::new("spec"), &mut errors);
    errors
}

/// Checks the deadline, and says whether it is good enough to look further.
fn deadline(new: &Value, old: &Value, path: &Path, errors: &mut Vec<FieldError>) -> bool {
    let path = path.child("activeDeadlineSeconds");
    match (int(new, "activeDeadlineSeconds"), int(old, "activeDeadlineSeconds")) {
        (Some(new), _) if !(0..=i64::from(i32::MAX)).contains(&new) => {
            let detail = "must be between 0 and 2147483647, inclusive";
            errors.push(FieldError::invalid(&path, new, detail));
            false
        }
        (Some(new), Some(old)) if new > old => {
            let detail = "must be less than or equal to previous value";
            errors.push(FieldError::invalid(&path, new, detail));
            false
        }
        (None, Some(_)) => {
            let detail = "must not update from a positive integer to nil value";
            errors.push(FieldError::invalid(&path, Value::Null, detail));
            true
        }
        _ => true,
    }
}

fn gates_only_removed(new: &Value, old: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let known = |name: &str| {
        list(old, "schedulingGates")
            .iter()
            .any(|gate| text(gate, "name") == name)
    };
    for (index, gate) in list(new, "schedulingGates").iter().enumerate() {
        let name = text(gate, "name");
        if !known(name) {
            let detail = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            errors.push(FieldError::forbidden(&path.index(index).child("name"), detail));
        }
    }
}

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

/// Checks a pod that may not be scheduled yet: where it may run can be told more exactly, and not otherwise.
fn gated(new: &Value, old: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (after, before) = (at(new, "nodeSelector"), at(old, "nodeSelector"));
    if entries(old, "nodeSelector").any(|(key, value)| after.get(key) != Some(value)) && after != before {
        let detail = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        errors.push(FieldError::invalid(&path.child("nodeSelector"), after.clone(), detail));
    }
    let affinity = |spec| at(at(spec, "affinity"), "nodeAffinity");
    let terms = |spec| list(at(affinity(spec), REQUIRED), "nodeSelectorTerms");
    let (before, after) = (terms(old), terms(new));
    let path = path
        .child("affinity")
        .child("nodeAffinity")
        .child(REQUIRED)
        .child("nodeSelectorTerms");
    if !before.is_empty() && before.len() != after.len() {
        let detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        errors.push(FieldError::invalid(&path, after.to_vec(), detail));
        return;
    }
    for (index, (before, after)) in before.iter().zip(after).enumerate() {
        if !only_narrower(after, before) {
            let detail = "only additions are allowed (no mutations or deletions)";
            errors.push(FieldError::invalid(&path.index(index), after.clone(), detail));
        }
    }
}

/// Whether a term demands what it did, and perhaps more. One that demands nothing matches nothing, and stays so.
fn only_narrower(new: &Value, old: &Value) -> bool {
    const PARTS: [&str; 2] = ["matchExpressions", "matchFields"];
    let empty = |term| PARTS.iter().all(|part| list(term, part).is_empty());
    (!empty(old) || empty(new)) && PARTS.iter().all(|part| list(new, part).starts_with(list(old, part)))
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
    let mut restored = vec!["activeDeadlineSeconds", "schedulingGates", "tolerations"];
    let grace = |spec| int(spec, "terminationGracePeriodSeconds");
    if grace(old).is_some_and(|seconds| seconds < 0) && grace(new) == Some(1) {
        restored.push("terminationGracePeriodSeconds");
    }
    if !list(old, "schedulingGates").is_empty() {
        restored.push("nodeSelector");
        let own = at(at(old, "affinity"), "nodeAffinity").clone();
        restore_node_affinity(&mut spec, own);
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

fn restore_node_affinity(spec: &mut Value, old: Value) {
    let mut affinity = at(spec, "affinity").clone();
    if affinity.is_null() {
        affinity = serde_json::json!({});
    }
    if old.is_null() {
        remove(&mut affinity, "nodeAffinity");
    } else {
        set(&mut affinity, "nodeAffinity", old);
    }
    if affinity.as_object().is_some_and(serde_json::Map::is_empty) {
        remove(spec, "affinity");
    } else {
        set(spec, "affinity", affinity);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn valid(more: &Value) -> Value {
        let mut pod = json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "a", "image": "a:1"}]}});
        for (field, value) in more.as_object().unwrap() {
            pod["spec"][field] = value.clone();
        }
        super::super::defaults::pod(&mut pod);
        pod
    }

    #[track_caller]
    fn said(old: Value, new: Value, expected: &[&str]) {
        let said: Vec<String> = pod(&valid(&new), &valid(&old))
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(said, expected, "{old} -> {new}");
    }

    #[test]
    fn an_image_may_change_and_a_command_may_not() {
        let container = |image: &str| json!({"containers": [{"name": "a", "image": image}]});
        said(container("a:1"), container("a:2"), &[]);
        let command = json!({"containers": [{"name": "a", "image": "a:1", "command": ["x"]}]});
        let forbidden = format!("spec: Forbidden: {FORBIDDEN}");
        said(container("a:1"), command, &[&forbidden]);
        said(
            container("a:1"),
            json!({"containers": [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}]}),
            &["spec.containers: Forbidden: pod updates may not add or remove containers"],
        );
        said(
            container("a:1"),
            container(" a:1"),
            &["spec.containers[0].image: Invalid value: \" a:1\": must not have leading or trailing whitespace"],
        );
        said(
            json!({"terminationGracePeriodSeconds": -1}),
            json!({"terminationGracePeriodSeconds": 1}),
            &[],
        );
        said(
            json!({"terminationGracePeriodSeconds": -1}),
            json!({"terminationGracePeriodSeconds": 2}),
            &[&forbidden],
        );
    }

    #[test]
    fn a_deadline_only_comes_nearer() {
        let seconds = |seconds: i64| json!({"activeDeadlineSeconds": seconds});
        let at = "spec.activeDeadlineSeconds: Invalid value";
        said(json!({}), seconds(5), &[]);
        said(seconds(5), seconds(4), &[]);
        said(
            seconds(5),
            seconds(6),
            &[&format!("{at}: 6: must be less than or equal to previous value")],
        );
        said(
            seconds(5),
            json!({}),
            &[&format!(
                "{at}: \"null\": must not update from a positive integer to nil value"
            )],
        );
    }

    #[test]
    fn a_gated_pod_may_be_told_more_exactly_where_to_run() {
        let gate = json!([{"name": "a.b/c"}]);
        let on = |terms: Value| json!({"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": terms}}});
        let zone = json!({"key": "zone", "operator": "Exists"});
        let disk = json!({"key": "disk", "operator": "Exists"});
        let term = |expressions: Value| json!({"matchExpressions": expressions});
        let old =
            json!({"schedulingGates": gate, "nodeSelector": {"a": "b"}, "affinity": on(json!([term(json!([zone]))]))});
        said(
            old.clone(),
            json!({"schedulingGates": gate, "nodeSelector": {"a": "b", "c": "d"}, "affinity": on(json!([term(json!([zone, disk]))]))}),
            &[],
        );
        said(
            json!({"schedulingGates": gate}),
            json!({"affinity": on(json!([term(json!([zone]))]))}),
            &[],
        );
        let path = format!("spec.affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms");
        said(
            old.clone(),
            json!({"schedulingGates": [{"name": "a.b/d"}], "nodeSelector": {"a": "c"}, "affinity": on(json!([term(json!([disk]))]))}),
            &[
                "spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'a.b/d'",
                "spec.nodeSelector: Invalid value: {\"a\":\"c\"}: only additions to spec.nodeSelector are allowed (no mutations or deletions)",
                &format!(
                    "{path}[0]: Invalid value: {}: only additions are allowed (no mutations or deletions)",
                    term(json!([disk]))
                ),
            ],
        );
        let two = json!([term(json!([zone])), term(json!([disk]))]);
        said(
            old,
            json!({"schedulingGates": gate, "nodeSelector": {"a": "b"}, "affinity": on(two.clone())}),
            &[&format!(
                "{path}: Invalid value: {two}: no additions/deletions to non-empty NodeSelectorTerms list are allowed"
            )],
        );
        let forbidden = format!("spec: Forbidden: {FORBIDDEN}");
        said(json!({}), json!({"nodeSelector": {"a": "b"}}), &[&forbidden]);
    }

    #[test]
    fn what_was_wrong_before_a_rule_came_stays() {
        let odd = json!({"overhead": {"shoes": "1"}});
        assert_eq!(pod(&valid(&odd), &valid(&odd)), []);
        assert!(!template::new_pod(&valid(&odd)).is_empty());
    }

    #[test]
    fn nobody_looks_into_a_pod_that_its_node_runs_of_its_own_accord() {
        let mut mirror = valid(&json!({"nodeName": "n"}));
        mirror["metadata"]["annotations"] = json!({annotations::MIRROR: "x"});
        let said: Vec<String> = ephemeral_containers(&mirror, &mirror)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(said, ["[]: Forbidden: static pods do not support ephemeral containers"]);
    }
}
