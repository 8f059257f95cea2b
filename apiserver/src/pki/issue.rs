//! Makes keys and certificates, and judges whether one that was read may still be used.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use timonel_client::Rng;
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};

use super::PkiError;

/// As kubeadm has it.
const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
const LEAF_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);
/// Clocks of nodes may be a little behind the server's.
const BACKDATED: Duration = Duration::from_secs(5 * 60);

/// A certificate with its key.
#[derive(Clone)]
pub struct KeyAndCert {
    /// The certificate, PEM.
    pub cert_pem: String,
    /// The private key, PEM (PKCS#8).
    pub key_pem: String,
    /// The certificate, DER.
    pub cert_der: CertificateDer<'static>,
}

impl std::fmt::Debug for KeyAndCert {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyAndCert").finish_non_exhaustive()
    }
}

/// Why a certificate could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// rcgen refused.
    #[error("making a key or certificate")]
    Generate(#[from] rcgen::Error),
    /// PEM text is not what it should be.
    #[error("reading PEM: {0}")]
    Pem(String),
    /// The key is not the certificate's.
    #[error("the private key does not belong to the certificate")]
    Mismatch,
    /// A subject alternative name is not ASCII.
    #[error("{0:?} is not a DNS name")]
    Name(String),
}

impl KeyAndCert {
    /// Reads a certificate and its key and checks that they belong together.
    pub(super) fn from_pem(cert_pem: String, key_pem: String) -> Result<Self, IssueError> {
        let cert_der =
            CertificateDer::from_pem_slice(cert_pem.as_bytes()).map_err(|error| IssueError::Pem(error.to_string()))?;
        let key = KeyPair::from_pem(&key_pem)?;
        let (_, parsed) = X509Certificate::from_der(&cert_der).map_err(|error| IssueError::Pem(error.to_string()))?;
        if parsed.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
            return Err(IssueError::Mismatch);
        }
        Ok(Self {
            cert_pem,
            key_pem,
            cert_der,
        })
    }

    /// The private key for rustls.
    pub fn private_key(&self) -> Result<PrivateKeyDer<'static>, IssueError> {
        PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).map_err(|error| IssueError::Pem(error.to_string()))
    }
}

pub(super) enum Usage {
    Server,
    Client,
}

/// What a leaf certificate says.
pub(super) struct LeafSpec<'a> {
    pub(super) common_name: &'a str,
    pub(super) organizations: &'a [&'a str],
    pub(super) usage: Usage,
    pub(super) names: Vec<String>,
    pub(super) ips: Vec<IpAddr>,
}

pub(super) struct NewKey {
    pub(super) private_pem: String,
}

pub(super) fn new_key() -> Result<NewKey, IssueError> {
    Ok(NewKey {
        private_pem: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?.serialize_pem(),
    })
}

/// The public half of a private key. A private key that cannot be read is damage, named by `file`.
pub(super) fn public_pem(private_pem: &str, file: &str) -> Result<String, PkiError> {
    let key = KeyPair::from_pem(private_pem).map_err(|error| PkiError::Damaged {
        file: file.to_owned(),
        reason: error.to_string(),
    })?;
    Ok(key.public_key_pem())
}

/// The moment and the randomness of an issuance.
pub(super) struct Issuing<'a> {
    pub(super) now: Timestamp,
    pub(super) rng: &'a dyn Rng,
}

