//! Client certificates: the common name is the user, the organisations are the groups.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use rustls::pki_types::UnixTime;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::identity::UserInfo;

/// Verified certificates kept, so that the requests of one connection verify once.
const KEPT: usize = 4096;

struct Known {
    user: Option<UserInfo>,
    from: i64,
    until: i64,
}

pub(super) struct X509 {
    verifier: Arc<dyn ClientCertVerifier>,
    known: RwLock<HashMap<[u8; 32], Known>>,
}

impl X509 {
    pub(super) fn new(verifier: Arc<dyn ClientCertVerifier>) -> Self {
        Self {
            verifier,
            known: RwLock::default(),
        }
    }

    /// Finds the user of a certificate; `None` for one without a common name, which identifies nobody.
    pub(super) fn authenticate(
        &self,
        certificate: &CertificateDer<'static>,
        intermediates: &[CertificateDer<'static>],
        now: Timestamp,
    ) -> Result<Option<UserInfo>, String> {
        let digest: [u8; 32] = Sha256::digest(certificate).into();
        let second = now.as_second();
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(&digest).filter(|k| k.from <= second && second <= k.until) {
            return Ok(found.user.clone());
        }
        drop(known);
        let since_epoch = Duration::from_secs(u64::try_from(second).unwrap_or(0));
        self.verifier
            .verify_client_cert(certificate, intermediates, UnixTime::since_unix_epoch(since_epoch))
            .map_err(|error| format!("x509: {error}"))?;
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| format!("x509: {error}"))?;
        let user = user_of(&parsed, &digest);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KEPT {
            known.clear();
        }
        known.insert(
            digest,
            Known {
                user: user.clone(),
                from: parsed.validity().not_before.timestamp(),
                until: parsed.validity().not_after.timestamp(),
            },
        );
        Ok(user)
    }
}

fn user_of(certificate: &X509Certificate<'_>, digest: &[u8; 32]) -> Option<UserInfo> {
    let subject = certificate.subject();
    let username = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    if username.is_empty() {
        return None;
    }
    let groups = subject
        .iter_organization()
        .filter_map(|organization| organization.as_str().ok())
        .map(str::to_owned)
        .collect();
    let mut credential = "X509SHA256=".to_owned();
    for byte in digest {
        let _ = write!(credential, "{byte:02x}");
    }
    Some(UserInfo {
        username,
        uid: String::new(),
        groups,
        extra: BTreeMap::from([(
            "authentication.kubernetes.io/credential-id".to_owned(),
            vec![credential],
        )]),
    })
}
