//! The checks of the Pod Security Standards: which exist, since when, and which one takes another's place.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::{items, text};
use super::policy::{Level, Standard};
use super::{baseline, restricted};

/// What is judged: a pod, or a template for pods.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    pub(super) metadata: &'a Value,
    pub(super) spec: &'a Value,
}

impl<'a> Subject<'a> {
    /// A pod, or anything that has metadata and spec like one.
    pub(super) fn of(pod: &'a Value) -> Self {
        Self {
            metadata: &pod["metadata"],
            spec: &pod["spec"],
        }
    }

    /// The containers of all three kinds.
    pub(super) fn containers(self) -> impl Iterator<Item = &'a Value> {
        ["initContainers", "containers", "ephemeralContainers"]
            .into_iter()
            .flat_map(move |list| items(&self.spec[list]))
    }

    /// The names of the containers to which something applies.
    pub(super) fn those(self, applies: impl Fn(&'a Value) -> bool) -> Vec<&'a str> {
        self.containers()
            .filter(|container| applies(container))
            .map(|container| text(&container["name"]))
            .collect()
    }

    /// The pod's own security context.
    pub(super) fn context(self) -> &'a Value {
        &self.spec["securityContext"]
    }

    /// Whether the pod has a user namespace of its own, in which root is nobody.
    pub(super) fn has_own_users(self) -> bool {
        self.spec["hostUsers"] == false
    }

    /// Whether the pod says that it runs on Windows.
    pub(super) fn is_windows(self) -> bool {
        self.spec["os"]["name"] == "windows"
    }
}

/// Something that a pod does and the standard does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) reason: String,
    pub(super) detail: String,
}

impl Finding {
    pub(super) fn new(reason: &str, detail: String) -> Self {
        Self {
            reason: reason.to_owned(),
            detail,
        }
    }
}

/// One check. The function gets the minor version, for its rules may differ between versions.
struct Check {
    level: Level,
    /// The first minor version that knows it.
    since: u32,
    /// The first minor version whose restricted level replaces this baseline check with one of its own.
    replaced_since: Option<u32>,
    judge: fn(Subject<'_>, u32) -> Option<Finding>,
}

const fn check(level: Level, since: u32, judge: fn(Subject<'_>, u32) -> Option<Finding>) -> Check {
    Check {
        level,
        since,
        replaced_since: None,
        judge,
    }
}

const fn replaced(minor: u32, judge: fn(Subject<'_>, u32) -> Option<Finding>) -> Check {
    Check {
        level: Level::Baseline,
        since: 0,
        replaced_since: Some(minor),
        judge,
    }
}

/// In the order in which upstream names what it found: by level, then by the check's name.
static CHECKS: &[Check] = &[
    check(Level::Baseline, 0, baseline::app_armor),
    replaced(22, baseline::capabilities),
    check(Level::Baseline, 0, baseline::host_namespaces),
    replaced(0, baseline::host_path_volumes),
    check(Level::Baseline, 0, baseline::host_ports),
    check(Level::Baseline, 34, baseline::probe_hosts),
    check(Level::Baseline, 0, baseline::privileged),
    replaced(35, baseline::proc_mount),
    check(Level::Baseline, 0, baseline::se_linux),
    replaced(19, baseline::seccomp),
    check(Level::Baseline, 0, baseline::sysctls),
    check(Level::Baseline, 0, baseline::host_process),
    check(Level::Restricted, 8, restricted::privilege_escalation),
    check(Level::Restricted, 22, restricted::capabilities),
    check(Level::Restricted, 35, restricted::proc_mount),
    check(Level::Restricted, 0, restricted::volumes),
    check(Level::Restricted, 0, restricted::run_as_non_root),
    check(Level::Restricted, 23, restricted::run_as_user),
    check(Level::Restricted, 19, restricted::seccomp),
];

/// Everything that a pod does and the standard does not allow.
pub(super) fn findings(subject: Subject<'_>, standard: Standard) -> Vec<Finding> {
    let (level, version) = (standard.level, standard.version());
    CHECKS
        .iter()
        .filter(|check| check.level <= level && check.since <= version)
        .filter(|check| level != Level::Restricted || check.replaced_since.is_none_or(|minor| version < minor))
        .filter_map(|check| (check.judge)(subject, version))
        .collect()
}

/// `host namespaces (hostNetwork=true), privileged (container "a" must not ...)`
pub(super) fn details(findings: &[Finding]) -> String {
    join(findings, |finding| {
        if finding.detail.is_empty() {
            finding.reason.clone()
        } else {
            format!("{} ({})", finding.reason, finding.detail)
        }
    })
}

/// `host namespaces, privileged`
pub(super) fn reasons(findings: &[Finding]) -> String {
    join(findings, |finding| finding.reason.clone())
}

fn join(findings: &[Finding], words: impl Fn(&Finding) -> String) -> String {
    findings.iter().map(words).collect::<Vec<_>>().join(", ")
}

/// `"a", "b"`
pub(super) fn quoted<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("\"{word}\"")).collect();
    words.join(", ")
}

/// The word for one thing, or for several.
pub(super) fn plural<'a>(one: &'a str, several: &'a str, count: usize) -> &'a str {
    if count == 1 { one } else { several }
}

/// `container "a"`, `containers "a", "b"`
pub(super) fn containers(names: &[&str]) -> String {
    let noun = plural("container", "containers", names.len());
    format!("{noun} {}", quoted(names.iter().copied()))
}

/// `pod and container "a"`: who set something, in a pod's own context or in a container's.
pub(super) fn setters(pod: bool, names: &[&str]) -> Option<String> {
    match (pod, names.is_empty()) {
        (false, true) => None,
        (true, true) => Some("pod".to_owned()),
        (false, false) => Some(containers(names)),
        (true, false) => Some(format!("pod and {}", containers(names))),
    }
}

/// Gathers the different values of something, sorted.
#[derive(Default)]
pub(super) struct Values<'a>(std::cell::RefCell<BTreeSet<&'a str>>);

impl<'a> Values<'a> {
    /// Remembers a value that is not allowed, and says whether it was not.
    pub(super) fn unless(&self, allowed: bool, value: &'a str) -> bool {
        if !allowed {
            self.0.borrow_mut().insert(value);
        }
        !allowed
    }

    pub(super) fn sorted(&self) -> Vec<&'a str> {
        self.0.borrow().iter().copied().collect()
    }

    pub(super) fn quoted(&self) -> String {
        quoted(self.sorted())
    }

    pub(super) fn len(&self) -> usize {
        self.0.borrow().len()
    }
}
