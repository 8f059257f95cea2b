//! What is used of a quota, as its status tells it while objects come and go.

use serde_json::{Value, json};

use crate::client::{Resource, eventually};
use crate::server::Server;

struct Space {
    server: Server,
    quotas: Resource,
}

impl Space {
    fn new() -> Self {
        let server = Server::control_plane();
        server.namespace("space");
        for (plural, name) in [("serviceaccounts", "default"), ("configmaps", "kube-root-ca.crt")] {
            let furnished = server.at("v1", plural).within("space");
            eventually("the namespace is furnished", || {
                if furnished.has(name) {
                    Ok(())
                } else {
                    Err(format!("{name} is not there"))
                }
            });
        }
        Self {
            quotas: server.at("v1", "resourcequotas").within("space"),
            server,
        }
    }

    fn at(&self, version: &str, plural: &str) -> Resource {
        self.server.at(version, plural).within("space")
    }

    /// Creates a quota, and waits until its status shows what it allows.
    fn quota(&self, name: &str, spec: Value) {
        self.quotas.create(json!({"metadata": {"name": name}, "spec": spec}));
        self.quotas.until("the status shows what is allowed", name, |quota| {
            quota["status"]["hard"] == spec["hard"]
        });
    }

    /// Waits until the status shows that this is used.
    fn used(&self, name: &str, used: &Value) {
        self.quotas.until(&format!("{name} shows {used}"), name, |quota| {
            let shown = &quota["status"]["used"];
            used.as_object()
                .is_some_and(|used| used.iter().all(|(key, amount)| shown[key] == *amount))
        });
    }

    /// A quota on the number of objects: it goes up with one that comes, and down when it goes.
    fn counts(&self, key: &str, before: u32, objects: &Resource, object: Value) {
        self.quota("q", json!({"hard": {key: "5", "resourcequotas": "1"}}));
        self.used("q", &json!({key: before.to_string(), "resourcequotas": "1"}));
        let made = objects.create(object);
        self.used("q", &json!({key: (before + 1).to_string()}));
        objects.delete(made["metadata"]["name"].as_str().expect("a name"));
        self.used("q", &json!({key: before.to_string()}));
    }
}

/// ResourceQuota, object count quota, resourcequotas
#[test]
fn resourcequota_object_count_quota_resourcequotas() {
    let space = Space::new();
    space.quota("q", json!({"hard": {"resourcequotas": "1"}}));
    space.used("q", &json!({"resourcequotas": "1"}));
}

/// ResourceQuota, object count quota, configmap
#[test]
fn resourcequota_object_count_quota_configmap() {
    let space = Space::new();
    let maps = space.at("v1", "configmaps");
    space.counts(
        "configmaps",
        1,
        &maps,
        json!({"metadata": {"name": "counted"}, "data": {"a": "b"}}),
    );
}

/// ResourceQuota, object count quota, secret
#[test]
fn resourcequota_object_count_quota_secret() {
    let space = Space::new();
    let secrets = space.at("v1", "secrets");
    space.counts(
        "secrets",
        0,
        &secrets,
        json!({"metadata": {"name": "counted"}, "stringData": {"a": "b"}}),
    );
}

/// ResourceQuota, object count quota, service
#[test]
fn resourcequota_object_count_quota_service() {
    let space = Space::new();
    let services = space.at("v1", "services");
    let hard = json!({"services": "3", "services.nodeports": "1", "services.loadbalancers": "0"});
    space.quota("q", json!({"hard": hard}));
    space.used(
        "q",
        &json!({"services": "0", "services.nodeports": "0", "services.loadbalancers": "0"}),
    );
    let service = |name: &str, kind: &str| json!({"metadata": {"name": name}, "spec": {"type": kind, "selector": {"a": "b"}, "ports": [{"port": 80}]}});
    services.create(service("plain", "ClusterIP"));
    services.create(service("open", "NodePort"));
    services
        .try_create(&service("balanced", "LoadBalancer"))
        .refused(403, "Forbidden");
    services
        .try_create(&service("open-too", "NodePort"))
        .refused(403, "Forbidden");
    space.used(
        "q",
        &json!({"services": "2", "services.nodeports": "1", "services.loadbalancers": "0"}),
    );
    services.delete("plain");
    services.delete("open");
    space.used("q", &json!({"services": "0", "services.nodeports": "0"}));
}

fn template() -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}})
}

/// ResourceQuota, object count quota, replicaSet
#[test]
fn resourcequota_object_count_quota_replicaset() {
    let space = Space::new();
    let spec = json!({"replicas": 0, "selector": {"matchLabels": {"app": "web"}}, "template": template()});
    let sets = space.at("apps/v1", "replicasets");
    space.counts(
        "count/replicasets.apps",
        0,
        &sets,
        json!({"metadata": {"name": "web"}, "spec": spec}),
    );
}

