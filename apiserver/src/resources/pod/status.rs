//! Validation of what kubelets say of pods.

use std::collections::BTreeSet;

use serde_json::Value;
use timonel_api::{FieldError, Path, names};

use super::super::common::wrong;
use super::super::ip;
use super::super::value::{at, default_text, each, has, int, list, set, text};
use super::{annotations, restart, security};

const NOT_NEGATIVE: &str = "must be a non-negative integer";

/// Keeps what a status does not say and old kubelets forget: the class of service, and of which spec each part speaks.
pub(super) fn prepare(new: &mut Value, old: &Value) {
    let generation = |object: &Value| int(object, "observedGeneration").unwrap_or(0);
    let before = at(old, "status");
    let mut conditions = list(before, "conditions").to_vec();
    let Some(status) = new.get_mut("status").filter(|status| status.is_object()) else {
        return;
    };
    default_text(status, "qosClass", text(before, "qosClass"));
    let keep = |object: &mut Value, old: &Value| {
        if generation(object) == 0 && generation(old) != 0 {
            set(object, "observedGeneration", generation(old));
        }
    };
    keep(status, before);
    each(status, "conditions", |condition| {
        let same = |old: &Value| text(old, "type") == text(condition, "type");
        if let Some(index) = conditions.iter().position(same) {
            keep(condition, &conditions.remove(index));
        }
    });
}

/// Checks an update of the status.
pub(super) fn validate(new: &Value, old: &Value) -> Vec<FieldError> {
    let (path, mut errors) = (Path::new("status"), Vec::new());
    let (metadata, at_annotations) = (at(new, "metadata"), Path::new("metadata").child("annotations"));
    annotations::validate_update(metadata, at(old, "metadata"), &at_annotations, &mut errors);
    let (spec, status, before) = (at(new, "spec"), at(new, "status"), at(old, "status"));
    conditions(status, &path.child("conditions"), &mut errors);
    nominated(
        status,
        before,
        at(old, "spec"),
        &path.child("nominatedNodeName"),
        &mut errors,
    );
    not_negative(status, &path, &mut errors);
    if text(status, "qosClass") != text(before, "qosClass") {
        let class = text(status, "qosClass");
        errors.push(FieldError::invalid(
            &path.child("qosClass"),
            class,
            "field is immutable",
        ));
    }
    transitions(status, before, at(old, "spec"), &path, &mut errors);
    claims(status, spec, &path.child("resourceClaimStatuses"), &mut errors);
    addresses(status, before, "podIPs", &path, &mut errors);
    if let Some(first) = list(status, "hostIPs").first()
        && text(first, "ip") != text(status, "hostIP")
    {
        let path = path.child("hostIPs").index(0).child("ip");
        errors.push(FieldError::invalid(
            &path,
            text(first, "ip"),
            "must be equal to `hostIP`",
        ));
    }
    addresses(status, before, "hostIPs", &path, &mut errors);
    users(status, spec, &path, &mut errors);
    errors
}

fn not_negative(object: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    if let Some(generation) = int(object, "observedGeneration").filter(|generation| *generation < 0) {
        let path = path.child("observedGeneration");
        errors.push(FieldError::invalid(&path, generation, NOT_NEGATIVE));
    }
}

fn conditions(status: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    for (index, condition) in list(status, "conditions").iter().enumerate() {
        let (path, kind) = (path.index(index), text(condition, "type"));
        not_negative(condition, &path, errors);
        if !["PodScheduled", "Ready", "Initialized"].contains(&kind) {
            wrong(&path.child("Type"), kind, names::qualified_name(kind), errors);
        }
    }
}

fn nominated(new: &Value, old: &Value, spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let name = text(new, "nominatedNodeName");
    if name.is_empty() || name == text(old, "nominatedNodeName") {
        return;
    }
    wrong(path, name, names::subdomain(name, false), errors);
    if !text(spec, "nodeName").is_empty() {
        let detail = "may not be set on pods that are already bound to a node";
        errors.push(FieldError::forbidden(path, detail));
    }
}

