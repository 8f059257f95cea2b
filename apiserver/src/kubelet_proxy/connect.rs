//! Opens HTTP/1.1 connections: plain ones, and ones with the API server's certificate to kubelets.

use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Body;
use super::target::Backend;
use crate::error::ApiError;

/// How long a backend may take to answer the telephone, TLS included.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Dialer {
    tls: TlsConnector,
}

impl Dialer {
    pub(super) fn new(config: ClientConfig) -> Self {
        Self {
            tls: TlsConnector::from(Arc::new(config)),
        }
    }

    /// Connects; the connection is driven by a task of its own until both halves are done with.
    ///
    /// *Errors:* `Internal` in upstream's words, `error dialing backend: ...`.
    pub(super) async fn dial(&self, backend: &Backend) -> Result<SendRequest<Body>, ApiError> {
        let failed = |reason: String| ApiError::internal(format!("error dialing backend: {reason}"));
        match tokio::time::timeout(PATIENCE, self.connect(backend)).await {
            Ok(Ok(sender)) => Ok(sender),
            Ok(Err(reason)) => Err(failed(reason)),
            Err(_) => Err(failed(format!("dial tcp {}: i/o timeout", shown(backend)))),
        }
    }

    async fn connect(&self, backend: &Backend) -> Result<SendRequest<Body>, String> {
        let stream = TcpStream::connect((backend.host.as_str(), backend.port))
            .await
            .map_err(|error| format!("dial tcp {}: connect: {error}", shown(backend)))?;
        // Terminals send single bytes.
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        if !backend.kubelet {
            return handshake(stream).await;
        }
        let name = ServerName::try_from(backend.host.clone()).map_err(|error| error.to_string())?;
        let stream = self
            .tls
            .connect(name, stream)
            .await
            .map_err(|error| format!("tls: failed to verify certificate or to shake hands: {error}"))?;
        handshake(stream).await
    }
}

fn shown(backend: &Backend) -> String {
    if backend.host.contains(':') {
        format!("[{}]:{}", backend.host, backend.port)
    } else {
        format!("{}:{}", backend.host, backend.port)
    }
}

async fn handshake<S>(stream: S) -> Result<SendRequest<Body>, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "connection to a backend ended");
        }
    });
    Ok(sender)
}
