//! `PodSecurity`: namespaces labelled `pod-security.kubernetes.io/enforce: baseline|restricted` take only pods that keep to the Pod Security
//! Standards (<https://kubernetes.io/docs/concepts/security/pod-security-standards/>).
//!
//! Only the newest version of the standards is known; `enforce-version` is accepted and has no effect. The `warn` and `audit` modes do
//! nothing yet.

use serde_json::Value;
use timonel_api::{FieldError, Path};

use super::{AdmissionRequest, Context, Operation, Plugin, items, text};
use crate::error::ApiError;

const ENFORCE: &str = "pod-security.kubernetes.io/enforce";
const MODES: [&str; 3] = [
    ENFORCE,
    "pod-security.kubernetes.io/audit",
    "pod-security.kubernetes.io/warn",
];
const LEVELS: [&str; 3] = ["privileged", "baseline", "restricted"];

pub(super) struct PodSecurity;

impl Plugin for PodSecurity {
    fn validate(&self, request: &AdmissionRequest<'_>, context: &Context) -> Result<(), ApiError> {
        let changes = matches!(request.operation, Operation::Create | Operation::Update);
        if changes && request.is("", "namespaces", None) {
            return labels(request);
        }
        let judged = match request.subresource {
            None => true,
            Some(subresource) => subresource == "ephemeralcontainers",
        };
        if !changes || !judged || request.resource.plural != "pods" || !request.resource.group.is_empty() {
            return Ok(());
        }
        let pod = request.new_object();
        // What was let in stays in: finalizers and labels of running pods must remain changeable.
        if request.old.is_some_and(|old| old["spec"] == pod["spec"]) {
            return Ok(());
        }
        let Some(namespace) = context.reader.get("namespaces", "", request.namespace) else {
            return Ok(());
        };
        let level = text(&namespace["metadata"]["labels"][ENFORCE]);
        if level.is_empty() || level == "privileged" {
            return Ok(());
        }
        let found = violations(pod, level == "restricted");
        if found.is_empty() {
            return Ok(());
        }
        Err(request.forbidden(format!("violates PodSecurity \"{level}:latest\": {}", found.join(", "))))
    }
}

fn labels(request: &AdmissionRequest<'_>) -> Result<(), ApiError> {
    let path = Path::new("metadata").child("labels");
    let labels = &request.new_object()["metadata"]["labels"];
    let wrong: Vec<FieldError> = MODES
        .iter()
        .filter_map(|mode| Some((mode, labels[*mode].as_str()?)))
        .filter(|(_, level)| !LEVELS.contains(level))
        .map(|(mode, level)| {
            FieldError::invalid(
                &path.key(mode),
                level,
                "must be one of privileged, baseline, restricted",
            )
        })
        .collect();
    if wrong.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid("Namespace", request.subject(), wrong))
}

/// A pod's containers of all three kinds.
fn containers(pod: &Value) -> Vec<&Value> {
    ["initContainers", "containers", "ephemeralContainers"]
        .iter()
        .flat_map(|list| items(&pod["spec"][*list]))
        .collect()
}

fn names<'a>(containers: impl IntoIterator<Item = &'a Value>) -> Vec<String> {
    containers
        .into_iter()
        .map(|container| format!("{:?}", text(&container["name"])))
        .collect()
}

/// `container "a"`, `containers "a", "b"`
fn container_words(names: &[String]) -> String {
    let noun = if names.len() == 1 { "container" } else { "containers" };
    format!("{noun} {}", names.join(", "))
}

/// Everything that a pod does and the level does not allow.
fn violations(pod: &Value, restricted: bool) -> Vec<String> {
    let mut found = Vec::new();
    baseline(pod, &mut found);
    if restricted {
        self::restricted(pod, &mut found);
    }
    found
}

