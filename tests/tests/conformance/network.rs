//! sig-network: the API's part, and what the endpoints controllers make of pods. No node runs the pods; the test says where they run.

use serde_json::{Value, json};

use crate::client::{Resource, eventually};
use crate::kind::Kind;
use crate::server::Server;

const NETWORKING: &str = "networking.k8s.io";

/// Kubernetes Service
#[test]
fn kubernetes_service() {
    let server = Server::alone();
    let service = server.at("v1", "services").within("default").get("kubernetes");
    assert!(
        service["spec"]["clusterIP"]
            .as_str()
            .is_some_and(|ip| ip.parse::<std::net::IpAddr>().is_ok()),
        "{service}"
    );
}

/// Find Kubernetes Service in default Namespace
#[test]
fn find_kubernetes_service_in_default_namespace() {
    let server = Server::alone();
    let services = server.at("v1", "services").items("");
    let found = services
        .iter()
        .find(|service| service["metadata"]["name"] == "kubernetes")
        .expect("the service");
    assert_eq!(found["metadata"]["namespace"], "default");
}

/// kubernetes.default Endpoints and EndpointSlices
#[test]
fn kubernetes_default_endpoints_and_endpointslices() {
    let server = Server::advertised("192.0.2.7");
    let service = server.at("v1", "services").within("default").get("kubernetes");
    let endpoints = server.at("v1", "endpoints").within("default").get("kubernetes");
    let subset = &endpoints["subsets"][0];
    assert_eq!(subset["addresses"], json!([{"ip": "192.0.2.7"}]), "{endpoints}");
    assert_eq!(subset["ports"][0]["name"], service["spec"]["ports"][0]["name"]);
    let port = subset["ports"][0]["port"].as_u64().expect("a port");
    assert_eq!(service["spec"]["ports"][0]["targetPort"], port);
    let slices = server
        .at("discovery.k8s.io/v1", "endpointslices")
        .within("default")
        .items("labelSelector=kubernetes.io%2Fservice-name%3Dkubernetes");
    assert_eq!(slices.len(), 1, "{slices:?}");
    assert_eq!(slices[0]["endpoints"][0]["addresses"][0], subset["addresses"][0]["ip"]);
    assert_eq!(slices[0]["ports"][0]["port"], port);
    assert_eq!(slices[0]["addressType"], "IPv4");
}

/// EndpointSlice API
#[test]
fn endpointslice_api() {
    Kind {
        group: "discovery.k8s.io",
        plural: "endpointslices",
        kind: "EndpointSlice",
        namespaced: true,
        object: |_| {
            json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.1.2.3"], "conditions": {"ready": true}}],
                "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]})
        },
        ..Kind::default()
    }
    .conforms();
}

fn load_balancer(ip: &str) -> Value {
    json!({"loadBalancer": {"ingress": [{"ip": ip}]}})
}

/// Ingress API
#[test]
fn ingress_api() {
    Kind {
        group: NETWORKING,
        plural: "ingresses",
        kind: "Ingress",
        namespaced: true,
        object: |_| json!({"spec": {"defaultBackend": {"service": {"name": "default-backend", "port": {"number": 80}}}}}),
        status: Some([load_balancer("169.1.1.1"), load_balancer("169.1.1.2")]),
        ..Kind::default()
    }
    .conforms();
}

/// IngressClass API
#[test]
fn ingressclass_api() {
    Kind {
        group: NETWORKING,
        plural: "ingressclasses",
        kind: "IngressClass",
        object: |_| json!({"spec": {"controller": "example.com/controller"}}),
        ..Kind::default()
    }
    .conforms();
}

/// IPAddress API
#[test]
fn ipaddress_api() {
    Kind {
        group: NETWORKING,
        plural: "ipaddresses",
        kind: "IPAddress",
        names: ["192.168.100.1", "192.168.100.2", "192.168.100.3"],
        object: |_| json!({"spec": {"parentRef": {"group": "", "resource": "services", "name": "svc", "namespace": "default"}}}),
        ..Kind::default()
    }
    .conforms();
}

/// ServiceCIDR API
#[test]
fn servicecidr_api() {
    let condition = |message: &str| {
        json!({"conditions": [{"type": "Ready", "status": "True", "reason": "E2E", "message": message,
            "lastTransitionTime": "2026-01-02T03:04:05Z"}]})
    };
    Kind {
        group: NETWORKING,
        plural: "servicecidrs",
        kind: "ServiceCIDR",
        object: |name| {
            let third = name.len();
            json!({"spec": {"cidrs": [format!("10.200.{third}.0/24")]}})
        },
        status: Some([condition("patched"), condition("updated")]),
        finalized: true,
        ..Kind::default()
    }
    .conforms();
}

