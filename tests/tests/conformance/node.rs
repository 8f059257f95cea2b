//! sig-node: what the API does with pods, templates, nodes and what pods refer to.

use serde_json::{Value, json};

use crate::client::Resource;
use crate::hollow::Hollow;
use crate::kind::Kind;
use crate::server::Server;

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"name": name}},
        "spec": {"terminationGracePeriodSeconds": 5, "containers": [{"name": "c", "image": "i:1"}]}})
}

fn pods(server: &Server) -> Resource {
    server.at("v1", "pods").within("default")
}

/// ConfigMap, with empty-key
#[test]
fn configmap_with_empty_key() {
    let server = Server::alone();
    let maps = server.at("v1", "configmaps").within("default");
    maps.try_create(&json!({"metadata": {"name": "empty"}, "data": {"": "value-1"}}))
        .refused(422, "Invalid");
    maps.absent("empty");
}

/// Secrets, with empty-key
#[test]
fn secrets_with_empty_key() {
    let server = Server::alone();
    let secrets = server.at("v1", "secrets").within("default");
    secrets
        .try_create(&json!({"metadata": {"name": "empty"}, "data": {"": "dmFsdWUtMQ=="}}))
        .refused(422, "Invalid");
    secrets.absent("empty");
}

/// ConfigMap lifecycle
#[test]
fn configmap_lifecycle() {
    let server = Server::alone();
    let everywhere = server.at("v1", "configmaps");
    let maps = everywhere.within("default");
    maps.create(json!({"metadata": {"name": "test", "labels": {"test-configmap-static": "true"}}, "data": {"valueName": "value"}}));
    maps.strategic(
        "test",
        &json!({"metadata": {"labels": {"test-configmap": "patched"}}, "data": {"valueName": "value1"}}),
    );
    let seen = maps.get("test");
    assert_eq!(seen["metadata"]["labels"]["test-configmap"], "patched");
    assert_eq!(seen["data"]["valueName"], "value1");
    let found = everywhere.items("labelSelector=test-configmap-static%3Dtrue");
    assert_eq!(found.len(), 1);
    assert_eq!(
        (&found[0]["metadata"]["name"], &found[0]["data"]["valueName"]),
        (&"test".into(), &"value1".into())
    );
    maps.delete_collection("labelSelector=test-configmap-static%3Dtrue");
    assert!(
        everywhere
            .names("labelSelector=test-configmap-static%3Dtrue")
            .is_empty()
    );
}

/// ConfigMap Update
#[test]
fn configmap_update() {
    let server = Server::alone();
    let maps = server.at("v1", "configmaps").within("default");
    maps.create(json!({"metadata": {"name": "test"}}));
    maps.edit("test", |map| map["data"] = json!({"data": "value"}));
    assert_eq!(maps.get("test")["data"], json!({"data": "value"}));
}

/// Secret patching
#[test]
fn secret_patching() {
    let server = Server::alone();
    let everywhere = server.at("v1", "secrets");
    let secrets = everywhere.within("default");
    let selector = "labelSelector=testsecret-constant%3Dtrue";
    assert!(everywhere.names(selector).is_empty());
    secrets.create(json!({"metadata": {"name": "test", "labels": {"testsecret-constant": "true"}}, "data": {"key": "dmFsdWU="}, "type": "Opaque"}));
    assert_eq!(everywhere.names(selector), ["test"]);
    secrets.strategic(
        "test",
        &json!({"metadata": {"labels": {"testsecret": "true"}}, "data": {"key": "dmFsdWUx"}}),
    );
    let seen = secrets.get("test");
    assert_eq!(seen["metadata"]["labels"]["testsecret"], "true");
    assert_eq!(seen["data"]["key"], "dmFsdWUx");
    secrets.delete_collection(selector);
    assert!(everywhere.names("").iter().all(|name| name != "test"));
}

