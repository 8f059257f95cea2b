//! The API server through the in-process client: what every component relies on.
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Service};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use serde_json::json;
use timonel_apiserver::identity::UserInfo;
use timonel_apiserver::{ApiServer, Config, Deps};
use timonel_client::{SeededRng, TokioClock};
use timonel_store::MemoryStore;

async fn server() -> (ApiServer, kube::Client) {
    server_on(Arc::new(MemoryStore::new())).await
}

async fn server_on(store: Arc<MemoryStore>) -> (ApiServer, kube::Client) {
    let deps = Deps {
        store,
        clock: Arc::new(TokioClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap())),
        rng: Arc::new(SeededRng::new(1)),
    };
    let server = ApiServer::start(Config::default(), deps).await.unwrap();
    let client = server.client(UserInfo::new("admin", &["system:masters"]), "tests");
    (server, client)
}

fn config_map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name, "labels": {"app": "a"}}, "data": {"k": "v"}})).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_object_lives_from_create_to_delete() {
    let (server, client) = server().await;
    assert!(server.ready());
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let created = maps.create(&PostParams::default(), &config_map("one")).await.unwrap();
    assert!(created.metadata.uid.is_some() && created.metadata.resource_version.is_some());
    let again = maps
        .create(&PostParams::default(), &config_map("one"))
        .await
        .unwrap_err();
    assert!(
        again.to_string().contains("configmaps \"one\" already exists"),
        "{again}"
    );

    let mut changed = maps.get("one").await.unwrap();
    changed.data.as_mut().unwrap().insert("k".into(), "w".into());
    let replaced = maps.replace("one", &PostParams::default(), &changed).await.unwrap();
    assert_ne!(replaced.metadata.resource_version, created.metadata.resource_version);
    let stale = maps.replace("one", &PostParams::default(), &changed).await.unwrap_err();
    assert!(stale.to_string().contains("the object has been modified"), "{stale}");
    let same = maps.replace("one", &PostParams::default(), &replaced).await.unwrap();
    assert_eq!(same.metadata.resource_version, replaced.metadata.resource_version);

    let patch = Patch::Merge(json!({"data": {"k": null, "n": "1"}}));
    let patched = maps.patch("one", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(
        patched.data.unwrap().into_iter().collect::<Vec<_>>(),
        [("n".to_owned(), "1".to_owned())]
    );

    assert_eq!(
        maps.list(&ListParams::default().labels("app=a"))
            .await
            .unwrap()
            .items
            .len(),
        1
    );
    assert_eq!(
        maps.list(&ListParams::default().labels("app=b"))
            .await
            .unwrap()
            .items
            .len(),
        0
    );
    maps.delete("one", &DeleteParams::default()).await.unwrap();
    assert!(maps.get_opt("one").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn watches_tell_what_enters_and_leaves_a_selector() {
    let (_server, client) = server().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let watch = maps.watch(&WatchParams::default().labels("app=a"), "0").await.unwrap();
    let mut watch = watch.boxed();
    maps.create(&PostParams::default(), &config_map("one")).await.unwrap();
    let leave = Patch::Merge(json!({"metadata": {"labels": {"app": "b"}}}));
    maps.patch("one", &PatchParams::default(), &leave).await.unwrap();
    let enter = Patch::Merge(json!({"metadata": {"labels": {"app": "a"}}}));
    maps.patch("one", &PatchParams::default(), &enter).await.unwrap();
    maps.delete("one", &DeleteParams::default()).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 4 {
        match watch.try_next().await.unwrap().unwrap() {
            WatchEvent::Added(map) => seen.push(("added", map)),
            WatchEvent::Deleted(map) => seen.push(("deleted", map)),
            other => panic!("{other:?}"),
        }
    }
    let kinds: Vec<&str> = seen.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, ["added", "deleted", "added", "deleted"]);
    let versions: Vec<u64> = seen
        .iter()
        .map(|(_, map)| map.metadata.resource_version.as_ref().unwrap().parse().unwrap())
        .collect();
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
}

#[tokio::test(start_paused = true)]
async fn chunked_lists_show_one_state() {
    let (_server, client) = server().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    for at in 0..7 {
        maps.create(&PostParams::default(), &config_map(&format!("m{at}")))
            .await
            .unwrap();
    }
    let first = maps.list(&ListParams::default().limit(3)).await.unwrap();
    assert_eq!(first.metadata.remaining_item_count, Some(4));
    maps.delete("m4", &DeleteParams::default()).await.unwrap();
    let token = first.metadata.continue_.unwrap();
    let second = maps
        .list(&ListParams::default().limit(10).continue_token(&token))
        .await
        .unwrap();
    let names: Vec<String> = second.items.into_iter().filter_map(|map| map.metadata.name).collect();
    assert_eq!(names, ["m3", "m4", "m5", "m6"]);
    assert_eq!(second.metadata.resource_version, first.metadata.resource_version);
}

#[tokio::test(start_paused = true)]
async fn deployments_are_defaulted_validated_and_counted() {
    let (_server, client) = server().await;
    let deployments: Api<Deployment> = Api::default_namespaced(client);
    let mut web: Deployment = serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": "busybox"}]},
            },
        },
        "status": {"replicas": 5},
    }))
    .unwrap();
    let created = deployments.create(&PostParams::default(), &web).await.unwrap();
    assert_eq!(created.metadata.generation, Some(1));
    assert_eq!(created.spec.as_ref().unwrap().replicas, Some(1));
    assert_eq!(created.status.unwrap_or_default().replicas, None);
    let scale = Patch::Strategic(json!({"spec": {"replicas": 3}}));
    let scaled = deployments.patch("web", &PatchParams::default(), &scale).await.unwrap();
    assert_eq!(scaled.metadata.generation, Some(2));
    let status = json!({"status": {"replicas": 3}, "spec": {"replicas": 9}});
    let observed = deployments
        .patch_status("web", &PatchParams::default(), &Patch::Merge(status))
        .await
        .unwrap();
    assert_eq!(observed.metadata.generation, Some(2));
    assert_eq!(observed.spec.unwrap().replicas, Some(3));
    assert_eq!(observed.status.unwrap().replicas, Some(3));
    web.metadata.name = Some("bad_name".into());
    let refused = deployments
        .create(&PostParams::default(), &web)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("Deployment.apps \"bad_name\" is invalid: metadata.name"),
        "{refused}"
    );
}

