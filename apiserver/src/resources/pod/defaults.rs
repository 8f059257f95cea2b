//! Defaults of pods and pod templates (upstream: `pkg/apis/core/v1/defaults.go`).

use serde_json::{Value, json};

use super::super::amounts::is_huge_page;
use super::super::value::{at, default, default_text, each, entries, flag, has, int, set, text, within};
use super::whole::aggregate_requests;

/// `0644`: the mode of files in configMap, secret, downwardAPI and projected volumes.
const DEFAULT_MODE: i64 = 0o644;

/// Fills in a whole pod. Templates get [`pod_spec`] only: what differs is what upstream sets on pods alone.
pub(super) fn pod(pod: &mut Value) {
    within(pod, "spec", |spec| {
        pod_spec(spec);
        default(spec, "enableServiceLinks", true);
        for list in ["containers", "initContainers"] {
            each(spec, list, requests_from_limits);
        }
        requests_of_whole(spec);
    });
    within(pod, "status", one_address);
}

/// One address and several are two ways to say the same. Where they differ the one counts: old kubelets know no other.
fn one_address(status: &mut Value) {
    let first = at(status, "podIPs").get(0).map(|first| text(first, "ip").to_owned());
    let own = text(status, "podIP").to_owned();
    match first {
        Some(first) if own.is_empty() => set(status, "podIP", first),
        Some(first) if own == first => {}
        _ if own.is_empty() => {}
        _ => set(status, "podIPs", json!([{"ip": own}])),
    }
}

/// Fills in a pod spec, as it stands in a pod or in a template.
pub(crate) fn pod_spec(spec: &mut Value) {
    default_text(spec, "dnsPolicy", "ClusterFirst");
    default_text(spec, "restartPolicy", "Always");
    default_text(spec, "schedulerName", "default-scheduler");
    default(spec, "terminationGracePeriodSeconds", 30);
    default(spec, "securityContext", json!({}));
    let account = [text(spec, "serviceAccountName"), text(spec, "serviceAccount")]
        .into_iter()
        .find(|name| !name.is_empty())
        .map(str::to_owned);
    if let Some(account) = account {
        set(spec, "serviceAccountName", account.as_str());
        set(spec, "serviceAccount", account);
    }
    let host_network = flag(spec, "hostNetwork");
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        each(spec, list, |container| self::container(container, host_network));
    }
    each(spec, "volumes", volume);
}

/// Fills in a pod template.
pub(crate) fn template(object: &mut Value) {
    within(object, "template", |template| within(template, "spec", pod_spec));
}

fn container(container: &mut Value, host_network: bool) {
    let policy = if pulls_always(text(container, "image")) {
        "Always"
    } else {
        "IfNotPresent"
    };
    default_text(container, "imagePullPolicy", policy);
    default_text(container, "terminationMessagePath", "/dev/termination-log");
    default_text(container, "terminationMessagePolicy", "File");
    default(container, "resources", json!({}));
    each(container, "ports", |port| {
        default_text(port, "protocol", "TCP");
        if host_network && int(port, "hostPort").unwrap_or(0) == 0 {
            let number = at(port, "containerPort").clone();
            set(port, "hostPort", number);
        }
    });
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        within(container, probe, self::probe);
    }
    within(container, "lifecycle", |lifecycle| {
        for hook in ["postStart", "preStop"] {
            within(lifecycle, hook, |handler| within(handler, "httpGet", http_get));
        }
    });
    each(container, "env", |variable| {
        within(variable, "valueFrom", |source| {
            within(source, "fieldRef", |field| default_text(field, "apiVersion", "v1"));
            within(source, "resourceFieldRef", |field| default(field, "divisor", "0"));
            within(source, "fileKeyRef", |file| default(file, "optional", false));
        });
    });
}

/// An image without a tag means `latest`, and `latest` is pulled always; a digest or another tag only when it is absent.
fn pulls_always(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    match last.split_once(':') {
        None => true,
        Some((_, tag)) => tag == "latest",
    }
}

fn probe(probe: &mut Value) {
    for (field, seconds) in [
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ] {
        if int(probe, field).unwrap_or(0) == 0 {
            set(probe, field, seconds);
        }
    }
    within(probe, "httpGet", http_get);
    within(probe, "grpc", |grpc| default(grpc, "service", ""));
}

fn http_get(action: &mut Value) {
    default_text(action, "path", "/");
    default_text(action, "scheme", "HTTP");
}

fn requests_from_limits(container: &mut Value) {
    let limits: Vec<(String, Value)> = entries(at(container, "resources"), "limits")
        .map(|(name, value)| (name.to_owned(), value.clone()))
        .collect();
    if limits.is_empty() {
        return;
    }
    within(container, "resources", |resources| {
        default(resources, "requests", json!({}));
        within(resources, "requests", |requests| {
            for (name, value) in limits {
                default(requests, &name, value);
            }
        });
    });
}

