//! Authentication, authorization and admission as clients meet them: over TLS, with certificates and tokens.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::sync::Arc;

use base64::Engine;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{PrivateKeyDer, ServerName, pem::PemObject};
use serde_json::{Value, json};
use timonel_apiserver::identity::UserInfo;
use timonel_apiserver::pki::KeyAndCert;
use timonel_apiserver::{ApiServer, Config, Deps};
use timonel_client::{Clock, OsRng, Rng, SystemClock};
use timonel_store::{MemoryStore, Store};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// A server on a free port of loopback.
struct World {
    server: ApiServer,
    store: Arc<MemoryStore>,
    port: u16,
    shutdown: CancellationToken,
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// What a client shows.
enum Shows<'a> {
    Nothing,
    Certificate(&'a KeyAndCert),
    Token(&'a str),
}

impl World {
    async fn new() -> Self {
        let store = Arc::new(MemoryStore::new());
        let deps = Deps {
            store: store.clone(),
            clock: Arc::new(SystemClock),
            rng: Arc::new(OsRng),
        };
        let config = Config {
            bootstrap_token: Some("abcdef.0123456789abcdef".parse().unwrap()),
            ..Config::default()
        };
        let server = ApiServer::start(config, deps).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shutdown = CancellationToken::new();
        let (serving, until) = (server.clone(), shutdown.clone());
        tokio::spawn(async move { serving.serve(listener, until).await });
        Self {
            server,
            store,
            port,
            shutdown,
        }
    }

    fn certificate(&self, name: &str, groups: &[&str]) -> KeyAndCert {
        let (clock, rng): (Arc<dyn Clock>, Arc<dyn Rng>) = (Arc::new(SystemClock), Arc::new(OsRng));
        self.server.pki().issue_client(name, groups, &clock, &rng).unwrap()
    }

    async fn ask(&self, shows: Shows<'_>, method: &str, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.server.pki().ca_der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match &shows {
            Shows::Certificate(identity) => builder
                .with_client_auth_cert(
                    vec![identity.cert_der.clone()],
                    PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).unwrap(),
                )
                .unwrap(),
            _ => builder.with_no_client_auth(),
        };
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let stream = tokio_rustls::TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header("host", "x");
        if let Shows::Token(token) = shows {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        request = request.header("content-type", "application/json");
        let body = Full::new(Bytes::from(body.map(|body| body.to_string()).unwrap_or_default()));
        let answer = sender.send_request(request.body(body).unwrap()).await.unwrap();
        let status = answer.status();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    async fn admin(&self, method: &str, path: &str, body: Value) -> Value {
        let admin = self.server.pki().admin().clone();
        let body = (!body.is_null()).then_some(body);
        let (status, answer) = self.ask(Shows::Certificate(&admin), method, path, body).await;
        assert!(status.is_success(), "{method} {path}: {answer}");
        answer
    }
}

const DEFAULT: &str = "/api/v1/namespaces/default";

#[tokio::test]
async fn strangers_are_unauthorized_and_nobody_is_forbidden_to_look() {
    let (world, other) = (World::new().await, World::new().await);
    let stranger = other.certificate("kubernetes-admin", &["system:masters"]);
    let (status, answer) = world
        .ask(Shows::Certificate(&stranger), "GET", "/api/v1/nodes", None)
        .await;
    assert_eq!((status.as_u16(), &answer["reason"]), (401, &json!("Unauthorized")));
    let (status, _) = world.ask(Shows::Token("nonsense"), "GET", "/api/v1/nodes", None).await;
    assert_eq!(status, 401);
    let (status, answer) = world.ask(Shows::Nothing, "GET", "/api/v1/nodes", None).await;
    assert_eq!(status, 403);
    assert_eq!(
        answer["message"],
        r#"nodes is forbidden: User "system:anonymous" cannot list resource "nodes" in API group "" at the cluster scope"#
    );
    let (status, info) = world
        .ask(
            Shows::Nothing,
            "GET",
            "/api/v1/namespaces/kube-public/configmaps/cluster-info",
            None,
        )
        .await;
    assert_eq!(status, 200);
    assert!(info["data"]["jws-kubeconfig-abcdef"].is_string());
}

#[tokio::test]
async fn a_bootstrap_token_lets_a_node_ask_for_a_certificate_and_nothing_else() {
    let world = World::new().await;
    const TOKEN: &str = "abcdef.0123456789abcdef";
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params
        .distinguished_name
        .push(rcgen::DnType::OrganizationName, "system:nodes");
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "system:node:n1");
    let pem = params.serialize_request(&key).unwrap().pem().unwrap();
    let csr = json!({
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"generateName": "csr-"},
        "spec": {"signerName": "kubernetes.io/kube-apiserver-client-kubelet", "usages": ["client auth", "digital signature"],
                 "request": base64::engine::general_purpose::STANDARD.encode(pem)},
    });
    let path = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let (status, answer) = world.ask(Shows::Token(TOKEN), "POST", path, Some(csr)).await;
    assert_eq!(status, 201, "{answer}");
    assert_eq!(answer["spec"]["username"], "system:bootstrap:abcdef", "{answer}");
    let (status, _) = world.ask(Shows::Token(TOKEN), "GET", "/api/v1/pods", None).await;
    assert_eq!(status, 403);
}