#[tokio::test(start_paused = true)]
async fn pods_end_gracefully_and_namespaces_terminate() {
    let (_server, client) = server().await;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let pod = |name: &str, node: Option<&str>| -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i"}]},
        }))
        .unwrap()
    };
    let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> = Api::default_namespaced(client.clone());
    let account = serde_json::from_value(json!({"metadata": {"name": "default"}})).unwrap();
    accounts.create(&PostParams::default(), &account).await.unwrap();
    pods.create(&PostParams::default(), &pod("waiting", None))
        .await
        .unwrap();
    pods.delete("waiting", &DeleteParams::default()).await.unwrap();
    assert!(pods.get_opt("waiting").await.unwrap().is_none());
    pods.create(&PostParams::default(), &pod("running", Some("n1")))
        .await
        .unwrap();
    pods.delete("running", &DeleteParams::default()).await.unwrap();
    let ending = pods.get("running").await.unwrap();
    assert_eq!(ending.metadata.deletion_grace_period_seconds, Some(30));
    assert_eq!(
        ending.metadata.deletion_timestamp.unwrap().0.to_string(),
        "2026-01-01T00:00:30Z"
    );
    pods.delete("running", &DeleteParams::default().grace_period(0))
        .await
        .unwrap();
    assert!(pods.get_opt("running").await.unwrap().is_none());

    let namespaces: Api<Namespace> = Api::all(client);
    let demo = serde_json::from_value(json!({"metadata": {"name": "demo"}})).unwrap();
    let created = namespaces.create(&PostParams::default(), &demo).await.unwrap();
    assert_eq!(created.spec.unwrap().finalizers.unwrap(), ["kubernetes"]);
    namespaces.delete("demo", &DeleteParams::default()).await.unwrap();
    let ending = namespaces.get("demo").await.unwrap();
    assert_eq!(ending.status.unwrap().phase.as_deref(), Some("Terminating"));
}

