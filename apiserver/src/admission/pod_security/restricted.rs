//! The restricted level: what hardened pods say about themselves.

use serde_json::{Map, Value};

use super::super::{items, text};
use super::baseline::{any_proc_mount, confined, explicit_seccomp};
use super::checks::{Finding, Subject, Values, containers, plural, quoted, setters};

/// Since 1.25, what only Linux knows is not asked of pods for Windows.
fn spared(subject: Subject<'_>, version: u32) -> bool {
    version >= 25 && subject.is_windows()
}

pub(super) fn privilege_escalation(subject: Subject<'_>, version: u32) -> Option<Finding> {
    if spared(subject, version) {
        return None;
    }
    let names = subject.those(|container| container["securityContext"]["allowPrivilegeEscalation"] != false);
    (!names.is_empty()).then(|| {
        Finding::new(
            "allowPrivilegeEscalation != false",
            format!(
                "{} must set securityContext.allowPrivilegeEscalation=false",
                containers(&names)
            ),
        )
    })
}

pub(super) fn capabilities(subject: Subject<'_>, version: u32) -> Option<Finding> {
    if spared(subject, version) {
        return None;
    }
    let list = |container: &'_ Value, which: &str| -> Vec<String> {
        items(&container["securityContext"]["capabilities"][which])
            .iter()
            .map(|capability| text(capability).to_owned())
            .collect()
    };
    let keeping = subject.those(|container| !list(container, "drop").iter().any(|capability| capability == "ALL"));
    let bad = Values::default();
    let adding = subject.those(|container| {
        items(&container["securityContext"]["capabilities"]["add"])
            .iter()
            .map(text)
            .filter(|capability| bad.unless(*capability == "NET_BIND_SERVICE", capability))
            .count()
            > 0
    });
    let mut details = Vec::new();
    if !keeping.is_empty() {
        details.push(format!(
            "{} must set securityContext.capabilities.drop=[\"ALL\"]",
            containers(&keeping)
        ));
    }
    if !adding.is_empty() {
        details.push(format!(
            "{} must not include {} in securityContext.capabilities.add",
            containers(&adding),
            bad.quoted()
        ));
    }
    (!details.is_empty()).then(|| Finding::new("unrestricted capabilities", details.join("; ")))
}

pub(super) fn proc_mount(subject: Subject<'_>, _version: u32) -> Option<Finding> {
    any_proc_mount(subject)
}

pub(super) fn volumes(subject: Subject<'_>, _version: u32) -> Option<Finding> {
    const ALLOWED: [&str; 9] = [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ];
    let kinds = Values::default();
    let names: Vec<&str> = items(&subject.spec["volumes"])
        .iter()
        .filter(|volume| {
            let given = volume.as_object().into_iter().flat_map(Map::iter);
            let kind = given
                .filter(|(key, value)| key.as_str() != "name" && !value.is_null())
                .map(|(key, _)| key.as_str())
                .next()
                .unwrap_or("unknown");
            kinds.unless(ALLOWED.contains(&kind), kind)
        })
        .map(|volume| text(&volume["name"]))
        .collect();
    (!names.is_empty()).then(|| {
        Finding::new(
            "restricted volume types",
            format!(
                "{} {} {} {} {}",
                plural("volume", "volumes", names.len()),
                quoted(names.iter().copied()),
                plural("uses", "use", names.len()),
                plural("restricted volume type", "restricted volume types", kinds.len()),
                kinds.quoted()
            ),
        )
    })
}

pub(super) fn run_as_non_root(subject: Subject<'_>, version: u32) -> Option<Finding> {
    if version >= 35 && subject.has_own_users() {
        return None;
    }
    let says = |context: &Value| context["runAsNonRoot"].as_bool();
    let pod = says(subject.context());
    let refusing = subject.those(|container| says(&container["securityContext"]) == Some(false));
    if let Some(who) = setters(pod == Some(false), &refusing) {
        let detail = format!("{who} must not set securityContext.runAsNonRoot=false");
        return Some(Finding::new("runAsNonRoot != true", detail));
    }
    let silent = subject.those(|container| pod.is_none() && says(&container["securityContext"]).is_none());
    (!silent.is_empty()).then(|| {
        Finding::new(
            "runAsNonRoot != true",
            format!(
                "pod or {} must set securityContext.runAsNonRoot=true",
                containers(&silent)
            ),
        )
    })
}

pub(super) fn run_as_user(subject: Subject<'_>, version: u32) -> Option<Finding> {
    if version >= 35 && subject.has_own_users() {
        return None;
    }
    let root = |context: &Value| context["runAsUser"].as_i64() == Some(0);
    let names = subject.those(|container| root(&container["securityContext"]));
    let who = setters(root(subject.context()), &names)?;
    Some(Finding::new("runAsUser=0", format!("{who} must not set runAsUser=0")))
}

pub(super) fn seccomp(subject: Subject<'_>, version: u32) -> Option<Finding> {
    if spared(subject, version) {
        return None;
    }
    if let Some(explicit) = explicit_seccomp(subject) {
        return Some(explicit);
    }
    let pod = confined(subject.context());
    let silent = subject.those(|container| !pod && !container["securityContext"]["seccompProfile"].is_object());
    (!silent.is_empty()).then(|| {
        Finding::new(
            "seccompProfile",
            format!(
                "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
                containers(&silent)
            ),
        )
    })
}
