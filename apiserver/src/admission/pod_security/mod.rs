//! `PodSecurity`: a namespace's labels say which of the Pod Security Standards
//! (<https://kubernetes.io/docs/concepts/security/pod-security-standards/>) its pods must keep to (`enforce`), and by which clients are
//! warned (`warn`) and the audit log is annotated (`audit`). Templates of workloads are warned of and annotated, never refused.
//!
//! ```text
//! namespace labels --policy.rs--> Policy { enforce, audit, warn }
//! pod or template --checks.rs (baseline.rs, restricted.rs)--> findings --> refusal, annotation, warning
//! ```

mod baseline;
mod checks;
mod policy;
mod restricted;

use std::collections::BTreeMap;

use serde_json::Value;

use self::checks::{Subject, details, findings, reasons};
use self::policy::{Level, Policy, Standard};
use super::{AdmissionRequest, Context, Operation, Plugin, items, text};
use crate::error::ApiError;

/// A namespace whose labels change is checked for this many pods at most, as upstream does.
const PODS_TO_CHECK: usize = 3000;

pub(super) struct PodSecurity;

impl Plugin for PodSecurity {
    fn validate(&self, request: &AdmissionRequest<'_>, context: &Context) -> Result<(), ApiError> {
        if !matches!(request.operation, Operation::Create | Operation::Update) {
            return Ok(());
        }
        if request.is("", "namespaces", None) {
            return namespace(request, context);
        }
        let object = request.new_object();
        let is_pod = (request.resource.group, request.resource.plural) == ("", "pods");
        let subject = if is_pod {
            // Of the subresources these two change what runs; a binding or an eviction carries no pod.
            if !matches!(request.subresource, None | Some("ephemeralcontainers" | "resize")) {
                return Ok(());
            }
            // What was let in stays in: finalizers and labels of running pods must remain changeable.
            if request.old.is_some_and(|old| !is_significant(object, old)) {
                return Ok(());
            }
            Subject::of(object)
        } else {
            match template(request, object) {
                Some(template) => Subject::of(template),
                None => return Ok(()),
            }
        };
        let Some(namespace) = context.reader.get("namespaces", "", request.namespace) else {
            return Ok(());
        };
        let (policy, wrong) = Policy::of(&namespace);
        if wrong.is_empty() && policy.is_open() {
            return Ok(());
        }
        if !wrong.is_empty() {
            let wrong: Vec<String> = wrong.iter().map(ToString::to_string).collect();
            annotate(
                request,
                "error",
                format!("Failed to parse policy: {}", wrong.join(", ")),
            );
        }
        judge(request, subject, policy, is_pod)
    }
}

fn annotate(request: &AdmissionRequest<'_>, key: &str, value: String) {
    request
        .notes
        .annotate(format!("pod-security.kubernetes.io/{key}"), value);
}

fn judge(request: &AdmissionRequest<'_>, subject: Subject<'_>, policy: Policy, enforce: bool) -> Result<(), ApiError> {
    let mut refusal = None;
    if enforce {
        annotate(request, "enforce-policy", policy.enforce.to_string());
        let found = findings(subject, policy.enforce);
        if !found.is_empty() {
            refusal = Some(format!(
                "violates PodSecurity \"{}\": {}",
                policy.enforce,
                details(&found)
            ));
        }
    }
    let would = |standard: Standard| {
        let found = findings(subject, standard);
        let words = || format!("would violate PodSecurity \"{standard}\": {}", details(&found));
        (!found.is_empty()).then(words)
    };
    if let Some(words) = would(policy.audit) {
        annotate(request, "audit-violations", words);
    }
    if let Some(refusal) = refusal {
        return Err(request.forbidden(refusal));
    }
    if let Some(words) = would(policy.warn) {
        request.notes.warn(words);
    }
    Ok(())
}

