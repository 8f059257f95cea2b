//! metrics.k8s.io, through the in-process client, over nodes that tell what a test wants them to.
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::Request;
use serde_json::{Value, json};
use timonel_apiserver::identity::UserInfo;
use timonel_apiserver::usage::NodeStats;
use timonel_apiserver::{ApiServer, Config, Deps};
use timonel_client::{Clock, SeededRng, TokioClock};
use timonel_store::MemoryStore;

const NODES: &str = "/apis/metrics.k8s.io/v1beta1/nodes";
const PODS: &str = "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods";

/// `node-1` uses a quarter of a core, its pod's two containers 100m and 50m; other nodes do not answer.
#[derive(Debug)]
struct Told {
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl NodeStats for Told {
    async fn resource_metrics(&self, node: &str) -> Result<String, String> {
        if node != "node-1" {
            std::future::pending::<()>().await;
        }
        let now = self.clock.now();
        let (seconds, millis) = (now.as_second() - 1_700_000_000, now.as_millisecond());
        let thousandths = |rate: i64| format!("{}.{:03}", seconds * rate / 1000, seconds * rate % 1000);
        let labels = |name: &str| format!(r#"{{container="{name}",namespace="default",pod="web"}}"#);
        let (main, side) = (labels("main"), labels("side"));
        Ok(format!(
            "node_cpu_usage_seconds_total {} {millis}\nnode_memory_working_set_bytes 104857600 {millis}\n\
             container_cpu_usage_seconds_total{main} {} {millis}\ncontainer_memory_working_set_bytes{main} 1048576 {millis}\n\
             container_cpu_usage_seconds_total{side} {} {millis}\ncontainer_memory_working_set_bytes{side} 1500 {millis}\n",
            thousandths(250),
            thousandths(100),
            thousandths(50)
        ))
    }
}

struct World {
    server: ApiServer,
    client: kube::Client,
}

async fn ask(
    client: &kube::Client,
    method: &str,
    path: &str,
    accept: &str,
    body: Option<Value>,
) -> Result<Value, kube::Error> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("accept", accept)
        .header("content-type", "application/json");
    let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
    client.request(request.body(body).unwrap()).await
}

impl World {
    async fn start() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap()));
        let deps = Deps {
            store: Arc::new(MemoryStore::new()),
            clock: clock.clone(),
            rng: Arc::new(SeededRng::new(1)),
        };
        let config = Config {
            node_stats: Some(Arc::new(Told { clock })),
            ..Config::default()
        };
        let server = ApiServer::start(config, deps).await.unwrap();
        let client = server.client(UserInfo::new("admin", &["system:masters"]), "tests");
        let world = Self { server, client };
        for node in ["node-1", "node-2", "node-3"] {
            let ready = if node == "node-3" { "False" } else { "True" };
            let status = json!({"conditions": [{"type": "Ready", "status": ready}]});
            let path = format!("/api/v1/nodes/{node}/status");
            let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node, "labels": {"zone": node}}, "status": status});
            world.create("/api/v1/nodes", node.clone()).await;
            // A status is not taken over when an object is made.
            ask(&world.client, "PUT", &path, "application/json", Some(node))
                .await
                .unwrap();
        }
        let account = json!({"metadata": {"name": "default"}});
        world
            .create("/api/v1/namespaces/default/serviceaccounts", account)
            .await;
        for pod in ["web", "new"] {
            let spec = json!({"nodeName": "node-1", "containers": [{"name": "main", "image": "i"}]});
            let pod = json!({"metadata": {"name": pod, "labels": {"app": pod}}, "spec": spec});
            world.create("/api/v1/namespaces/default/pods", pod).await;
        }
        world
    }

    async fn create(&self, path: &str, object: Value) {
        ask(&self.client, "POST", path, "application/json", Some(object))
            .await
            .unwrap();
    }

    async fn get(&self, path: &str) -> Value {
        ask(&self.client, "GET", path, "application/json", None).await.unwrap()
    }

    async fn refused(&self, path: &str) -> String {
        match ask(&self.client, "GET", path, "application/json", None).await {
            Err(kube::Error::Api(status)) => format!("{} {}", status.code, status.message),
            other => panic!("{other:?}"),
        }
    }
}

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| item["metadata"]["name"].as_str().unwrap())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn nodes_and_pods_are_measured_between_two_rounds() {
    let world = World::start().await;
    assert_eq!(
        names(&world.get(NODES).await),
        Vec::<&str>::new(),
        "nobody has been asked twice"
    );
    // A node that hangs is given up after ten seconds, so that a round takes longer than its period at worst.
    tokio::time::sleep(Duration::from_secs(60)).await;
    let nodes = world.get(NODES).await;
    assert_eq!(nodes["kind"], "NodeMetricsList");
    assert_eq!(nodes["apiVersion"], "metrics.k8s.io/v1beta1");
    assert_eq!(names(&nodes), ["node-1"], "who hangs or is not ready is not told of");
    let node = &nodes["items"][0];
    assert_eq!(node["usage"], json!({"cpu": "250m", "memory": "100Mi"}));
    assert_eq!(node["metadata"]["labels"]["zone"], "node-1");
    assert!(node["timestamp"].as_str().unwrap().ends_with('Z') && node["window"].as_str().unwrap().ends_with('s'));

    let pod = world.get(&format!("{PODS}/web")).await;
    assert_eq!(pod["kind"], "PodMetrics");
    let containers = json!([
        {"name": "main", "usage": {"cpu": "100m", "memory": "1Mi"}},
        {"name": "side", "usage": {"cpu": "50m", "memory": "1500"}},
    ]);
    assert_eq!(pod["containers"], containers);
    for (selector, found) in [
        ("", vec!["web"]),
        ("labelSelector=app%3Dweb", vec!["web"]),
        ("labelSelector=app%3Dnew", vec![]),
        ("fieldSelector=metadata.name%3Dweb", vec!["web"]),
        ("fieldSelector=metadata.name%3Dnew", vec![]),
    ] {
        assert_eq!(
            names(&world.get(&format!("{PODS}?{selector}")).await),
            found,
            "{selector}"
        );
    }
    assert_eq!(names(&world.get("/apis/metrics.k8s.io/v1beta1/pods").await), ["web"]);
    let elsewhere = "/apis/metrics.k8s.io/v1beta1/namespaces/kube-system/pods";
    assert_eq!(names(&world.get(elsewhere).await), Vec::<&str>::new());
}

