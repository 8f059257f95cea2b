//! Writes down for which pods a pod looks by the values of its own labels: `matchLabelKeys` becomes part of the selector.
//!
//! It happens once, when a pod is made, so that what it means does not change with the pod's labels (KEP-3633, KEP-3243).

use serde_json::{Value, json};

use super::super::value::{at, each, ensure, list, within};

/// Adds to each selector of a new pod what its label keys say.
pub(super) fn merge(pod: &mut Value) {
    let labels = at(at(pod, "metadata"), "labels").clone();
    within(pod, "spec", |spec| {
        each(spec, "topologySpreadConstraints", |constraint| {
            add(constraint, "matchLabelKeys", "In", &labels);
        });
        within(spec, "affinity", |affinity| {
            for kind in ["podAffinity", "podAntiAffinity"] {
                within(affinity, kind, |terms| {
                    each(terms, "preferredDuringSchedulingIgnoredDuringExecution", |preferred| {
                        within(preferred, "podAffinityTerm", |term| of_term(term, &labels));
                    });
                    each(terms, "requiredDuringSchedulingIgnoredDuringExecution", |term| {
                        of_term(term, &labels);
                    });
                });
            }
        });
    });
}

fn of_term(term: &mut Value, labels: &Value) {
    add(term, "matchLabelKeys", "In", labels);
    add(term, "mismatchLabelKeys", "NotIn", labels);
}

fn add(object: &mut Value, field: &str, operator: &str, labels: &Value) {
    let found = list(object, field).iter().filter_map(|key| {
        let value = labels.get(key.as_str()?)?;
        Some(json!({"key": key, "operator": operator, "values": [value]}))
    });
    let found: Vec<Value> = found.collect();
    // Without a selector nothing is selected, whatever the labels.
    if found.is_empty() || !at(object, "labelSelector").is_object() {
        return;
    }
    if let Some(selector) = ensure(object, "labelSelector") {
        let mut all = list(selector, "matchExpressions").to_vec();
        all.extend(found);
        selector["matchExpressions"] = all.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_own_labels_become_part_of_its_selectors() {
        let term = |keys: Value| json!({"labelSelector": {"matchLabels": {"app": "a"}}, "matchLabelKeys": keys, "mismatchLabelKeys": ["tenant"]});
        let mut pod = json!({"metadata": {"labels": {"hash": "1", "tenant": "t"}}, "spec": {
            "topologySpreadConstraints": [{"labelSelector": {}, "matchLabelKeys": ["hash", "absent"]}, {"matchLabelKeys": ["hash"]}],
            "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term(json!(["hash"]))],
                "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": term(json!([]))}]}}}});
        merge(&mut pod);
        let own = json!({"key": "hash", "operator": "In", "values": ["1"]});
        let other = json!({"key": "tenant", "operator": "NotIn", "values": ["t"]});
        let spread = &pod["spec"]["topologySpreadConstraints"];
        assert_eq!(spread[0]["labelSelector"], json!({"matchExpressions": [&own]}));
        assert_eq!(spread[1], json!({"matchLabelKeys": ["hash"]}));
        let affinity = &pod["spec"]["affinity"]["podAntiAffinity"];
        assert_eq!(
            affinity["requiredDuringSchedulingIgnoredDuringExecution"][0]["labelSelector"]["matchExpressions"],
            json!([&own, &other])
        );
        assert_eq!(
            affinity["preferredDuringSchedulingIgnoredDuringExecution"][0]["podAffinityTerm"]["labelSelector"]["matchExpressions"],
            json!([&other])
        );
    }
}
