//! Validation of what a pod has as a whole: resources, overhead, claims on devices.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use serde::Deserialize;
use serde_json::Value;
use timonel_api::quantity::Quantity;
use timonel_api::{FieldError, Path, names};

use super::super::amounts::{self, pod_resource_name, read};
use super::super::common::wrong;
use super::super::value::{at, entries, has, list, text};

/// What the containers of a pod request together.
pub(super) fn aggregate_requests(spec: &Value) -> Vec<(String, Quantity)> {
    let Ok(mut spec) = PodSpec::deserialize(spec) else {
        return Vec::new();
    };
    (spec.resources, spec.overhead) = (None, None);
    let pod = Pod {
        spec: Some(spec),
        ..Pod::default()
    };
    timonel_api::pod::requests(&pod).into_iter().collect()
}

/// Checks a pod's own `resources`.
pub(super) fn resources(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (whole, path) = (at(spec, "resources"), path.child("resources"));
    if whole.is_null() {
        return;
    }
    if has(whole, "claims") {
        let detail = "claims cannot be set for Resources at pod-level";
        errors.push(FieldError::forbidden(&path.child("claims"), detail));
    }
    amounts::requirements(whole, pod_resource_name, &path, errors);
    for (name, sum) in aggregate_requests(spec) {
        // What a pod as a whole cannot ask for is its containers' matter.
        if !["cpu", "memory"].contains(&name.as_str()) && !amounts::is_huge_page(&name) {
            continue;
        }
        let own = read(at(at(whole, "requests"), &name)).unwrap_or_default();
        if sum > own {
            let detail = format!("must be greater than or equal to aggregate container requests of {sum}");
            let path = path.child("requests").key(&name);
            errors.push(FieldError::invalid(&path, own.to_string(), detail));
        }
    }
    for (index, container) in list(spec, "containers").iter().enumerate() {
        for (name, limit) in entries(at(container, "resources"), "limits") {
            let (Some(limit), Some(own)) = (read(limit), read(at(at(whole, "limits"), name))) else {
                continue;
            };
            if limit > own {
                let path = path.child("containers").index(index).key(name).child("limits");
                let detail = format!("must be less than or equal to pod limits of {own}");
                errors.push(FieldError::invalid(&path, limit.to_string(), detail));
            }
        }
    }
}

/// Checks a pod's `resourceClaims`. `pod` is its name, empty in a template.
pub(super) fn claims(spec: &Value, pod: &str, path: &Path, errors: &mut Vec<FieldError>) {
    const SOURCES: [&str; 2] = ["resourceClaimName", "resourceClaimTemplateName"];
    let mut seen = BTreeSet::new();
    for (index, claim) in list(spec, "resourceClaims").iter().enumerate() {
        let (path, name) = (path.child("resourceClaims").index(index), text(claim, "name"));
        let at_name = path.child("name");
        if name.is_empty() {
            errors.push(FieldError::required(&at_name, ""));
        } else if !seen.insert(name) {
            errors.push(FieldError::duplicate(&at_name, name));
        } else {
            let sentences = names::label(name, false);
            if sentences.is_empty() && !pod.is_empty() && has(claim, SOURCES[1]) {
                for sentence in names::subdomain(&format!("{pod}-{name}"), false) {
                    let detail = format!("final ResourceClaim name: {sentence}");
                    errors.push(FieldError::invalid(&at_name, name, detail));
                }
            }
            wrong(&at_name, name, sentences, errors);
        }
        let detail = match SOURCES.iter().filter(|source| has(claim, source)).count() {
            0 => "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
            1 => "",
            _ => "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
        };
        if !detail.is_empty() {
            errors.push(FieldError::invalid(&path, claim.clone(), detail));
        }
        for source in SOURCES.iter().filter(|source| has(claim, source)) {
            let name = text(claim, source);
            wrong(&path.child(source), name, names::subdomain(name, false), errors);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_has_room_for_its_containers() {
        let said = |whole: Value, containers: Value| {
            let mut errors = Vec::new();
            let spec = json!({"resources": whole, "containers": containers});
            resources(&spec, &Path::new("s"), &mut errors);
            errors.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let container = |request: &str, limit: &str| json!({"name": "c", "resources": {"requests": {"cpu": request, "ephemeral-storage": "1"}, "limits": {"cpu": limit}}});
        let two = json!([container("1", "1"), container("500m", "3")]);
        assert_eq!(
            said(json!({"requests": {"cpu": "2"}, "limits": {"cpu": "3"}}), two.clone()),
            Vec::<String>::new()
        );
        assert_eq!(
            said(
                json!({"requests": {"cpu": "1"}, "limits": {"cpu": "2"}, "claims": [{"name": "a"}]}),
                two
            ),
            [
                "s.resources.claims: Forbidden: claims cannot be set for Resources at pod-level",
                "s.resources.requests[cpu]: Invalid value: \"1\": must be greater than or equal to aggregate container requests of 1500m",
                "s.resources.containers[1][cpu].limits: Invalid value: \"3\": must be less than or equal to pod limits of 2",
            ]
        );
    }

    #[test]
    fn a_claim_has_one_source_and_a_name_of_its_own() {
        let mut errors = Vec::new();
        let spec = json!({"resourceClaims": [
            {"name": "a", "resourceClaimName": "x"}, {"name": "a", "resourceClaimTemplateName": "x"}, {"resourceClaimName": "A_"},
            {"name": "b"}, {"name": "c", "resourceClaimName": "x", "resourceClaimTemplateName": "y"},
        ]});
        claims(&spec, "pod", &Path::new("s"), &mut errors);
        let said: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            said[..2],
            [
                "s.resourceClaims[1].name: Duplicate value: \"a\"",
                "s.resourceClaims[2].name: Required value"
            ]
        );
        assert!(said[2].starts_with("s.resourceClaims[2].resourceClaimName: Invalid value: \"A_\""));
        assert_eq!(
            said[3..],
            [
                "s.resourceClaims[3]: Invalid value: {\"name\":\"b\"}: must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
                "s.resourceClaims[4]: Invalid value: {\"name\":\"c\",\"resourceClaimName\":\"x\",\"resourceClaimTemplateName\":\"y\"}: at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
            ]
        );
        let (long, mut errors) = ("p".repeat(253), Vec::new());
        let spec = json!({"resourceClaims": [{"name": "a", "resourceClaimTemplateName": "x"}]});
        claims(&spec, &long, &Path::new("s"), &mut errors);
        assert!(errors[0].to_string().starts_with(
            "s.resourceClaims[0].name: Invalid value: \"a\": final ResourceClaim name: must be no more than 253"
        ));
    }
}
