//! Defaults of pods and pod templates (upstream: `pkg/apis/core/v1/defaults.go`).

use serde_json::{Value, json};

use super::super::value::{at, default, default_text, each, entries, flag, has, int, set, text, within};

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
    });
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
    fn requests_default_to_limits_on_pods() {
        let mut object = json!({"spec": {"containers": [{"name": "a", "image": "a:1", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}}]}});
        pod(&mut object);
        assert_eq!(
            object["spec"]["containers"][0]["resources"]["requests"],
            json!({"cpu": "500m", "memory": "1Gi"})
        );
    }
}
