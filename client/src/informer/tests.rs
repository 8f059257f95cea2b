//! The informer against a scripted server: a tower service that answers lists and watches from a queue of scripts.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http::{Request, Response};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::client::Body;
use serde_json::{Value, json};
use timonel_api::{ObjectKey, Revision};
use tokio_util::sync::CancellationToken;

use super::{Change, Reader, Selection, start};

/// What the server answers to one request.
enum Answer {
    Json(u16, Value),
    /// These events, then the end of the stream, or silence.
    Watch {
        events: Vec<Value>,
        ends: bool,
    },
}

#[derive(Clone, Default)]
struct Server {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn then(self, answer: Answer) -> Self {
        self.answers.lock().unwrap().push_back(answer);
        self
    }

    fn list(self, revision: u64, names: &[&str]) -> Self {
        let items: Vec<Value> = names.iter().map(|name| object(name, 1)).collect();
        let list = json!({"apiVersion": "v1", "kind": "ConfigMapList", "metadata": {"resourceVersion": revision.to_string()}, "items": items});
        self.then(Answer::Json(200, list))
    }

    fn watch(self, ends: bool, events: &[(&str, Value)]) -> Self {
        let events = events
            .iter()
            .map(|(kind, object)| json!({"type": kind, "object": object}))
            .collect();
        self.then(Answer::Watch { events, ends })
    }

    fn client(&self) -> kube::Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move { Ok::<_, std::convert::Infallible>(server.answer(&request)) }
        });
        kube::Client::new(service, "default")
    }

    fn answer(
        &self,
        request: &Request<Body>,
    ) -> Response<http_body_util::combinators::UnsyncBoxBody<Bytes, std::io::Error>> {
        self.requests.lock().unwrap().push(request.uri().to_string());
        let silent = Answer::Watch {
            events: Vec::new(),
            ends: false,
        };
        match self.answers.lock().unwrap().pop_front().unwrap_or(silent) {
            Answer::Json(status, value) => {
                let body = http_body_util::Full::from(value.to_string()).map_err(|never| match never {});
                Response::builder().status(status).body(body.boxed_unsync()).unwrap()
            }
            Answer::Watch { events, ends } => {
                let lines = events
                    .into_iter()
                    .map(|event| Ok(Frame::data(Bytes::from(format!("{event}\n")))));
                let rest = if ends {
                    futures::stream::empty().boxed()
                } else {
                    futures::stream::pending().boxed()
                };
                Response::new(StreamBody::new(futures::stream::iter(lines).chain(rest)).boxed_unsync())
            }
        }
    }

    fn watched_from(&self) -> Vec<String> {
        let requests = self.requests.lock().unwrap();
        let from = |uri: &String| Some(uri.split("resourceVersion=").nth(1)?.split('&').next()?.to_owned());
        requests
            .iter()
            .filter(|uri| uri.contains("watch=true"))
            .filter_map(from)
            .collect()
    }
}

fn object(name: &str, revision: u64) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
        "name": name, "namespace": "default", "uid": name, "resourceVersion": revision.to_string(),
    }})
}

fn run(server: &Server) -> Reader<ConfigMap> {
    start(Api::all(server.client()), Selection::all(), CancellationToken::new())
}

fn names(reader: &Reader<ConfigMap>) -> Vec<String> {
    reader
        .list()
        .iter()
        .filter_map(|map| map.metadata.name.clone())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn resumes_after_the_stream_ends_without_gap_or_duplicate() {
    let bookmark = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"resourceVersion": "9"}});
    let server = Server::default()
        .list(5, &["a"])
        .watch(true, &[("ADDED", object("b", 6)), ("BOOKMARK", bookmark)])
        .watch(false, &[("DELETED", object("a", 10))]);
    let reader = run(&server);
    reader.wait_revision(Revision(10)).await;
    assert_eq!(names(&reader), ["b"]);
    assert_eq!(server.watched_from(), ["5", "9"]);
}

#[tokio::test(start_paused = true)]
async fn lists_again_when_the_revision_is_too_old_and_tells_what_changed() {
    let gone = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old"});
    let server = Server::default()
        .list(5, &["a", "b"])
        .watch(false, &[("ERROR", gone)])
        .list(20, &["b", "c"]);
    let reader = run(&server);
    let mut changes = reader.changes();
    reader.wait_revision(Revision(20)).await;
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(match changes.next().await {
            Change::Applied(map) => format!("applied {}", map.metadata.name.clone().unwrap()),
            Change::Deleted(map) => format!("deleted {}", map.metadata.name.clone().unwrap()),
            Change::Resynced => "resynced".to_owned(),
        });
    }
    assert_eq!(seen, ["resynced", "deleted a", "applied c", "resynced"]);
}

#[tokio::test(start_paused = true)]
async fn a_broken_server_is_asked_again_after_a_growing_pause() {
    let broken = || {
        Answer::Json(
            500,
            json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 500, "message": "no"}),
        )
    };
    let server = Server::default()
        .then(broken())
        .then(broken())
        .then(broken())
        .list(5, &["a"]);
    let began = tokio::time::Instant::now();
    let reader = run(&server);
    reader.wait_synced().await;
    assert!(began.elapsed() > Duration::from_millis(300) && began.elapsed() < Duration::from_secs(2));
    assert!(reader.get(&ObjectKey::new("default", "a")).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_hangs_is_renewed() {
    let server = Server::default()
        .list(5, &["a"])
        .watch(false, &[])
        .watch(false, &[("ADDED", object("b", 6))]);
    let reader = run(&server);
    reader.wait_revision(Revision(6)).await;
    assert_eq!(server.watched_from(), ["5", "5"]);
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_lags_is_told_to_read_the_list_again() {
    let reader: Reader<ConfigMap> = Reader::new();
    reader.replace(imbl::OrdMap::new(), Revision(1), |_, _| true);
    let mut changes = reader.changes();
    for revision in 2..6000 {
        let map = Arc::new(ConfigMap::default());
        reader.set(ObjectKey::new("default", "a"), map, false, Revision(revision));
    }
    assert!(matches!(changes.next().await, Change::Resynced));
    assert!(matches!(changes.next().await, Change::Resynced));
    reader.set(ObjectKey::new("default", "a"), Arc::default(), true, Revision(6000));
    assert!(matches!(changes.next().await, Change::Deleted(_)));
}
