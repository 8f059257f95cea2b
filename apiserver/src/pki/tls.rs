//! TLS as the API server speaks it: towards its clients, and towards kubelets.
//!
//! Clients *may* show a certificate. The handshake proves that the client holds its key and nothing more; whether the certificate
//! is one of ours and still valid is authentication's question, so that a stranger's certificate gets a 401 with a Status as
//! upstream answers it, not a broken connection.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::UnixTime;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme};
use rustls_pki_types::CertificateDer;

use super::{Pki, PkiError};

impl Pki {
    /// TLS for the listener: HTTP/2 and HTTP/1.1, client certificates asked for and not demanded.
    pub fn server_config(&self) -> Result<ServerConfig, PkiError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let asks = AsksForCertificate {
            provider: Arc::clone(&provider),
            hints: self
                .roots()?
                .roots
                .iter()
                .map(|root| DistinguishedName::in_sequence(root.subject.as_ref()))
                .collect(),
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(PkiError::Tls)?
            .with_client_cert_verifier(Arc::new(asks))
            .with_cert_resolver(Arc::clone(&self.serving) as _);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }

    /// TLS towards kubelets: our client certificate, and a serving certificate demanded that the cluster's authority signed for the
    /// address we dial. Stricter than upstream, which does not check kubelets unless told to (`--kubelet-certificate-authority`).
    pub fn kubelet_client_config(&self) -> Result<ClientConfig, PkiError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(self.roots()?), Arc::clone(&provider))
            .build()
            .map_err(|error| PkiError::Tls(rustls::Error::General(error.to_string())))?;
        let verifier: Arc<dyn ServerCertVerifier> = verifier;
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(PkiError::Tls)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(Arc::clone(&self.kubelet_client) as _);
        // Upgrades need HTTP/1.1.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    /// Judges client certificates: signed by the cluster's authority, meant for clients, valid at a given time.
    pub fn client_verifier(&self) -> Result<Arc<dyn ClientCertVerifier>, PkiError> {
        WebPkiClientVerifier::builder_with_provider(Arc::new(self.roots()?), Arc::new(aws_lc_rs::default_provider()))
            .build()
            .map_err(|error| PkiError::Tls(rustls::Error::General(error.to_string())))
    }

    fn roots(&self) -> Result<RootCertStore, PkiError> {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca_der().clone()).map_err(PkiError::Tls)?;
        Ok(roots)
    }
}

/// Asks for a certificate and checks that its key is held; see the module doc for why nothing more.
#[derive(Debug)]
struct AsksForCertificate {
    provider: Arc<CryptoProvider>,
    hints: Vec<DistinguishedName>,
}

impl ClientCertVerifier for AsksForCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