/// ResourceQuota, object count quota, replicationController
#[test]
fn resourcequota_object_count_quota_replicationcontroller() {
    let space = Space::new();
    let spec = json!({"replicas": 0, "selector": {"app": "web"}, "template": template()});
    let controllers = space.at("v1", "replicationcontrollers");
    space.counts(
        "replicationcontrollers",
        0,
        &controllers,
        json!({"metadata": {"name": "web"}, "spec": spec}),
    );
}

fn pod(name: &str, resources: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i:1", "resources": resources}]}})
}

/// ResourceQuota, object count quota, pod
#[test]
fn resourcequota_object_count_quota_pod() {
    let space = Space::new();
    let pods = space.at("v1", "pods");
    let hard = json!({"pods": "5", "cpu": "1", "memory": "500Mi", "ephemeral-storage": "50Gi", "requests.example.com/dongle": "3"});
    space.quota("q", json!({"hard": hard}));
    space.used(
        "q",
        &json!({"pods": "0", "cpu": "0", "requests.example.com/dongle": "0"}),
    );
    let asks = json!({"cpu": "500m", "memory": "252Mi", "ephemeral-storage": "30Gi", "example.com/dongle": "2"});
    pods.create(pod(
        "first",
        json!({"requests": asks, "limits": {"example.com/dongle": "2"}}),
    ));
    let used = json!({"pods": "1", "cpu": "500m", "memory": "252Mi", "ephemeral-storage": "30Gi", "requests.example.com/dongle": "2"});
    space.used("q", &used);
    let too_much = pod(
        "second",
        json!({"requests": {"cpu": "600m", "memory": "100Mi", "ephemeral-storage": "1Gi"}}),
    );
    let refusal = pods.try_create(&too_much).refused(403, "Forbidden");
    assert!(
        refusal.contains("exceeded quota: q, requested: cpu=600m, used: cpu=500m, limited: cpu=1"),
        "{refusal}"
    );
    let mut changed = pods.get("first");
    changed["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "100m".into();
    pods.try_update(&changed).refused(422, "Invalid");
    space.used("q", &used);
    pods.delete_with("first", &json!({"gracePeriodSeconds": 0}));
    space.used(
        "q",
        &json!({"pods": "0", "cpu": "0", "memory": "0", "ephemeral-storage": "0", "requests.example.com/dongle": "0"}),
    );
}

fn moves_only(space: &Space, counting: &str, other: &str, pod: Value) {
    let pods = space.at("v1", "pods");
    let made = pods.create(pod);
    space.used(counting, &json!({"pods": "1"}));
    space.used(other, &json!({"pods": "0"}));
    pods.delete_with(
        made["metadata"]["name"].as_str().expect("a name"),
        &json!({"gracePeriodSeconds": 0}),
    );
    space.used(counting, &json!({"pods": "0"}));
}

/// ResourceQuota, quota scope, BestEffort and NotBestEffort scope
#[test]
fn resourcequota_quota_scope_besteffort_and_notbesteffort_scope() {
    let space = Space::new();
    for (name, scope) in [("best-effort", "BestEffort"), ("not-best-effort", "NotBestEffort")] {
        space.quota(name, json!({"hard": {"pods": "5"}, "scopes": [scope]}));
        space.used(name, &json!({"pods": "0"}));
    }
    moves_only(&space, "best-effort", "not-best-effort", pod("bare", json!({})));
    let asks = json!({"requests": {"cpu": "500m", "memory": "200Mi"}, "limits": {"cpu": "1", "memory": "400Mi"}});
    moves_only(&space, "not-best-effort", "best-effort", pod("asking", asks));
}

/// ResourceQuota, quota scope, Terminating and NotTerminating scope
#[test]
fn resourcequota_quota_scope_terminating_and_notterminating_scope() {
    let space = Space::new();
    let hard = json!({"pods": "5", "requests.cpu": "1", "requests.memory": "500Mi", "limits.cpu": "2", "limits.memory": "1Gi"});
    for (name, scope) in [("terminating", "Terminating"), ("not-terminating", "NotTerminating")] {
        space.quota(name, json!({"hard": hard, "scopes": [scope]}));
        space.used(name, &json!({"pods": "0", "requests.cpu": "0", "limits.memory": "0"}));
    }
    let asks = json!({"requests": {"cpu": "500m", "memory": "200Mi"}, "limits": {"cpu": "1", "memory": "400Mi"}});
    moves_only(&space, "not-terminating", "terminating", pod("endless", asks.clone()));
    let mut ending = pod("ending", asks);
    ending["spec"]["activeDeadlineSeconds"] = 3600.into();
    moves_only(&space, "terminating", "not-terminating", ending);
}