/// Endpoint resource lifecycle
#[test]
fn endpoint_resource_lifecycle() {
    let server = Server::alone();
    let everywhere = server.at("v1", "endpoints");
    let endpoints = everywhere.within("default");
    let selector = "labelSelector=test-endpoint-static%3Dtrue";
    let subset = |ip: &str, port: u16| json!([{"addresses": [{"ip": ip}], "ports": [{"name": "http", "port": port, "protocol": "TCP"}]}]);
    let mut watch = endpoints.watch(&format!("{selector}&resourceVersion={}", endpoints.revision()));
    endpoints.create(json!({"metadata": {"name": "testservice", "labels": {"test-endpoint-static": "true"}}, "subsets": subset("10.0.0.24", 80)}));
    watch.expect("ADDED", "testservice");
    assert_eq!(everywhere.names(selector), ["testservice"]);
    endpoints.edit("testservice", |object| {
        object["metadata"]["labels"]["test-service"] = "updated".into()
    });
    watch.expect("MODIFIED", "testservice");
    assert_eq!(
        endpoints.get("testservice")["metadata"]["labels"]["test-service"],
        "updated"
    );
    endpoints.strategic("testservice", &json!({"subsets": subset("10.0.0.25", 8080)}));
    watch.expect("MODIFIED", "testservice");
    let seen = endpoints.get("testservice");
    assert_eq!(seen["subsets"][0]["addresses"][0]["ip"], "10.0.0.25");
    assert_eq!(seen["subsets"][0]["ports"][0]["port"], 8080);
    endpoints.delete_collection(selector);
    watch.expect("DELETED", "testservice");
    assert!(everywhere.names(selector).is_empty());
}

fn service(name: &str, labels: &Value, selector: &Value) -> Value {
    json!({"metadata": {"name": name, "labels": labels},
        "spec": {"selector": selector, "ports": [{"name": "http", "port": 80, "targetPort": 80}]}})
}

/// Service, complete ServiceStatus lifecycle
#[test]
fn service_complete_servicestatus_lifecycle() {
    let server = Server::alone();
    let services = server.at("v1", "services").within("default");
    let mut made = service("test-service", &json!({"test-service-static": "true"}), &json!({}));
    made["spec"]["type"] = "LoadBalancer".into();
    made["spec"]["loadBalancerClass"] = "example.com/internal-vip".into();
    services.create(made);
    assert!(services.has("test-service"));
    assert_eq!(
        services.get("test-service/status")["status"],
        json!({"loadBalancer": {}})
    );
    let patch = json!({"metadata": {"annotations": {"patchedstatus": "true"}}, "status": load_balancer("203.0.113.1")});
    services.patch("test-service/status", patch);
    let seen = services.get("test-service");
    assert_eq!(seen["status"]["loadBalancer"]["ingress"][0]["ip"], "203.0.113.1");
    let condition = json!({"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test",
        "lastTransitionTime": "2026-01-02T03:04:05Z"});
    services.edit("test-service/status", |object| {
        object["status"]["conditions"] = json!([condition])
    });
    let seen = services.get("test-service");
    assert_eq!(seen["status"]["conditions"], json!([condition]));
    assert_eq!(seen["status"]["loadBalancer"]["ingress"][0]["ip"], "203.0.113.1");
    services.strategic(
        "test-service",
        &json!({"metadata": {"labels": {"test-service": "patched"}}}),
    );
    assert_eq!(
        services.get("test-service")["metadata"]["labels"]["test-service"],
        "patched"
    );
}

/// Service, deletes a collection of services
#[test]
fn service_deletes_a_collection_of_services() {
    let server = Server::alone();
    server.namespace("services");
    let services = server.at("v1", "services").within("services");
    for (name, color) in [("e2e-a", "blue"), ("e2e-b", "blue"), ("e2e-c", "red")] {
        services.create(service(name, &json!({"color": color}), &json!({})));
    }
    assert_eq!(services.names(""), ["e2e-a", "e2e-b", "e2e-c"]);
    services.delete_collection("labelSelector=color%3Dblue");
    assert_eq!(services.names(""), ["e2e-c"]);
}

fn slices_of(server: &Server, service: &str) -> Vec<Value> {
    server
        .at("discovery.k8s.io/v1", "endpointslices")
        .within("default")
        .items(&format!("labelSelector=kubernetes.io%2Fservice-name%3D{service}"))
}