impl Issuing<'_> {
    fn params(&self, common_name: &str, organizations: &[&str], life: Duration) -> CertificateParams {
        let mut params = CertificateParams::default();
        let mut subject = DistinguishedName::new();
        for organization in organizations {
            subject.push(DnType::OrganizationName, *organization);
        }
        subject.push(DnType::CommonName, common_name);
        params.distinguished_name = subject;
        let since_epoch = Duration::from_secs(u64::try_from(self.now.as_second()).unwrap_or(0));
        let now = rcgen::date_time_ymd(1970, 1, 1) + since_epoch;
        params.not_before = now - BACKDATED;
        params.not_after = now + life;
        let (high, low) = (self.rng.next_u64() >> 1, self.rng.next_u64());
        let serial = [high.to_be_bytes(), low.to_be_bytes()].concat();
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params
    }

    /// Makes the cluster's authority.
    pub(super) fn authority(&self, common_name: &str) -> Result<KeyAndCert, IssueError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = self.params(common_name, &[], AUTHORITY_LIFE);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
        ];
        let cert = params.self_signed(&key)?;
        KeyAndCert::from_pem(cert.pem(), key.serialize_pem())
    }

    /// Makes a certificate signed by `ca`.
    pub(super) fn leaf(&self, ca: &KeyAndCert, spec: &LeafSpec<'_>) -> Result<KeyAndCert, IssueError> {
        let issuer = Issuer::from_ca_cert_der(&ca.cert_der, KeyPair::from_pem(&ca.key_pem)?)?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = self.params(spec.common_name, spec.organizations, LEAF_LIFE);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match spec.usage {
            Usage::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Usage::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        for name in &spec.names {
            let name = name.as_str().try_into().map_err(|_| IssueError::Name(name.clone()))?;
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        params
            .subject_alt_names
            .extend(spec.ips.iter().map(|ip| SanType::IpAddress(*ip)));
        let cert = params.signed_by(&key, &issuer)?;
        KeyAndCert::from_pem(cert.pem(), key.serialize_pem())
    }

    /// Says whether a leaf that was read may go on being used: from this authority, with these names, and a third of its life left.
    pub(super) fn is_fresh(&self, leaf: &KeyAndCert, ca: &KeyAndCert, spec: &LeafSpec<'_>) -> bool {
        let Ok((_, cert)) = X509Certificate::from_der(&leaf.cert_der) else {
            return false;
        };
        let Ok((_, authority)) = X509Certificate::from_der(&ca.cert_der) else {
            return false;
        };
        let (from, until) = (
            cert.validity().not_before.timestamp(),
            cert.validity().not_after.timestamp(),
        );
        let enough_left = (until - self.now.as_second()) * 3 >= until - from;
        let (names, ips) = alternative_names(&cert);
        let mut wanted_ips = spec.ips.clone();
        let mut wanted_names = spec.names.clone();
        wanted_ips.sort();
        wanted_names.sort();
        enough_left
            && from <= self.now.as_second()
            && names == wanted_names
            && ips == wanted_ips
            && common_name(&cert) == Some(spec.common_name)
            && authority_key(&cert).is_some_and(|key| Some(key) == subject_key(&authority))
    }
}

fn common_name<'a>(cert: &'a X509Certificate<'_>) -> Option<&'a str> {
    cert.subject().iter_common_name().next()?.as_str().ok()
}

fn alternative_names(cert: &X509Certificate<'_>) -> (Vec<String>, Vec<IpAddr>) {
    let (mut names, mut ips) = (Vec::new(), Vec::new());
    let found = cert.subject_alternative_name().ok().flatten();
    for name in found.iter().flat_map(|extension| &extension.value.general_names) {
        match name {
            GeneralName::DNSName(name) => names.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => {
                if let Ok(four) = <[u8; 4]>::try_from(*bytes) {
                    ips.push(IpAddr::from(four));
                } else if let Ok(sixteen) = <[u8; 16]>::try_from(*bytes) {
                    ips.push(IpAddr::from(sixteen));
                }
            }
            _ => {}
        }
    }
    names.sort();
    ips.sort();
    (names, ips)
}

fn authority_key<'a>(cert: &'a X509Certificate<'_>) -> Option<&'a [u8]> {
    cert.extensions()
        .iter()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(identifier) => identifier.key_identifier.as_ref().map(|key| key.0),
            _ => None,
        })
}

fn subject_key<'a>(cert: &'a X509Certificate<'_>) -> Option<&'a [u8]> {
    cert.extensions()
        .iter()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0),
            _ => None,
        })
}
