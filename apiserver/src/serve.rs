//! Serving over TLS: HTTP/1.1 and HTTP/2, client certificates, upgrades, an end in good order.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::audit::PeerAddress;
use crate::http::Identity;
use crate::server::ApiServer;

/// How long a client may take for its handshake, and for the head of a request.
const HANDSHAKE: Duration = Duration::from_secs(10);
const HEAD: Duration = Duration::from_secs(30);
/// A client that has not answered a ping for so long is gone.
const PING: Duration = Duration::from_secs(30);
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
        let acceptor = TlsAcceptor::from(tls);
        let connections = TaskTracker::new();
        let closing = CancellationToken::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let peer = PeerAddress(peer);
                    connections.spawn(connection(
                        self.clone(),
                        stream,
                        peer,
                        acceptor.clone(),
                        closing.clone(),
                    ));
                }
                Err(problem) => {
                    tracing::warn!(%problem, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        self.stop();
        closing.cancel();
        connections.close();
        let grace = self.front().registry.config.grace;
        if tokio::time::timeout(grace, connections.wait()).await.is_err() {
            tracing::warn!("some requests did not finish in time");
        }
        if let Some(audit) = &self.front().audit {
            audit.drain().await;
        }
    }
}

async fn connection(
    server: ApiServer,
    stream: TcpStream,
    peer: PeerAddress,
    acceptor: TlsAcceptor,
    closing: CancellationToken,
) {
    let _ = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(problem)) => return tracing::debug!(%problem, "TLS handshake failed"),
        Err(_) => return tracing::debug!("TLS handshake took too long"),
    };
    let certificates = stream.get_ref().1.peer_certificates().map(|chain| {
        Arc::new(
            chain
                .iter()
                .map(|certificate| certificate.clone().into_owned())
                .collect::<Vec<_>>(),
        )
    });
    let front = server.front().clone();
    let service = service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(peer);
        let front = front.clone();
        let identity = Identity::Peer(certificates.clone());
        async move { Ok::<_, Infallible>(front.handle(request, identity).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(1000)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .keep_alive_interval(Some(PING))
        .keep_alive_timeout(PING);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(problem) = result {
        tracing::debug!(%problem, "connection ended");
    }
}