/// EndpointSlice, "empty" Service
#[test]
fn endpointslice_empty_service() {
    let server = Server::control_plane();
    let services = server.at("v1", "services").within("default");
    services.create(service(
        "empty",
        &json!({}),
        &json!({"does-not-match-anything": "true"}),
    ));
    let slice = eventually("a slice", || slices_of(&server, "empty").pop().ok_or_else(String::new));
    assert!(slice["endpoints"].as_array().is_none_or(Vec::is_empty), "{slice}");
    assert_eq!(
        slice["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"],
        "endpointslice-controller.k8s.io"
    );
    assert_eq!(slice["metadata"]["ownerReferences"][0]["name"], "empty");
    services.delete("empty");
    eventually("no slice", || match slices_of(&server, "empty").len() {
        0 => Ok(()),
        left => Err(left.to_string()),
    });
}

/// Endpoints, "empty" Service
#[test]
fn endpoints_empty_service() {
    let server = Server::control_plane();
    let services = server.at("v1", "services").within("default");
    let endpoints = server.at("v1", "endpoints").within("default");
    services.create(service(
        "empty",
        &json!({}),
        &json!({"does-not-match-anything": "true"}),
    ));
    eventually("endpoints", || {
        if endpoints.has("empty") {
            Ok(())
        } else {
            Err(String::new())
        }
    });
    let made = endpoints.get("empty");
    assert!(made["subsets"].as_array().is_none_or(Vec::is_empty), "{made}");
    services.delete("empty");
    endpoints.until_absent("empty");
}

/// A pod of which its status says that it runs, and where.
fn running(pods: &Resource, name: &str, label: &str, ip: &str, ports: &Value) {
    pods.create(json!({
        "metadata": {"name": name, "labels": {"app": label}},
        "spec": {"nodeName": "played", "containers": [{"name": "c", "image": "i:1", "ports": ports}]},
    }));
    pods.patch(
        &format!("{name}/status"),
        json!({"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
            "conditions": [{"type": "Ready", "status": "True"}, {"type": "ContainersReady", "status": "True"}]}}),
    );
}

/// Address and port of each endpoint that a service has, in order.
fn endpoints_of(server: &Server, name: &str) -> Vec<(String, u64)> {
    let object = server.at("v1", "endpoints").within("default").get(name);
    let mut found = Vec::new();
    for subset in object["subsets"].as_array().into_iter().flatten() {
        for address in subset["addresses"].as_array().into_iter().flatten() {
            for port in subset["ports"].as_array().into_iter().flatten() {
                found.push((
                    address["ip"].as_str().expect("an address").to_owned(),
                    port["port"].as_u64().expect("a port"),
                ));
            }
        }
    }
    found.sort();
    found
}

/// The same of its slices.
fn sliced(server: &Server, name: &str) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    for slice in slices_of(server, name) {
        for endpoint in slice["endpoints"].as_array().into_iter().flatten() {
            for port in slice["ports"].as_array().into_iter().flatten() {
                let address = endpoint["addresses"][0].as_str().expect("an address").to_owned();
                found.push((address, port["port"].as_u64().expect("a port")));
            }
        }
    }
    found.sort();
    found
}

#[track_caller]
fn settles(what: &str, mut look: impl FnMut() -> Vec<(String, u64)>, expected: &[(&str, u64)]) {
    let expected: Vec<(String, u64)> = expected.iter().map(|(ip, port)| ((*ip).to_owned(), *port)).collect();
    eventually(what, || {
        let found = look();
        if found == expected {
            Ok(())
        } else {
            Err(format!("{found:?} instead of {expected:?}"))
        }
    });
}

fn follows_pods(look: fn(&Server, &str) -> Vec<(String, u64)>) {
    let server = Server::control_plane();
    let pods = server.at("v1", "pods").within("default");
    let services = server.at("v1", "services").within("default");
    // One service whose target is a number, and one whose target is a name that each pod gives another number.
    for (name, target) in [("by-number", json!(3000)), ("by-name", json!("web"))] {
        let mut made = service(name, &json!({}), &json!({"app": "web"}));
        made["spec"]["ports"][0]["targetPort"] = target;
        services.create(made);
    }
    running(
        &pods,
        "pod1",
        "web",
        "10.244.9.1",
        &json!([{"name": "web", "containerPort": 3000}]),
    );
    running(
        &pods,
        "pod2",
        "web",
        "10.244.9.2",
        &json!([{"name": "web", "containerPort": 3001}]),
    );
    running(
        &pods,
        "other",
        "else",
        "10.244.9.3",
        &json!([{"name": "web", "containerPort": 3000}]),
    );
    settles(
        "both pods",
        || look(&server, "by-number"),
        &[("10.244.9.1", 3000), ("10.244.9.2", 3000)],
    );
    settles(
        "both ports",
        || look(&server, "by-name"),
        &[("10.244.9.1", 3000), ("10.244.9.2", 3001)],
    );
    pods.delete_with("pod1", &json!({"gracePeriodSeconds": 0}));
    settles(
        "the pod that is left",
        || look(&server, "by-number"),
        &[("10.244.9.2", 3000)],
    );
    for name in ["by-number", "by-name"] {
        services.delete(name);
        eventually("nothing is left", || {
            let left =
                slices_of(&server, name).len() + usize::from(server.at("v1", "endpoints").within("default").has(name));
            if left == 0 { Ok(()) } else { Err(left.to_string()) }
        });
    }
}

