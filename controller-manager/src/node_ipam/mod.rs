//! Every node gets a network for its pods out of the cluster's.
//!
//! All nodes are decided about together, under one key: so two nodes can never be given the same network.
//! Upstream: `pkg/controller/nodeipam`.

mod plan;

use async_trait::async_trait;
use futures::future::BoxFuture;
use ipnet::IpNet;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use timonel_api::ObjectKey;
use timonel_client::events::{EventType, Recorder};
use timonel_client::runner::{Acting as _, Controller, Plan, ReconcileError, Source, Writes};

use crate::context::Context;
use crate::owner;
use plan::{Action, Because, Observed, plan};

struct NodeIpam {
    context: Context,
    recorder: Recorder,
    cluster: IpNet,
}

/// Runs the controller; without a cluster network there is nothing to give out, and it only waits.
pub(crate) fn start(context: Context) -> BoxFuture<'static, ()> {
    let Some(cluster) = context.config.cluster_cidr else {
        return Box::pin(async move { context.shutdown.cancelled().await });
    };
    let controller = NodeIpam {
        recorder: context.recorder("cidrAllocator"),
        context: context.clone(),
        cluster,
    };
    Box::pin(context.run(controller, 1))
}

#[async_trait]
impl Controller for NodeIpam {
    type Observed = Observed;
    type Action = Action;
    type Because = Because;

    fn name(&self) -> &'static str {
        "node-ipam"
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source::filtered(
            &self.context.caches.nodes,
            |old, new| {
                let cidr = |node: Option<&Node>| node.and_then(|node| node.spec.as_ref()?.pod_cidr.clone());
                old.is_none() || new.is_none() || cidr(old) != cidr(new)
            },
            |_: &Node| vec![ObjectKey::cluster("all")],
        )]
    }

    fn keys(&self) -> Vec<ObjectKey> {
        vec![ObjectKey::cluster("all")]
    }

    async fn observe(&self, _: &ObjectKey) -> Result<Option<Observed>, ReconcileError> {
        Ok(Some(Observed {
            cluster: self.cluster,
            mask: self.context.config.node_cidr_mask,
            nodes: self.context.caches.nodes.list(),
        }))
    }

    fn plan(&self, observed: &Observed, _: Timestamp) -> Plan<Action, Because> {
        plan(observed)
    }

    async fn apply(
        &self,
        _: &ObjectKey,
        _: &Observed,
        plan: &Plan<Action, Because>,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        let api: Api<Node> = Api::all(self.context.client.clone());
        for action in &plan.actions {
            match action {
                Action::Assign { node, network } => {
                    let name = owner::name(&node.metadata);
                    let network = network.to_string();
                    let patch = json!({
                        "metadata": {"uid": node.metadata.uid},
                        "spec": {"podCIDR": network, "podCIDRs": [network]},
                    });
                    let written = api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await;
                    let written = written.acting(|| format!("cannot assign {network} to node {name}"))?;
                    writes.wrote(&self.context.caches.nodes, &written);
                }
                Action::Exhausted { node } => {
                    let text = format!("Node {} status is now: CIDRNotAvailable", owner::name(&node.metadata));
                    self.recorder
                        .publish(&**node, EventType::Normal, "CIDRNotAvailable", text);
                }
            }
        }
        Ok(())
    }
}