/// Checks that what has ended and does not restart has ended for good.
fn transitions(new: &Value, old: &Value, spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let anew = restart::all_may_restart(spec);
    for (field, containers) in [
        ("containerStatuses", Some("containers")),
        ("initContainerStatuses", Some("initContainers")),
        ("ephemeralContainerStatuses", None),
    ] {
        for (index, before) in list(old, field).iter().enumerate() {
            let name = text(before, "name");
            let Some(code) = restart::exit_code(before) else {
                continue;
            };
            let after = list(new, field).iter().filter(|status| text(status, "name") == name);
            let may = containers.is_some_and(|containers| {
                let own = list(spec, containers).iter().find(|own| text(own, "name") == name);
                anew || own.is_some_and(|own| restart::may_restart(own, spec, code))
            });
            for _ in after.filter(|after| !may && restart::exit_code(after).is_none()) {
                let detail = "may not be transitioned to non-terminated state";
                let path = path.child(field).index(index).child("state");
                errors.push(FieldError::forbidden(&path, detail));
            }
        }
    }
}

fn claims(status: &Value, spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let mut seen = BTreeSet::new();
    for (index, claim) in list(status, "resourceClaimStatuses").iter().enumerate() {
        let (path, name) = (path.index(index).child("name"), text(claim, "name"));
        if !list(spec, "resourceClaims").iter().any(|own| text(own, "name") == name) {
            let detail = "must match the name of an entry in `spec.resourceClaims`";
            errors.push(FieldError::invalid(&path, name, detail));
        }
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&path, name));
        }
        if has(claim, "resourceClaimName") {
            let object = text(claim, "resourceClaimName");
            wrong(&path, object, names::subdomain(object, false), errors);
        }
    }
}

/// Checks addresses: one of each family at most. What an object had before may stay.
fn addresses(new: &Value, old: &Value, field: &str, path: &Path, errors: &mut Vec<FieldError>) {
    let texts = |status| -> Vec<Value> { list(status, field).iter().map(|one| at(one, "ip").clone()).collect() };
    let (all, path) = (texts(new), path.child(field));
    ip::listed(&all, &texts(old), &path, ip::address, errors);
    let families: BTreeSet<bool> = all
        .iter()
        .filter_map(|text| ip::sloppy(text.as_str()?).map(|address| address.is_ipv4()))
        .collect();
    if all.len() > 1 && families.len() != all.len() {
        let detail = "may specify no more than one IP for each IP family";
        errors.push(FieldError::invalid(&path, list(new, field).to_vec(), detail));
    }
}

