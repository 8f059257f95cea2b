//! Decides which requests are approved, which are signed, and for how long.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::Node;
use timonel_api::conditions;
use timonel_client::runner::Plan;

use super::parse::Contents;
use crate::owner;

const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";

/// A request, what is in it, and the node that asks.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) request: Arc<CertificateSigningRequest>,
    pub(crate) contents: Option<Contents>,
    pub(crate) node: Option<Arc<Node>>,
    pub(crate) can_sign: bool,
    pub(crate) longest: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Approve { message: &'static str },
    Fail { reason: &'static str, message: String },
    Sign { usages: Vec<String>, duration: Duration },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    NodeBootstraps,
    NodeRenews,
    NamesAreTheNodes,
    Approved,
    SignerRefuses,
}

/// Decides.
pub(crate) fn plan(observed: &Observed) -> Plan<Action, Because> {
    let mut plan = Plan::nothing();
    let request = &*observed.request;
    let status = request.status.as_ref();
    let list = status
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    let issued = status.is_some_and(|status| status.certificate.as_ref().is_some_and(|pem| !pem.0.is_empty()));
    if issued || conditions::is_true(list, "Denied") || conditions::is_true(list, "Failed") {
        return plan;
    }
    if conditions::is_true(list, "Approved") {
        if observed.can_sign && [CLIENT, KUBELET_CLIENT, KUBELET_SERVING].contains(&request.spec.signer_name.as_str()) {
            sign(&mut plan, observed);
        }
        return plan;
    }
    let Some(contents) = &observed.contents else {
        return plan;
    };
    match request.spec.signer_name.as_str() {
        KUBELET_CLIENT if is_node_client(request, contents) => {
            let user = request.spec.username.as_deref().unwrap_or_default();
            let groups = request.spec.groups.as_deref().unwrap_or_default();
            if user == contents.common_name && groups.iter().any(|group| group == "system:nodes") {
                let message = "Auto approving self kubelet client certificate after SubjectAccessReview.";
                plan.act(Action::Approve { message }, Because::NodeRenews);
            } else if groups.iter().any(|group| group == "system:bootstrappers") {
                let message = "Auto approving kubelet client certificate after SubjectAccessReview.";
                plan.act(Action::Approve { message }, Because::NodeBootstraps);
            }
        }
        KUBELET_SERVING if is_node_serving(request, contents) => {
            if observed.node.as_ref().is_some_and(|node| names_are_of(node, contents)) {
                let message = "Auto approving kubelet serving certificate for the node's own addresses.";
                plan.act(Action::Approve { message }, Because::NamesAreTheNodes);
            }
        }
        _ => {}
    }
    plan
}

fn sign(plan: &mut Plan<Action, Because>, observed: &Observed) {
    let request = &*observed.request;
    let refused = match (&observed.contents, request.spec.signer_name.as_str()) {
        (None, _) => Some("the request is malformed"),
        (Some(contents), KUBELET_CLIENT) if !is_node_client(request, contents) => {
            Some("not a node's client certificate")
        }
        (Some(contents), KUBELET_SERVING) if !is_node_serving(request, contents) => {
            Some("not a node's serving certificate")
        }
        (Some(_), CLIENT) if !usages(request).contains("client auth") => {
            Some("a client certificate needs the usage \"client auth\"")
        }
        _ => None,
    };
    if let Some(why) = refused {
        let (reason, message) = ("SignerValidationFailure", why.to_owned());
        plan.act(Action::Fail { reason, message }, Because::SignerRefuses);
        return;
    }
    let asked = request
        .spec
        .expiration_seconds
        .and_then(|seconds| u64::try_from(seconds).ok())
        .map(Duration::from_secs);
    // Upstream gives no certificate for less than ten minutes.
    let duration = asked.map_or(observed.longest, |asked| {
        asked.clamp(Duration::from_secs(600), observed.longest)
    });
    let usages = request.spec.usages.clone().unwrap_or_default();
    plan.act(Action::Sign { usages, duration }, Because::Approved);
}

fn usages(request: &CertificateSigningRequest) -> BTreeSet<&str> {
    request.spec.usages.iter().flatten().map(String::as_str).collect()
}

fn only(request: &CertificateSigningRequest, purpose: &str) -> bool {
    let mut usages = usages(request);
    usages.remove("key encipherment");
    usages == BTreeSet::from(["digital signature", purpose])
}

/// Upstream's `ValidateKubeletClientCSR`.
fn is_node_client(request: &CertificateSigningRequest, contents: &Contents) -> bool {
    contents.organizations == ["system:nodes"]
        && contents.common_name.starts_with("system:node:")
        && contents.dns.is_empty()
        && contents.ips.is_empty()
        && !contents.others
        && only(request, "client auth")
}

/// Upstream's `ValidateKubeletServingCSR`, and that a node asks for itself.
fn is_node_serving(request: &CertificateSigningRequest, contents: &Contents) -> bool {
    contents.organizations == ["system:nodes"]
        && contents.common_name.starts_with("system:node:")
        && request.spec.username.as_deref() == Some(contents.common_name.as_str())
        && !(contents.dns.is_empty() && contents.ips.is_empty())
        && !contents.others
        && only(request, "server auth")
}

/// Whether every name in the request is one that the node object gives.
fn names_are_of(node: &Node, contents: &Contents) -> bool {
    let addresses = node
        .status
        .as_ref()
        .and_then(|status| status.addresses.as_deref())
        .unwrap_or_default();
    let names: BTreeSet<&str> = addresses
        .iter()
        .filter(|address| matches!(address.type_.as_str(), "Hostname" | "InternalDNS" | "ExternalDNS"))
        .map(|address| address.address.as_str())
        .chain([owner::name(&node.metadata)])
        .collect();
    let ips: BTreeSet<IpAddr> = addresses
        .iter()
        .filter_map(|address| address.address.parse().ok())
        .collect();
    contents.dns.iter().all(|name| names.contains(name.as_str())) && contents.ips.is_subset(&ips)
}
