//! The baseline level: no known way to become more than the pod.

use serde_json::Value;

use super::super::{items, text};
use super::checks::{Finding, Subject, Values, containers, plural, quoted, setters};

pub(super) fn app_armor(subject: Subject<'_>, _version: u32) -> Option<Finding> {
    const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";
    let bad = Values::default();
    let offends = |context: &'_ Value| -> bool {
        let profile = &context["appArmorProfile"];
        profile.is_object() && !matches!(text(&profile["type"]), "RuntimeDefault" | "Localhost")
    };
    let note = |context| offends(context) && bad.unless(false, text(&context["appArmorProfile"]["type"]));
    let pod = note(subject.context());
    let names = subject.those(|container| note(&container["securityContext"]));
    let mut who: Vec<String> = setters(pod, &names).into_iter().collect();
    let mut annotated: Vec<&str> = subject.metadata["annotations"]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, _)| key.starts_with(ANNOTATION))
        .filter(|(_, value)| {
            let value = text(value);
            bad.unless(
                matches!(value, "" | "runtime/default") || value.starts_with("localhost/"),
                value,
            )
        })
        .map(|(key, _)| key.as_str())
        .collect();
    annotated.sort_unstable();
    if !annotated.is_empty() {
        let noun = plural("annotation", "annotations", annotated.len());
        who.push(format!("{noun} {}", quoted(annotated)));
    }
    let reason = plural("forbidden AppArmor profile", "forbidden AppArmor profiles", bad.len());
    let detail = || {
        format!(
            "{} must not set AppArmor profile type to {}",
            who.join(" and "),
            bad.quoted()
        )
    };
    (!who.is_empty()).then(|| Finding::new(reason, detail()))
}

pub(super) fn capabilities(subject: Subject<'_>, _version: u32) -> Option<Finding> {
    const USUAL: [&str; 13] = [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ];
    let bad = Values::default();
    let names = subject.those(|container| {
        let added = items(&container["securityContext"]["capabilities"]["add"]).iter();
        // Every one is looked at, so that every one is named.
        added
            .map(text)
            .filter(|capability| bad.unless(USUAL.contains(capability), capability))
            .count()
            > 0
    });
    (!names.is_empty()).then(|| {
        Finding::new(
            "non-default capabilities",
            format!(
                "{} must not include {} in securityContext.capabilities.add",
                containers(&names),
                bad.quoted()
            ),
        )
    })
}

pub(super) fn host_namespaces(subject: Subject<'_>, _version: u32) -> Option<Finding> {
    let shared: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
        .iter()
        .filter(|field| subject.spec[**field] == true)
        .map(|field| format!("{field}=true"))
        .collect();
    (!shared.is_empty()).then(|| Finding::new("host namespaces", shared.join(", ")))
}

pub(super) fn host_path_volumes(subject: Subject<'_>, _version: u32) -> Option<Finding> {
    let names: Vec<&str> = items(&subject.spec["volumes"])
        .iter()
        .filter(|volume| volume["hostPath"].is_object())
        .map(|volume| text(&volume["name"]))
        .collect();
    let noun = plural("volume", "volumes", names.len());
    (!names.is_empty()).then(|| Finding::new("hostPath volumes", format!("{noun} {}", quoted(names.iter().copied()))))
}

pub(super) fn host_ports(subject: Subject<'_>, _version: u32) -> Option<Finding> {
    let ports = |container: &Value| -> Vec<String> {
        items(&container["ports"])
            .iter()
            .filter_map(|port| port["hostPort"].as_i64().filter(|port| *port != 0))
            .map(|port| port.to_string())
            .collect()
    };
    let names = subject.those(|container| !ports(container).is_empty());
    // Sorted as text, as upstream sorts them.
    let mut bad: Vec<String> = subject.containers().flat_map(ports).collect();
    bad.sort();
    bad.dedup();
    (!names.is_empty()).then(|| {
        Finding::new(
            "hostPort",
            format!(
                "{} {} {} {}",
                containers(&names),
                plural("uses", "use", names.len()),
                plural("hostPort", "hostPorts", bad.len()),
                bad.join(", ")
            ),
        )
    })
}

pub(super) fn probe_hosts(subject: Subject<'_>, _version: u32) -> Option<Finding> {
    let bad = Values::default();
    let names = subject.those(|container| {
        let hooks = [&container["lifecycle"]["postStart"], &container["lifecycle"]["preStop"]];
        ["livenessProbe", "readinessProbe", "startupProbe"]
            .iter()
            .map(|probe| &container[*probe])
            .chain(hooks)
            .flat_map(|handler| [&handler["httpGet"]["host"], &handler["tcpSocket"]["host"]])
            .filter(|host| bad.unless(text(host).is_empty(), text(host)))
            .count()
            > 0
    });
    (!names.is_empty()).then(|| {
        Finding::new(
            "probe or lifecycle host",
            format!(
                "{} {} {} {}",
                containers(&names),
                plural("uses", "use", names.len()),
                plural("probe or lifecycle host", "probe or lifecycle hosts", bad.len()),
                bad.quoted()
            ),
        )
    })
}

pub(super) fn privileged(subject: Subject<'_>, _version: u32) -> Option<Finding> {
    let names = subject.those(|container| container["securityContext"]["privileged"] == true);
    (!names.is_empty()).then(|| {
        Finding::new(
            "privileged",
            format!("{} must not set securityContext.privileged=true", containers(&names)),
        )
    })
}

