//! Approve, sign, give up, clean up: what is due for one request.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use timonel_client::runner::Plan;

use super::Observed;
use super::request::Requested;

/// Client certificates of kubelets.
pub(crate) const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// Serving certificates of kubelets.
pub(crate) const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
/// Client certificates of anybody else; a person approves them.
pub(crate) const CLIENT: &str = "kubernetes.io/kube-apiserver-client";

/// How long requests are kept, as upstream's cleaner does: an hour once they are decided, a day while they are not.
const KEEP_DECIDED: SignedDuration = SignedDuration::from_hours(1);
const KEEP_PENDING: SignedDuration = SignedDuration::from_hours(24);
/// Certificates are valid from a little before now: clocks differ.
const BACKDATE: SignedDuration = SignedDuration::from_mins(5);

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Adds the Approved condition.
    Approve {
        reason: &'static str,
        message: &'static str,
    },
    /// Signs, and stores the certificate.
    Sign {
        not_before: Timestamp,
        not_after: Timestamp,
        usages: Vec<String>,
    },
    /// Adds the Failed condition: it can never be signed.
    Fail { reason: &'static str, message: String },
    /// Deletes the request.
    Delete,
}

/// Why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    /// The requestor is allowed to ask for a node's client certificate.
    RequestorMayAsk,
    /// All names are the node's own.
    NamesAreTheNodes,
    /// Somebody approved it.
    Approved,
    /// What it asks for is not what its signer signs.
    NotForThisSigner,
    /// It has been lying around for long enough.
    Stale,
}

/// Decides what is due.
pub(crate) fn plan(observed: &Observed, now: Timestamp) -> Plan<Action, Because> {
    let mut plan = Plan::nothing();
    let request = &*observed.request;
    let state = State::of(request);
    let created = request.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
    let stale_at = created + if state.is_decided() { KEEP_DECIDED } else { KEEP_PENDING };
    if now >= stale_at {
        plan.act(Action::Delete, Because::Stale);
        return plan;
    }
    plan.look_again(Duration::try_from(stale_at.duration_since(now)).unwrap_or_default());
    if state.denied || state.failed || state.issued {
        return plan;
    }
    let signer = request.spec.signer_name.as_str();
    if ![KUBELET_CLIENT, KUBELET_SERVING, CLIENT].contains(&signer) {
        return plan;
    }
    let checked = match &observed.requested {
        Ok(requested) => fits(signer, requested, request).map(|()| requested),
        Err(unreadable) => Err(unreadable.clone()),
    };
    if state.approved {
        match checked {
            Ok(_) if observed.can_sign => {
                let (not_before, not_after) = validity(request, observed.duration, now);
                let usages = request.spec.usages.clone().unwrap_or_default();
                plan.act(
                    Action::Sign {
                        not_before,
                        not_after,
                        usages,
                    },
                    Because::Approved,
                );
            }
            Ok(_) => {}
            Err(message) => {
                plan.act(
                    Action::Fail {
                        reason: "SignerValidationFailure",
                        message,
                    },
                    Because::NotForThisSigner,
                );
            }
        }
        return plan;
    }
    let Ok(requested) = checked else { return plan };
    if signer == KUBELET_CLIENT && observed.may_ask {
        let message = "Auto approving kubelet client certificate after SubjectAccessReview.";
        plan.act(
            Action::Approve {
                reason: "AutoApproved",
                message,
            },
            Because::RequestorMayAsk,
        );
    } else if signer == KUBELET_SERVING {
        let dns = requested.dns_names.iter().cloned();
        let mut names = dns.chain(requested.addresses.iter().map(ToString::to_string));
        if names.all(|name| observed.node_names.contains(&name)) {
            let message = "Auto approving kubelet serving certificate: every name in it is the node's own.";
            plan.act(
                Action::Approve {
                    reason: "AutoApproved",
                    message,
                },
                Because::NamesAreTheNodes,
            );
        }
    }
    plan
}

#[derive(Default)]
struct State {
    approved: bool,
    denied: bool,
    failed: bool,
    issued: bool,
}

impl State {
    fn of(request: &CertificateSigningRequest) -> Self {
        let Some(status) = &request.status else {
            return Self::default();
        };
        let has = |kind: &str| {
            status
                .conditions
                .iter()
                .flatten()
                .any(|condition| condition.type_ == kind)
        };
        Self {
            approved: has("Approved"),
            denied: has("Denied"),
            failed: has("Failed"),
            issued: status
                .certificate
                .as_ref()
                .is_some_and(|certificate| !certificate.0.is_empty()),
        }
    }

    fn is_decided(&self) -> bool {
        self.denied || self.failed || self.issued
    }
}

fn validity(request: &CertificateSigningRequest, longest: Duration, now: Timestamp) -> (Timestamp, Timestamp) {
    let asked = request
        .spec
        .expiration_seconds
        .and_then(|seconds| u64::try_from(seconds).ok());
    let duration = asked.map_or(longest, |seconds| longest.min(Duration::from_secs(seconds)));
    (
        now - BACKDATE,
        now + SignedDuration::try_from(duration).unwrap_or(SignedDuration::ZERO),
    )
}

/// Checks what each signer requires.
/// <https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#kubernetes-signers>
fn fits(signer: &str, requested: &Requested, request: &CertificateSigningRequest) -> Result<(), String> {
    let usages = request.spec.usages.as_deref().unwrap_or_default();
    let only = |allowed: &[&str]| usages.iter().all(|usage| allowed.contains(&usage.as_str()));
    let has = |usage: &str| usages.iter().any(|used| used == usage);
    let names = requested.dns_names.len() + requested.addresses.len();
    if requested.other_names > 0 {
        return Err("email and URI names are not allowed".to_owned());
    }
    let client_usages = only(&["key encipherment", "digital signature", "client auth"]) && has("client auth");
    if signer == CLIENT {
        return if client_usages {
            Ok(())
        } else {
            Err("usages did not match [client auth]".to_owned())
        };
    }
    if requested.organizations != ["system:nodes"] {
        return Err("organization is not exactly [system:nodes]".to_owned());
    }
    if !requested.common_name.starts_with("system:node:") {
        return Err("common name does not start with system:node:".to_owned());
    }
    if signer == KUBELET_CLIENT {
        if names > 0 {
            return Err("DNS and IP names are not allowed in client certificates".to_owned());
        }
        return if client_usages {
            Ok(())
        } else {
            Err("usages did not match [client auth]".to_owned())
        };
    }
    if names == 0 {
        return Err("at least one DNS or IP name is required".to_owned());
    }
    if request.spec.username.as_deref() != Some(requested.common_name.as_str()) {
        return Err("common name is not the requestor's".to_owned());
    }
    if only(&["key encipherment", "digital signature", "server auth"]) && has("server auth") {
        Ok(())
    } else {
        Err("usages did not match [server auth]".to_owned())
    }
}
