//! Certificate requests: those of nodes are approved by rule, approved ones are signed by the cluster's authority.
//!
//! Upstream: `pkg/controller/certificates/{approver,signer}`; the serving certificates of kubelets, which upstream leaves to
//! the operator, are approved for what the node object itself says of its addresses.

mod parse;
mod plan;
mod sign;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, PostParams};
use timonel_api::{ObjectKey, conditions};
use timonel_client::runner::{Acting as _, Controller, Plan, ReconcileError, Source, Writes};

use crate::context::Context;
use crate::owner;
use plan::{Action, Because, Observed, plan};

struct Certificates {
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
        let requests = self.context.caches.signing_requests.clone();
        let waiting = move |node: &Node| {
            let user = format!("system:node:{}", owner::name(&node.metadata));
            let of_node =
                |request: &Arc<CertificateSigningRequest>| request.spec.username.as_deref() == Some(user.as_str());
            requests
                .list()
                .iter()
                .filter(|request| of_node(request))
                .map(|request| timonel_client::runner::key_of(&**request))
                .collect()
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
        let caches = &self.context.caches;
        Ok(caches.signing_requests.get(key).map(|request| {
            let node = request
                .spec
                .username
                .as_deref()
                .and_then(|user| user.strip_prefix("system:node:"));
            Observed {
                contents: parse::parse(&request.spec.request.0),
                node: node.and_then(|name| caches.nodes.get(&ObjectKey::cluster(name))),
                can_sign: self.context.config.signing_ca.is_some(),
                longest: self.context.timings().certificate_duration,
                request,
            }
        }))
    }

    fn plan(&self, observed: &Observed, _: Timestamp) -> Plan<Action, Because> {
        plan(observed)
    }

    async fn apply(
        &self,
        key: &ObjectKey,
        observed: &Observed,
        plan: &Plan<Action, Because>,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        let api: Api<CertificateSigningRequest> = Api::all(self.context.client.clone());
        for action in &plan.actions {
            let mut request = CertificateSigningRequest::clone(&observed.request);
            let status = request.status.get_or_insert_default();
            let (subresource, act) = match action {
                Action::Approve { message } => {
                    self.add(status, "Approved", "AutoApproved", message);
                    ("approval", "approve")
                }
                Action::Fail { reason, message } => {
                    self.add(status, "Failed", reason, message);
                    ("status", "fail")
                }
                Action::Sign { usages, duration } => {
                    let Some(ca) = &self.context.config.signing_ca else {
                        continue;
                    };
                    let (now, rng) = (self.context.clock.now(), &*self.context.rng);
                    match sign::sign(ca, &request.spec.request.0, usages, *duration, now, rng) {
                        Ok(pem) => status.certificate = Some(ByteString(pem.into_bytes())),
                        Err(error) => {
                            let message = format!("failed to sign: {}", timonel_client::chain(&error));
                            self.add(status, "Failed", "SigningError", &message);
                        }
                    }
                    ("status", "sign")
                }
            };
            let written = api
                .replace_subresource(subresource, &key.name, &PostParams::default(), &request)
                .await;
            let written = written.acting(|| format!("cannot {act} certificate request {key}"))?;
            writes.wrote(&self.context.caches.signing_requests, &written);
        }
        Ok(())
    }
}

impl Certificates {
    fn add(
        &self,
        status: &mut k8s_openapi::api::certificates::v1::CertificateSigningRequestStatus,
        kind: &str,
        reason: &str,
        message: &str,
    ) {
        let now = self.context.clock.now();
        let condition = CertificateSigningRequestCondition {
            type_: kind.into(),
            status: "True".into(),
            reason: Some(reason.into()),
            message: Some(message.into()),
            last_update_time: Some(Time(now)),
            last_transition_time: None,
        };
        conditions::set(status.conditions.get_or_insert_default(), condition, now);
    }
}
