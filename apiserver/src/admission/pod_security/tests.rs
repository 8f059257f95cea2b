use serde_json::json;

use super::*;

fn said(pod: &Value, level: Level, minor: Option<u32>) -> String {
    details(&findings(Subject::of(pod), Standard { level, minor }))
}

fn container(context: Value) -> Value {
    json!({"spec": {"containers": [{"name": "c", "securityContext": context}]}})
}

#[test]
fn baseline_findings_are_told_in_upstreams_words_and_order() {
    let pod = json!({
        "metadata": {"annotations": {"container.apparmor.security.beta.kubernetes.io/a": "unconfined"}},
        "spec": {
            "hostNetwork": true, "hostIPC": true,
            "securityContext": {
                "seLinuxOptions": {"type": "spc_t", "user": "u"},
                "seccompProfile": {"type": "Unconfined"},
                "sysctls": [{"name": "kernel.msgmax"}, {"name": "net.ipv4.tcp_rmem"}],
                "windowsOptions": {"hostProcess": true},
            },
            "volumes": [{"name": "v", "hostPath": {"path": "/"}}],
            "initContainers": [{"name": "i", "ports": [{"hostPort": 90}, {"hostPort": 1000}]}],
            "containers": [{
                "name": "a",
                "livenessProbe": {"httpGet": {"host": "10.0.0.1"}},
                "securityContext": {
                    "privileged": true, "procMount": "Unmasked",
                    "capabilities": {"add": ["SYS_ADMIN", "CHOWN", "NET_RAW"]},
                },
            }],
        },
    });
    assert_eq!(
        said(&pod, Level::Baseline, None),
        "forbidden AppArmor profile (annotation \"container.apparmor.security.beta.kubernetes.io/a\" must not set AppArmor profile \
         type to \"unconfined\"), non-default capabilities (container \"a\" must not include \"NET_RAW\", \"SYS_ADMIN\" in \
         securityContext.capabilities.add), host namespaces (hostNetwork=true, hostIPC=true), hostPath volumes (volume \"v\"), \
         hostPort (container \"i\" uses hostPorts 1000, 90), probe or lifecycle host (container \"a\" uses probe or lifecycle host \
         \"10.0.0.1\"), privileged (container \"a\" must not set securityContext.privileged=true), procMount (container \"a\" must \
         not set securityContext.procMount to \"Unmasked\"), seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type \
         \"spc_t\"; user may not be set), seccompProfile (pod must not set securityContext.seccompProfile.type to \"Unconfined\"), \
         forbidden sysctls (kernel.msgmax), hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)"
    );
    assert_eq!(said(&pod, Level::Privileged, None), "");
}

#[test]
fn restricted_replaces_the_baseline_checks_that_it_sharpens() {
    let pod = json!({
        "spec": {
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}, "runAsUser": 0},
            "volumes": [{"name": "v", "hostPath": {"path": "/"}}, {"name": "w", "nfs": {}}, {"name": "x", "emptyDir": {}}],
            "containers": [
                {"name": "a", "securityContext": {
                    "allowPrivilegeEscalation": false, "runAsNonRoot": false, "capabilities": {"add": ["NET_RAW"]}}},
                {"name": "b", "securityContext": {
                    "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}},
            ],
        },
    });
    assert_eq!(
        said(&pod, Level::Restricted, None),
        "unrestricted capabilities (container \"a\" must set securityContext.capabilities.drop=[\"ALL\"]; container \"a\" must not \
         include \"NET_RAW\" in securityContext.capabilities.add), restricted volume types (volumes \"v\", \"w\" use restricted \
         volume types \"hostPath\", \"nfs\"), runAsNonRoot != true (container \"a\" must not set securityContext.runAsNonRoot=false), \
         runAsUser=0 (pod must not set runAsUser=0)"
    );
}

#[test]
fn versions_judge_by_what_was_known_then() {
    let plain = container(json!({}));
    assert_eq!(
        said(&plain, Level::Restricted, Some(0)),
        "runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true)"
    );
    let probe = json!({"spec": {"containers": [{"name": "c", "readinessProbe": {"tcpSocket": {"host": "h"}}}]}});
    assert_eq!(said(&probe, Level::Baseline, Some(33)), "");
    assert!(said(&probe, Level::Baseline, Some(34)).starts_with("probe or lifecycle host"));
    assert_eq!(
        said(&probe, Level::Baseline, Some(99)),
        said(&probe, Level::Baseline, None)
    );
    let sysctl = json!({"spec": {"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_fin_timeout"}]}}});
    assert_eq!(
        said(&sysctl, Level::Baseline, Some(28)),
        "forbidden sysctls (net.ipv4.tcp_fin_timeout)"
    );
    assert_eq!(said(&sysctl, Level::Baseline, Some(29)), "");
    let mut windows = plain;
    windows["spec"]["os"] = json!({"name": "windows"});
    windows["spec"]["securityContext"] = json!({"runAsNonRoot": true});
    assert_eq!(said(&windows, Level::Restricted, None), "");
    assert!(said(&windows, Level::Restricted, Some(24)).contains("seccompProfile"));
    let old = json!({
        "metadata": {"annotations": {"seccomp.security.alpha.kubernetes.io/pod": "unconfined"}},
        "spec": {"containers": []},
    });
    assert_eq!(
        said(&old, Level::Baseline, Some(18)),
        "seccompProfile (forbidden annotation seccomp.security.alpha.kubernetes.io/pod=\"unconfined\")"
    );
}

#[test]
fn a_user_namespace_makes_root_harmless() {
    let mut pod = container(json!({
        "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "Localhost"},
        "runAsUser": 0, "procMount": "Unmasked",
    }));
    pod["spec"]["hostUsers"] = json!(false);
    assert_eq!(said(&pod, Level::Baseline, None), "");
    assert_eq!(
        said(&pod, Level::Restricted, None),
        "procMount (container \"c\" must not set securityContext.procMount to \"Unmasked\")"
    );
    assert!(said(&pod, Level::Restricted, Some(34)).contains("runAsUser=0"));
}

#[test]
fn only_what_the_standards_look_at_is_judged_again() {
    let old = json!({"metadata": {}, "spec": {"containers": [{"name": "c", "image": "a"}]}});
    let mut new = old.clone();
    new["metadata"]["labels"] = json!({"a": "b"});
    new["spec"]["tolerations"] = json!([{}]);
    assert!(!is_significant(&new, &old));
    new["spec"]["ephemeralContainers"] = json!([{"name": "d"}]);
    assert!(is_significant(&new, &old));
    assert!(!is_significant(&new, &new));
    let mut other = old.clone();
    other["spec"]["containers"][0]["image"] = json!("b");
    assert!(is_significant(&other, &old));
}