#[tokio::test(start_paused = true)]
async fn services_get_addresses_that_nobody_else_has() {
    let (_server, client) = server().await;
    let services: Api<Service> = Api::default_namespaced(client);
    let kubernetes = services.get("kubernetes").await.unwrap();
    assert_eq!(kubernetes.spec.unwrap().cluster_ip.as_deref(), Some("10.96.0.1"));
    let service = |name: &str, ip: Option<&str>| -> Service {
        serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {"clusterIP": ip, "type": "NodePort", "selector": {"a": "b"}, "ports": [{"port": 80}]},
        }))
        .unwrap()
    };
    let create = |name: String| {
        let services = services.clone();
        let service = service(&name, None);
        async move { services.create(&PostParams::default(), &service).await.unwrap() }
    };
    let all = futures::future::join_all((0..50).map(|at| create(format!("s{at}")))).await;
    let mut ips: Vec<String> = all
        .iter()
        .map(|s| s.spec.clone().unwrap().cluster_ip.unwrap())
        .collect();
    ips.sort();
    ips.dedup();
    assert_eq!(ips.len(), 50);
    let taken = services
        .create(&PostParams::default(), &service("x", Some(&ips[0])))
        .await
        .unwrap_err();
    assert!(
        taken.to_string().contains("provided IP is already allocated"),
        "{taken}"
    );
    for service in &all {
        services
            .delete(service.metadata.name.as_ref().unwrap(), &DeleteParams::default())
            .await
            .unwrap();
    }
    services
        .create(&PostParams::default(), &service("x", Some(&ips[0])))
        .await
        .unwrap();
}

async fn with_account(client: &kube::Client) {
    let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> = Api::default_namespaced(client.clone());
    let account = serde_json::from_value(json!({"metadata": {"name": "default"}})).unwrap();
    accounts.create(&PostParams::default(), &account).await.unwrap();
}

fn request(method: &str, path: &str, body: serde_json::Value) -> http::Request<Vec<u8>> {
    http::Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .body(body.to_string().into_bytes())
        .unwrap()
}

async fn call(
    client: &kube::Client,
    method: &str,
    path: &str,
    body: serde_json::Value,
) -> Result<serde_json::Value, String> {
    let request = request(method, path, body);
    client.request(request).await.map_err(|error| error.to_string())
}

#[tokio::test(start_paused = true)]
async fn pods_are_bound_once() {
    let (_server, client) = server().await;
    with_account(&client).await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    call(&client, "POST", pods, pod).await.unwrap();
    let binding = |node: &str| json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": node}});
    let path = format!("{pods}/p/binding");
    call(&client, "POST", &path, binding("n1")).await.unwrap();
    let bound = call(&client, "GET", &format!("{pods}/p"), json!(null)).await.unwrap();
    assert_eq!(bound["spec"]["nodeName"], "n1");
    assert_eq!(bound["status"]["conditions"][0]["type"], "PodScheduled");
    let again = call(&client, "POST", &path, binding("n2")).await.unwrap_err();
    assert!(again.contains("pod p is already assigned to node \"n1\""), "{again}");
}

