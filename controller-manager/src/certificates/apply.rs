//! Carries out what was decided about a request.

use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use rcgen::{CertificateSigningRequestParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use serde_json::json;
use timonel_client::runner::{Acting as _, Plan, ReconcileError, Writes, key_of};

use super::{Action, Because, Certificates, Observed};
use crate::{SigningCa, owner};

/// Why signing failed.
#[derive(Debug, thiserror::Error)]
enum SignError {
    #[error("cannot read the signing authority")]
    Authority(#[source] rcgen::Error),
    #[error("cannot read the request")]
    Request(#[source] rcgen::Error),
    #[error("the request is not text")]
    NotText,
    #[error("cannot sign the request")]
    Sign(#[source] rcgen::Error),
    #[error("the certificate's validity is out of range")]
    Validity,
}

impl Certificates {
    pub(super) async fn carry_out(
        &self,
        observed: &Observed,
        plan: &Plan<Action, Because>,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        let request = &*observed.request;
        let api: Api<CertificateSigningRequest> = Api::all(self.context.client.clone());
        let name = owner::name(&request.metadata);
        for action in &plan.actions {
            let written = match action {
                Action::Approve { reason, message } => {
                    let patch = self.condition("Approved", reason, message, request);
                    api.patch_approval(name, &PatchParams::default(), &Patch::Merge(&patch))
                        .await
                }
                Action::Fail { reason, message } => {
                    let patch = self.condition("Failed", reason, message, request);
                    api.patch_status(name, &PatchParams::default(), &Patch::Merge(&patch))
                        .await
                }
                Action::Sign {
                    not_before,
                    not_after,
                    usages,
                } => {
                    let Some(ca) = &self.context.config.signing_ca else {
                        continue;
                    };
                    let patch = match sign(ca, &request.spec.request.0, *not_before, *not_after, usages) {
                        Ok(pem) => json!({"status": {"certificate": k8s_openapi::ByteString(pem.into_bytes())}}),
                        Err(error) => {
                            tracing::warn!(request = name, %error, source = ?std::error::Error::source(&error), "cannot sign a certificate request");
                            self.condition("Failed", "SigningError", &error.to_string(), request)
                        }
                    };
                    api.patch_status(name, &PatchParams::default(), &Patch::Merge(&patch))
                        .await
                }
                Action::Delete => {
                    let uid = owner::uid(&request.metadata).to_owned();
                    let preconditions = Preconditions {
                        uid: Some(uid.clone()),
                        ..Preconditions::default()
                    };
                    let params = DeleteParams::default().preconditions(preconditions);
                    let deleted = api.delete(name, &params).await;
                    deleted.acting(|| format!("cannot delete certificate request {name}"))?;
                    writes.deleted(&self.context.caches.signing_requests, key_of(request), uid);
                    continue;
                }
            };
            let written = written.acting(|| format!("cannot update certificate request {name}"))?;
            writes.wrote(&self.context.caches.signing_requests, &written);
        }
        Ok(())
    }

    /// A merge patch that adds a condition to those that are there, if the request has not changed meanwhile.
    fn condition(
        &self,
        kind: &str,
        reason: &str,
        message: &str,
        request: &CertificateSigningRequest,
    ) -> serde_json::Value {
        let mut conditions: Vec<serde_json::Value> = request
            .status
            .iter()
            .flat_map(|status| status.conditions.iter().flatten())
            .filter_map(|condition| serde_json::to_value(condition).ok())
            .collect();
        let now = self.context.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        conditions.push(json!({
            "type": kind, "status": "True", "reason": reason, "message": message,
            "lastUpdateTime": now, "lastTransitionTime": now}));
        json!({"metadata": {"resourceVersion": request.metadata.resource_version}, "status": {"conditions": conditions}})
    }
}

fn sign(
    ca: &SigningCa,
    request: &[u8],
    not_before: Timestamp,
    not_after: Timestamp,
    usages: &[String],
) -> Result<String, SignError> {
    let key = KeyPair::from_pem(&ca.key_pem).map_err(SignError::Authority)?;
    let issuer = Issuer::from_ca_cert_pem(&ca.cert_pem, key).map_err(SignError::Authority)?;
    let pem = std::str::from_utf8(request).map_err(|_| SignError::NotText)?;
    let mut request = CertificateSigningRequestParams::from_pem(pem).map_err(SignError::Request)?;
    let date = |time: Timestamp| {
        let at = time.to_zoned(jiff::tz::TimeZone::UTC).date();
        let (month, day) = (u8::try_from(at.month()), u8::try_from(at.day()));
        Some(rcgen::date_time_ymd(i32::from(at.year()), month.ok()?, day.ok()?))
    };
    // The library's dates are days; what is left of the day is added.
    let seconds = |time: Timestamp| {
        std::time::Duration::from_secs(u64::try_from(time.as_second().rem_euclid(86_400)).unwrap_or(0))
    };
    let params = &mut request.params;
    params.not_before = date(not_before).ok_or(SignError::Validity)? + seconds(not_before);
    params.not_after = date(not_after).ok_or(SignError::Validity)? + seconds(not_after);
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = Vec::new();
    params.extended_key_usages = Vec::new();
    for usage in usages {
        match usage.as_str() {
            "digital signature" => params.key_usages.push(KeyUsagePurpose::DigitalSignature),
            "key encipherment" => params.key_usages.push(KeyUsagePurpose::KeyEncipherment),
            "client auth" => params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth),
            "server auth" => params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth),
            _ => {}
        }
    }
    Ok(request.signed_by(&issuer).map_err(SignError::Sign)?.pem())
}
