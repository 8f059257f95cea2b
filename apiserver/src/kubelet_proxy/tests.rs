use std::convert::Infallible;
use std::sync::Mutex;

use http::{HeaderValue, Request};
use http_body_util::{Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use timonel_client::{Clock, OsRng, SystemClock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::*;
use crate::audit::until_end;
use crate::authz::fake::FakeReader;
use crate::pki::PkiConfig;

fn pod(containers: &[&str]) -> Value {
    let containers: Vec<Value> = containers.iter().map(|name| json!({"name": name})).collect();
    json!({"metadata": {"namespace": "demo", "name": "web"}, "spec": {"nodeName": "n1", "containers": containers}})
}

fn user() -> UserInfo {
    UserInfo::new("admin", &["system:masters"])
}

fn call<'a>(user: &'a UserInfo, subresource: &'a str) -> Call<'a> {
    Call {
        user,
        resource: "pods",
        subresource,
        namespace: "demo",
        name: "web",
    }
}

#[test]
fn a_log_is_asked_for_in_the_kubelets_words() {
    let user = user();
    let ask = |query| options::log(&pod(&["c"]), &call(&user, "log"), query);
    assert_eq!(ask("").unwrap(), "/containerLogs/demo/web/c");
    assert_eq!(
        ask("follow=true&previous=false&tailLines=5&container=c&timestamps=1").unwrap(),
        "/containerLogs/demo/web/c?follow=true&timestamps=true&tailLines=5"
    );
    assert_eq!(
        ask("tailLines=-1").unwrap_err().to_string(),
        "PodLogOptions \"web\" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0"
    );
    assert!(ask("tailLines=x").is_err());
    assert!(ask("sinceTime=yesterday").is_err());
}

#[test]
fn containers_default_where_there_is_one_and_are_asked_for_where_there_are_several() {
    let user = user();
    let ask = |pod: &Value, query| options::log(pod, &call(&user, "log"), query).map_err(|error| error.to_string());
    let mut two = pod(&["a", "b"]);
    assert_eq!(
        ask(&two, "").unwrap_err(),
        "a container name must be specified for pod web, choose one of: [a b]"
    );
    two["spec"]["initContainers"] = json!([{"name": "i"}]);
    assert_eq!(
        ask(&two, "").unwrap_err(),
        "a container name must be specified for pod web, choose one of: [a b] or one of the init containers: [i]"
    );
    assert_eq!(
        ask(&two, "container=x").unwrap_err(),
        "container x is not valid for pod web"
    );
    ask(&two, "container=i").unwrap();
}

#[test]
fn streams_are_asked_for_in_the_kubelets_words() {
    let user = user();
    let ask = |subresource, query| options::stream(&pod(&["c"]), &call(&user, subresource), query).unwrap();
    assert_eq!(
        ask("exec", "command=sh&command=-c&command=echo+a%26b&stdin=true&tty=true"),
        "/exec/demo/web/c?input=1&output=1&tty=1&command=sh&command=-c&command=echo+a%26b"
    );
    assert_eq!(
        ask("attach", "stdout=true&stderr=true"),
        "/attach/demo/web/c?output=1&error=1"
    );
    assert_eq!(
        ask("portforward", "ports=80&ports=443"),
        "/portForward/demo/web?port=80%2C443"
    );
}

#[test]
fn the_path_behind_proxy_keeps_its_encoding() {
    let user = user();
    let call = Call {
        subresource: "proxy",
        ..call(&user, "proxy")
    };
    let node = Call {
        resource: "nodes",
        namespace: "",
        ..call
    };
    let behind = |path| options::proxied_path(path, &call);
    assert_eq!(behind("/api/v1/namespaces/demo/pods/web/proxy"), Some(""));
    assert_eq!(
        behind("/api/v1/namespaces/demo/pods/web/proxy/a%2Fb/c"),
        Some("/a%2Fb/c")
    );
    assert_eq!(
        options::proxied_path("/api/v1/nodes/n1/proxy/stats/summary", &node),
        Some("/stats/summary")
    );
    assert_eq!(behind("/api/v1/nodes/n1"), None);
}

#[test]
fn proxying_finds_pods_and_ready_endpoints_and_no_loopback() {
    let mut stored = pod(&["c"]);
    stored["status"] = json!({"podIP": "10.1.0.5"});
    stored["spec"]["containers"][0]["ports"] = json!([{"containerPort": 8080}]);
    let mut inside = pod(&["c"]);
    inside["metadata"]["name"] = "loop".into();
    inside["status"] = json!({"podIP": "127.0.0.1"});
    let reader = FakeReader::new()
        .with("pods", stored)
        .with("pods", inside)
        .with(
            "services",
            json!({"metadata": {"namespace": "demo", "name": "s"}, "spec": {"ports": [{"name": "http", "port": 80}]}}),
        )
        .with(
            "services",
            json!({"metadata": {"namespace": "demo", "name": "empty"}, "spec": {"ports": [{"port": 80}]}}),
        )
        .with(
            "endpointslices.discovery.k8s.io",
            json!({"metadata": {"namespace": "demo", "name": "s-1", "labels": {"kubernetes.io/service-name": "s"}},
                   "ports": [{"name": "http", "port": 8080}],
                   "endpoints": [{"addresses": ["10.1.0.6"], "conditions": {"ready": false}},
                                 {"addresses": ["10.1.0.5"], "conditions": {"ready": true}}]}),
        );
    let user = user();
    let named = |name| Call {
        name,
        ..call(&user, "proxy")
    };
    let found = |host: &str, port| target::Backend {
        host: host.to_owned(),
        port,
        kubelet: false,
    };
    assert_eq!(
        target::pod_port(&reader, &named("web")).unwrap(),
        found("10.1.0.5", 8080)
    );
    assert_eq!(
        target::pod_port(&reader, &named("http:web:90")).unwrap(),
        found("10.1.0.5", 90)
    );
    assert!(target::pod_port(&reader, &named("https:web:443")).is_err());
    assert!(target::pod_port(&reader, &named("loop")).is_err());
    for name in ["s", "s:http", "s:80"] {
        assert_eq!(
            target::service(&reader, &named(name), 7).unwrap(),
            found("10.1.0.5", 8080),
            "{name}"
        );
    }
    let words = |name| target::service(&reader, &named(name), 0).unwrap_err().to_string();
    assert_eq!(words("empty"), "no endpoints available for service \"empty\"");
    assert_eq!(words("s:other"), "no service port \"other\" found for service \"s\"");
}

/// A kubelet with a certificate of `pki`, which answers logs and echoes what is said after an upgrade.
struct FakeKubelet {
    port: u16,
    seen: Arc<Mutex<Vec<(String, http::HeaderMap, bool)>>>,
}

async fn fake_kubelet(pki: &Pki) -> FakeKubelet {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen: Arc<Mutex<Vec<(String, http::HeaderMap, bool)>>> = Arc::default();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(pki.server_config().unwrap()));
    let record = Arc::clone(&seen);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(stream) = acceptor.accept(stream).await else {
                continue;
            };
            let trusted = stream.get_ref().1.peer_certificates().is_some();
            let record = Arc::clone(&record);
            let service = service_fn(move |request: Request<Incoming>| {
                record
                    .lock()
                    .unwrap()
                    .push((request.uri().to_string(), request.headers().clone(), trusted));
                async move { Ok::<_, Infallible>(answer(request)) }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .with_upgrades(),
            );
        }
    });
    FakeKubelet { port, seen }
}

