//! Renews the node's Lease: the heartbeat by which the control plane knows that a node lives.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use kube::Api;
use kube::api::PostParams;
use tokio_util::sync::CancellationToken;

use crate::worker::Shared;

const NAMESPACE: &str = "kube-node-lease";

/// Renews until shutdown.
pub(crate) async fn run(shared: Arc<Shared>, shutdown: CancellationToken) {
    let mut known: Option<Lease> = None;
    let mut retry = Duration::from_millis(200);
    loop {
        let wait = match renew(&shared, known.take()).await {
            Ok(lease) => {
                known = Some(lease);
                retry = Duration::from_millis(200);
                // A little jitter keeps a thousand nodes from renewing in step.
                shared
                    .config
                    .timings
                    .lease_renew
                    .mul_f64(1.0 + 0.04 * shared.rng.unit())
            }
            Err(error) => {
                tracing::warn!(
                    error = timonel_client::chain(&error),
                    "the node's lease was not renewed"
                );
                let wait = retry.min(shared.config.timings.lease_renew);
                retry *= 2;
                wait
            }
        };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn renew(shared: &Shared, known: Option<Lease>) -> Result<Lease, kube::Error> {
    let api: Api<Lease> = Api::namespaced(shared.client.clone(), NAMESPACE);
    let name = &shared.config.node_name;
    let known = match known {
        Some(known) => Some(known),
        None => api.get_opt(name).await?,
    };
    let spec = LeaseSpec {
        holder_identity: Some(name.clone()),
        lease_duration_seconds: i32::try_from(shared.config.timings.lease_duration.as_secs()).ok(),
        renew_time: Some(MicroTime(shared.clock.now())),
        ..LeaseSpec::default()
    };
    match known {
        Some(mut lease) => {
            lease.spec = Some(spec);
            api.replace(name, &PostParams::default(), &lease).await
        }
        None => {
            let nodes: Api<Node> = Api::all(shared.client.clone());
            let owner = nodes.get_opt(name).await?.map(|node| OwnerReference {
                api_version: "v1".to_owned(),
                kind: "Node".to_owned(),
                name: name.clone(),
                uid: node.metadata.uid.unwrap_or_default(),
                ..OwnerReference::default()
            });
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(name.clone()),
                    namespace: Some(NAMESPACE.to_owned()),
                    owner_references: owner.map(|owner| vec![owner]),
                    ..ObjectMeta::default()
                },
                spec: Some(spec),
            };
            api.create(&PostParams::default(), &lease).await
        }
    }
}
