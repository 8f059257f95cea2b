//! Turns a request into a certificate.

use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    CertificateSigningRequestParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SerialNumber,
};
use timonel_client::Rng;

use crate::SigningCa;

/// Certificates are valid from a little earlier on, for clocks that are behind. Upstream: 5 minutes.
const BACKDATE: Duration = Duration::from_secs(300);

/// Why a request could not be signed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignError {
    /// It is not text.
    #[error("the request is not PEM")]
    NotText,
    /// The authority or the request could not be used.
    #[error("cannot issue the certificate")]
    Issue(#[from] rcgen::Error),
    /// A usage that certificates of the cluster do not have.
    #[error("unsupported usage {0:?}")]
    Usage(String),
}

/// Signs a request for the given usages. What the request itself says about usages and authority is not taken over.
pub(crate) fn sign(
    ca: &SigningCa,
    request: &[u8],
    usages: &[String],
    duration: Duration,
    now: Timestamp,
    rng: &dyn Rng,
) -> Result<String, SignError> {
    let request = std::str::from_utf8(request).map_err(|_| SignError::NotText)?;
    let mut request = CertificateSigningRequestParams::from_pem(request)?;
    let issuer = Issuer::from_ca_cert_pem(&ca.cert_pem, KeyPair::from_pem(&ca.key_pem)?)?;
    let since_epoch = Duration::try_from(now.duration_since(Timestamp::UNIX_EPOCH)).unwrap_or_default();
    let now = rcgen::date_time_ymd(1970, 1, 1) + since_epoch;
    let params = &mut request.params;
    params.not_before = now - BACKDATE;
    params.not_after = now + duration;
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages.clear();
    params.extended_key_usages.clear();
    for usage in usages {
        match usage.as_str() {
            "digital signature" | "signing" => params.key_usages.push(KeyUsagePurpose::DigitalSignature),
            "key encipherment" => params.key_usages.push(KeyUsagePurpose::KeyEncipherment),
            "client auth" => params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth),
            "server auth" => params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth),
            other => return Err(SignError::Usage(other.to_owned())),
        }
    }
    let mut serial = [rng.next_u64().to_be_bytes(), rng.next_u64().to_be_bytes()].concat();
    // Positive, and never zero.
    serial[0] = serial[0] & 0x7f | 0x01;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(request.signed_by(&issuer)?.pem())
}
