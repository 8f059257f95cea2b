//! Certificates are renewed while everything runs: who connects sees the new one, and clients take up theirs.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::api::{Api, PostParams};
use timonel_apiserver::{ApiServer, Config, Deps};
use timonel_client::{Clock, OsRng, SystemClock};
use timonel_store::MemoryStore;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

#[derive(Debug)]
struct Hand(Mutex<Timestamp>);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

/// The certificate that the server shows.
async fn shown(server: &ApiServer, port: u16) -> Vec<u8> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(server.pki().ca_der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from("127.0.0.1").unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = connector.connect(name, stream).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

/// The client's certificate, as the server knows it.
async fn credential(client: &kube::Client) -> String {
    let reviews: Api<SelfSubjectReview> = Api::all(client.clone());
    let review = reviews
        .create(&PostParams::default(), &SelfSubjectReview::default())
        .await
        .unwrap();
    let mut extra = review.status.unwrap().user_info.unwrap().extra.unwrap();
    extra
        .remove("authentication.kubernetes.io/credential-id")
        .unwrap()
        .remove(0)
}

#[tokio::test]
async fn a_server_and_its_clients_go_on_with_new_certificates() {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut config = Config {
        pki_dir: Some(dir.path().to_owned()),
        ..Config::default()
    };
    config.pki.server_url = format!("https://127.0.0.1:{port}");
    // Peers check certificates by the machine's clock, so the past it is.
    let clock = Arc::new(Hand(Mutex::new(
        SystemClock.now() - SignedDuration::from_hours(250 * 24),
    )));
    let deps = Deps {
        store: Arc::new(MemoryStore::new()),
        clock: clock.clone(),
        rng: Arc::new(OsRng),
    };
    let server = ApiServer::start(config, deps).await.unwrap();
    let shutdown = CancellationToken::new();
    let (serving, until) = (server.clone(), shutdown.clone());
    tokio::spawn(async move { serving.serve(listener, until).await });
    let client = timonel_client::kubeconfig::load(dir.path().join("scheduler.kubeconfig"), "test")
        .await
        .unwrap();
    let (server_before, client_before) = (shown(&server, port).await, credential(&client).await);

    *clock.0.lock().unwrap() = SystemClock.now();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(3601)).await;
    tokio::time::resume();
    // The renewal runs in its own task.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while shown(&server, port).await == server_before {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the server goes on showing its old certificate"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_ne!(
        credential(&client).await,
        client_before,
        "the client has read its kubeconfig again"
    );
    shutdown.cancel();
}