pub(super) fn proc_mount(subject: Subject<'_>, version: u32) -> Option<Finding> {
    if version >= 35 && subject.has_own_users() {
        return None;
    }
    any_proc_mount(subject)
}

/// The rule of both levels: the default masks stay.
pub(super) fn any_proc_mount(subject: Subject<'_>) -> Option<Finding> {
    let bad = Values::default();
    let names = subject.those(|container| {
        let mount = text(&container["securityContext"]["procMount"]);
        bad.unless(matches!(mount, "" | "Default"), mount)
    });
    (!names.is_empty()).then(|| {
        Finding::new(
            "procMount",
            format!(
                "{} must not set securityContext.procMount to {}",
                containers(&names),
                bad.quoted()
            ),
        )
    })
}

pub(super) fn se_linux(subject: Subject<'_>, version: u32) -> Option<Finding> {
    let types = Values::default();
    let offends = |context: &'_ Value| -> [bool; 3] {
        let options = &context["seLinuxOptions"];
        let kind = text(&options["type"]);
        let usual = matches!(kind, "" | "container_t" | "container_init_t" | "container_kvm_t")
            || version >= 31 && kind == "container_engine_t";
        [
            !usual,
            !text(&options["user"]).is_empty(),
            !text(&options["role"]).is_empty(),
        ]
    };
    let contexts = || {
        let of_containers = subject.containers().map(|container| &container["securityContext"]);
        std::iter::once(subject.context()).chain(of_containers)
    };
    for context in contexts() {
        types.unless(!offends(context)[0], text(&context["seLinuxOptions"]["type"]));
    }
    let bad = |context| offends(context).contains(&true);
    let names = subject.those(|container| bad(&container["securityContext"]));
    let who = setters(bad(subject.context()), &names)?;
    let mut what = Vec::new();
    if types.len() > 0 {
        what.push(format!("{} {}", plural("type", "types", types.len()), types.quoted()));
    }
    for (index, words) in [(1, "user may not be set"), (2, "role may not be set")] {
        if contexts().any(|context| offends(context)[index]) {
            what.push(words.to_owned());
        }
    }
    Some(Finding::new(
        "seLinuxOptions",
        format!(
            "{who} set forbidden securityContext.seLinuxOptions: {}",
            what.join("; ")
        ),
    ))
}

pub(super) fn seccomp(subject: Subject<'_>, version: u32) -> Option<Finding> {
    if version < 19 {
        return seccomp_annotations(subject);
    }
    explicit_seccomp(subject)
}

/// Profiles that are named and are none of those that confine.
pub(super) fn explicit_seccomp(subject: Subject<'_>) -> Option<Finding> {
    let bad = Values::default();
    let offends = |context: &'_ Value| context["seccompProfile"].is_object() && !confined(context);
    for container in subject.containers() {
        let context = &container["securityContext"];
        bad.unless(!offends(context), text(&context["seccompProfile"]["type"]));
    }
    let own = subject.context();
    bad.unless(!offends(own), text(&own["seccompProfile"]["type"]));
    let names = subject.those(|container| offends(&container["securityContext"]));
    let who = setters(offends(own), &names)?;
    Some(Finding::new(
        "seccompProfile",
        format!(
            "{who} must not set securityContext.seccompProfile.type to {}",
            bad.quoted()
        ),
    ))
}

/// Whether a context names a profile that confines.
pub(super) fn confined(context: &Value) -> bool {
    matches!(text(&context["seccompProfile"]["type"]), "RuntimeDefault" | "Localhost")
}

/// Before 1.19 profiles stood in annotations.
fn seccomp_annotations(subject: Subject<'_>) -> Option<Finding> {
    let annotations = &subject.metadata["annotations"];
    let keys = subject
        .containers()
        .map(|container| {
            format!(
                "container.seccomp.security.alpha.kubernetes.io/{}",
                text(&container["name"])
            )
        })
        .chain(["seccomp.security.alpha.kubernetes.io/pod".to_owned()]);
    let mut bad: Vec<String> = keys
        .filter_map(|key| {
            let value = annotations[&key].as_str()?;
            let fine = matches!(value, "runtime/default" | "docker/default") || value.starts_with("localhost/");
            (!fine).then(|| format!("{key}={value:?}"))
        })
        .collect();
    bad.sort();
    bad.dedup();
    let noun = plural("annotation", "annotations", bad.len());
    (!bad.is_empty()).then(|| Finding::new("seccompProfile", format!("forbidden {noun} {}", bad.join(", "))))
}

/// The system controls that reach no further than the pod, and since which version they are known to.
const SAFE_SYSCTLS: [(&str, u32); 12] = [
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_wmem", 32),
];

pub(super) fn sysctls(subject: Subject<'_>, version: u32) -> Option<Finding> {
    let bad: Vec<&str> = items(&subject.context()["sysctls"])
        .iter()
        .map(|sysctl| text(&sysctl["name"]))
        .filter(|name| {
            let mut safe = SAFE_SYSCTLS.iter();
            !safe.any(|(known, since)| known == name && *since <= version)
        })
        .collect();
    (!bad.is_empty()).then(|| Finding::new("forbidden sysctls", bad.join(", ")))
}

pub(super) fn host_process(subject: Subject<'_>, _version: u32) -> Option<Finding> {
    let offends = |context: &Value| context["windowsOptions"]["hostProcess"] == true;
    let names = subject.those(|container| offends(&container["securityContext"]));
    let who = setters(offends(subject.context()), &names)?;
    Some(Finding::new(
        "hostProcess",
        format!("{who} must not set securityContext.windowsOptions.hostProcess=true"),
    ))
}
