//! Validation of where a pod wants to be: affinity to nodes and to other pods, and how pods are spread.

use std::collections::BTreeSet;

use serde_json::Value;
use timonel_api::{FieldError, Path, names};

use super::super::common::{label_key, label_selector, wrong};
use super::super::node_selector;
use super::super::value::{at, entries, has, int, list, text};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// Checks an `Affinity`.
pub(super) fn affinity(affinity: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (node, at_node) = (at(affinity, "nodeAffinity"), path.child("nodeAffinity"));
    if has(node, REQUIRED) {
        node_selector::node_selector(at(node, REQUIRED), &at_node.child(REQUIRED), errors);
    }
    for (index, preferred) in list(node, PREFERRED).iter().enumerate() {
        let path = at_node.child(PREFERRED).index(index);
        weight(preferred, &path, errors);
        // Values that no label can have are warned of.
        node_selector::term(at(preferred, "preference"), false, &path.child("preference"), errors);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let (pods, path) = (at(affinity, kind), path.child(kind));
        for (index, each) in list(pods, REQUIRED).iter().enumerate() {
            term(each, &path.child(REQUIRED).index(index), errors);
        }
        for (index, preferred) in list(pods, PREFERRED).iter().enumerate() {
            let path = path.child(PREFERRED).index(index);
            weight(preferred, &path, errors);
            term(at(preferred, "podAffinityTerm"), &path.child("podAffinityTerm"), errors);
        }
    }
}

fn weight(preferred: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let weight = int(preferred, "weight").unwrap_or(0);
    if !(1..=100).contains(&weight) {
        let detail = "must be in the range 1-100";
        errors.push(FieldError::invalid(&path.child("weight"), weight, detail));
    }
}

fn topology_key(object: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    if text(object, "topologyKey").is_empty() {
        errors.push(FieldError::required(&path.child("topologyKey"), "can not be empty"));
    }
}

fn term(term: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    for selector in ["labelSelector", "namespaceSelector"] {
        label_selector(at(term, selector), &path.child(selector), errors);
    }
    for namespace in list(term, "namespaces").iter().filter_map(Value::as_str) {
        wrong(
            &path.child("namespace"),
            namespace,
            names::label(namespace, false),
            errors,
        );
    }
    let [same, other] = ["matchLabelKeys", "mismatchLabelKeys"].map(|field| {
        label_keys(term, field, path, errors);
        list(term, field)
    });
    selected_twice(term, path, errors);
    for (index, key) in same.iter().enumerate().filter(|(_, key)| other.contains(key)) {
        let path = path.child("matchLabelKeys").index(index);
        let detail = "exists in both matchLabelKeys and mismatchLabelKeys";
        errors.push(FieldError::invalid(&path, key.clone(), detail));
    }
    topology_key(term, path, errors);
    label_key(text(term, "topologyKey"), &path.child("topologyKey"), errors);
}

/// Checks that a key whose value comes from the pod is not selected by already. Upstream's path names no field.
fn selected_twice(object: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let selector = at(object, "labelSelector");
    let mut seen: BTreeSet<&str> = entries(selector, "matchLabels").map(|(key, _)| key).collect();
    for expression in list(selector, "matchExpressions") {
        let key = text(expression, "key");
        let index = list(object, "matchLabelKeys").iter().rposition(|own| own == key);
        if let Some(index) = index.filter(|_| seen.contains(key)) {
            let detail = "exists in both matchLabelKeys and labelSelector";
            errors.push(FieldError::invalid(&path.index(index), key, detail));
        }
        seen.insert(key);
    }
}

/// Checks keys of labels whose values come from the pod; they say nothing where nothing is selected.
fn label_keys(object: &Value, field: &str, path: &Path, errors: &mut Vec<FieldError>) {
    let (keys, path) = (list(object, field), path.child(field));
    if !keys.is_empty() && !has(object, "labelSelector") {
        let detail = "must not be specified when labelSelector is not set";
        errors.push(FieldError::forbidden(&path, detail));
        return;
    }
    for (index, key) in keys.iter().filter_map(Value::as_str).enumerate() {
        label_key(key, &path.index(index), errors);
    }
}