#[tokio::test(start_paused = true)]
async fn what_is_not_measured_is_not_found_in_metrics_servers_words() {
    let world = World::start().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    for (path, words) in [
        (
            format!("{PODS}/new"),
            "404 podmetrics.metrics.k8s.io \"default/new\" not found",
        ),
        (format!("{PODS}/gone"), "404 pods \"gone\" not found"),
        (
            format!("{NODES}/node-2"),
            "404 nodemetrics.metrics.k8s.io \"node-2\" not found",
        ),
        (format!("{NODES}/gone"), "404 nodes \"gone\" not found"),
    ] {
        assert_eq!(world.refused(&path).await, words);
    }
    assert!(world.refused(&format!("{NODES}?watch=1")).await.starts_with("405 "));
    let written = ask(&world.client, "POST", PODS, "application/json", Some(json!({}))).await;
    assert!(matches!(written, Err(kube::Error::Api(status)) if status.code == 405));
}

#[tokio::test(start_paused = true)]
async fn tables_show_what_a_pod_uses_as_a_whole() {
    let world = World::start().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let pods = ask(&world.client, "GET", PODS, table, None).await.unwrap();
    let columns: Vec<&str> = pods["columnDefinitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| column["name"].as_str().unwrap())
        .collect();
    assert_eq!(columns, ["Name", "cpu", "memory", "Window"]);
    let cells = pods["rows"][0]["cells"].as_array().unwrap();
    // The sum is written in whole bytes: 1Mi and 1500.
    assert_eq!(cells[..3], [json!("web"), json!("150m"), json!("1050076")]);
}

#[tokio::test(start_paused = true)]
async fn the_group_is_discovered_and_open_to_who_may_view() {
    let world = World::start().await;
    let list = world.get("/apis/metrics.k8s.io/v1beta1").await;
    assert_eq!(
        list["resources"],
        json!([
            {"name": "nodes", "singularName": "", "namespaced": false, "kind": "NodeMetrics", "verbs": ["get", "list"]},
            {"name": "pods", "singularName": "", "namespaced": true, "kind": "PodMetrics", "verbs": ["get", "list"]},
        ])
    );
    let groups = world.get("/apis").await;
    let mut groups = groups["groups"].as_array().unwrap().iter();
    assert!(groups.any(|group| group["name"] == "metrics.k8s.io"));
    let viewer = world.server.client(UserInfo::new("viewer", &["viewers"]), "tests");
    let list = |path| ask(&viewer, "GET", path, "application/json", None);
    assert!(matches!(list(PODS).await, Err(kube::Error::Api(status)) if status.code == 403));
    let binding = json!({
        "metadata": {"name": "viewers"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "viewers"}],
    });
    world
        .create(
            "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings",
            binding,
        )
        .await;
    assert!(list(PODS).await.is_ok());
    assert!(list(NODES).await.is_err(), "nodes are in no namespace");
}