#[tokio::test(start_paused = true)]
async fn evictions_respect_disruption_budgets() {
    let (_server, client) = server().await;
    with_account(&client).await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({
        "metadata": {"name": "p", "labels": {"app": "a"}},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]},
    });
    call(&client, "POST", pods, pod).await.unwrap();
    let running = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    let patch = Patch::Merge(running);
    let api: Api<Pod> = Api::default_namespaced(client.clone());
    api.patch_status("p", &PatchParams::default(), &patch).await.unwrap();
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget =
        json!({"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}}});
    call(&client, "POST", budgets, budget).await.unwrap();
    let budget_status = |allowed: i32| {
        Patch::Merge(
            json!({"status": {"observedGeneration": 1, "disruptionsAllowed": allowed, "currentHealthy": 1,
            "desiredHealthy": 1, "expectedPods": 1}}),
        )
    };
    let api: Api<k8s_openapi::api::policy::v1::PodDisruptionBudget> = Api::default_namespaced(client.clone());
    api.patch_status("b", &PatchParams::default(), &budget_status(0))
        .await
        .unwrap();
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    let path = format!("{pods}/p/eviction");
    let refused = call(&client, "POST", &path, eviction.clone()).await.unwrap_err();
    assert!(
        refused.contains("Cannot evict pod as it would violate the pod's disruption budget."),
        "{refused}"
    );
    api.patch_status("b", &PatchParams::default(), &budget_status(1))
        .await
        .unwrap();
    call(&client, "POST", &path, eviction).await.unwrap();
    let budget = api.get("b").await.unwrap().status.unwrap();
    assert_eq!(budget.disruptions_allowed.unwrap_or_default(), 0);
    assert!(budget.disrupted_pods.unwrap().contains_key("p"));
    let ending = call(&client, "GET", &format!("{pods}/p"), json!(null)).await.unwrap();
    assert!(ending["metadata"]["deletionTimestamp"].is_string());
}

#[tokio::test(start_paused = true)]
async fn a_scale_is_a_view_of_its_workload() {
    let (_server, client) = server().await;
    let path = "/apis/apps/v1/namespaces/default/replicasets";
    let set = json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": "busybox"}]},
            },
        },
    });
    call(&client, "POST", path, set).await.unwrap();
    let scale = format!("{path}/web/scale");
    let mut shown = call(&client, "GET", &scale, json!(null)).await.unwrap();
    assert_eq!(
        (&shown["kind"], &shown["spec"]["replicas"]),
        (&json!("Scale"), &json!(2))
    );
    assert_eq!(shown["status"]["selector"], "app=web");
    shown["spec"]["replicas"] = 5.into();
    call(&client, "PUT", &scale, shown.clone()).await.unwrap();
    let stale = call(&client, "PUT", &scale, shown).await.unwrap_err();
    assert!(stale.contains("the object has been modified"), "{stale}");
    let set = call(&client, "GET", &format!("{path}/web"), json!(null)).await.unwrap();
    assert_eq!(
        (&set["spec"]["replicas"], &set["metadata"]["generation"]),
        (&json!(5), &json!(2))
    );
}

#[tokio::test(start_paused = true)]
async fn apply_creates_merges_and_finds_conflicts() {
    let (_server, client) = server().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let intent = |value: &str| {
        Patch::Apply(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": value}}))
    };
    let first = maps.patch("a", &PatchParams::apply("one"), &intent("1")).await.unwrap();
    assert_eq!(
        first.metadata.managed_fields.unwrap()[0].manager.as_deref(),
        Some("one")
    );
    let same = maps.patch("a", &PatchParams::apply("one"), &intent("1")).await.unwrap();
    assert_eq!(same.metadata.resource_version, first.metadata.resource_version);
    let conflict = maps
        .patch("a", &PatchParams::apply("two"), &intent("2"))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        conflict.contains("Apply failed with 1 conflict: conflict with \"one\": .data.k"),
        "{conflict}"
    );
    let forced = maps
        .patch("a", &PatchParams::apply("two").force(), &intent("2"))
        .await
        .unwrap();
    assert_eq!(forced.data.unwrap()["k"], "2");
}