/// lease API should be available
#[test]
fn lease_api_should_be_available() {
    let server = Server::alone();
    let leases = server.at("coordination.k8s.io/v1", "leases").within("default");
    let spec = |holder: &str, seconds: u64| {
        json!({"holderIdentity": holder, "leaseDurationSeconds": seconds,
            "acquireTime": "2026-01-02T03:04:05.000006Z", "renewTime": "2026-01-02T03:04:07.000008Z", "leaseTransitions": 1})
    };
    leases.create(json!({"metadata": {"name": "lease"}, "spec": spec("holder", 30)}));
    assert_eq!(leases.get("lease")["spec"], spec("holder", 30));
    leases.edit("lease", |lease| lease["spec"] = spec("holder2", 60));
    assert_eq!(leases.get("lease")["spec"], spec("holder2", 60));
    leases.strategic("lease", &json!({"spec": spec("holder3", 50)}));
    assert_eq!(leases.get("lease")["spec"], spec("holder3", 50));
    leases.create(
        json!({"metadata": {"name": "lease2", "labels": {"deletecollection": "true"}}, "spec": spec("holder", 30)}),
    );
    assert_eq!(leases.names(""), ["lease", "lease2"]);
    leases.delete_collection("labelSelector=deletecollection%3Dtrue");
    assert_eq!(leases.names(""), ["lease"]);
    leases.delete("lease");
    leases.absent("lease");
}

/// Node, resource lifecycle
#[test]
fn node_resource_lifecycle() {
    let server = Server::alone();
    let nodes = server.at("v1", "nodes");
    let condition = json!([{"type": "Ready", "status": "True"}]);
    let made = nodes.create(
        json!({"metadata": {"name": "e2e-fake-node"}, "status": {"phase": "Running", "conditions": condition}}),
    );
    assert_eq!(made["metadata"]["name"], "e2e-fake-node");
    assert_eq!(nodes.get("e2e-fake-node")["metadata"]["name"], "e2e-fake-node");
    nodes.strategic(
        "e2e-fake-node",
        &json!({"metadata": {"labels": {"e2e-fake-node": "patched"}}}),
    );
    assert_eq!(nodes.names("labelSelector=e2e-fake-node%3Dpatched"), ["e2e-fake-node"]);
    nodes.edit("e2e-fake-node", |node| {
        node["metadata"]["labels"]["e2e-fake-node"] = "updated".into()
    });
    assert_eq!(
        nodes.get("e2e-fake-node")["metadata"]["labels"]["e2e-fake-node"],
        "updated"
    );
    nodes.delete("e2e-fake-node");
    nodes.absent("e2e-fake-node");
    assert!(nodes.names("labelSelector=e2e-fake-node%3Dupdated").is_empty());
}

fn template(name: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"podtemplate-set": "true"}},
        "template": {"spec": {"containers": [{"name": "c", "image": "i:1"}]}}})
}

/// PodTemplate lifecycle
#[test]
fn podtemplate_lifecycle() {
    let server = Server::alone();
    let everywhere = server.at("v1", "podtemplates");
    let templates = everywhere.within("default");
    templates.create(template("nginx"));
    templates.strategic("nginx", &json!({"metadata": {"labels": {"podtemplate": "patched"}}}));
    assert_eq!(templates.get("nginx")["metadata"]["labels"]["podtemplate"], "patched");
    let found = everywhere.items("labelSelector=podtemplate-set%3Dtrue");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["metadata"]["labels"]["podtemplate"], "patched");
    templates.delete("nginx");
    templates.absent("nginx");
    assert!(everywhere.names("labelSelector=podtemplate-set%3Dtrue").is_empty());
}

/// PodTemplate, delete a collection
#[test]
fn podtemplate_delete_a_collection() {
    let server = Server::alone();
    let templates = server.at("v1", "podtemplates").within("default");
    for name in ["one", "three", "two"] {
        templates.create(template(name));
    }
    assert_eq!(
        templates.names("labelSelector=podtemplate-set%3Dtrue"),
        ["one", "three", "two"]
    );
    templates.delete_collection("labelSelector=podtemplate-set%3Dtrue");
    assert!(templates.names("labelSelector=podtemplate-set%3Dtrue").is_empty());
}

/// PodTemplate, replace
#[test]
fn podtemplate_replace() {
    let server = Server::alone();
    let templates = server.at("v1", "podtemplates").within("default");
    templates.create(template("replaced"));
    templates.edit("replaced", |object| {
        object["metadata"]["annotations"]["updated"] = "true".into()
    });
    assert_eq!(templates.get("replaced")["metadata"]["annotations"]["updated"], "true");
}

/// Pods, QOS
#[test]
fn pods_qos() {
    let server = Server::alone().with_service_account();
    let amounts = json!({"cpu": "100m", "memory": "100Mi"});
    let mut guaranteed = pod("guaranteed");
    guaranteed["spec"]["containers"][0]["resources"] = json!({"limits": amounts, "requests": amounts});
    pods(&server).create(guaranteed);
    assert_eq!(pods(&server).get("guaranteed")["status"]["qosClass"], "Guaranteed");
}

