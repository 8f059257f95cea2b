//! Certificate signing requests: approved where upstream approves them by itself, signed, and cleaned up.
//!
//! Upstream: `pkg/controller/certificates/{approver,signer,cleaner}`. One controller does all three, because they are three
//! steps of one object's life.
//!
//! A deliberate difference: upstream leaves `kubernetes.io/kubelet-serving` to administrators. Here a node's request is approved when
//! every name and address in it is one that the node object already carries, so that the API server can verify the kubelets it calls.

mod apply;
mod observe;
mod plan;
mod request;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use timonel_api::ObjectKey;
use timonel_client::runner::{Controller, Plan, ReconcileError, Source, Writes, key_of};

use crate::context::Context;
use crate::owner;
pub(crate) use observe::Observed;
pub(crate) use plan::{Action, Because, plan};

/// The controller.
pub(crate) struct Certificates {
    context: Context,
}

/// Runs the controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, ()> {
    let controller = Certificates {
        context: context.clone(),
    };
    Box::pin(context.run(controller, 2))
}

#[async_trait]
impl Controller for Certificates {
    type Observed = Observed;
    type Action = Action;
    type Because = Because;

    fn name(&self) -> &'static str {
        "certificatesigningrequest"
    }

    fn sources(&self) -> Vec<Source> {
        // A serving certificate may be asked for before the node has said what its addresses are.
        let requests = self.context.caches.signing_requests.clone();
        let waiting = move |node: &Node| {
            let user = format!("system:node:{}", owner::name(&node.metadata));
            let requests = requests.list();
            let of_node = requests
                .iter()
                .filter(|request| request.spec.username.as_deref() == Some(user.as_str()));
            of_node.map(|request| key_of(&**request)).collect()
        };
        let addresses = |node: Option<&Node>| node.and_then(|node| node.status.as_ref()?.addresses.clone());
        vec![
            Source::primary(&self.context.caches.signing_requests),
            Source::filtered(
                &self.context.caches.nodes,
                move |old, new| addresses(old) != addresses(new),
                waiting,
            ),
        ]
    }

    fn keys(&self) -> Vec<ObjectKey> {
        self.context
            .caches
            .signing_requests
            .snapshot()
            .keys()
            .cloned()
            .collect()
    }

    async fn observe(&self, key: &ObjectKey) -> Result<Option<Observed>, ReconcileError> {
        self.observe_now(key).await
    }

    fn plan(&self, observed: &Observed, now: Timestamp) -> Plan<Action, Because> {
        plan(observed, now)
    }

    async fn apply(
        &self,
        _: &ObjectKey,
        observed: &Observed,
        plan: &Plan<Action, Because>,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        self.carry_out(observed, plan, writes).await
    }
}