#[tokio::test(start_paused = true)]
async fn field_validation_names_unknown_and_duplicate_fields() {
    let (_server, client) = server().await;
    with_account(&client).await;
    let body = r#"{"metadata": {"name": "p"}, "spec": {"containers": [
        {"name": "c", "image": "i", "pullPolicy": "Always", "volumeMounts": [], "volumeMounts": []}]}}"#;
    let send = |validation: &str| {
        let request = http::Request::post(format!("/api/v1/namespaces/default/pods?fieldValidation={validation}"))
            .header("content-type", "application/json")
            .body(body.as_bytes().to_vec())
            .unwrap();
        let client = client.clone();
        async move { client.request::<serde_json::Value>(request).await }
    };
    let refused = send("Strict").await.unwrap_err().to_string();
    assert!(
        refused.contains("unknown field \"spec.containers[0].pullPolicy\""),
        "{refused}"
    );
    assert!(
        refused.contains("duplicate field \"spec.containers[0].volumeMounts\""),
        "{refused}"
    );
    let made = send("Ignore").await.unwrap();
    assert!(made["spec"]["containers"][0]["pullPolicy"].is_null());
}

#[tokio::test(start_paused = true)]
async fn events_have_two_shapes_and_end_after_their_time() {
    let (_server, client) = server().await;
    let event = json!({
        "metadata": {"name": "e"}, "reason": "Started", "message": "hello", "type": "Normal",
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
        "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:00:00Z",
    });
    call(&client, "POST", "/api/v1/namespaces/default/events", event)
        .await
        .unwrap();
    let path = "/apis/events.k8s.io/v1/namespaces/default/events/e";
    let shown = call(&client, "GET", path, json!(null)).await.unwrap();
    assert_eq!(
        (&shown["note"], &shown["regarding"]["name"]),
        (&json!("hello"), &json!("p"))
    );
    tokio::time::sleep(std::time::Duration::from_secs(3700)).await;
    assert!(call(&client, "GET", path, json!(null)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn lists_that_stream_end_with_a_bookmark_and_old_revisions_expire() {
    let (_server, client) = server().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    maps.create(&PostParams::default(), &config_map("one")).await.unwrap();
    let params = WatchParams::default().initial_events();
    let mut watch = maps.watch(&params, "0").await.unwrap().boxed();
    assert!(matches!(watch.try_next().await.unwrap(), Some(WatchEvent::Added(_))));
    match watch.try_next().await.unwrap() {
        Some(WatchEvent::Bookmark(mark)) => {
            assert_eq!(mark.metadata.annotations["k8s.io/initial-events-end"], "true");
        }
        other => panic!("{other:?}"),
    }
    let anonymous = _server.client(UserInfo::anonymous(), "tests");
    let maps: Api<ConfigMap> = Api::default_namespaced(anonymous);
    let refused = maps.list(&ListParams::default()).await.unwrap_err().to_string();
    assert!(
        refused.contains("configmaps is forbidden: User \"system:anonymous\" cannot list resource \"configmaps\" in API group \"\" in the namespace \"default\""),
        "{refused}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_watch_goes_on_after_a_restart_where_it_was() {
    let store = Arc::new(MemoryStore::new());
    let (first, client) = server_on(store.clone()).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let before = maps.create(&PostParams::default(), &config_map("one")).await.unwrap();
    maps.create(&PostParams::default(), &config_map("two")).await.unwrap();
    first.stop();
    assert!(!first.ready());
    let (_second, client) = server_on(store).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    assert_eq!(maps.list(&ListParams::default()).await.unwrap().items.len(), 2);
    let version = before.metadata.resource_version.unwrap();
    let mut watch = maps.watch(&WatchParams::default(), &version).await.unwrap().boxed();
    match watch.try_next().await.unwrap() {
        Some(WatchEvent::Added(map)) => assert_eq!(map.metadata.name.as_deref(), Some("two")),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_does_not_read_is_ended_and_nobody_else_suffers() {
    let (_server, client) = server().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let mut slow = maps.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    let mut last = maps.create(&PostParams::default(), &config_map("one")).await.unwrap();
    for at in 0..2200 {
        last.data.as_mut().unwrap().insert("k".into(), at.to_string());
        last = maps.replace("one", &PostParams::default(), &last).await.unwrap();
    }
    let mut told = 0;
    loop {
        match slow.try_next().await.unwrap() {
            Some(WatchEvent::Added(_) | WatchEvent::Modified(_)) => told += 1,
            Some(WatchEvent::Error(status)) => {
                assert_eq!(status.code, 410);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(told < 2201, "{told}");
}

#[tokio::test(start_paused = true)]
async fn what_limit_ranges_fill_in_counts_in_the_class_of_service() {
    let (_server, client) = server().await;
    let core = "/api/v1/namespaces/default";
    call(
        &client,
        "POST",
        &format!("{core}/serviceaccounts"),
        json!({"metadata": {"name": "default"}}),
    )
    .await
    .unwrap();
    let bad = json!({"metadata": {"name": "bad"}, "spec": {"limits": [{"type": "Container", "min": {"cpu": "2"}, "max": {"cpu": "1"}}]}});
    let refused = call(&client, "POST", &format!("{core}/limitranges"), bad)
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains("min value 2 is greater than max value 1"),
        "{refused}"
    );
    let limits = json!({"metadata": {"name": "l"}, "spec": {"limits": [{"type": "Container", "default": {"cpu": "1", "memory": "1Gi"}}]}});
    call(&client, "POST", &format!("{core}/limitranges"), limits)
        .await
        .unwrap();
    let pod = json!({"metadata": {"name": "p", "labels": {"app": "a"}, "finalizers": []}, "spec": {
        "containers": [{"name": "c", "image": "i", "env": []}],
        "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {}, "matchLabelKeys": ["app"]}]}});
    let made = call(&client, "POST", &format!("{core}/pods"), pod).await.unwrap();
    assert_eq!(made["status"]["qosClass"], "Guaranteed");
    let spread = &made["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchExpressions"];
    assert_eq!(spread, &json!([{"key": "app", "operator": "In", "values": ["a"]}]));
    // What Go would not write is not there.
    assert_eq!(made["metadata"].get("finalizers"), None);
    assert_eq!(made["spec"]["containers"][0].get("env"), None);

    let pods: Api<Pod> = Api::default_namespaced(client);
    let patch = |sub: &'static str, patch: serde_json::Value| {
        let pods = pods.clone();
        async move {
            let params = PatchParams::default();
            pods.patch_subresource(sub, "p", &params, &Patch::Strategic(patch))
                .await
        }
    };
    let resized = patch(
        "resize",
        json!({"spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "2"}, "requests": {"cpu": "2"}}}]}}),
    );
    let cpu = |pod: Pod| {
        pod.spec.unwrap().containers[0]
            .resources
            .clone()
            .unwrap()
            .requests
            .unwrap()["cpu"]
            .0
            .clone()
    };
    assert_eq!(cpu(resized.await.unwrap()), "2");
    let burst = patch(
        "resize",
        json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]}}),
    );
    let refused = burst.await.unwrap_err().to_string();
    assert!(
        refused.contains("Pod QOS Class may not change as a result of resizing"),
        "{refused}"
    );
    let debugger =
        json!({"spec": {"ephemeralContainers": [{"name": "d", "image": "i", "ports": [{"containerPort": 1}]}]}});
    let refused = patch("ephemeralcontainers", debugger).await.unwrap_err().to_string();
    assert!(
        refused.contains("spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container"),
        "{refused}"
    );
    let debugger = json!({"spec": {"ephemeralContainers": [{"name": "d", "image": "i"}]}});
    assert!(patch("ephemeralcontainers", debugger).await.is_ok());
    let refused = patch("status", json!({"status": {"qosClass": "BestEffort"}}))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("status.qosClass: Invalid value: \"BestEffort\": field is immutable"),
        "{refused}"
    );
}