fn baseline(pod: &Value, found: &mut Vec<String>) {
    let (spec, containers) = (&pod["spec"], containers(pod));
    let shared: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
        .iter()
        .filter(|field| spec[**field] == true)
        .map(|field| format!("{field}=true"))
        .collect();
    if !shared.is_empty() {
        found.push(format!("host namespaces ({})", shared.join(", ")));
    }
    let mut those = |title: &str, words: &str, offends: &dyn Fn(&Value) -> bool| {
        let names = names(containers.iter().copied().filter(|container| offends(container)));
        if !names.is_empty() {
            found.push(format!("{title} ({} {words})", container_words(&names)));
        }
    };
    those(
        "privileged",
        "must not set securityContext.privileged=true",
        &|container| container["securityContext"]["privileged"] == true,
    );
    const USUAL: [&str; 14] = [
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
        "",
    ];
    those(
        "non-default capabilities",
        "must not add capabilities beyond the default set in securityContext.capabilities.add",
        &|container| {
            items(&container["securityContext"]["capabilities"]["add"])
                .iter()
                .any(|capability| !USUAL.contains(&text(capability)))
        },
    );
    those("hostPort", "uses a hostPort", &|container| {
        items(&container["ports"])
            .iter()
            .any(|port| port["hostPort"].as_u64().is_some_and(|port| port > 0))
    });
    those(
        "procMount",
        "must not set securityContext.procMount to other than \"Default\"",
        &|container| !matches!(text(&container["securityContext"]["procMount"]), "" | "Default"),
    );
    let unconfined = |context: &Value| text(&context["seccompProfile"]["type"]) == "Unconfined";
    those(
        "seccompProfile",
        "must not set securityContext.seccompProfile.type to \"Unconfined\"",
        &|container| unconfined(&container["securityContext"]),
    );
    let armour = |context: &Value| {
        !matches!(
            text(&context["appArmorProfile"]["type"]),
            "" | "RuntimeDefault" | "Localhost"
        )
    };
    those(
        "forbidden AppArmor profile",
        "must not set AppArmor profile type to \"Unconfined\"",
        &|container| armour(&container["securityContext"]),
    );
    let selinux = |context: &Value| {
        let options = &context["seLinuxOptions"];
        let usual = [
            "",
            "container_t",
            "container_init_t",
            "container_kvm_t",
            "container_engine_t",
        ];
        !usual.contains(&text(&options["type"]))
            || !text(&options["user"]).is_empty()
            || !text(&options["role"]).is_empty()
    };
    those(
        "seLinuxOptions",
        "set forbidden securityContext.seLinuxOptions",
        &|container| selinux(&container["securityContext"]),
    );
    let windows = |context: &Value| context["windowsOptions"]["hostProcess"] == true;
    those(
        "hostProcess",
        "must not set securityContext.windowsOptions.hostProcess=true",
        &|container| windows(&container["securityContext"]),
    );
    those(
        "probe or lifecycle host",
        "must not set a host in a probe or a lifecycle hook",
        &|container| {
            let hooks = [&container["lifecycle"]["postStart"], &container["lifecycle"]["preStop"]];
            ["livenessProbe", "readinessProbe", "startupProbe"]
                .iter()
                .map(|probe| &container[*probe])
                .chain(hooks)
                .any(|handler| {
                    ["httpGet", "tcpSocket"]
                        .iter()
                        .any(|kind| !text(&handler[*kind]["host"]).is_empty())
                })
        },
    );
    let context = &spec["securityContext"];
    for (title, words, offends) in [
        (
            "seccompProfile",
            "pod must not set securityContext.seccompProfile.type to \"Unconfined\"",
            unconfined(context),
        ),
        (
            "forbidden AppArmor profile",
            "pod must not set AppArmor profile type to \"Unconfined\"",
            armour(context),
        ),
        (
            "seLinuxOptions",
            "pod set forbidden securityContext.seLinuxOptions",
            selinux(context),
        ),
        (
            "hostProcess",
            "pod must not set securityContext.windowsOptions.hostProcess=true",
            windows(context),
        ),
    ] {
        if offends {
            found.push(format!("{title} ({words})"));
        }
    }
    let volumes: Vec<String> = names(
        items(&spec["volumes"])
            .iter()
            .filter(|volume| volume["hostPath"].is_object()),
    );
    if !volumes.is_empty() {
        let noun = if volumes.len() == 1 { "volume" } else { "volumes" };
        found.push(format!("hostPath volumes ({noun} {})", volumes.join(", ")));
    }
    const SAFE_SYSCTLS: [&str; 10] = [
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
    ];
    let sysctls: Vec<&str> = items(&context["sysctls"])
        .iter()
        .map(|sysctl| text(&sysctl["name"]))
        .filter(|name| {
            let buffers = ["net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"];
            !SAFE_SYSCTLS.contains(name) && !buffers.contains(name)
        })
        .collect();
    if !sysctls.is_empty() {
        found.push(format!("forbidden sysctls ({})", sysctls.join(", ")));
    }
}

