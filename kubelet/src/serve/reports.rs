//! What a node tells about its pods: `/pods`, and the flight recorder of probes.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
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