fn answer(mut request: Request<Incoming>) -> Response<Body> {
    let full = |text: &'static str| {
        Full::new(Bytes::from(text))
            .map_err(|never| match never {})
            .boxed_unsync()
    };
    let path = request.uri().path().to_owned();
    if path.starts_with("/containerLogs/demo/web/waiting") {
        let mut response = Response::new(full(
            "container \"waiting\" in pod \"web\" is waiting to start: ContainerCreating\n",
        ));
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return response;
    }
    if path.starts_with("/containerLogs/") {
        // One line at once, the second never: a follower must see the first without waiting.
        let first = futures::stream::once(async { Ok(Frame::data(Bytes::from("first\n"))) });
        return Response::new(
            StreamBody::new(futures::StreamExt::chain(first, futures::stream::pending())).boxed_unsync(),
        );
    }
    if path.starts_with("/exec/") {
        tokio::spawn(async move {
            let mut stream = TokioIo::new(hyper::upgrade::on(&mut request).await.unwrap());
            let mut said = [0; 5];
            stream.read_exact(&mut said).await.unwrap();
            said.reverse();
            stream.write_all(&said).await.unwrap();
            stream.shutdown().await.unwrap();
        });
        let mut response = Response::new(full(""));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response
            .headers_mut()
            .insert("upgrade", HeaderValue::from_static("websocket"));
        response
            .headers_mut()
            .insert("connection", HeaderValue::from_static("Upgrade"));
        response
            .headers_mut()
            .insert("sec-websocket-protocol", HeaderValue::from_static("v5.channel.k8s.io"));
        return response;
    }
    Response::new(full("summary"))
}

