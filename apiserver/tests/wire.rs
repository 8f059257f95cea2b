//! The API server over TLS, driven by kube-rs with the admin kubeconfig that the server writes.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::json;
use timonel_apiserver::{ApiServer, Config, Deps};
use timonel_client::{OsRng, SystemClock};
use timonel_store::MemoryStore;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn a_real_client_works_and_shutdown_is_in_good_order() {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut config = Config {
        pki_dir: Some(dir.path().to_owned()),
        advertise_port: port,
        ..Config::default()
    };
    config.pki.server_url = format!("https://127.0.0.1:{port}");
    let deps = Deps {
        store: Arc::new(MemoryStore::new()),
        clock: Arc::new(SystemClock),
        rng: Arc::new(OsRng),
    };
    let server = ApiServer::start(config, deps).await.unwrap();
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn({
        let (server, shutdown) = (server.clone(), shutdown.clone());
        async move { server.serve(listener, shutdown).await }
    });

    let kubeconfig = Kubeconfig::read_from(dir.path().join("admin.kubeconfig")).unwrap();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .unwrap();
    let client = kube::Client::try_from(config).unwrap();
    assert_eq!(client.apiserver_version().await.unwrap().minor, "36");
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let mut watch = maps.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    // Large enough that a list of them is compressed for clients that ask.
    for at in 0..40 {
        let map =
            serde_json::from_value(json!({"metadata": {"name": format!("m{at}")}, "data": {"k": "v".repeat(8000)}}));
        maps.create(&PostParams::default(), &map.unwrap()).await.unwrap();
    }
    for _ in 0..40 {
        assert!(matches!(watch.try_next().await.unwrap(), Some(WatchEvent::Added(_))));
    }
    assert_eq!(maps.list(&ListParams::default()).await.unwrap().items.len(), 40);
    let huge = json!({"metadata": {"name": "huge"}, "data": {"k": "v".repeat(4 << 20)}});
    let refused = maps
        .create(&PostParams::default(), &serde_json::from_value(huge).unwrap())
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("too large"), "{refused}");

    // Somebody whom nobody vouches for is anonymous, and may do little.
    let http = reqwest::Client::builder()
        .tls_danger_accept_invalid_certs(true)
        .build()
        .unwrap();
    let base = format!("https://127.0.0.1:{port}");
    let answer = http.get(format!("{base}/readyz")).send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), answer.text().await.unwrap().as_str()),
        (200, "ok")
    );
    let answer = http.get(format!("{base}/api/v1/pods")).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 403);
    let answer = http
        .get(format!("{base}/api/v1/pods"))
        .bearer_auth("nonsense")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status().as_u16(), 401);
    let answer = http
        .get(format!("{base}/api/v1/namespaces/default/configmaps"))
        .header("accept", "text/html")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status().as_u16(), 403);

    shutdown.cancel();
    assert!(watch.try_next().await.unwrap().is_none());
    serving.await.unwrap().unwrap();
    assert!(!server.ready());
}