fn restricted(pod: &Value, found: &mut Vec<String>) {
    let (spec, containers) = (&pod["spec"], containers(pod));
    let pod_context = &spec["securityContext"];
    let windows = text(&spec["os"]["name"]) == "windows";
    const VOLUMES: [&str; 9] = [
        "name",
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ];
    let volumes = names(items(&spec["volumes"]).iter().filter(|volume| {
        let kinds = volume.as_object().into_iter().flat_map(serde_json::Map::keys);
        kinds
            .into_iter()
            .any(|kind| !VOLUMES.contains(&kind.as_str()) && kind != "image")
    }));
    if !volumes.is_empty() {
        let noun = if volumes.len() == 1 { "volume" } else { "volumes" };
        found.push(format!("restricted volume types ({noun} {})", volumes.join(", ")));
    }
    let offenders = |offends: &dyn Fn(&Value) -> bool| {
        names(
            containers
                .iter()
                .copied()
                .filter(|container| offends(&container["securityContext"])),
        )
    };
    let mut say = |title: &str, before: &str, names: Vec<String>, words: &str| {
        if !names.is_empty() {
            found.push(format!("{title} ({before}{} {words})", container_words(&names)));
        }
    };
    if !windows {
        say(
            "allowPrivilegeEscalation != false",
            "",
            offenders(&|context| context["allowPrivilegeEscalation"] != false),
            "must set securityContext.allowPrivilegeEscalation=false",
        );
        say(
            "unrestricted capabilities",
            "",
            offenders(&|context| {
                let capabilities = &context["capabilities"];
                let drops_all = items(&capabilities["drop"])
                    .iter()
                    .any(|capability| capability == "ALL");
                let adds = items(&capabilities["add"])
                    .iter()
                    .any(|capability| capability != "NET_BIND_SERVICE");
                !drops_all || adds
            }),
            "must set securityContext.capabilities.drop=[\"ALL\"]",
        );
    }
    let pod_runs_as_other = pod_context["runAsNonRoot"] == true;
    say(
        "runAsNonRoot != true",
        "pod or ",
        offenders(&|context| match context["runAsNonRoot"].as_bool() {
            Some(yes) => !yes,
            None => !pod_runs_as_other,
        }),
        "must set securityContext.runAsNonRoot=true",
    );
    say(
        "runAsUser=0",
        "",
        offenders(&|context| context["runAsUser"].as_i64() == Some(0)),
        "must not set runAsUser=0",
    );
    let confined = |context: &Value| matches!(text(&context["seccompProfile"]["type"]), "RuntimeDefault" | "Localhost");
    if !windows {
        let pod_confined = confined(pod_context);
        say(
            "seccompProfile",
            "pod or ",
            offenders(&|context| {
                let own = text(&context["seccompProfile"]["type"]);
                !(confined(context) || own.is_empty() && pod_confined)
            }),
            "must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
        );
    }
    if pod_context["runAsUser"].as_i64() == Some(0) {
        found.push("runAsUser=0 (pod must not set runAsUser=0)".to_owned());
    }
}
