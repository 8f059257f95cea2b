//! A tap on a link: it counts what a component writes and is told, disturbs one of these, or lies as a planted bug would.
//!
//! ```text
//!  component --write n--> [crash before?] --> server --> [crash after?] --> answer
//!            <--event n-- [hidden? late?] <-- watch
//! ```

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, Uri};
use http_body_util::{BodyDataStream, BodyExt as _};
use kube::client::Body;
use serde_json::Value;

use super::planted::{Bug, Deed};

/// How long a stream goes on after an event was hidden in it; then it is ended with 410, and the informer lists again.
const UNTIL_RELIST: Duration = Duration::from_secs(2);
/// How long a late event, and all that come after it, are held back.
const LATE: Duration = Duration::from_secs(7);
const GONE: &[u8] = br#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"simulated","reason":"Expired","code":410}}
"#;

/// Whether the component dies at a write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Crash {
    /// It lives.
    #[default]
    No,
    /// It dies, and the server never hears of the write.
    Before,
    /// The write takes effect; it dies without knowing.
    After,
}

/// What happens to an event on its way to an informer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// This one is dropped; the informer sees what came after it, until it lists again.
    Hidden,
    /// This one and what comes after it in the same stream arrives seconds later: the cache is stale.
    Late,
}

/// One disturbance: of the n-th write, or of the n-th event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disturbance {
    /// The component dies at its n-th write.
    Write(usize, Crash),
    /// The n-th event that it is told is lost.
    Event(usize, Loss),
}

impl fmt::Display for Disturbance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write(number, crash) => write!(f, "crash {crash:?} write {number}"),
            Self::Event(number, loss) => write!(f, "{loss:?} event {number}"),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    /// Nothing is counted before.
    armed: bool,
    writes: Vec<String>,
    events: Vec<String>,
    disturbance: Option<Disturbance>,
    /// The component has died of the disturbance and nobody has noticed yet.
    died: bool,
}

/// See the module.
#[derive(Default)]
pub struct Tap {
    state: Mutex<State>,
    bug: Option<&'static Bug>,
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tap(..)")
    }
}

impl Tap {
    /// Only counts.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Plants a bug.
    pub fn with_bug(bug: &'static Bug) -> Arc<Self> {
        Arc::new(Self {
            bug: Some(bug),
            ..Self::default()
        })
    }

    pub(super) fn bug(&self) -> Option<&'static Bug> {
        self.bug
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts from now on, and disturbs once.
    pub fn arm(&self, disturbance: Option<Disturbance>) {
        self.with(|state| {
            *state = State {
                armed: true,
                disturbance,
                ..State::default()
            }
        });
    }

    /// What was written and what was told since it was armed.
    pub fn counted(&self) -> (Vec<String>, Vec<String>) {
        self.with(|state| (state.writes.clone(), state.events.clone()))
    }

    /// Whether the component has died since this was asked last.
    pub fn has_died(&self) -> bool {
        self.with(|state| std::mem::take(&mut state.died))
    }

    /// Counts a request, and rewrites it where a bug is planted.
    pub(super) async fn request(&self, request: Request<Body>) -> (Request<Body>, Crash) {
        let request = match self.bug {
            Some(bug) if *request.method() != Method::GET => rewrite(bug, request).await,
            _ => request,
        };
        let path = request.uri().path();
        if *request.method() == Method::GET || is_uninteresting(path) {
            return (request, Crash::No);
        }
        let what = format!("{} {path}", request.method());
        let crash = self.with(|state| {
            if !state.armed {
                return Crash::No;
            }
            state.writes.push(what);
            match state.disturbance {
                Some(Disturbance::Write(number, crash)) if number + 1 == state.writes.len() => {
                    state.died = true;
                    crash
                }
                _ => Crash::No,
            }
        });
        (request, crash)
    }

    /// Rewrites an answer where a bug is planted.
    pub(super) async fn answer(&self, method: &Method, path: &str, answer: Response<Body>) -> Response<Body> {
        let Some(bug) = self.bug else { return answer };
        let (parts, body) = answer.into_parts();
        let bytes = body
            .collect()
            .await
            .map(http_body_util::Collected::to_bytes)
            .unwrap_or_default();
        let Ok(mut value) = serde_json::from_slice::<Value>(&bytes) else {
            return Response::from_parts(parts, Body::from(bytes));
        };
        if *method == Method::GET {
            if let Some(items) = value["items"].as_array_mut() {
                items.retain_mut(|item| {
                    let mut event = serde_json::json!({"type": "ADDED", "object": item.take()});
                    (bug.sees)(path, &mut event);
                    *item = event["object"].take();
                    event["type"] != "DELETED"
                });
            }
        } else {
            (bug.hears)(method, path, &mut value);
        }
        Response::from_parts(parts, Body::from(value.to_string().into_bytes()))
    }