/// The pod template of a workload; none for what is no workload, and for its subresources.
fn template<'a>(request: &AdmissionRequest<'_>, object: &'a Value) -> Option<&'a Value> {
    if request.subresource.is_some() {
        return None;
    }
    let template = match (request.resource.group, request.resource.plural) {
        ("", "podtemplates") => &object["template"],
        ("", "replicationcontrollers")
        | ("apps", "daemonsets" | "deployments" | "replicasets" | "statefulsets")
        | ("batch", "jobs") => &object["spec"]["template"],
        ("batch", "cronjobs") => &object["spec"]["jobTemplate"]["spec"]["template"],
        _ => return None,
    };
    template.is_object().then_some(template)
}

/// Whether an update changes what the standards look at: images, added containers, the seccomp annotations.
fn is_significant(new: &Value, old: &Value) -> bool {
    let annotation = |pod: &Value, key: &str| text(&pod["metadata"]["annotations"][key]).to_owned();
    let annotated = |key: &str| annotation(new, key) != annotation(old, key);
    if annotated("seccomp.security.alpha.kubernetes.io/pod") {
        return true;
    }
    let changed = |new: &Value, old: &Value| {
        let key = format!("container.seccomp.security.alpha.kubernetes.io/{}", text(&new["name"]));
        new["image"] != old["image"] || annotated(&key)
    };
    let lists = ["containers", "initContainers"].iter().any(|list| {
        let (new, old) = (items(&new["spec"][*list]), items(&old["spec"][*list]));
        new.len() != old.len() || new.iter().zip(old).any(|(new, old)| changed(new, old))
    });
    let known = items(&old["spec"]["ephemeralContainers"]);
    lists
        || items(&new["spec"]["ephemeralContainers"]).iter().any(|new| {
            let old = known.iter().find(|old| old["name"] == new["name"]);
            old.is_none_or(|old| changed(new, old))
        })
}

/// Refuses labels that are nonsense, unless they already were, and warns of pods that a stricter standard would have refused.
fn namespace(request: &AdmissionRequest<'_>, context: &Context) -> Result<(), ApiError> {
    let (policy, wrong) = Policy::of(request.new_object());
    let (before, were_wrong) = request.old.map_or((None, Vec::new()), |old| {
        let (policy, wrong) = Policy::of(old);
        (Some(policy.enforce), wrong)
    });
    if !wrong.is_empty() && wrong != were_wrong {
        return Err(ApiError::invalid("Namespace", request.subject(), wrong));
    }
    let (Some(before), now) = (before, policy.enforce) else {
        return Ok(());
    };
    let relaxed = now.minor == before.minor && now.level <= before.level;
    if now == before || now.level == Level::Privileged || relaxed {
        return Ok(());
    }
    for warning in existing_pods(request.subject(), now, context) {
        request.notes.warn(warning);
    }
    Ok(())
}

/// What to say of the pods that are already there: pods with the same fault share one line.
fn existing_pods(namespace: &str, standard: Standard, context: &Context) -> Vec<String> {
    let pods = context.reader.list("pods", Some(namespace));
    let checked = pods.len().min(PODS_TO_CHECK);
    let mut faults: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pod in &pods[..checked] {
        let found = findings(Subject::of(pod), standard);
        if !found.is_empty() {
            let name = text(&pod["metadata"]["name"]).to_owned();
            faults.entry(reasons(&found)).or_default().push(name);
        }
    }
    let mut warnings = Vec::new();
    if checked < pods.len() {
        warnings.push(format!(
            "new PodSecurity enforce level only checked against the first {checked} of {} existing pods",
            pods.len()
        ));
    }
    if !faults.is_empty() {
        warnings.push(format!(
            "existing pods in namespace \"{namespace}\" violate the new PodSecurity enforce level \"{standard}\""
        ));
    }
    let mut lines: Vec<String> = faults
        .into_iter()
        .map(|(fault, names)| {
            let first = names.iter().min().map_or("", String::as_str);
            match names.len() {
                1 => format!("{first}: {fault}"),
                2 => format!("{first} (and 1 other pod): {fault}"),
                more => format!("{first} (and {} other pods): {fault}", more - 1),
            }
        })
        .collect();
    lines.sort();
    warnings.extend(lines);
    warnings
}

#[cfg(test)]
mod tests;
