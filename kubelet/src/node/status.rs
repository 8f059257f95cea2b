//! Registers the Node and keeps its status current.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeStatus, ObjectReference};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use timonel_client::events::EventType;
use tokio_util::sync::CancellationToken;

use super::machine::Machine;
use super::object::{self, NodeObserved};
use crate::worker::Shared;

/// How long the runtime may go unlisted before the node counts as not ready (upstream's PLEG threshold).
const RELIST_LIMIT: Duration = Duration::from_secs(180);
/// Wait before a registration that failed is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// What was last reported, and when.
#[derive(Clone, Debug, Default)]
pub struct NodeReport {
    status: Option<NodeStatus>,
    at: Option<Timestamp>,
}

/// Registers the node and reports until shutdown.
pub(crate) async fn run(shared: Arc<Shared>, machine: Machine, shutdown: CancellationToken) {
    let mut report = NodeReport::default();
    let reference = ObjectReference {
        kind: Some("Node".to_owned()),
        name: Some(shared.config.node_name.clone()),
        uid: Some(shared.config.node_name.clone()),
        ..ObjectReference::default()
    };
    shared
        .recorder
        .event(&reference, EventType::Normal, "Starting", "Starting kubelet.");
    loop {
        let wait = match step(&shared, &machine, &mut report, &reference).await {
            Ok(()) if is_ready(report.status.as_ref()) => shared.config.timings.node_status,
            // Until it is ready, a node looks at itself more often, so that a lab comes up fast.
            Ok(()) => shared.config.timings.node_status.min(RETRY),
            Err(error) => {
                tracing::warn!(
                    error = timonel_client::chain(&error),
                    "the node's status was not reported"
                );
                RETRY * 2
            }
        };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

fn is_ready(status: Option<&NodeStatus>) -> bool {
    let conditions = status.and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|list| list.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}

async fn observe(shared: &Shared) -> NodeObserved {
    let runtime = shared.runtime.as_ref();
    let snapshot = shared.relist.latest();
    let stale = match snapshot.at {
        Some(at) => {
            let age = Duration::try_from(shared.clock.now().duration_since(at)).unwrap_or_default();
            (age > RELIST_LIMIT).then(|| format!("pleg was last seen active {}s ago; threshold is 3m0s", age.as_secs()))
        }
        None => None,
    };
    NodeObserved {
        runtime: runtime.version().await.ok(),
        conditions: runtime.status().await.map_err(|error| error.to_string()),
        relist: stale,
        images: runtime.list_images().await.unwrap_or_default(),
        pressure: Machine::pressure(&shared.config),
    }
}

async fn step(
    shared: &Shared,
    machine: &Machine,
    report: &mut NodeReport,
    about: &ObjectReference,
) -> Result<(), kube::Error> {
    let api: Api<Node> = Api::all(shared.client.clone());
    let name = &shared.config.node_name;
    let observed = observe(shared).await;
    let now = shared.clock.now();
    if report.at.is_none() {
        register(shared, &api, machine, report, &observed, now).await?;
    }
    let status = object::status(&shared.config, machine, &observed, report.status.as_ref(), now);
    let due = report
        .at
        .is_none_or(|at| now >= at + shared.config.timings.node_status_report);
    if let Some(known) = &report.status
        && object::same(known, &status)
        && !due
        && report.at.is_some()
    {
        return Ok(());
    }
    let was = is_ready(report.status.as_ref());
    let mut body = json!({"status": status});
    if let Some(conditions) = body
        .pointer_mut("/status/conditions")
        .and_then(|list| list.as_array_mut())
    {
        conditions.retain(|condition| condition.is_object());
    }
    match api
        .patch_status(name, &PatchParams::default(), &Patch::Strategic(body))
        .await
    {
        Ok(_) => {}
        Err(kube::Error::Api(error)) if error.code == 404 => {
            // Somebody deleted the Node object: register anew.
            *report = NodeReport::default();
            return Err(kube::Error::Api(error));
        }
        Err(error) => return Err(error),
    }
    let is = is_ready(Some(&status));
    if was != is {
        let reason = if is { "NodeReady" } else { "NodeNotReady" };
        let message = format!("Node {name} status is now: {reason}");
        shared.recorder.event(about, EventType::Normal, reason, message);
    }
    report.status = Some(status);
    report.at = Some(now);
    Ok(())
}

/// Creates the Node, or takes over the one that is there.
async fn register(
    shared: &Shared,
    api: &Api<Node>,
    machine: &Machine,
    report: &mut NodeReport,
    observed: &NodeObserved,
    now: Timestamp,
) -> Result<(), kube::Error> {
    let name = &shared.config.node_name;
    let status = object::status(&shared.config, machine, observed, None, now);
    let node = object::new_node(&shared.config, machine, status);
    match api.create(&PostParams::default(), &node).await {
        Ok(created) => {
            tracing::info!(node = name, "registered");
            report.status = created.status;
        }
        Err(kube::Error::Api(error)) if error.code == 409 => {
            let known = api.get(name).await?;
            let wanted = object::labels(&shared.config, machine);
            let labels = known.metadata.labels.clone().unwrap_or_default();
            if wanted.iter().any(|(key, value)| labels.get(key) != Some(value)) {
                let body = json!({"metadata": {"labels": wanted}});
                api.patch(name, &PatchParams::default(), &Patch::Merge(body)).await?;
            }
            report.status = known.status;
        }
        Err(error) => return Err(error),
    }
    Ok(())
}
