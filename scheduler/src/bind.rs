//! The writes of the scheduler: bindings, conditions, evictions of victims. No decision in here.

use std::time::Duration;

use http::Request;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::json;
use timonel_api::ObjectKey;
use timonel_client::Clock;

use crate::extender::{self, Extender, ExtenderError};
use crate::pod_info::{PodInfo, nominated_node, scheduler_name};

/// A write that takes longer is given up; the watch will tell how it ended.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a write failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    /// The pod could not be bound.
    #[error("cannot bind pod {pod} to node {node}")]
    Bind {
        /// Which pod.
        pod: ObjectKey,
        /// To which node.
        node: String,
        /// Why.
        #[source]
        source: kube::Error,
    },
    /// The request could not be made.
    #[error("cannot make the binding of pod {pod}")]
    Request {
        /// Which pod.
        pod: ObjectKey,
        /// Why.
        #[source]
        source: http::Error,
    },
    /// The pod's volumes were not bound.
    #[error("cannot bind the volumes of pod {pod}")]
    Volumes {
        /// Which pod.
        pod: ObjectKey,
        /// Why.
        #[source]
        source: Box<crate::volumes::VolumeError>,
    },
    /// The extender whose task it is did not bind it.
    #[error("cannot have pod {pod} bound to node {node} by an extender")]
    Extender {
        /// Which pod.
        pod: ObjectKey,
        /// To which node.
        node: String,
        /// Why.
        #[source]
        source: ExtenderError,
    },
    /// No answer in time.
    #[error("binding pod {pod} timed out")]
    Timeout {
        /// Which pod.
        pod: ObjectKey,
    },
}

/// Binds a pod to a node, or has it bound by the extender whose task that is.
pub(crate) async fn bind(
    client: &kube::Client,
    extenders: &[Extender],
    pod: &PodInfo,
    node: &str,
) -> Result<(), WriteError> {
    match extender::bind(extenders, pod, node).await {
        Ok(true) => Ok(()),
        Ok(false) => bind_here(client, &pod.key, &pod.uid, node).await,
        Err(source) => Err(WriteError::Extender {
            pod: pod.key.clone(),
            node: node.to_owned(),
            source,
        }),
    }
}

async fn bind_here(client: &kube::Client, pod: &ObjectKey, uid: &str, node: &str) -> Result<(), WriteError> {
    let binding = json!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": uid},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    });
    let path = format!("/api/v1/namespaces/{}/pods/{}/binding", pod.namespace, pod.name);
    let request = Request::post(path)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(binding.to_string().into_bytes())
        .map_err(|source| WriteError::Request {
            pod: pod.clone(),
            source,
        })?;
    match tokio::time::timeout(WRITE_TIMEOUT, client.request::<serde_json::Value>(request)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(source)) => Err(WriteError::Bind {
            pod: pod.clone(),
            node: node.to_owned(),
            source,
        }),
        Err(_) => Err(WriteError::Timeout { pod: pod.clone() }),
    }
}

/// What a report says about the node that a pod waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Nomination {
    /// It stays as it is.
    Keep,
    /// This one.
    Node(String),
    /// None.
    Clear,
}

impl Nomination {
    /// What to write over what stands there; `None` where that says the same.
    fn over(&self, present: Option<&str>) -> Option<serde_json::Value> {
        match self {
            Self::Node(node) if present != Some(node) => Some(json!(node)),
            Self::Clear if present.is_some() => Some(serde_json::Value::Null),
            _ => None,
        }
    }
}

/// Says in the pod's status why it has no node, and which one it waits for.
pub(crate) async fn report(
    client: &kube::Client,
    clock: &dyn Clock,
    pod: &Pod,
    reason: &str,
    message: &str,
    nomination: &Nomination,
) -> kube::Result<()> {
    let old = timonel_api::pod::condition(pod, "PodScheduled");
    let nominated = nomination.over(nominated_node(pod));
    let same = old.is_some_and(|old| {
        old.status == "False" && old.reason.as_deref() == Some(reason) && old.message.as_deref() == Some(message)
    });
    if same && nominated.is_none() {
        return Ok(());
    }
    let since: Timestamp = old
        .filter(|old| old.status == "False")
        .and_then(|old| old.last_transition_time.as_ref())
        .map_or_else(|| clock.now(), |time| time.0);
    let mut status = json!({
        "conditions": [{
            "type": "PodScheduled",
            "status": "False",
            "reason": reason,
            "message": message,
            "lastProbeTime": null,
            "lastTransitionTime": k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(since),
        }],
    });
    if let Some(node) = nominated {
        status["nominatedNodeName"] = node;
    }
    write_status(client, pod, status).await
}

/// Says in the pod's status that it waits for no node any more.
pub(crate) async fn displace(client: &kube::Client, pod: &Pod) -> kube::Result<()> {
    write_status(client, pod, json!({"nominatedNodeName": null})).await
}

async fn write_status(client: &kube::Client, pod: &Pod, status: serde_json::Value) -> kube::Result<()> {
    let key = timonel_client::runner::key_of(pod);
    let api: Api<Pod> = Api::namespaced(client.clone(), &key.namespace);
    let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": status});
    let (params, patch) = (PatchParams::default(), Patch::Strategic(&patch));
    let write = api.patch_status(&key.name, &params, &patch);
    match tokio::time::timeout(WRITE_TIMEOUT, write).await {
        Ok(result) => result.map(|_| ()),
        Err(_) => Ok(()),
    }
}

/// Deletes a pod that makes room for a more important one.
pub(crate) async fn evict(client: &kube::Client, clock: &dyn Clock, victim: &Pod, preemptor: &Pod) -> kube::Result<()> {
    let key = timonel_client::runner::key_of(victim);
    let scheduler = scheduler_name(preemptor);
    let api: Api<Pod> = Api::namespaced(client.clone(), &key.namespace);
    let patch = json!({"metadata": {"uid": victim.metadata.uid}, "status": {"conditions": [{
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "PreemptionByScheduler",
        "message": format!("{scheduler}: preempting to accommodate a higher priority pod"),
        "lastTransitionTime": k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(clock.now()),
    }]}});
    api.patch_status(&key.name, &PatchParams::default(), &Patch::Strategic(&patch))
        .await?;
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: victim.metadata.uid.clone(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    tracing::info!(victim = %key, preemptor = %timonel_client::runner::key_of(preemptor), "preempting");
    api.delete(&key.name, &params).await.map(|_| ())
}
