//! Serving over TLS: HTTP/1.1 and HTTP/2, client certificates, upgrades, an end in good order.
//!
//! ```text
//! accept --[connections]--> handshake --[time]--> HTTP/1.1 or HTTP/2 --> http::Front
//!                                                   |  heads, streams, resets: bounded by hyper, as told here
//!                                                   \  idle, slow and stalled clients: pace.rs
//! ```
//!
//! Nobody is known yet when most of this happens, so everything has a bound: how many, how large, how long.

mod connection;
mod pace;

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::audit::PeerAddress;
use crate::server::ApiServer;
use connection::Serving;

/// After an accept error (no file descriptors left) it is worth waiting a moment.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why serving ended early.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The TLS settings do not work.
    #[error("cannot set up TLS")]
    Tls(#[from] crate::pki::PkiError),
}

impl ApiServer {
    /// Serves `listener` with the cluster's own certificate until `shutdown`.
    ///
    /// Then readiness fails first, watches end, and requests in flight get the configured grace.
    pub async fn serve(&self, listener: TcpListener, shutdown: CancellationToken) -> Result<(), ServeError> {
        let tls = Arc::new(self.pki().server_config()?);
        self.serve_tls(listener, tls, shutdown).await;
        Ok(())
    }

    /// As [`ApiServer::serve`], with other TLS settings.
    pub async fn serve_tls(&self, listener: TcpListener, tls: Arc<ServerConfig>, shutdown: CancellationToken) {
        let config = &self.front().registry.config;
        let connections = TaskTracker::new();
        let closing = CancellationToken::new();
        let room = Arc::new(Semaphore::new(config.limits.connections.min(Semaphore::MAX_PERMITS)));
        let serving = Serving {
            front: self.front().clone(),
            acceptor: TlsAcceptor::from(tls),
            limits: Arc::new(config.limits.clone()),
            closing: closing.clone(),
        };
        loop {
            let accepted = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => match room.clone().try_acquire_owned() {
                    Ok(place) => drop(connections.spawn(serving.clone().connection(stream, PeerAddress(peer), place))),
                    Err(_) => tracing::debug!("a connection too many was closed"),
                },
                Err(problem) => {
                    tracing::warn!(%problem, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        self.stop();
        closing.cancel();
        connections.close();
        if tokio::time::timeout(config.grace, connections.wait()).await.is_err() {
            tracing::warn!("some requests did not finish in time");
        }
        if let Some(audit) = &self.front().audit {
            audit.drain().await;
        }
    }
}
