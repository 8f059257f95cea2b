//! Paths, and what they take.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, delete, get, post};
use http::StatusCode;
use tokio_stream::wrappers::ReceiverStream;
use tower::limit::ConcurrencyLimitLayer;

use super::auth::{self, Decisions};
use super::{images, local_path, logs, metrics, reports, streams};
use crate::runtime::{AttachRequest, ContainerRecord, ContainerState, ExecRequest, SandboxState};
use crate::worker::Shared;

/// A plain answer for what did not work.
pub(super) struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, self.1).into_response()
    }
}

fn refuse(code: StatusCode, message: impl Into<String>) -> Refusal {
    Refusal(code, message.into())
}

/// Builds the API.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    let decisions = Arc::new(Decisions::default());
    Router::new()
        .route("/healthz", get(async || "ok"))
        .route("/pods", get(reports::pods))
        .route("/stats/summary", get(metrics::summary))
        .route("/metrics", get(metrics::own))
        .route("/metrics/resource", get(metrics::resource))
        .route("/metrics/cadvisor", get(metrics::cadvisor))
        .route("/probes", get(reports::probes))
        // One archive at a time: a node has better things to do.
        .route("/images/load", post(images::load).layer(ConcurrencyLimitLayer::new(1)))
        .route("/timonel/local-path/{folder}", delete(local_path::remove))
        .route("/containerLogs/{namespace}/{pod}/{container}", get(container_logs))
        .route("/exec/{namespace}/{pod}/{container}", any(exec))
        .route("/exec/{namespace}/{pod}/{uid}/{container}", any(exec_by_uid))
        .route("/attach/{namespace}/{pod}/{container}", any(attach))
        .route("/attach/{namespace}/{pod}/{uid}/{container}", any(attach_by_uid))
        .route("/portForward/{namespace}/{pod}", any(port_forward))
        .route("/portForward/{namespace}/{pod}/{uid}", any(port_forward_by_uid))
        .layer(from_fn_with_state((Arc::clone(&shared), decisions), auth::check))
        .with_state(shared)
}

/// The query as pairs; names may come several times.
struct Query(Vec<(String, String)>);

