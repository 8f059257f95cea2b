//! What a node tells about its pods: `/pods`, `/stats/summary`, and the flight recorder of probes.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Value, json};

use crate::pod::ProbeKind;
use crate::runtime::ProbeOutcome;
use crate::worker::Shared;

/// The pods of this node as it sees them.
pub(super) async fn pods(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let items: Vec<_> = shared
        .all()
        .into_iter()
        .filter_map(|view| {
            let mut pod = (*view.pod?).clone();
            pod.status = view.status.or(pod.status);
            Some(pod)
        })
        .collect();
    Json(json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}))
}

/// CPU, memory and disk of the node's containers, in upstream's format.
pub(super) async fn summary(State(shared): State<Arc<Shared>>) -> Response {
    let stats = match shared.runtime.container_stats().await {
        Ok(stats) => stats,
        Err(error) => return (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    };
    let mut by_pod: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for container in stats {
        by_pod.entry(container.pod_uid.clone()).or_default().push(json!({
            "name": container.name,
            "cpu": {"time": container.at, "usageCoreNanoSeconds": container.cpu_nanos},
            "memory": {"time": container.at, "workingSetBytes": container.memory_bytes},
            "rootfs": {"time": container.at, "usedBytes": container.disk_bytes},
        }));
    }
    let pods: Vec<Value> = shared
        .all()
        .into_iter()
        .filter_map(|view| {
            let meta = &view.pod.as_ref()?.metadata;
            let uid = meta.uid.clone()?;
            Some(json!({
                "podRef": {"name": meta.name, "namespace": meta.namespace, "uid": uid},
                "startTime": view.status.as_ref().and_then(|status| status.start_time.clone()),
                "containers": by_pod.remove(&uid).unwrap_or_default(),
            }))
        })
        .collect();
    Json(json!({"node": {"nodeName": shared.config.node_name}, "pods": pods})).into_response()
}

/// The last results of every probe, oldest first, and why the planner did last what it did.
pub(super) async fn probes(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let pods: Vec<Value> = shared
        .all()
        .into_iter()
        .map(|view| {
            let probes: Vec<Value> = view
                .probes
                .iter()
                .map(|((container, kind), results)| {
                    let results: Vec<Value> = results
                        .iter()
                        .map(|result| {
                            let (found, words) = match &result.outcome {
                                ProbeOutcome::Success { output } => ("Success", output),
                                ProbeOutcome::Failure { output } => ("Failure", output),
                                ProbeOutcome::Error { message } => ("Error", message),
                            };
                            json!({"at": result.at, "result": found, "output": words})
                        })
                        .collect();
                    let kind = match kind {
                        ProbeKind::Startup => "startup",
                        ProbeKind::Liveness => "liveness",
                        ProbeKind::Readiness => "readiness",
                    };
                    json!({"container": container, "probe": kind, "results": results})
                })
                .collect();
            let meta = view.pod.as_ref().map(|pod| &pod.metadata);
            json!({
                "namespace": meta.and_then(|meta| meta.namespace.clone()),
                "name": meta.and_then(|meta| meta.name.clone()),
                "because": view.because,
                "probes": probes,
            })
        })
        .collect();
    Json(json!({"pods": pods}))
}
