//! A certificate that is replaced while connections are made with it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::{KeyAndCert, PkiError};

#[derive(Debug)]
struct Held {
    leaf: KeyAndCert,
    certified: Arc<CertifiedKey>,
}

impl Held {
    fn new(leaf: KeyAndCert) -> Result<Arc<Self>, PkiError> {
        let (chain, key) = (vec![leaf.cert_der.clone()], leaf.private_key()?);
        let certified = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(PkiError::Tls)?;
        Ok(Arc::new(Self {
            leaf,
            certified: Arc::new(certified),
        }))
    }
}

/// What is shown in handshakes, as a server or as a client.
#[derive(Debug)]
pub(super) struct Leaf(ArcSwap<Held>);

impl Leaf {
    pub(super) fn new(leaf: KeyAndCert) -> Result<Self, PkiError> {
        Ok(Self(ArcSwap::new(Held::new(leaf)?)))
    }

    pub(super) fn current(&self) -> KeyAndCert {
        self.0.load().leaf.clone()
    }

    /// Shows another certificate from now on; says whether it is another.
    pub(super) fn replace(&self, leaf: KeyAndCert) -> Result<bool, PkiError> {
        if self.0.load().leaf.cert_der == leaf.cert_der {
            return Ok(false);
        }
        self.0.store(Held::new(leaf)?);
        Ok(true)
    }
}

impl ResolvesServerCert for Leaf {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.load().certified))
    }
}

impl ResolvesClientCert for Leaf {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.load().certified))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