impl Query {
    fn of(request: &Request) -> Self {
        let text = request.uri().query().unwrap_or_default();
        // The base does not matter; only the parser does.
        let url = reqwest::Url::parse(&format!("http://kubelet/?{text}"));
        Self(url.map_or_else(|_| Vec::new(), |url| url.query_pairs().into_owned().collect()))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    fn is(&self, names: &[&str]) -> bool {
        names
            .iter()
            .any(|name| matches!(self.get(name), Some("1" | "true" | "True" | "t")))
    }

    fn all(&self, name: &str) -> Vec<String> {
        self.0
            .iter()
            .filter(|(known, _)| known == name)
            .map(|(_, value)| value.clone())
            .collect()
    }

    fn number(&self, name: &str) -> Result<Option<u64>, Refusal> {
        let Some(text) = self.get(name).filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let wrong = || {
            refuse(
                StatusCode::BAD_REQUEST,
                format!("{name} must be a non-negative integer"),
            )
        };
        text.parse().map(Some).map_err(|_| wrong())
    }
}

/// The containers of that name, newest first, and the pod's uid.
fn containers(shared: &Shared, namespace: &str, pod: &str, container: &str) -> Result<Vec<ContainerRecord>, Refusal> {
    let view = shared
        .find(namespace, pod)
        .ok_or_else(|| refuse(StatusCode::NOT_FOUND, format!("pod \"{pod}\" does not exist")))?;
    let object = view.pod.unwrap_or_default();
    let spec = object.spec.clone().unwrap_or_default();
    let known = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
        .any(|c| c.name == container);
    if !known {
        let message = format!("container \"{container}\" not found in pod \"{pod}\"");
        return Err(refuse(StatusCode::NOT_FOUND, message));
    }
    let uid = object.metadata.uid.as_deref().unwrap_or_default();
    let snapshot = shared.relist.latest();
    let all = snapshot
        .pods
        .get(uid)
        .map(|pod| pod.containers.clone())
        .unwrap_or_default();
    Ok(all.into_iter().filter(|record| record.name == container).collect())
}

fn running(shared: &Shared, namespace: &str, pod: &str, container: &str) -> Result<ContainerRecord, Refusal> {
    let newest = containers(shared, namespace, pod, container)?.into_iter().next();
    newest
        .filter(|record| matches!(record.state, ContainerState::Running { .. }))
        .ok_or_else(|| refuse(StatusCode::NOT_FOUND, format!("container not found (\"{container}\")")))
}

async fn container_logs(
    State(shared): State<Arc<Shared>>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    request: Request,
) -> Result<Response, Refusal> {
    let query = Query::of(&request);
    let records = containers(&shared, &namespace, &pod, &container)?;
    let previous = query.is(&["previous"]);
    let record = if previous {
        let ended = |record: &&ContainerRecord| matches!(record.state, ContainerState::Exited { .. });
        // A container that waits for its restart is itself the previous one.
        let skip = usize::from(records.first().is_some_and(|first| !ended(&first)));
        let message = format!("previous terminated container \"{container}\" in pod \"{pod}\" not found");
        let waiting = is_waiting(&shared, &namespace, &pod, &container);
        let skip = if skip == 0 && !waiting { 1 } else { skip };
        records
            .into_iter()
            .nth(skip)
            .ok_or_else(|| refuse(StatusCode::BAD_REQUEST, message))?
    } else {
        let message = || {
            let reason =
                waiting_reason(&shared, &namespace, &pod, &container).unwrap_or_else(|| "ContainerCreating".to_owned());
            format!("container \"{container}\" in pod \"{pod}\" is waiting to start: {reason}")
        };
        let made = records
            .into_iter()
            .find(|record| record.state != ContainerState::Created);
        made.ok_or_else(|| refuse(StatusCode::BAD_REQUEST, message()))?
    };
    let since_seconds = query.number("sinceSeconds")?;
    let since = match (since_seconds, query.get("sinceTime")) {
        (Some(seconds), _) => Some(shared.clock.now() - Duration::from_secs(seconds)),
        (None, Some(text)) => {
            let parsed = text.parse();
            Some(parsed.map_err(|_| refuse(StatusCode::BAD_REQUEST, format!("invalid sinceTime: {text}")))?)
        }
        (None, None) => None,
    };
    let size =
        |name| -> Result<Option<usize>, Refusal> { Ok(query.number(name)?.and_then(|n| usize::try_from(n).ok())) };
    let options = logs::Options {
        follow: query.is(&["follow"]) && !previous,
        timestamps: query.is(&["timestamps"]),
        tail: size("tailLines")?,
        since,
        limit_bytes: size("limitBytes")?,
        stream: query.get("stream").map(str::to_owned),
    };
    let (to, from) = tokio::sync::mpsc::channel(16);
    let path = std::path::PathBuf::from(&record.log_path);
    if !options.follow && !path.exists() {
        return Err(refuse(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!(
                "failed to open log file \"{}\": no such file or directory",
                path.display()
            ),
        ));
    }
    tokio::task::spawn_blocking(move || {
        let is_running = || {
            let snapshot = shared.relist.latest();
            let pod = snapshot.pods.get(&record.pod_uid);
            pod.is_some_and(|pod| {
                let known = pod.containers.iter().find(|known| known.id == record.id);
                known.is_some_and(|known| {
                    matches!(known.state, ContainerState::Running { .. } | ContainerState::Created)
                })
            })
        };
        if let Err(error) = logs::read(&path, &options, &to, &is_running) {
            tracing::debug!(path = %path.display(), %error, "cannot read a log");
        }
    });
    let stream = futures::StreamExt::map(ReceiverStream::new(from), Ok::<_, std::convert::Infallible>);
    let answer = Response::builder().header(http::header::CONTENT_TYPE, "text/plain");
    answer
        .body(Body::from_stream(stream))
        .map_err(|error| refuse(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

fn waiting_reason(shared: &Shared, namespace: &str, pod: &str, container: &str) -> Option<String> {
    let status = shared.find(namespace, pod)?.status?;
    let all = status
        .container_statuses
        .into_iter()
        .flatten()
        .chain(status.init_container_statuses.into_iter().flatten());
    let found = all.into_iter().find(|status| status.name == container)?;
    found.state?.waiting?.reason
}

fn is_waiting(shared: &Shared, namespace: &str, pod: &str, container: &str) -> bool {
    waiting_reason(shared, namespace, pod, container).is_some()
}

/// Splits the WebSocket upgrade off a request, if it is one.
async fn upgrade_of(request: Request) -> (Result<WebSocketUpgrade, Response>, Request) {
    let (mut parts, body) = request.into_parts();
    // SPDY clients need the upgrade that this would take.
    let spdy = parts
        .headers
        .get(http::header::UPGRADE)
        .is_some_and(|value| value.as_bytes().to_ascii_lowercase().starts_with(b"spdy"));
    let upgrade = if spdy {
        Err(StatusCode::BAD_REQUEST.into_response())
    } else {
        WebSocketUpgrade::from_request_parts(&mut parts, &())
            .await
            .map_err(IntoResponse::into_response)
    };
    (upgrade, Request::from_parts(parts, body))
}

/// The streams that a query asks for; the API's names and the kubelet's.
fn wanted(query: &Query) -> Result<streams::Wanted, Refusal> {
    let tty = query.is(&["tty"]);
    let wanted = streams::Wanted {
        stdin: query.is(&["stdin", "input"]),
        stdout: query.is(&["stdout", "output"]),
        stderr: query.is(&["stderr", "error"]) && !tty,
        tty,
    };
    if !(wanted.stdin || wanted.stdout || wanted.stderr) {
        return Err(refuse(
            StatusCode::BAD_REQUEST,
            "you must specify at least 1 of stdin, stdout, stderr",
        ));
    }
    Ok(wanted)
}

async fn exec(
    State(shared): State<Arc<Shared>>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    request: Request,
) -> Result<Response, Refusal> {
    let query = Query::of(&request);
    let streams = wanted(&query)?;
    let command = query.all("command");
    if command.is_empty() {
        return Err(refuse(StatusCode::BAD_REQUEST, "you must specify a command"));
    }
    let record = running(&shared, &namespace, &pod, &container)?;
    let ask = ExecRequest {
        container_id: record.id,
        command,
        tty: streams.tty,
        stdin: streams.stdin,
        stdout: streams.stdout,
        stderr: streams.stderr,
    };
    let url = shared.runtime.exec(&ask).await;
    let url = url.map_err(|error| refuse(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let (upgrade, request) = upgrade_of(request).await;
    Ok(streams::command(upgrade, request, url, streams).await)
}

async fn exec_by_uid(
    state: State<Arc<Shared>>,
    Path((namespace, pod, _uid, container)): Path<(String, String, String, String)>,
    request: Request,
) -> Result<Response, Refusal> {
    exec(state, Path((namespace, pod, container)), request).await
}

async fn attach(
    State(shared): State<Arc<Shared>>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    request: Request,
) -> Result<Response, Refusal> {
    let query = Query::of(&request);
    let mut streams = wanted(&query)?;
    let record = running(&shared, &namespace, &pod, &container)?;
    // What the container was not made with cannot be attached to.
    let view = shared
        .find(&namespace, &pod)
        .and_then(|view| view.pod)
        .unwrap_or_default();
    let spec = view.spec.clone().unwrap_or_default();
    let made = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
        .find(|c| c.name == container);
    streams.tty = made.and_then(|container| container.tty) == Some(true);
    streams.stderr &= !streams.tty;
    let ask = AttachRequest {
        container_id: record.id,
        tty: streams.tty,
        stdin: streams.stdin,
        stdout: streams.stdout,
        stderr: streams.stderr,
    };
    let url = shared.runtime.attach(&ask).await;
    let url = url.map_err(|error| refuse(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let (upgrade, request) = upgrade_of(request).await;
    Ok(streams::command(upgrade, request, url, streams).await)
}

async fn attach_by_uid(
    state: State<Arc<Shared>>,
    Path((namespace, pod, _uid, container)): Path<(String, String, String, String)>,
    request: Request,
) -> Result<Response, Refusal> {
    attach(state, Path((namespace, pod, container)), request).await
}

async fn port_forward(
    State(shared): State<Arc<Shared>>,
    Path((namespace, pod)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Refusal> {
    let view = shared
        .find(&namespace, &pod)
        .ok_or_else(|| refuse(StatusCode::NOT_FOUND, format!("pod \"{pod}\" does not exist")))?;
    let uid = view
        .pod
        .as_ref()
        .and_then(|pod| pod.metadata.uid.clone())
        .unwrap_or_default();
    let snapshot = shared.relist.latest();
    let sandbox = snapshot.pods.get(&uid).and_then(|pod| pod.sandboxes.first());
    let sandbox = sandbox
        .filter(|sandbox| sandbox.state == SandboxState::Ready)
        .ok_or_else(|| refuse(StatusCode::NOT_FOUND, format!("pod not found (\"{pod}\")")))?;
    let query = Query::of(&request);
    let mut ports = Vec::new();
    for text in query.all("port").iter().chain(&query.all("ports")) {
        for port in text.split(',').filter(|port| !port.is_empty()) {
            let port = port
                .parse()
                .map_err(|_| refuse(StatusCode::BAD_REQUEST, format!("unable to parse {port:?} as a port")))?;
            ports.push(port);
        }
    }
    let url = shared.runtime.port_forward(&sandbox.id, &ports).await;
    let url = url.map_err(|error| refuse(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let (upgrade, request) = upgrade_of(request).await;
    Ok(streams::port_forward(upgrade, request, url).await)
}

async fn port_forward_by_uid(
    state: State<Arc<Shared>>,
    Path((namespace, pod, _uid)): Path<(String, String, String)>,
    request: Request,
) -> Result<Response, Refusal> {
    port_forward(state, Path((namespace, pod)), request).await
}