/// Pods, update
#[test]
fn pods_update() {
    let server = Server::alone().with_service_account();
    let pods = pods(&server);
    let mut unique = pod("updated");
    unique["metadata"]["labels"]["time"] = "1".into();
    pods.create(unique);
    assert_eq!(pods.names("labelSelector=time%3D1"), ["updated"]);
    pods.edit("updated", |pod| pod["metadata"]["labels"]["time"] = "2".into());
    assert_eq!(pods.names("labelSelector=time%3D2"), ["updated"]);
    assert!(pods.names("labelSelector=time%3D1").is_empty());
}

/// Pods, delete a collection
#[test]
fn pods_delete_a_collection() {
    let server = Server::alone().with_service_account();
    let pods = pods(&server);
    for name in ["test-pod-1", "test-pod-2", "test-pod-3"] {
        let mut one = pod(name);
        one["metadata"]["labels"]["type"] = "Testing".into();
        pods.create(one);
    }
    pods.create(pod("other"));
    assert_eq!(pods.names("labelSelector=type%3DTesting").len(), 3);
    pods.delete_collection("labelSelector=type%3DTesting");
    assert_eq!(pods.names(""), ["other"]);
}

/// Pods, completes the lifecycle of a Pod and the PodStatus
#[test]
fn pods_completes_the_lifecycle_of_a_pod_and_the_podstatus() {
    let server = Server::alone().with_service_account();
    let pods = pods(&server);
    let mut watch = pods.watch(&format!(
        "labelSelector=test-pod-static%3Dtrue&resourceVersion={}",
        pods.revision()
    ));
    let mut lasting = pod("pod-test");
    lasting["metadata"]["labels"]["test-pod-static"] = "true".into();
    pods.create(lasting);
    watch.expect("ADDED", "pod-test");
    let patch = json!({"metadata": {"labels": {"test-pod": "patched"}}, "spec": {"containers": [{"name": "c", "image": "i:2"}]}});
    let patched = pods.strategic("pod-test", &patch);
    assert_eq!(patched["metadata"]["labels"]["test-pod"], "patched");
    assert_eq!(patched["spec"]["containers"][0]["image"], "i:2");
    watch.expect("MODIFIED", "pod-test");
    let status = pods.get("pod-test/status");
    assert_eq!(status["status"]["phase"], "Pending");
    let replaced = pods.edit("pod-test/status", |pod| {
        pod["status"]["conditions"] = json!([{"type": "Ready", "status": "False", "reason": "Said"}]);
        pod["spec"]["containers"][0]["image"] = "i:3".into();
    });
    assert_eq!(replaced["status"]["conditions"][0]["reason"], "Said");
    let seen = pods.get("pod-test");
    assert_eq!(seen["status"]["conditions"][0]["status"], "False");
    assert_eq!(
        seen["spec"]["containers"][0]["image"], "i:2",
        "a status' update leaves the spec alone"
    );
    pods.delete_with("pod-test", &json!({"gracePeriodSeconds": 0}));
    watch.until("DELETED", "pod-test");
    pods.absent("pod-test");
}

fn runtime_class(name: &str) -> Value {
    json!({"metadata": {"name": name}, "handler": "runc"})
}

fn with_class(name: &str, class: &str) -> Value {
    let mut pod = pod(name);
    pod["spec"]["runtimeClassName"] = class.into();
    pod
}

fn classes(server: &Server) -> Resource {
    server.at("node.k8s.io/v1", "runtimeclasses")
}

/// Pod with the non-existing RuntimeClass is rejected.
#[test]
fn pod_with_the_non_existing_runtimeclass_is_rejected() {
    let server = Server::alone().with_service_account();
    let message = pods(&server)
        .try_create(&with_class("rejected", "nonexistent"))
        .refused(403, "Forbidden");
    assert!(message.contains("RuntimeClass \"nonexistent\" not found"), "{message}");
}

/// Pod with the deleted RuntimeClass is rejected.
#[test]
fn pod_with_the_deleted_runtimeclass_is_rejected() {
    let server = Server::alone().with_service_account();
    classes(&server).create(runtime_class("short"));
    pods(&server).create(with_class("early", "short"));
    classes(&server).delete("short");
    pods(&server)
        .try_create(&with_class("late", "short"))
        .refused(403, "Forbidden");
}