/// Fills in what a pod as a whole requests, where it says something of it: what its containers request, else its limits.
fn requests_of_whole(spec: &mut Value) {
    let own = |spec: &Value, field: &str| -> Vec<(String, Value)> {
        let all = entries(at(spec, "resources"), field);
        all.map(|(name, value)| (name.to_owned(), value.clone())).collect()
    };
    let limits = own(spec, "limits");
    if limits.is_empty() && own(spec, "requests").is_empty() {
        return;
    }
    let containers = aggregate_requests(spec).into_iter();
    let requests = containers.map(|(name, amount)| (name, Value::from(amount.to_string())));
    // Pages are not shared out by what is asked for.
    let requests = requests.filter(|(name, _)| ["cpu", "memory"].contains(&name.as_str()));
    let known = |name: &str| ["cpu", "memory"].contains(&name) || is_huge_page(name);
    let limits = limits.into_iter().filter(|(name, _)| known(name));
    let all: Vec<(String, Value)> = requests.chain(limits).collect();
    within(spec, "resources", |resources| {
        default(resources, "requests", json!({}));
        within(resources, "requests", |requests| {
            for (name, value) in all {
                default(requests, &name, value);
            }
        });
    });
}

fn volume(volume: &mut Value) {
    let has_source = volume
        .as_object()
        .is_some_and(|map| map.iter().any(|(key, value)| key != "name" && !value.is_null()));
    if !has_source {
        set(volume, "emptyDir", json!({}));
    }
    for kind in ["secret", "configMap", "downwardAPI", "projected"] {
        within(volume, kind, |source| default(source, "defaultMode", DEFAULT_MODE));
    }
    within(volume, "hostPath", |source| default(source, "type", ""));
    within(volume, "downwardAPI", downward_items);
    within(volume, "image", |image| {
        let policy = if pulls_always(text(image, "reference")) {
            "Always"
        } else {
            "IfNotPresent"
        };
        default_text(image, "pullPolicy", policy);
    });
    within(volume, "projected", |projected| {
        each(projected, "sources", |source| {
            within(source, "serviceAccountToken", |token| {
                default(token, "expirationSeconds", 3600)
            });
            within(source, "downwardAPI", downward_items);
        });
    });
    within(volume, "ephemeral", |ephemeral| {
        within(ephemeral, "volumeClaimTemplate", |template| {
            within(template, "spec", claim_spec)
        });
    });
    within(volume, "iscsi", |source| {
        default_text(source, "iscsiInterface", "default")
    });
    within(volume, "azureDisk", |source| {
        default_text(source, "cachingMode", "ReadWrite");
        default_text(source, "kind", "Shared");
        default_text(source, "fsType", "ext4");
        default(source, "readOnly", false);
    });
    within(volume, "rbd", |source| {
        default_text(source, "pool", "rbd");
        default_text(source, "user", "admin");
        default_text(source, "keyring", "/etc/ceph/keyring");
    });
    within(volume, "scaleIO", |source| {
        default_text(source, "storageMode", "ThinProvisioned");
        default_text(source, "fsType", "xfs");
    });
}

fn downward_items(source: &mut Value) {
    each(source, "items", |item| {
        within(item, "fieldRef", |field| default_text(field, "apiVersion", "v1"));
        within(item, "resourceFieldRef", |field| default(field, "divisor", "0"));
    });
}

/// Fills in a claim's spec, also inside templates.
pub(crate) fn claim_spec(spec: &mut Value) {
    if !has(spec, "volumeMode") {
        default(spec, "volumeMode", "Filesystem");
    }
    default(spec, "resources", json!({}));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_tag_means_latest_and_latest_is_always_pulled() {
        for image in ["nginx", "registry:5000/nginx", "docker.io/library/nginx:latest"] {
            assert!(pulls_always(image), "{image}");
        }
        for image in [
            "nginx:1.25",
            "registry:5000/nginx:1",
            "nginx@sha256:abc",
            "nginx:latest@sha256:abc",
        ] {
            assert!(!pulls_always(image), "{image}");
        }
    }

    #[test]
    fn a_probe_gets_upstreams_timings() {
        let mut object = json!({"spec": {"containers": [{"name": "a", "image": "a:1", "livenessProbe": {"httpGet": {"port": 80}}}]}});
        pod(&mut object);
        assert_eq!(
            object["spec"]["containers"][0]["livenessProbe"],
            json!({"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3})
        );
        assert_eq!(object["spec"]["restartPolicy"], "Always");
        assert_eq!(object["spec"]["enableServiceLinks"], true);
    }

    #[test]
    fn an_address_is_told_in_both_ways() {
        let told = |status: Value| {
            let mut object = json!({"status": status});
            pod(&mut object);
            object["status"].take()
        };
        let both = json!({"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]});
        assert_eq!(told(json!({"podIP": "10.0.0.1"})), both);
        assert_eq!(told(json!({"podIPs": [{"ip": "10.0.0.1"}]})), both);
        assert_eq!(told(json!({"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.2"}]})), both);
        assert_eq!(told(json!({})), json!({}));
    }

    #[test]
    fn a_whole_pod_requests_what_its_containers_do() {
        let mut object = json!({"spec": {"resources": {"limits": {"cpu": "4", "memory": "1Gi"}}, "containers": [
            {"name": "a", "image": "a:1", "resources": {"requests": {"cpu": "1", "ephemeral-storage": "1"}}}, {"name": "b", "image": "a:1", "resources": {"limits": {"cpu": "1"}}}]}});
        pod(&mut object);
        assert_eq!(
            object["spec"]["resources"],
            json!({"limits": {"cpu": "4", "memory": "1Gi"}, "requests": {"cpu": "2", "memory": "1Gi"}})
        );
    }

    #[test]
    fn requests_default_to_limits_on_pods() {
        let mut object = json!({"spec": {"containers": [{"name": "a", "image": "a:1", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}}]}});
        pod(&mut object);
        assert_eq!(
            object["spec"]["containers"][0]["resources"]["requests"],
            json!({"cpu": "500m", "memory": "1Gi"})
        );
    }
}
