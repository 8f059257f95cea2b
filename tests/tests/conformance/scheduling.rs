//! sig-scheduling: what the API decides, and where the scheduler puts pods. A node here is an object that nobody stands behind.

use serde_json::{Value, json};

use crate::hollow::{Hollow, node};
use crate::server::Server;

/// LimitRange, resources
#[test]
fn limitrange_resources() {
    let server = Server::alone().with_service_account();
    let ranges = server.at("v1", "limitranges").within("default");
    let pods = server.at("v1", "pods").within("default");
    let mut watch = ranges.watch(&format!("resourceVersion={}", ranges.revision()));
    let item = json!({
        "type": "Container",
        "min": {"cpu": "50m", "memory": "100Mi"}, "max": {"cpu": "500m", "memory": "500Mi"},
        "default": {"cpu": "500m", "memory": "500Mi"}, "defaultRequest": {"cpu": "100m", "memory": "200Mi"},
    });
    ranges.create(json!({"metadata": {"name": "limit-range"}, "spec": {"limits": [item]}}));
    let added = watch.expect("ADDED", "limit-range");
    assert_eq!(added["spec"]["limits"], json!([item]));
    assert_eq!(ranges.get("limit-range")["spec"]["limits"], json!([item]));

    let pod = |name: &str, resources: Value| json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i:1", "resources": resources}]}});
    let resources = |pod: &Value| pod["spec"]["containers"][0]["resources"].clone();
    let made = pods.create(pod("no-resources", json!({})));
    let defaults = json!({"limits": item["default"], "requests": item["defaultRequest"]});
    assert_eq!(resources(&made), defaults);
    let partial = json!({"requests": {"cpu": "150m"}, "limits": {"memory": "300Mi"}});
    let made = resources(&pods.create(pod("partial-resources", partial)));
    assert_eq!(made["requests"]["cpu"], "150m");
    assert_eq!(made["limits"], json!({"cpu": "500m", "memory": "300Mi"}));
    let refuse = |resources: Value| {
        pods.try_create(&pod("refused", resources)).refused(403, "Forbidden");
    };
    refuse(json!({"requests": {"cpu": "10m", "memory": "50Mi"}}));
    refuse(json!({"limits": {"cpu": "600m", "memory": "600Mi"}}));

    ranges.edit("limit-range", |range| {
        range["spec"]["limits"][0]["min"] = json!({"cpu": "9m", "memory": "49Mi"});
    });
    assert_eq!(
        ranges.get("limit-range")["spec"]["limits"][0]["min"],
        json!({"cpu": "9m", "memory": "49Mi"})
    );
    pods.create(pod(
        "now-allowed",
        json!({"requests": {"cpu": "10m", "memory": "50Mi"}}),
    ));
    refuse(json!({"limits": {"cpu": "600m", "memory": "600Mi"}}));
    ranges.delete("limit-range");
    ranges.absent("limit-range");
    pods.create(pod("unlimited", json!({"limits": {"cpu": "600m", "memory": "600Mi"}})));
}

/// LimitRange, list, patch and delete a LimitRange by collection
#[test]
fn limitrange_list_patch_and_delete_a_limitrange_by_collection() {
    let server = Server::alone();
    server.namespace("other");
    let everywhere = server.at("v1", "limitranges");
    let range = json!({"metadata": {"name": "e2e", "labels": {"e2e": "created"}},
        "spec": {"limits": [{"type": "Container", "default": {"cpu": "500m"}, "defaultRequest": {"cpu": "100m"}, "max": {"cpu": "500m"}}]}});
    let [first, second] = ["default", "other"].map(|namespace| everywhere.within(namespace));
    first.create(range.clone());
    second.create(range);
    assert_eq!(everywhere.items("labelSelector=e2e%3Dcreated").len(), 2);
    let patch = json!({"metadata": {"labels": {"e2e": "patched"}},
        "spec": {"limits": [{"type": "Container", "default": {"cpu": "400m"}, "defaultRequest": {"cpu": "50m"}, "max": {"cpu": "500m"}}]}});
    first.strategic("e2e", &patch);
    let seen = first.get("e2e");
    assert_eq!(seen["metadata"]["labels"]["e2e"], "patched");
    assert_eq!(seen["spec"]["limits"][0]["default"]["cpu"], "400m");
    assert_eq!(seen["spec"]["limits"][0]["defaultRequest"]["cpu"], "50m");
    first.delete_collection("labelSelector=e2e%3Dpatched");
    first.absent("e2e");
    assert!(second.has("e2e"));
}