/// EndpointSlice, creation/deletion
#[test]
fn endpointslice_creation_deletion() {
    follows_pods(sliced);
}

/// Endpoints, creation/deletion
#[test]
fn endpoints_creation_deletion() {
    follows_pods(endpoints_of);
}

/// Scheduling, HostPort matching and HostIP and Protocol not-matching
#[test]
fn scheduling_hostport_matching_and_hostip_and_protocol_not_matching() {
    let server = Server::control_plane();
    crate::hollow::node(&server, "only", &json!({}), 4);
    let pods = server.at("v1", "pods").within("default");
    let ports = [
        ("pod1", "127.0.0.1", "TCP"),
        ("pod2", "127.0.0.2", "TCP"),
        ("pod3", "127.0.0.2", "UDP"),
    ];
    for (name, ip, protocol) in ports {
        pods.create(
            json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i:1",
            "ports": [{"containerPort": 8080, "hostPort": 54323, "hostIP": ip, "protocol": protocol}]}]}}),
        );
        pods.until("the pod has a place", name, |pod| pod["spec"]["nodeName"] == "only");
    }
}

/// Service, endpoints
#[test]
fn service_endpoints() {
    let server = Server::control_plane();
    let pods = server.at("v1", "pods").within("default");
    server
        .at("v1", "services")
        .within("default")
        .create(service("web", &json!({}), &json!({"app": "web"})));
    eventually("endpoints", || {
        if server.at("v1", "endpoints").within("default").has("web") {
            Ok(())
        } else {
            Err(String::new())
        }
    });
    let steps = |expected: &[(&str, u64)]| {
        settles("the endpoints", || endpoints_of(&server, "web"), expected);
        settles("the slices", || sliced(&server, "web"), expected);
    };
    steps(&[]);
    running(&pods, "pod1", "web", "10.244.9.1", &json!([{"containerPort": 80}]));
    steps(&[("10.244.9.1", 80)]);
    running(&pods, "pod2", "web", "10.244.9.2", &json!([{"containerPort": 80}]));
    steps(&[("10.244.9.1", 80), ("10.244.9.2", 80)]);
    pods.delete_with("pod2", &json!({"gracePeriodSeconds": 0}));
    steps(&[("10.244.9.1", 80)]);
    pods.delete_with("pod1", &json!({"gracePeriodSeconds": 0}));
    steps(&[]);
}

/// Service, endpoints with multiple ports
#[test]
fn service_endpoints_with_multiple_ports() {
    let server = Server::control_plane();
    let pods = server.at("v1", "pods").within("default");
    let mut made = service("multi", &json!({}), &json!({"app": "multi"}));
    made["spec"]["ports"] = json!([
        {"name": "portname1", "port": 80, "targetPort": "svc1"}, {"name": "portname2", "port": 81, "targetPort": "svc2"},
    ]);
    server.at("v1", "services").within("default").create(made);
    eventually("endpoints", || {
        if server.at("v1", "endpoints").within("default").has("multi") {
            Ok(())
        } else {
            Err(String::new())
        }
    });
    let steps = |expected: &[(&str, u64)]| {
        settles("the endpoints", || endpoints_of(&server, "multi"), expected);
        settles("the slices", || sliced(&server, "multi"), expected);
    };
    steps(&[]);
    running(
        &pods,
        "pod1",
        "multi",
        "10.244.9.1",
        &json!([{"name": "svc1", "containerPort": 100}]),
    );
    steps(&[("10.244.9.1", 100)]);
    running(
        &pods,
        "pod2",
        "multi",
        "10.244.9.2",
        &json!([{"name": "svc2", "containerPort": 101}]),
    );
    steps(&[("10.244.9.1", 100), ("10.244.9.2", 101)]);
    pods.delete_with("pod1", &json!({"gracePeriodSeconds": 0}));
    steps(&[("10.244.9.2", 101)]);
    pods.delete_with("pod2", &json!({"gracePeriodSeconds": 0}));
    steps(&[]);
}