/// Checks `TopologySpreadConstraints`.
pub(super) fn spread(constraints: &[Value], path: &Path, errors: &mut Vec<FieldError>) {
    let kind = |constraint: &Value| ["topologyKey", "whenUnsatisfiable"].map(|f| text(constraint, f).to_owned());
    for (index, constraint) in constraints.iter().enumerate() {
        let path = path.index(index);
        let skew = int(constraint, "maxSkew").unwrap_or(0);
        if skew <= 0 {
            let detail = "must be greater than zero";
            errors.push(FieldError::invalid(&path.child("maxSkew"), skew, detail));
        }
        topology_key(constraint, &path, errors);
        let (action, actions) = (
            text(constraint, "whenUnsatisfiable"),
            ["DoNotSchedule", "ScheduleAnyway"],
        );
        if !actions.contains(&action) {
            let path = path.child("whenUnsatisfiable");
            errors.push(FieldError::not_supported(&path, action, &actions));
        }
        if constraints[index + 1..]
            .iter()
            .any(|other| kind(other) == kind(constraint))
        {
            let path = path.child("{topologyKey, whenUnsatisfiable}");
            let value = format!("{{{}}}", kind(constraint).join(", "));
            errors.push(FieldError::duplicate(&path, value));
        }
        if let Some(domains) = int(constraint, "minDomains") {
            let path = path.child("minDomains");
            if domains <= 0 {
                errors.push(FieldError::invalid(&path, domains, "must be greater than zero"));
            }
            if action != "DoNotSchedule" {
                let detail = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
                errors.push(FieldError::invalid(&path, domains, detail));
            }
        }
        for field in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            super::super::common::any_of(constraint, field, &["Honor", "Ignore"], &path, errors);
        }
        label_keys(constraint, "matchLabelKeys", &path, errors);
        selected_twice(constraint, &path, errors);
        let path = path.child("labelSelector");
        label_selector(at(constraint, "labelSelector"), &path, errors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn affinity_is_weighted_and_keyed() {
        let term = json!({"topologyKey": "", "namespaces": ["A"], "matchLabelKeys": ["a"], "labelSelector": {"matchExpressions": [{"key": "a", "operator": "In", "values": ["-"]}]}, "mismatchLabelKeys": ["a"]});
        let given = json!({
            "nodeAffinity": {REQUIRED: {}, PREFERRED: [{"weight": 101, "preference": {"matchFields": [{"key": "x", "operator": "In", "values": ["a"]}]}}]},
            "podAffinity": {REQUIRED: [term]},
            "podAntiAffinity": {PREFERRED: [{"weight": 0, "podAffinityTerm": {"topologyKey": "zone", "matchLabelKeys": ["a"]}}]},
        });
        let mut errors = Vec::new();
        affinity(&given, &Path::new("a"), &mut errors);
        let said: Vec<String> = errors
            .iter()
            .map(|error| error.to_string().replace("DuringSchedulingIgnoredDuringExecution", "*"))
            .collect();
        assert_eq!(
            said[..3],
            [
                "a.nodeAffinity.required*.nodeSelectorTerms: Required value: must have at least one node selector term",
                "a.nodeAffinity.preferred*[0].weight: Invalid value: 101: must be in the range 1-100",
                "a.nodeAffinity.preferred*[0].preference.matchFields[0].key: Invalid value: \"x\": not a valid field selector key",
            ]
        );
        assert!(said[3].starts_with("a.podAffinity.required*[0].labelSelector.matchExpressions[0].values[0]: Invalid value: \"-\": a valid label must be"));
        assert!(
            said[4]
                .starts_with("a.podAffinity.required*[0].namespace: Invalid value: \"A\": a lowercase RFC 1123 label")
        );
        assert_eq!(
            said[5..7],
            [
                "a.podAffinity.required*[0].matchLabelKeys[0]: Invalid value: \"a\": exists in both matchLabelKeys and mismatchLabelKeys",
                "a.podAffinity.required*[0].topologyKey: Required value: can not be empty",
            ]
        );
        assert_eq!(
            said[said.len() - 2..],
            [
                "a.podAntiAffinity.preferred*[0].weight: Invalid value: 0: must be in the range 1-100",
                "a.podAntiAffinity.preferred*[0].podAffinityTerm.matchLabelKeys: Forbidden: must not be specified when labelSelector is not set",
            ]
        );
    }

    #[test]
    fn pods_are_spread_in_one_way_per_topology() {
        let one = json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "minDomains": 2});
        let other = json!({"topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", "minDomains": 0, "nodeTaintsPolicy": "Maybe"});
        let mut errors = Vec::new();
        spread(&[one.clone(), other, one], &Path::new("t"), &mut errors);
        let said: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "t[0].{topologyKey, whenUnsatisfiable}: Duplicate value: \"{zone, DoNotSchedule}\"",
                "t[1].maxSkew: Invalid value: 0: must be greater than zero",
                "t[1].minDomains: Invalid value: 0: must be greater than zero",
                "t[1].minDomains: Invalid value: 0: can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway",
                "t[1].nodeTaintsPolicy: Unsupported value: \"Maybe\": supported values: \"Honor\", \"Ignore\"",
            ]
        );
    }
}
