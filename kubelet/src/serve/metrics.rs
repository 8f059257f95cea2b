//! What the node uses, and how this kubelet is: `/stats/summary`, `/metrics`, `/metrics/resource`, `/metrics/cadvisor`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};

use crate::runtime::{ContainerState, SandboxState};
use crate::stats::exposition::{self, Text};
use crate::stats::{self, summary as project};
use crate::worker::Shared;

/// Prometheus' text form.
const TEXT: [(header::HeaderName, &str); 1] = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];

/// `/stats/summary`, in upstream's format.
pub(super) async fn summary(State(shared): State<Arc<Shared>>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let only = query
        .split('&')
        .any(|pair| matches!(pair, "only_cpu_and_memory=true" | "only_cpu_and_memory=1"));
    match stats::observe(&shared).await {
        Ok(observed) => Json(project::summary(&observed, only)).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// `/metrics/resource`: what metrics-server, and our API server in its place, asks for. As upstream, a runtime that does not answer
/// is told by `resource_scrape_error`, not by the status.
pub(super) async fn resource(State(shared): State<Arc<Shared>>) -> Response {
    let text = match stats::observe(&shared).await {
        Ok(observed) => exposition::resource(&observed),
        Err(error) => {
            tracing::warn!(%error, "cannot measure the node's containers");
            exposition::scrape_error()
        }
    };
    (TEXT, text).into_response()
}

/// `/metrics/cadvisor`.
pub(super) async fn cadvisor(State(shared): State<Arc<Shared>>) -> Response {
    match stats::observe(&shared).await {
        Ok(observed) => (TEXT, exposition::cadvisor(&observed)).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// `/metrics`: this kubelet itself.
pub(super) async fn own(State(shared): State<Arc<Shared>>) -> Response {
    (TEXT, render(&shared)).into_response()
}

fn render(shared: &Shared) -> String {
    let snapshot = shared.relist.latest();
    let mut containers: BTreeMap<&str, u64> = BTreeMap::new();
    for record in snapshot.pods.values().flat_map(|pod| &pod.containers) {
        let state = match record.state {
            ContainerState::Created => "created",
            ContainerState::Running { .. } => "running",
            ContainerState::Exited { .. } => "exited",
            ContainerState::Unknown => "unknown",
        };
        *containers.entry(state).or_default() += 1;
    }
    let running = snapshot
        .pods
        .values()
        .filter(|pod| pod.sandboxes.iter().any(|sandbox| sandbox.state == SandboxState::Ready))
        .count();
    let mut text = Text::default();
    let mut gauge = |name: &str, help: &str, samples: &[(&[(&str, &str)], String)]| {
        text.family(name, "gauge", help);
        for (labels, value) in samples {
            text.sample(name, labels, value, None);
        }
    };
    gauge(
        "kubelet_node_name",
        "[ALPHA] The node's name. The count is always 1.",
        &[(&[("node", &shared.config.node_name)], "1".to_owned())],
    );
    gauge(
        "kubelet_desired_pods",
        "[ALPHA] The number of pods the kubelet is being instructed to run. static is true if the pod is not from the apiserver.",
        &[(
            &[("static", "")],
            shared
                .all()
                .iter()
                .filter(|view| view.pod.is_some())
                .count()
                .to_string(),
        )],
    );
    gauge(
        "kubelet_running_pods",
        "[ALPHA] Number of pods that have a running pod sandbox",
        &[(&[], running.to_string())],
    );
    let states: Vec<[(&str, &str); 1]> = containers.keys().map(|state| [("container_state", *state)]).collect();
    let samples: Vec<(&[(&str, &str)], String)> = states
        .iter()
        .zip(containers.values())
        .map(|(labels, count)| (labels.as_slice(), count.to_string()))
        .collect();
    gauge(
        "kubelet_running_containers",
        "[ALPHA] Number of containers currently running",
        &samples,
    );
    if let Some(at) = snapshot.at {
        gauge(
            "kubelet_pleg_last_seen_seconds",
            "[ALPHA] Timestamp in seconds when PLEG was last seen active.",
            &[(&[], at.as_second().to_string())],
        );
    }
    text.finish()
}