/// Scheduler, Verify PriorityClass endpoints
#[test]
fn scheduler_verify_priorityclass_endpoints() {
    let server = Server::alone();
    let classes = server.at("scheduling.k8s.io/v1", "priorityclasses");
    for (name, value) in [("p1", 1), ("p2", 2)] {
        classes.create(json!({"metadata": {"name": name}, "value": value}));
    }
    let names = classes.names("");
    assert!(
        ["p1", "p2"].iter().all(|name| names.iter().any(|found| found == name)),
        "{names:?}"
    );
    classes.patch(
        "p1",
        json!({"description": "patched", "metadata": {"labels": {"a": "b"}}}),
    );
    assert_eq!(classes.get("p1")["description"], "patched");
    classes.edit("p1", |class| class["description"] = "updated".into());
    assert_eq!(classes.get("p1")["description"], "updated");
    for fixed in [json!({"value": 7}), json!({"preemptionPolicy": "Never"})] {
        classes.try_patch("p1", &fixed).refused(422, "Invalid");
    }
    let mut class = classes.get("p1");
    class["value"] = 7.into();
    classes.try_update(&class).refused(422, "Invalid");
    assert_eq!(classes.get("p1")["value"], 1);
}

fn pod(name: &str, spec: Value) -> Value {
    let mut pod = json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}});
    for (key, value) in spec.as_object().expect("fields") {
        pod["spec"][key] = value.clone();
    }
    pod
}

/// Whether the scheduler has said that it finds no place.
fn unschedulable(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions
        .iter()
        .any(|c| c["type"] == "PodScheduled" && c["status"] == "False" && c["reason"] == "Unschedulable")
}

/// Scheduler, node selector matching
#[test]
fn scheduler_node_selector_matching() {
    let server = Server::control_plane();
    node(&server, "plain", &json!({}), 4);
    node(&server, "chosen", &json!({}), 4);
    server
        .at("v1", "nodes")
        .patch("chosen", json!({"metadata": {"labels": {"e2e": "42"}}}));
    let pods = server.at("v1", "pods").within("default");
    for name in ["one", "two", "three"] {
        pods.create(pod(name, json!({"nodeSelector": {"e2e": "42"}})));
        let seen = pods.until("the pod has a place", name, |pod| pod["spec"]["nodeName"].is_string());
        assert_eq!(seen["spec"]["nodeName"], "chosen");
    }
}

/// Scheduler, node selector not matching
#[test]
fn scheduler_node_selector_not_matching() {
    let server = Server::control_plane();
    node(&server, "plain", &json!({}), 4);
    let pods = server.at("v1", "pods").within("default");
    pods.create(pod("restricted", json!({"nodeSelector": {"label": "nonempty"}})));
    let seen = pods.until("the scheduler says why not", "restricted", unschedulable);
    assert!(seen["spec"]["nodeName"].is_null());
}

/// Scheduler, resource limits
#[test]
fn scheduler_resource_limits() {
    let server = Server::control_plane();
    node(&server, "small", &json!({}), 4);
    let pods = server.at("v1", "pods").within("default");
    let asking = |cpu: &str| json!({"containers": [{"name": "c", "image": "i:1", "resources": {"requests": {"cpu": cpu}, "limits": {"cpu": cpu}}}]});
    pods.create(pod("filler", asking("3")));
    pods.until("the pod has a place", "filler", |pod| {
        pod["spec"]["nodeName"] == "small"
    });
    pods.create(pod("additional", asking("2")));
    let seen = pods.until("the scheduler says why not", "additional", unschedulable);
    assert!(seen["spec"]["nodeName"].is_null());
    assert!(seen.to_string().contains("Insufficient cpu"), "{seen}");
}

/// Scheduling, HostPort and Protocol match, HostIPs different but one is default HostIP (0.0.0.0)
#[test]
fn scheduling_hostport_and_protocol_match_hostips_different_but_one_is_default_hostip() {
    let server = Server::control_plane();
    node(&server, "only", &json!({}), 4);
    let pods = server.at("v1", "pods").within("default");
    let with_port = |ip: &str| {
        json!({"containers": [{"name": "c", "image": "i:1",
            "ports": [{"containerPort": 8080, "hostPort": 54322, "protocol": "TCP", "hostIP": ip}]}]})
    };
    pods.create(pod("everywhere", with_port("")));
    pods.until("the pod has a place", "everywhere", |pod| {
        pod["spec"]["nodeName"] == "only"
    });
    pods.create(pod("somewhere", with_port("127.0.0.1")));
    let seen = pods.until("the scheduler says why not", "somewhere", unschedulable);
    assert!(seen["spec"]["nodeName"].is_null());
}

/// A pod that takes three of the node's four CPUs.
fn large(name: &str, class: &str) -> Value {
    pod(
        name,
        json!({"priorityClassName": class,
        "containers": [{"name": "c", "image": "i:1", "resources": {"requests": {"cpu": "3"}}}]}),
    )
}

