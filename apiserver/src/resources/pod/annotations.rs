//! Validation of the annotations that once were fields, and of those that say what a pod is.

use serde_json::Value;
use timonel_api::{FieldError, Path};

use super::super::value::{at, entries, has, text};
use super::super::volumes::paths::descending;
use super::{tolerations, visit};

/// Says that a pod mirrors one that its node runs of its own accord.
pub(super) const MIRROR: &str = "kubernetes.io/config.mirror";
const TOLERATIONS: &str = "scheduler.alpha.kubernetes.io/tolerations";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP: &str = "container.seccomp.security.alpha.kubernetes.io/";
const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// Checks the annotations of a pod or template. `path` leads to them.
pub(super) fn validate(metadata: &Value, spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let all = at(metadata, "annotations");
    if let Some(value) = all.get(MIRROR)
        && text(spec, "nodeName").is_empty()
    {
        let detail = "must set spec.nodeName if mirror pod annotation is set";
        errors.push(FieldError::invalid(&path.key(MIRROR), value.clone(), detail));
    }
    if !text(all, TOLERATIONS).is_empty() {
        match serde_json::from_str::<Vec<Value>>(text(all, TOLERATIONS)) {
            Ok(list) => tolerations::validate(&list, &path.child(TOLERATIONS), errors),
            Err(error) => errors.push(FieldError::invalid(path, TOLERATIONS, error.to_string())),
        }
    }
    if all
        .get(DELETION_COST)
        .is_some_and(|cost| !is_cost(cost.as_str().unwrap_or("")))
    {
        let cost = text(all, DELETION_COST);
        errors.push(FieldError::invalid(
            &path.key(DELETION_COST),
            cost,
            "must be a 32bit integer",
        ));
    }
    for (key, profile) in entries(metadata, "annotations") {
        let profile = profile.as_str().unwrap_or("");
        if key == SECCOMP_POD || key.starts_with(SECCOMP) {
            seccomp(profile, &path.child(key), errors);
        }
    }
    for (key, profile) in entries(metadata, "annotations") {
        if let Some(container) = key.strip_prefix(APP_ARMOR) {
            app_armor(profile.as_str().unwrap_or(""), container, spec, &path.key(key), errors);
        }
    }
}

/// A number as it is written by everybody: no plus, no zeros in front.
fn is_cost(text: &str) -> bool {
    text.parse::<i32>()
        .is_ok_and(|cost| cost.to_string() == text || text == "-0")
}

fn seccomp(profile: &str, path: &Path, errors: &mut Vec<FieldError>) {
    match profile.strip_prefix("localhost/") {
        _ if ["runtime/default", "docker/default", "unconfined"].contains(&profile) => {}
        Some(local) => descending(local, path, errors),
        None => errors.push(FieldError::invalid(path, profile, "must be a valid seccomp profile")),
    }
}

fn app_armor(profile: &str, container: &str, spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let mut found = false;
    visit(spec, path, |other, _| found |= text(other, "name") == container);
    if !found {
        errors.push(FieldError::invalid(path, container, "container not found"));
    }
    if !["", "runtime/default", "unconfined"].contains(&profile) && !profile.starts_with("localhost/") {
        let detail = format!("invalid AppArmor profile name: {profile:?}");
        errors.push(FieldError::invalid(path, profile, detail));
    }
}

/// Checks that what has both a field and an annotation says the same in both. `path` leads to the spec.
pub(super) fn match_fields(metadata: &Value, spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (all, own) = (at(metadata, "annotations"), at(spec, "securityContext"));
    let seccomp_says = |key: &str, context: &Value, path: &Path, errors: &mut Vec<FieldError>| {
        let path = path.child("securityContext").child("seccompProfile");
        if let Some(annotation) = all.get(key).and_then(Value::as_str) {
            agree("seccomp", annotation, at(context, "seccompProfile"), &path, errors);
        }
    };
    seccomp_says(SECCOMP_POD, own, path, errors);
    visit(spec, path, |container, path| {
        let key = format!("{SECCOMP}{}", text(container, "name"));
        seccomp_says(&key, at(container, "securityContext"), path, errors);
    });
    if text(at(spec, "os"), "name") == "windows" {
        return;
    }
    visit(spec, path, |container, path| {
        let context = at(container, "securityContext");
        let context = if has(context, "appArmorProfile") { context } else { own };
        let path = path.child("securityContext").child("appArmorProfile");
        let key = format!("{APP_ARMOR}{}", text(container, "name"));
        if let Some(annotation) = all.get(key).and_then(Value::as_str) {
            agree("apparmor", annotation, at(context, "appArmorProfile"), &path, errors);
        }
    });
}

fn agree(what: &str, annotation: &str, profile: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (good, local) = match text(profile, "type") {
        "Unconfined" => (annotation == "unconfined", None),
        "RuntimeDefault" => {
            let old = what == "seccomp" && annotation == "docker/default";
            (old || annotation == "runtime/default", None)
        }
        "Localhost" => {
            let local = annotation.strip_prefix("localhost/");
            (local.is_some(), local)
        }
        _ => return,
    };
    if !good {
        let detail = format!("{what} type in annotation and field must match");
        errors.push(FieldError::forbidden(&path.child("type"), detail));
    } else if local.is_some_and(|local| at(profile, "localhostProfile") != local) {
        let detail = format!("{what} profile in annotation and field must match");
        errors.push(FieldError::forbidden(&path.child("localhostProfile"), detail));
    }
}