    fn event(&self, path: &str, line: &Bytes) -> (Bytes, Option<Loss>) {
        let is_bookmark = line.starts_with(br#"{"type":"BOOKMARK""#);
        if is_bookmark || is_uninteresting(path) {
            return (line.clone(), None);
        }
        let line = match self.bug {
            Some(bug) => match serde_json::from_slice::<Value>(line) {
                Ok(mut event) => {
                    (bug.sees)(path, &mut event);
                    Bytes::from(format!("{event}\n"))
                }
                Err(_) => line.clone(),
            },
            None => line.clone(),
        };
        let loss = self.with(|state| {
            if !state.armed {
                return None;
            }
            state.events.push(path.to_owned());
            match state.disturbance {
                Some(Disturbance::Event(number, loss)) if number + 1 == state.events.len() => Some(loss),
                _ => None,
            }
        });
        (line, loss)
    }
}

async fn rewrite(bug: &Bug, request: Request<Body>) -> Request<Body> {
    let (mut parts, body) = request.into_parts();
    let bytes = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let mut deed = Deed {
        method: parts.method.clone(),
        path: parts.uri.path().to_owned(),
        body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
    };
    (bug.does)(&mut deed);
    let query = parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    if let Ok(uri) = format!("{}{query}", deed.path).parse() {
        parts.uri = uri;
    }
    parts.method = deed.method;
    let bytes = if deed.body.is_null() {
        bytes.to_vec()
    } else {
        deed.body.to_string().into_bytes()
    };
    Request::from_parts(parts, Body::from(bytes))
}

/// Heartbeats and events: nothing depends on them that a disturbance could show, and there are many.
fn is_uninteresting(path: &str) -> bool {
    path.contains("/leases") || path.contains("/events")
}

/// Whether a request asks for a watch.
pub(super) fn is_watch(uri: &Uri) -> bool {
    uri.query()
        .is_some_and(|query| query.split('&').any(|part| part == "watch=true"))
}

/// Whether a request asks for metadata only.
pub(super) fn is_metadata_only<T>(request: &Request<T>) -> bool {
    let accept = request.headers().get(http::header::ACCEPT);
    accept
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("PartialObjectMetadata"))
}

/// The store's key of what a path names.
pub(super) fn store_key(path: &str) -> String {
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let (group, rest) = match parts.as_slice() {
        ["api", _, rest @ ..] => ("core", rest),
        ["apis", group, _, rest @ ..] => (*group, rest),
        _ => return path.to_owned(),
    };
    match rest {
        ["namespaces", namespace, resource, name, ..] => format!("/registry/{group}/{resource}/{namespace}/{name}"),
        [resource, name, ..] => format!("/registry/{group}/{resource}/{name}"),
        _ => path.to_owned(),
    }
}

type Frame = Result<Bytes, <Body as http_body::Body>::Error>;

/// A watch's frames, one event each where a tap listens.
pub(super) struct Frames {
    inner: BodyDataStream<Body>,
    tap: Option<(Arc<Tap>, String)>,
    buffer: BytesMut,
    ready: VecDeque<(Bytes, Option<Loss>)>,
    ends: Option<tokio::time::Instant>,
    over: bool,
}

impl Frames {
    pub(super) fn new(inner: BodyDataStream<Body>, tap: Option<(Arc<Tap>, String)>) -> Self {
        Self {
            inner,
            tap,
            buffer: BytesMut::new(),
            ready: VecDeque::new(),
            ends: None,
            over: false,
        }
    }

    pub(super) async fn next(&mut self) -> Option<Frame> {
        use futures::StreamExt as _;
        let Some((tap, path)) = self.tap.clone() else {
            return self.inner.next().await;
        };
        loop {
            if self.over {
                return None;
            }
            while let Some((line, loss)) = self.ready.pop_front() {
                match loss {
                    Some(Loss::Hidden) => self.ends = Some(tokio::time::Instant::now() + UNTIL_RELIST),
                    Some(Loss::Late) => {
                        tokio::time::sleep(LATE).await;
                        return Some(Ok(line));
                    }
                    None => return Some(Ok(line)),
                }
            }
            let frame = match self.ends {
                Some(at) => match tokio::time::timeout_at(at, self.inner.next()).await {
                    Ok(frame) => frame,
                    Err(_) => {
                        self.over = true;
                        return Some(Ok(Bytes::from_static(GONE)));
                    }
                },
                None => self.inner.next().await,
            };
            match frame {
                Some(Ok(bytes)) => self.buffer.extend_from_slice(&bytes),
                other => return other,
            }
            while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1).freeze();
                self.ready.push_back(tap.event(&path, &line));
            }
        }
    }
}