/// Fills a node with a pod of low priority, asks for a pod of high priority, plays the node's part in the victim's end, and returns
/// what the victim looked like.
fn preempts(namespace: &str, class: &str) -> Value {
    let server = Server::control_plane();
    node(&server, "only", &json!({}), 4);
    let classes = server.at("scheduling.k8s.io/v1", "priorityclasses");
    classes.create(json!({"metadata": {"name": "low"}, "value": 1}));
    classes.create(json!({"metadata": {"name": "high"}, "value": 1000}));
    let pods = server.at("v1", "pods").within("default");
    let mut victim = large("victim", "low");
    victim["metadata"]["finalizers"] = json!(["e2e.example.com/finalizer"]);
    pods.create(victim);
    pods.until("the victim has a place", "victim", |pod| {
        pod["spec"]["nodeName"] == "only"
    });
    let winners = server.at("v1", "pods").within(namespace);
    let accounts = server.at("v1", "serviceaccounts").within(namespace);
    crate::client::eventually("the service account", || {
        if accounts.has("default") {
            Ok(())
        } else {
            Err(String::new())
        }
    });
    winners.create(large("winner", class));
    let seen = pods.until("the victim is to go", "victim", |pod| {
        pod["metadata"]["deletionTimestamp"].is_string()
    });
    // The kubelet would say that nothing runs any more.
    pods.delete_with("victim", &json!({"gracePeriodSeconds": 0}));
    pods.patch("victim", json!({"metadata": {"finalizers": null}}));
    pods.until_absent("victim");
    winners.until("the winner has the place", "winner", |pod| {
        pod["spec"]["nodeName"] == "only"
    });
    seen
}

/// Scheduler, Basic Preemption
#[test]
fn scheduler_basic_preemption() {
    preempts("default", "high");
}

/// Scheduler, Preemption for critical pod
#[test]
fn scheduler_preemption_for_critical_pod() {
    preempts("kube-system", "system-cluster-critical");
}

/// Verify the DisruptionTarget condition is added to the preempted pod
#[test]
fn verify_the_disruptiontarget_condition_is_added_to_the_preempted_pod() {
    let victim = preempts("default", "high");
    let conditions = victim["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let target = conditions
        .iter()
        .find(|c| c["type"] == "DisruptionTarget")
        .expect("the condition");
    assert_eq!(target["status"], "True");
    assert_eq!(target["reason"], "PreemptionByScheduler");
}

/// Pod preemption verification
#[test]
fn pod_preemption_verification() {
    let server = Server::control_plane();
    let _kubelet = Hollow::start(&server);
    let fake = "example.com/fakecpu";
    let amounts = json!({fake: "1000"});
    server.at("v1", "nodes").patch(
        "hollow/status",
        json!({"status": {"capacity": amounts, "allocatable": amounts}}),
    );
    let classes = server.at("scheduling.k8s.io/v1", "priorityclasses");
    for value in 1..=4 {
        classes.create(json!({"metadata": {"name": format!("p{value}")}, "value": value}));
    }
    let spec = |class: &str, amount: &str| {
        let resources = json!({"requests": {fake: amount}, "limits": {fake: amount}});
        json!({"priorityClassName": class, "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "c", "image": "i:1", "resources": resources}]})
    };
    let pods = server.at("v1", "pods").within("default");
    let sets = server.at("apps/v1", "replicasets").within("default");
    let seen = pods.revision();
    for (name, class, amount) in [("pod1", "p1", "200"), ("pod2", "p2", "300"), ("pod3", "p3", "450")] {
        let labels = json!({"name": name});
        sets.create(json!({"metadata": {"name": format!("rs-{name}")}, "spec": {
            "replicas": 1, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec(class, amount)},
        }}));
        sets.until("its pod is available", &format!("rs-{name}"), |set| {
            set["status"]["availableReplicas"] == 1
        });
    }
    pods.create(json!({"metadata": {"name": "pod4"}, "spec": spec("p4", "500")}));
    pods.until("it has a place", "pod4", |pod| pod["spec"]["nodeName"] == "hollow");

    // Every pod that the sets ever made: those of the two less important ones are preempted once, and their successors wait.
    let waits = |pod: &Value| {
        let conditions = pod["status"]["conditions"].as_array();
        conditions
            .into_iter()
            .flatten()
            .any(|condition| condition["reason"] == "Unschedulable")
    };
    crate::client::eventually("the successors wait", || {
        let waiting: Vec<Value> = pods.items("").into_iter().filter(waits).collect();
        match waiting.len() {
            2 => Ok(()),
            _ => Err(format!("{waiting:?}")),
        }
    });
    // The catalogue's own test looks for so long whether the state is stable.
    std::thread::sleep(std::time::Duration::from_secs(5));
    let mut watch = pods.watch(&format!("resourceVersion={seen}"));
    pods.create(json!({"metadata": {"name": "last"}, "spec": spec("p1", "1000")}));
    let mut made = std::collections::BTreeMap::from([("pod1", 0), ("pod2", 0), ("pod3", 0)]);
    loop {
        let event = watch.next();
        if event.name() == "last" {
            break;
        }
        let set = event.object["metadata"]["labels"]["name"].as_str().unwrap_or_default();
        if let Some(count) = made.get_mut(set)
            && event.kind == "ADDED"
        {
            *count += 1;
        }
    }
    assert_eq!(
        made.into_iter().collect::<Vec<_>>(),
        [("pod1", 2), ("pod2", 2), ("pod3", 1)]
    );
}
