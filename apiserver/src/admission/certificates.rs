//! `CertificateApproval`, `CertificateSigning` and `CertificateSubjectRestriction`: who may approve and sign which certificate
//! signing request, and that none makes an administrator.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::FromDer;

use super::{AdmissionRequest, Context, Operation, Plugin, items, text};
use crate::authz::Attributes;
use crate::error::ApiError;

const GROUP: &str = "certificates.k8s.io";
const PLURAL: &str = "certificatesigningrequests";
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

pub(super) struct Certificates;

impl Plugin for Certificates {
    fn validate(&self, request: &AdmissionRequest<'_>, context: &Context) -> Result<(), ApiError> {
        if request.resource.group != GROUP || request.resource.plural != PLURAL {
            return Ok(());
        }
        let (new, old) = (request.new_object(), request.old.unwrap_or(&Value::Null));
        match (request.operation, request.subresource) {
            (Operation::Create, None) => subject(request, new),
            (Operation::Update, Some("approval")) => {
                let signer = text(&old["spec"]["signerName"]);
                allowed(request, context, "approve", signer).map_err(|()| {
                    request.forbidden(format!(
                        "user not permitted to approve requests with signerName {signer:?}"
                    ))
                })
            }
            (Operation::Update, Some("status")) => {
                let failed = |object: &Value| {
                    items(&object["status"]["conditions"])
                        .iter()
                        .find(|condition| text(&condition["type"]) == "Failed")
                        .cloned()
                };
                if new["status"]["certificate"] == old["status"]["certificate"] && failed(new) == failed(old) {
                    return Ok(());
                }
                let signer = text(&old["spec"]["signerName"]);
                allowed(request, context, "sign", signer).map_err(|()| {
                    request.forbidden(format!(
                        "user not permitted to sign requests with signerName {signer:?}"
                    ))
                })
            }
            _ => Ok(()),
        }
    }
}

/// Asks for a verb on the signer, or on all signers of its domain.
fn allowed(request: &AdmissionRequest<'_>, context: &Context, verb: &str, signer: &str) -> Result<(), ()> {
    let domain = signer.split_once('/').map_or(signer, |(domain, _)| domain);
    let all = format!("{domain}/*");
    let asks = Attributes::resource(request.user, verb, GROUP, "signers");
    let may = |name| context.authorizer.authorize(&asks.named(name)).allowed;
    if may(signer) || may(&all) { Ok(()) } else { Err(()) }
}

fn subject(request: &AdmissionRequest<'_>, csr: &Value) -> Result<(), ApiError> {
    let signer = text(&csr["spec"]["signerName"]);
    if signer != CLIENT_SIGNER {
        return Ok(());
    }
    let unreadable = || request.forbidden("failed to parse CSR: it is not a PEM encoded certificate request");
    let pem = STANDARD
        .decode(text(&csr["spec"]["request"]))
        .map_err(|_| unreadable())?;
    let (_, block) = parse_x509_pem(&pem).map_err(|_| unreadable())?;
    let (_, parsed) = X509CertificationRequest::from_der(&block.contents).map_err(|_| unreadable())?;
    let masters = parsed
        .certification_request_info
        .subject
        .iter_organization()
        .any(|organization| organization.as_str() == Ok("system:masters"));
    if masters {
        return Err(request.forbidden(format!(
            "use of {signer} signer with system:masters group is not allowed"
        )));
    }
    Ok(())
}
