//! What a decision about one request rests on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::api::{Api, PostParams};
use timonel_api::ObjectKey;
use timonel_client::runner::{Acting as _, ReconcileError};

use super::Certificates;
use super::request::Requested;

/// A request, what it asks for, and what its requestor is allowed.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) request: Arc<CertificateSigningRequest>,
    /// What the PKCS#10 request says, or why it cannot be read.
    pub(crate) requested: Result<Requested, String>,
    /// Whether the requestor may have client certificates of nodes signed (`nodeclient`), or its own renewed (`selfnodeclient`).
    pub(crate) may_ask: bool,
    /// Every name and address of the requesting node's object.
    pub(crate) node_names: BTreeSet<String>,
    /// Whether there is an authority to sign with.
    pub(crate) can_sign: bool,
    /// How long certificates are valid unless the request says less.
    pub(crate) duration: Duration,
}

impl Certificates {
    pub(super) async fn observe_now(&self, key: &ObjectKey) -> Result<Option<Observed>, ReconcileError> {
        let Some(request) = self.context.caches.signing_requests.get(key) else {
            return Ok(None);
        };
        let requested = Requested::parse(&request.spec.request.0);
        let pending = request
            .status
            .as_ref()
            .is_none_or(|status| status.conditions.as_ref().is_none_or(Vec::is_empty));
        let may_ask = match (&requested, pending) {
            (Ok(requested), true) if request.spec.signer_name == super::plan::KUBELET_CLIENT => {
                self.may_ask(&request, requested).await?
            }
            _ => false,
        };
        let user = request.spec.username.as_deref().unwrap_or("");
        let node_names = user.strip_prefix("system:node:").map_or_else(BTreeSet::new, |name| {
            let node = self.context.caches.nodes.get(&ObjectKey::cluster(name));
            let addresses = node.and_then(|node| node.status.as_ref().and_then(|status| status.addresses.clone()));
            let addresses = addresses.into_iter().flatten().map(|address| address.address);
            addresses.chain([name.to_owned()]).collect()
        });
        Ok(Some(Observed {
            requested,
            may_ask,
            node_names,
            can_sign: self.context.config.signing_ca.is_some(),
            duration: self.context.timings().certificate_duration,
            request,
        }))
    }

    /// Asks the authorizer what upstream's approver asks it.
    async fn may_ask(
        &self,
        request: &CertificateSigningRequest,
        requested: &Requested,
    ) -> Result<bool, ReconcileError> {
        let own = request.spec.username.as_deref() == Some(requested.common_name.as_str());
        let subresources: &[&str] = if own {
            &["selfnodeclient", "nodeclient"]
        } else {
            &["nodeclient"]
        };
        for subresource in subresources {
            let review = SubjectAccessReview {
                spec: SubjectAccessReviewSpec {
                    user: request.spec.username.clone(),
                    groups: request.spec.groups.clone(),
                    extra: request.spec.extra.clone(),
                    uid: request.spec.uid.clone(),
                    resource_attributes: Some(ResourceAttributes {
                        group: Some("certificates.k8s.io".to_owned()),
                        resource: Some("certificatesigningrequests".to_owned()),
                        subresource: Some((*subresource).to_owned()),
                        verb: Some("create".to_owned()),
                        version: Some("*".to_owned()),
                        ..ResourceAttributes::default()
                    }),
                    ..SubjectAccessReviewSpec::default()
                },
                ..SubjectAccessReview::default()
            };
            let api: Api<SubjectAccessReview> = Api::all(self.context.client.clone());
            let answer = api.create(&PostParams::default(), &review).await;
            let answer = answer.acting(|| "cannot review who may ask for node certificates".to_owned())?;
            if answer.status.is_some_and(|status| status.allowed) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