async fn pod_on(world: &World, node: &str) -> Value {
    world
        .admin(
            "POST",
            &format!("{DEFAULT}/serviceaccounts"),
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}),
        )
        .await;
    world
        .admin(
            "POST",
            &format!("{DEFAULT}/pods"),
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
                   "spec": {"nodeName": node, "containers": [{"name": "c", "image": "busybox"}]}}),
        )
        .await
}

#[tokio::test]
async fn a_node_gets_tokens_of_its_own_pods_and_a_pod_uses_its_token() {
    let world = World::new().await;
    let pod = pod_on(&world, "n1").await;
    assert_eq!(pod["spec"]["serviceAccountName"], "default");
    assert!(
        pod["spec"]["containers"][0]["volumeMounts"][0]["name"]
            .as_str()
            .unwrap()
            .starts_with("kube-api-access-")
    );
    let (own, other) = (
        world.certificate("system:node:n1", &["system:nodes"]),
        world.certificate("system:node:n2", &["system:nodes"]),
    );
    let path = format!("{DEFAULT}/serviceaccounts/default/token");
    let request = |reference: Value| {
        Some(json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
                    "spec": {"audiences": [], "expirationSeconds": 600, "boundObjectRef": reference}}))
    };
    let bound = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": pod["metadata"]["uid"]});
    let (status, answer) = world
        .ask(Shows::Certificate(&other), "POST", &path, request(bound.clone()))
        .await;
    assert_eq!(status, 403, "{answer}");
    let (status, answer) = world
        .ask(Shows::Certificate(&own), "POST", &path, request(Value::Null))
        .await;
    assert_eq!(status, 403, "{answer}");
    assert!(
        answer["message"]
            .as_str()
            .unwrap()
            .contains("node requested token not bound to a pod"),
        "{answer}"
    );
    let (status, answer) = world.ask(Shows::Certificate(&own), "POST", &path, request(bound)).await;
    assert_eq!(status, 201, "{answer}");

    let token = answer["status"]["token"].as_str().unwrap();
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let (status, answer) = world.ask(Shows::Token(token), "POST", path, Some(review)).await;
    assert_eq!(status, 201, "{answer}");
    assert_eq!(
        answer["status"]["userInfo"]["username"],
        "system:serviceaccount:default:default"
    );
    let (status, keys) = world.ask(Shows::Token(token), "GET", "/openid/v1/jwks", None).await;
    assert_eq!((status.as_u16(), &keys["keys"][0]["alg"]), (200, &json!("ES256")));
}

#[tokio::test]
async fn a_node_reads_only_secrets_of_its_pods_and_they_are_sealed_in_the_store() {
    let world = World::new().await;
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"k": "geheimnis"}});
    world.admin("POST", &format!("{DEFAULT}/secrets"), secret).await;
    let node = world.certificate("system:node:n1", &["system:nodes"]);
    let path = format!("{DEFAULT}/secrets/s");
    let (status, answer) = world.ask(Shows::Certificate(&node), "GET", &path, None).await;
    assert_eq!(status, 403);
    assert!(
        answer["message"]
            .as_str()
            .unwrap()
            .ends_with("no relationship found between node 'n1' and this object")
    );
    let read = world.admin("GET", &path, Value::Null).await;
    assert_eq!(read["data"]["k"], "Z2VoZWltbmlz");
    let stored = world
        .store
        .get("/registry/core/secrets/default/s", None)
        .await
        .unwrap()
        .unwrap();
    assert!(stored.value.starts_with(b"k8s:enc:aesgcm:v1:k1:"), "{:?}", stored.value);
}

#[tokio::test]
async fn nobody_grants_more_than_they_hold() {
    let world = World::new().await;
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "joe"},
                         "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"},
                         "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "joe"}]});
    world
        .admin(
            "POST",
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
            binding,
        )
        .await;
    let joe = world.certificate("joe", &[]);
    let role = |resource: &str| {
        Some(
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": resource},
                    "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": [resource]}]}),
        )
    };
    let path = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles";
    let (status, answer) = world.ask(Shows::Certificate(&joe), "POST", path, role("pods")).await;
    assert_eq!(status, 201, "{answer}");
    let (status, answer) = world.ask(Shows::Certificate(&joe), "POST", path, role("nodes")).await;
    assert_eq!(status, 403);
    assert!(
        answer["message"]
            .as_str()
            .unwrap()
            .contains("attempting to grant RBAC permissions not currently held"),
        "{answer}"
    );
}

#[tokio::test]
async fn components_act_under_their_own_names() {
    let world = World::new().await;
    let controllers = world.server.client(
        UserInfo::service_account("kube-system", "service-account-controller"),
        "tests",
    );
    let scheduler = world
        .server
        .client(UserInfo::new("system:kube-scheduler", &[]), "tests");
    let accounts: kube::Api<k8s_openapi::api::core::v1::ServiceAccount> = kube::Api::namespaced(controllers, "default");
    let account = serde_json::from_value(json!({"metadata": {"name": "default"}})).unwrap();
    accounts.create(&Default::default(), &account).await.unwrap();
    let secrets: kube::Api<k8s_openapi::api::core::v1::Secret> = kube::Api::namespaced(scheduler.clone(), "default");
    let refused = secrets.list(&Default::default()).await.unwrap_err().to_string();
    assert!(refused.contains("secrets is forbidden"), "{refused}");
    let pods: kube::Api<k8s_openapi::api::core::v1::Pod> = kube::Api::all(scheduler);
    pods.list(&Default::default()).await.unwrap();
}