struct World {
    kubelet: FakeKubelet,
    proxy: Arc<KubeletProxy>,
    authorizer: Arc<Authorizer>,
    /// How many answers of its front have ended.
    ended: watch::Sender<usize>,
}

/// Goes along with an answer, as the audit's record does.
struct Ends(watch::Sender<usize>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.send_modify(|ended| *ended += 1);
    }
}

async fn world(kubelet_pki: Option<&Pki>) -> World {
    let (clock, rng): (Arc<dyn Clock>, Arc<dyn Rng>) = (Arc::new(SystemClock), Arc::new(OsRng));
    let pki = Pki::in_memory(&PkiConfig::default(), &clock, &rng).unwrap();
    let kubelet = fake_kubelet(kubelet_pki.unwrap_or(&pki)).await;
    let node = json!({
        "metadata": {"name": "n1"},
        "status": {"addresses": [{"type": "Hostname", "address": "n1"}, {"type": "InternalIP", "address": "127.0.0.1"}],
                   "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet.port}}},
    });
    let reader: Arc<dyn ObjectReader> = Arc::new(
        FakeReader::new()
            .with("pods", pod(&["c", "waiting"]))
            .with("nodes", node),
    );
    World {
        kubelet,
        proxy: Arc::new(KubeletProxy::new(&pki, Arc::clone(&reader), rng).unwrap()),
        authorizer: Arc::new(Authorizer::new(reader)),
        ended: watch::Sender::default(),
    }
}

impl World {
    async fn get(&self, subresource: &str, uri: &str) -> Result<Response<Body>, ApiError> {
        let (parts, ()) = Request::get(uri).body(()).unwrap().into_parts();
        let user = user();
        self.proxy
            .serve(
                &call(&user, subresource),
                &self.authorizer,
                parts,
                Full::<Bytes>::default(),
            )
            .await
    }
}

#[tokio::test]
async fn logs_stream_from_the_kubelet_and_its_complaints_are_errors() {
    let world = world(None).await;
    let response = world.get("log", "/x?container=c&follow=true").await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/plain");
    let frame = response.into_body().frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "first\n");
    let seen = world.kubelet.seen.lock().unwrap().clone();
    assert_eq!(seen[0].0, "/containerLogs/demo/web/c?follow=true");
    assert!(seen[0].2, "our certificate was shown");

    let error = world.get("log", "/x?container=waiting").await.unwrap_err();
    assert_eq!(
        error,
        ApiError::bad_request("container \"waiting\" in pod \"web\" is waiting to start: ContainerCreating")
    );
}