/// RuntimeClass API
#[test]
fn runtimeclass_api() {
    Kind {
        group: "node.k8s.io",
        plural: "runtimeclasses",
        kind: "RuntimeClass",
        object: |_| json!({"handler": "e2e-handler", "scheduling": {"nodeSelector": {"e2e": "yes"}}}),
        ..Kind::default()
    }
    .conforms();
}

/// Sysctls, reject invalid sysctls
#[test]
fn sysctls_reject_invalid_sysctls() {
    let server = Server::alone().with_service_account();
    let mut wrong = pod("sysctls");
    wrong["spec"]["securityContext"] = json!({"sysctls": [
        {"name": "foo-", "value": "bar"}, {"name": "kernel.shmmax", "value": "100000000"}, {"name": "bar..", "value": "42"},
    ]});
    let message = pods(&server).try_create(&wrong).refused(422, "Invalid");
    assert!(
        message.contains(r#"spec.securityContext.sysctls[0].name: Invalid value: "foo-""#),
        "{message}"
    );
    assert!(
        message.contains(r#"spec.securityContext.sysctls[2].name: Invalid value: "bar..""#),
        "{message}"
    );
    assert!(!message.contains("kernel.shmmax"), "{message}");
    pods(&server).absent("sysctls");
}

fn resource_kind(plural: &'static str, kind: &'static str, namespaced: bool, object: fn(&str) -> Value) -> Kind {
    Kind {
        group: "resource.k8s.io",
        plural,
        kind,
        namespaced,
        object,
        ..Kind::default()
    }
}

/// CRUD operations for deviceclasses
#[test]
fn crud_operations_for_deviceclasses() {
    resource_kind(
        "deviceclasses",
        "DeviceClass",
        false,
        |_| json!({"spec": {"selectors": [{"cel": {"expression": "device.driver == 'e2e.example.com'"}}]}}),
    )
    .conforms();
}

/// CRUD operations for resourceclaims
#[test]
fn crud_operations_for_resourceclaims() {
    let kind = resource_kind(
        "resourceclaims",
        "ResourceClaim",
        true,
        |_| json!({"spec": {"devices": {"requests": [{"name": "req-0", "exactly": {"deviceClassName": "e2e"}}]}}}),
    );
    kind.conforms();
}

/// CRUD operations for resourceclaimtemplates
#[test]
fn crud_operations_for_resourceclaimtemplates() {
    resource_kind("resourceclaimtemplates", "ResourceClaimTemplate", true, |_| {
        json!({"spec": {"spec": {"devices": {"requests": [{"name": "req-0", "exactly": {"deviceClassName": "e2e"}}]}}}})
    })
    .conforms();
}

/// CRUD operations for resoureslices
#[test]
fn crud_operations_for_resoureslices() {
    resource_kind("resourceslices", "ResourceSlice", false, |name| {
        json!({"spec": {"driver": "e2e.example.com", "nodeName": "e2e-node",
            "pool": {"name": name, "generation": 1, "resourceSliceCount": 1}, "devices": [{"name": "device-0"}]}})
    })
    .conforms();
}

/// Can schedule a pod requesting existing RuntimeClass.
#[test]
fn can_schedule_a_pod_requesting_existing_runtimeclass() {
    let server = Server::control_plane();
    let _node = Hollow::start(&server);
    classes(&server).create(runtime_class("plain"));
    pods(&server).create(with_class("scheduled", "plain"));
    pods(&server).until("the pod has a place", "scheduled", |pod| {
        pod["spec"]["nodeName"] == "hollow"
    });
}

/// RuntimeClass Overhead field must be respected.
#[test]
fn runtimeclass_overhead_field_must_be_respected() {
    let server = Server::control_plane();
    let _node = Hollow::start(&server);
    let overhead = json!({"cpu": "10m", "memory": "1Mi"});
    let mut class = runtime_class("heavy");
    class["overhead"] = json!({"podFixed": overhead});
    classes(&server).create(class);
    let made = pods(&server).create(with_class("scheduled", "heavy"));
    assert_eq!(made["spec"]["overhead"], overhead);
    pods(&server).until("the pod has a place", "scheduled", |pod| {
        pod["spec"]["nodeName"] == "hollow"
    });
    // What the pod asks for and its overhead together do not fit on a node of 64 CPUs.
    let mut class = runtime_class("huge");
    class["overhead"] = json!({"podFixed": {"cpu": "63"}});
    classes(&server).create(class);
    let mut large = with_class("large", "huge");
    large["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "2"}});
    pods(&server).create(large);
    let seen = pods(&server).until("the scheduler says why not", "large", |pod| {
        pod["status"]["conditions"][0]["reason"] == "Unschedulable"
    });
    assert!(seen["spec"]["nodeName"].is_null());
}

/// Pods, patching status
#[test]
fn pods_patching_status() {
    let server = Server::control_plane();
    let _node = Hollow::start(&server);
    let pods = pods(&server);
    pods.create(pod("patched"));
    pods.until("the pod runs", "patched", |pod| pod["status"]["phase"] == "Running");
    let patch = json!({"status": {"message": "Patched by e2e test", "reason": "E2E"}});
    let patched = pods.patch("patched/status", patch);
    assert_eq!(patched["status"]["message"], "Patched by e2e test");
    let seen = pods.get("patched");
    assert_eq!(
        (&seen["status"]["message"], &seen["status"]["reason"]),
        (&"Patched by e2e test".into(), &"E2E".into())
    );
    assert_eq!(seen["status"]["phase"], "Running");
}

/// Pods, lifecycle
#[test]
fn pods_lifecycle() {
    let server = Server::control_plane();
    let _node = Hollow::start(&server);
    let pods = pods(&server);
    let selector = "labelSelector=time%3D42";
    assert!(pods.names(selector).is_empty());
    let mut watch = pods.watch(&format!("{selector}&resourceVersion={}", pods.revision()));
    let mut unique = pod("unique");
    unique["metadata"]["labels"]["time"] = "42".into();
    pods.create(unique);
    assert_eq!(pods.names(selector), ["unique"]);
    watch.expect("ADDED", "unique");
    pods.until("the pod runs", "unique", |pod| pod["status"]["phase"] == "Running");
    let deleted = pods.delete("unique");
    assert!(deleted["metadata"]["deletionTimestamp"].is_string(), "{deleted}");
    assert_eq!(deleted["metadata"]["deletionGracePeriodSeconds"], 5);
    let last = watch.until("DELETED", "unique");
    assert!(last["metadata"]["deletionTimestamp"].is_string(), "{last}");
    assert!(pods.names(selector).is_empty());
}

/// Pods Generation, graceful delete
#[test]
fn pods_generation_graceful_delete() {
    let server = Server::alone().with_service_account();
    let pods = pods(&server);
    let mut bound = pod("bound");
    bound["spec"]["nodeName"] = "played".into();
    assert_eq!(pods.create(bound)["metadata"]["generation"], 1);
    pods.patch("bound/status", json!({"status": {"phase": "Running"}}));
    pods.delete("bound");
    let seen = pods.get("bound");
    assert!(seen["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(seen["metadata"]["generation"], 2);
}

fn taint(server: &Server, taints: Value) {
    server
        .at("v1", "nodes")
        .patch("hollow", json!({"spec": {"taints": taints}}));
}

fn tolerant(name: &str, seconds: u32) -> Value {
    let mut pod = pod(name);
    pod["spec"]["tolerations"] = json!([{"key": "e2e-evict", "operator": "Equal", "value": "yes", "effect": "NoExecute", "tolerationSeconds": seconds}]);
    pod
}

fn runs(server: &Server, pod: Value) {
    let name = pods(server).create(pod)["metadata"]["name"]
        .as_str()
        .expect("a name")
        .to_owned();
    pods(server).until("the pod runs", &name, |pod| pod["status"]["phase"] == "Running");
}

/// Pod Eviction, Toleration limits
#[test]
fn pod_eviction_toleration_limits() {
    let server = Server::control_plane();
    let _node = Hollow::start(&server);
    runs(&server, tolerant("soon", 1));
    runs(&server, tolerant("later", 600));
    taint(
        &server,
        json!([{"key": "e2e-evict", "value": "yes", "effect": "NoExecute"}]),
    );
    pods(&server).until_absent("soon");
    assert!(pods(&server).get("later")["metadata"]["deletionTimestamp"].is_null());
}

/// Taint, Pod Eviction on taint removal
#[test]
fn taint_pod_eviction_on_taint_removal() {
    let server = Server::control_plane();
    let _node = Hollow::start(&server);
    runs(&server, tolerant("stays", 3));
    taint(
        &server,
        json!([{"key": "e2e-evict", "value": "yes", "effect": "NoExecute"}]),
    );
    std::thread::sleep(std::time::Duration::from_secs(1));
    taint(&server, json!([]));
    std::thread::sleep(std::time::Duration::from_secs(4));
    assert!(pods(&server).get("stays")["metadata"]["deletionTimestamp"].is_null());
}
