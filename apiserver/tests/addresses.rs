//! Service addresses: exact when many ask at once, when a range is full, and over an upgrade.
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use serde_json::json;
use timonel_apiserver::identity::UserInfo;
use timonel_apiserver::{ApiServer, Config, Deps};
use timonel_client::{SeededRng, TokioClock};
use timonel_store::{MemoryStore, Op, Range, Store, Txn};

async fn server_on(store: Arc<MemoryStore>) -> (ApiServer, kube::Client) {
    let deps = Deps {
        store,
        clock: Arc::new(TokioClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap())),
        rng: Arc::new(SeededRng::new(1)),
    };
    let config = Config {
        service_range: "10.0.0.0/28".parse().unwrap(),
        ..Config::default()
    };
    let server = ApiServer::start(config, deps).await.unwrap();
    let client = server.client(UserInfo::new("admin", &["system:masters"]), "tests");
    (server, client)
}

fn service(name: &str) -> Service {
    serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}})).unwrap()
}

fn address(service: &Service) -> String {
    service.spec.clone().unwrap().cluster_ip.unwrap()
}

async fn shown(client: &kube::Client) -> BTreeSet<String> {
    let addresses: Api<IPAddress> = Api::all(client.clone());
    let list = addresses.list(&ListParams::default()).await.unwrap();
    list.items.into_iter().map(|ip| ip.metadata.name.unwrap()).collect()
}

async fn held(services: &Api<Service>) -> BTreeSet<String> {
    let list = services.list(&ListParams::default()).await.unwrap();
    let all: Vec<String> = list.items.iter().map(address).collect();
    let different: BTreeSet<String> = all.iter().cloned().collect();
    assert_eq!(different.len(), all.len(), "no two services have one address: {all:?}");
    different
}

#[tokio::test(start_paused = true)]
async fn a_full_range_is_never_given_out_twice_and_can_be_widened() {
    let (_server, client) = server_on(Arc::new(MemoryStore::new())).await;
    let services: Api<Service> = Api::default_namespaced(client.clone());
    let create = |name: String| {
        let services = services.clone();
        async move { services.create(&PostParams::default(), &service(&name)).await }
    };
    let answers = futures::future::join_all((0..40).map(|at| create(format!("s{at}")))).await;
    assert!(answers.iter().filter(|answer| answer.is_ok()).count() <= 13);
    // Those that lost too often may try again; then the range is full, with `kubernetes` in it.
    for at in 0..20 {
        let _ = create(format!("t{at}")).await;
    }
    let full = create("one-more".to_owned()).await.unwrap_err();
    assert!(full.to_string().contains("range is full"), "{full}");
    assert_eq!(held(&services).await.len(), 14);
    assert_eq!(shown(&client).await, held(&services).await);

    let ranges: Api<ServiceCIDR> = Api::all(client.clone());
    let range = json!({"metadata": {"name": "extra"}, "spec": {"cidrs": ["10.0.1.0/28"]}});
    let range = serde_json::from_value(range).unwrap();
    ranges.create(&PostParams::default(), &range).await.unwrap();
    let widened = create("one-more".to_owned()).await.unwrap();
    assert!(address(&widened).starts_with("10.0.1."), "{}", address(&widened));

    // A range that is being deleted gives nothing out any more, and goes with its last service.
    ranges.delete("extra", &DeleteParams::default()).await.unwrap();
    let full = create("and-one".to_owned()).await.unwrap_err();
    assert!(full.to_string().contains("range is full"), "{full}");
    let mut condition = None;
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let waiting = ranges.get("extra").await.unwrap();
        condition = waiting.status.unwrap().conditions.unwrap().pop();
        if condition.as_ref().is_some_and(|condition| condition.status == "False") {
            break;
        }
    }
    let condition = condition.unwrap();
    assert_eq!(
        (condition.status.as_str(), condition.reason.as_str()),
        ("False", "Terminating")
    );
    services.delete("one-more", &DeleteParams::default()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(ranges.get_opt("extra").await.unwrap().is_none());
    assert_eq!(shown(&client).await, held(&services).await);
}

#[tokio::test(start_paused = true)]
async fn services_of_an_older_store_get_their_ip_addresses() {
    let store = Arc::new(MemoryStore::new());
    let (server, client) = server_on(store.clone()).await;
    let services: Api<Service> = Api::default_namespaced(client.clone());
    let old = services.create(&PostParams::default(), &service("old")).await.unwrap();
    server.stop();
    // As it was before: services and their allocations, no IPAddress and no ServiceCIDR.
    let everything = Range {
        prefix: "/registry/".to_owned(),
        ..Range::default()
    };
    let page = store.range(everything).await.unwrap();
    let new_kinds = page.entries.iter().map(|entry| entry.key.to_string());
    let ops: Vec<Op> = new_kinds
        .filter(|key| key.contains("/ipaddresses/") || key.contains("/servicecidrs/"))
        .map(Op::Delete)
        .collect();
    assert_eq!(ops.len(), 3);
    let txn = Txn {
        guards: Vec::new(),
        ops,
    };
    store.commit(txn).await.unwrap();

    let (_server, client) = server_on(store).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let services: Api<Service> = Api::default_namespaced(client.clone());
    assert!(held(&services).await.contains(&address(&old)));
    assert_eq!(shown(&client).await, held(&services).await);
    let addresses: Api<IPAddress> = Api::all(client);
    let shown = addresses.get(&address(&old)).await.unwrap();
    assert_eq!(shown.spec.parent_ref.name, "old");
}