#[tokio::test]
async fn a_kubelet_with_a_strangers_certificate_is_not_talked_to() {
    let (clock, rng): (Arc<dyn Clock>, Arc<dyn Rng>) = (Arc::new(SystemClock), Arc::new(OsRng));
    let stranger = Pki::in_memory(&PkiConfig::default(), &clock, &rng).unwrap();
    let world = world(Some(&stranger)).await;
    let error = world.get("log", "/x?container=c").await.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("Internal error occurred: error dialing backend: tls: "),
        "{error}"
    );
    assert!(world.kubelet.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_exec_without_upgrade_is_refused_and_a_lost_node_is_said() {
    let world = world(None).await;
    let error = world.get("exec", "/x?container=c&command=ls").await.unwrap_err();
    assert_eq!(error.to_string(), "Upgrade request required");
    let gone = target::kubelet(&FakeReader::new(), "n9").unwrap_err();
    assert_eq!(gone.to_string(), "nodes \"n9\" not found");
}

/// Serves the proxy over plain HTTP/1.1, as the API server's front does over TLS.
async fn front(world: &World, user: UserInfo) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (proxy, authorizer) = (Arc::clone(&world.proxy), Arc::clone(&world.authorizer));
    let ended = world.ended.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (proxy, authorizer, user) = (Arc::clone(&proxy), Arc::clone(&authorizer), user.clone());
            let ended = ended.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let (proxy, authorizer, user) = (Arc::clone(&proxy), Arc::clone(&authorizer), user.clone());
                let ended = ended.clone();
                async move {
                    let (parts, body) = request.into_parts();
                    let node = parts.uri.path().contains("/nodes/");
                    let call = if node {
                        Call {
                            resource: "nodes",
                            namespace: "",
                            name: "n1",
                            ..call(&user, "proxy")
                        }
                    } else {
                        call(&user, "exec")
                    };
                    let answer = proxy.serve(&call, &authorizer, parts, body).await;
                    let answer = answer.map(|answer| until_end(answer, Ends(ended)));
                    Ok::<_, Infallible>(answer.unwrap_or_else(|error| {
                        let text = Bytes::from(error.to_string());
                        let mut response =
                            Response::new(Full::new(text).map_err(|never| match never {}).boxed_unsync());
                        *response.status_mut() = StatusCode::from_u16(error.code()).unwrap();
                        response
                    }))
                }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .with_upgrades(),
            );
        }
    });
    port
}

const UPGRADE: &str = "GET /api/v1/namespaces/demo/pods/web/exec?container=c&command=rev HTTP/1.1\r\nHost: x\r\n\
    Authorization: Bearer secret\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Protocol: v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.c2VjcmV0\r\n\r\n";

async fn say(port: u16, text: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn an_exec_becomes_a_pipe_and_the_callers_credentials_stay_here() {
    let world = world(None).await;
    let port = front(&world, user()).await;
    let answer = say(port, &format!("{UPGRADE}hello")).await;
    let head = answer.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101"), "{answer}");
    assert!(head.contains("sec-websocket-protocol: v5.channel.k8s.io"), "{answer}");
    assert!(answer.ends_with("olleh"), "{answer}");
    let seen = world.kubelet.seen.lock().unwrap().clone();
    assert_eq!(seen[0].0, "/exec/demo/web/c?output=1&error=1&command=rev");
    assert!(!seen[0].1.contains_key("authorization"));
    assert_eq!(seen[0].1["sec-websocket-protocol"], "v5.channel.k8s.io");
}

#[tokio::test]
async fn an_exec_lasts_until_its_pipe_is_closed_and_not_until_its_answer_is_sent() {
    let world = world(None).await;
    let port = front(&world, user()).await;
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(UPGRADE.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert_eq!(*world.ended.borrow(), 0);
    stream.write_all(b"hello").await.unwrap();
    let mut said = Vec::new();
    stream.read_to_end(&mut said).await.unwrap();
    assert_eq!(said, b"olleh");
    drop(stream);
    let mut ended = world.ended.subscribe();
    tokio::time::timeout(std::time::Duration::from_secs(30), ended.wait_for(|ended| *ended == 1))
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_websocket_needs_the_permission_that_a_post_would_need() {
    let world = world(None).await;
    let port = front(&world, UserInfo::new("jane", &[])).await;
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(UPGRADE.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 403");
    assert!(world.kubelet.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_nodes_paths_are_passed_on_with_their_query() {
    let world = world(None).await;
    let port = front(&world, user()).await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let answer = say(port, &get("/api/v1/nodes/n1/proxy/stats/summary?only_cpu=true")).await;
    assert!(answer.ends_with("summary"), "{answer}");
    assert_eq!(world.kubelet.seen.lock().unwrap()[0].0, "/stats/summary?only_cpu=true");
    let moved = say(port, &get("/api/v1/nodes/n1/proxy")).await.to_ascii_lowercase();
    assert!(moved.contains("location: /api/v1/nodes/n1/proxy/\r\n"), "{moved}");
}
