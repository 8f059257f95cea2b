//! The kubelet's HTTPS API on port 10250: logs, exec, attach, port-forward, pods, statistics.
//!
//! ```text
//! TLS (client certificates of the cluster's CA) --> auth (who, and may they?) --> routes --> logs | streams | reports
//! ```
//! Nobody is served anonymously, not even `/healthz`.

mod auth;
mod images;
mod local_path;
mod logs;
mod metrics;
mod reports;
mod routes;
mod spdy;
mod streams;

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::node::bootstrap::Identity;
use crate::worker::Shared;

/// A client that has not finished its handshake by then is dropped.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Why the API could not be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The serving certificate or the CA is malformed.
    #[error("read the {what} certificate")]
    Pem {
        /// Which.
        what: &'static str,
        /// Why.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// TLS cannot be set up with them.
    #[error("set up TLS")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
}

fn tls(identity: &Identity, client_ca: &[Vec<u8>]) -> Result<rustls::ServerConfig, ServeError> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let pem = |what| move |source| ServeError::Pem { what, source };
    let mut roots = RootCertStore::empty();
    for cert in client_ca {
        roots
            .add(CertificateDer::from(cert.clone()))
            .map_err(|error| ServeError::Tls(Box::new(error)))?;
    }
    // Clients without a certificate get an answer (401) rather than a broken connection.
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots))
        .allow_unauthenticated()
        .build()
        .map_err(|error| ServeError::Tls(Box::new(error)))?;
    let chain = CertificateDer::pem_slice_iter(identity.cert_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(pem("serving"))?;
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).map_err(pem("serving key's"))?;
    let mut config = rustls::ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|error| ServeError::Tls(Box::new(error)))?;
    // HTTP/1.1 only: upgrades (exec) need it, and nobody else is in a hurry.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Serves the API until shutdown. `client_ca` are the authorities (DER) whose client certificates are believed.
///
/// # Errors
/// When TLS cannot be set up.
pub async fn serve(
    shared: Arc<Shared>,
    identity: &Identity,
    client_ca: &[Vec<u8>],
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls(identity, client_ca)?));
    let router = routes::router(shared);
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let (acceptor, router, shutdown) = (acceptor.clone(), router.clone(), shutdown.clone());
        tokio::spawn(async move {
            let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await else {
                return;
            };
            let certs = stream.get_ref().1.peer_certificates();
            let user = certs
                .and_then(|certs| certs.first())
                .and_then(|cert| auth::user_of(cert));
            let service = hyper::service::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
                if let Some(user) = &user {
                    request.extensions_mut().insert(user.clone());
                }
                tower::ServiceExt::oneshot(router.clone(), request.map(axum::body::Body::new))
            });
            let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
            tokio::select! {
                biased;
                () = shutdown.cancelled() => {}
                _ = connection => {}
            }
        });
    }
}