fn users(status: &Value, spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let windows = text(at(spec, "os"), "name") == "windows";
    for field in [
        "containerStatuses",
        "initContainerStatuses",
        "ephemeralContainerStatuses",
    ] {
        for (index, container) in list(status, field).iter().enumerate() {
            let user = at(at(container, "user"), "linux");
            let path = path.child(field).index(index).child("user").child("linux");
            if user.is_null() {
                continue;
            }
            if windows {
                errors.push(FieldError::forbidden(&path, "cannot be set for a windows pod"));
                continue;
            }
            for field in ["uid", "gid"] {
                security::id(int(user, field).unwrap_or(0), &path.child(field), errors);
            }
            for (index, group) in list(user, "supplementalGroups").iter().enumerate() {
                let path = path.child("supplementalGroups").index(index);
                security::id(group.as_i64().unwrap_or(0), &path, errors);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(spec: Value, new: Value, old: Value) -> Vec<String> {
        let of = |status: Value| json!({"metadata": {}, "spec": spec, "status": status});
        validate(&of(new), &of(old)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_status_obeys_every_rule() {
        let good = json!({"qosClass": "Burstable", "conditions": [{"type": "Ready"}, {"type": "a.b/c"}], "podIPs": [{"ip": "10.0.0.1"}, {"ip": "::1"}],
            "hostIP": "10.0.0.2", "hostIPs": [{"ip": "10.0.0.2"}], "nominatedNodeName": "n"});
        assert_eq!(
            said(json!({}), good, json!({"qosClass": "Burstable"})),
            Vec::<String>::new()
        );
        let bad = json!({"qosClass": "Guaranteed", "observedGeneration": -1, "conditions": [{"type": "-", "observedGeneration": -2}], "nominatedNodeName": "N",
            "podIPs": [{"ip": "10.0.0.1"}, {"ip": "x"}], "hostIPs": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.1"}],
            "resourceClaimStatuses": [{"name": "a"}, {"name": "b"}, {"name": "a", "resourceClaimName": "-"}],
            "containerStatuses": [{"name": "c", "user": {"linux": {"uid": -1, "gid": 0, "supplementalGroups": [0, -1]}}}]});
        let spec = json!({"nodeName": "n", "resourceClaims": [{"name": "a"}]});
        let all = said(spec, bad, json!({"qosClass": "Burstable"}));
        let starts = [
            "status.conditions[0].observedGeneration: Invalid value: -2: must be a non-negative integer",
            "status.conditions[0].Type: Invalid value: \"-\": name part must",
            "status.nominatedNodeName: Invalid value: \"N\": a lowercase RFC 1123 subdomain",
            "status.nominatedNodeName: Forbidden: may not be set on pods that are already bound to a node",
            "status.observedGeneration: Invalid value: -1: must be a non-negative integer",
            "status.qosClass: Invalid value: \"Guaranteed\": field is immutable",
            "status.resourceClaimStatuses[1].name: Invalid value: \"b\": must match the name of an entry in `spec.resourceClaims`",
            "status.resourceClaimStatuses[2].name: Duplicate value: \"a\"",
            "status.resourceClaimStatuses[2].name: Invalid value: \"-\": a lowercase RFC 1123 subdomain",
            "status.podIPs[1]: Invalid value: \"x\": must be a valid IP address",
            "status.podIPs: Invalid value: [{\"ip\":\"10.0.0.1\"},{\"ip\":\"x\"}]: may specify no more than one IP for each IP family",
            "status.hostIPs[0].ip: Invalid value: \"10.0.0.1\": must be equal to `hostIP`",
            "status.hostIPs: Invalid value: [{\"ip\":\"10.0.0.1\"},{\"ip\":\"10.0.0.1\"}]: may specify no more than one",
            "status.containerStatuses[0].user.linux.uid: Invalid value: -1: must be between 0 and 2147483647",
            "status.containerStatuses[0].user.linux.supplementalGroups[1]: Invalid value: -1: must be between",
        ];
        assert_eq!(all.len(), starts.len(), "{all:#?}");
        for (said, start) in all.iter().zip(starts) {
            assert!(said.starts_with(start), "{said}");
        }
        assert_eq!(
            said(
                json!({"os": {"name": "windows"}}),
                json!({"initContainerStatuses": [{"user": {"linux": {}}}]}),
                json!({})
            ),
            ["status.initContainerStatuses[0].user.linux: Forbidden: cannot be set for a windows pod"]
        );
    }

    #[test]
    fn what_has_ended_for_good_does_not_run_again() {
        let ended = |code: i64| json!([{"name": "c", "state": {"terminated": {"exitCode": code}}}]);
        let runs = json!([{"name": "c", "state": {"running": {}}}]);
        let check = |policy: &str, field: &str, code: i64, container: Value| {
            let spec = json!({"restartPolicy": policy, "containers": [container], "initContainers": [container]});
            said(spec, json!({field: runs}), json!({field: ended(code)}))
        };
        let plain = json!({"name": "c"});
        for (policy, code) in [("Always", 0), ("OnFailure", 1)] {
            assert_eq!(
                check(policy, "containerStatuses", code, plain.clone()),
                Vec::<String>::new()
            );
        }
        let sidecar = json!({"name": "c", "restartPolicy": "Always"});
        assert_eq!(
            check("Never", "initContainerStatuses", 0, sidecar),
            Vec::<String>::new()
        );
        let anew = json!({"name": "d", "restartPolicyRules": [{"action": "RestartAllContainers"}]});
        assert_eq!(check("Never", "containerStatuses", 0, anew), Vec::<String>::new());
        for field in ["containerStatuses", "initContainerStatuses"] {
            let expected =
                format!("status.{field}[0].state: Forbidden: may not be transitioned to non-terminated state");
            assert_eq!(check("OnFailure", field, 0, plain.clone()), [expected]);
        }
        assert_eq!(check("Always", "ephemeralContainerStatuses", 1, plain.clone()).len(), 1);
    }

    #[test]
    fn what_a_kubelet_forgets_is_kept() {
        let old = json!({"status": {"qosClass": "Burstable", "observedGeneration": 3, "conditions": [{"type": "Ready", "observedGeneration": 2}]}});
        let mut new = json!({"status": {"conditions": [{"type": "Ready"}, {"type": "Ready"}]}});
        prepare(&mut new, &old);
        assert_eq!(
            new["status"],
            json!({"qosClass": "Burstable", "observedGeneration": 3, "conditions": [{"type": "Ready", "observedGeneration": 2}, {"type": "Ready"}]})
        );
    }
}