/// Checks what an update does to annotations that say what a pod is.
pub(super) fn validate_update(new: &Value, old: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let noun = |key: &str| match key {
        MIRROR => Some("mirror pod annotation"),
        key if key.starts_with(APP_ARMOR) => Some("AppArmor annotations"),
        _ => None,
    };
    let (before, after) = (at(old, "annotations"), at(new, "annotations"));
    for (key, value) in entries(old, "annotations") {
        if let Some(noun) = noun(key).filter(|_| after.get(key) != Some(value)) {
            let detail = format!("may not remove or update {noun}");
            errors.push(FieldError::forbidden(&path.key(key), detail));
        }
    }
    for (key, _) in entries(new, "annotations") {
        if let Some(noun) = noun(key).filter(|_| before.get(key).is_none()) {
            errors.push(FieldError::forbidden(&path.key(key), format!("may not add {noun}")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn words(errors: &[FieldError]) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn annotations_that_mean_something_obey_rules() {
        let said = |annotations: Value| {
            let spec = json!({"containers": [{"name": "c"}]});
            let mut errors = Vec::new();
            validate(
                &json!({"annotations": annotations}),
                &spec,
                &Path::new("a"),
                &mut errors,
            );
            words(&errors)
        };
        for good in ["0", "-5", "2147483647"] {
            assert_eq!(said(json!({DELETION_COST: good})), Vec::<String>::new());
        }
        for bad in ["+10", "008", "", "abc", "2147483648"] {
            assert_eq!(
                said(json!({DELETION_COST: bad})),
                [format!(
                    "a[{DELETION_COST}]: Invalid value: {bad:?}: must be a 32bit integer"
                )]
            );
        }
        let key = |prefix: &str, name: &str| format!("{prefix}{name}");
        let cases: Vec<(Value, Vec<String>)> = vec![
            (
                json!({SECCOMP_POD: "runtime/default", key(APP_ARMOR, "c"): "localhost/x", key(SECCOMP, "c"): "localhost/a"}),
                vec![],
            ),
            (
                json!({MIRROR: "x"}),
                vec![format!(
                    "a[{MIRROR}]: Invalid value: \"x\": must set spec.nodeName if mirror pod annotation is set"
                )],
            ),
            (
                json!({SECCOMP_POD: "off", key(SECCOMP, "c"): "localhost/../x"}),
                vec![
                    format!("a.{SECCOMP}c: Invalid value: \"../x\": must not contain '..'"),
                    format!("a.{SECCOMP_POD}: Invalid value: \"off\": must be a valid seccomp profile"),
                ],
            ),
            (
                json!({key(APP_ARMOR, "d"): "off"}),
                vec![
                    format!("a[{APP_ARMOR}d]: Invalid value: \"d\": container not found"),
                    format!("a[{APP_ARMOR}d]: Invalid value: \"off\": invalid AppArmor profile name: \"off\""),
                ],
            ),
            (
                json!({TOLERATIONS: "[{\"operator\":\"Exists\",\"value\":\"v\"}]"}),
                vec![format!(
                    "a.{TOLERATIONS}[0].operator: Invalid value: \"v\": value must be empty when `operator` is 'Exists'"
                )],
            ),
        ];
        for (annotations, expected) in cases {
            assert_eq!(said(annotations.clone()), expected, "{annotations}");
        }
        assert!(said(json!({TOLERATIONS: "{"}))[0].starts_with("a: Invalid value: \"scheduler.alpha"));
    }

    #[test]
    fn fields_and_annotations_agree() {
        let spec = json!({"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}, "appArmorProfile": {"type": "Localhost", "localhostProfile": "a"}},
            "containers": [{"name": "c", "securityContext": {"seccompProfile": {"type": "Unconfined"}}}]});
        let said = |annotations: Value| {
            let mut errors = Vec::new();
            match_fields(
                &json!({"annotations": annotations}),
                &spec,
                &Path::new("s"),
                &mut errors,
            );
            words(&errors)
        };
        let (seccomp, app_armor) = (format!("{SECCOMP}c"), format!("{APP_ARMOR}c"));
        assert_eq!(
            said(json!({SECCOMP_POD: "docker/default", &seccomp: "unconfined", &app_armor: "localhost/a"})),
            Vec::<String>::new()
        );
        assert_eq!(
            said(json!({SECCOMP_POD: "unconfined", &seccomp: "localhost/a", &app_armor: "localhost/b"})),
            [
                "s.securityContext.seccompProfile.type: Forbidden: seccomp type in annotation and field must match",
                "s.containers[0].securityContext.seccompProfile.type: Forbidden: seccomp type in annotation and field must match",
                "s.containers[0].securityContext.appArmorProfile.localhostProfile: Forbidden: apparmor profile in annotation and field must match",
            ]
        );
    }

    #[test]
    fn what_a_pod_is_stays() {
        let said = |new: Value, old: Value| {
            let mut errors = Vec::new();
            validate_update(
                &json!({"annotations": new}),
                &json!({"annotations": old}),
                &Path::new("a"),
                &mut errors,
            );
            words(&errors)
        };
        assert_eq!(said(json!({"x": "1"}), json!({"y": "1"})), Vec::<String>::new());
        let key = format!("{APP_ARMOR}c");
        assert_eq!(
            said(json!({MIRROR: "1"}), json!({&key: "unconfined"})),
            [
                format!("a[{key}]: Forbidden: may not remove or update AppArmor annotations"),
                format!("a[{MIRROR}]: Forbidden: may not add mirror pod annotation"),
            ]
        );
    }
}
