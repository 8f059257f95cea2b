//! One connection: the handshake, the protocol that was settled on, and the bounds of both.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::pace::{Activity, Overdue, Pace, Sent, Streams, Wire};
use crate::audit::PeerAddress;
use crate::http::{Delivery, Front, HEAD_BYTES, HEAD_FIELDS, Identity, Limits};

/// A client that has not answered a ping for so long is gone.
const PING: Duration = Duration::from_secs(30);
/// How long a connection that is told to end may take for it.
const LINGER: Duration = Duration::from_secs(10);
/// How much of a body a client may send ahead of us, per stream and per connection. Upstream's, so that most bodies fit one frame.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// Streams that a client opened and reset before we looked at them; more end the connection (CVE-2023-44487).
const RESETS_UNSEEN: usize = 20;
/// Streams that we had to reset for the client's mistakes; more end the connection (CVE-2025-8671).
const RESETS_BY_US: usize = 256;

/// What Go's server says to who speaks HTTP without TLS.
const PLAIN_HTTP: &[u8] = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
/// How such a request begins, as Go guesses.
const HTTP_BEGINS: [&[u8]; 5] = [b"GET /", b"HEAD ", b"POST ", b"PUT /", b"OPTIO"];

/// What connections have in common.
#[derive(Clone)]
pub(super) struct Serving {
    pub(super) front: Arc<Front>,
    pub(super) acceptor: TlsAcceptor,
    pub(super) limits: Arc<Limits>,
    pub(super) closing: CancellationToken,
}

type Answer = BoxFuture<'static, Result<Response<Sent>, Infallible>>;

impl Serving {
    /// Serves a connection to its end. `place` is given back when nothing is left of it, a tunnel included.
    pub(super) async fn connection(self, stream: TcpStream, peer: PeerAddress, place: OwnedSemaphorePermit) {
        let _ = stream.set_nodelay(true);
        let handshake = async {
            let mut begin = [0; 5];
            let seen = stream.peek(&mut begin).await?;
            if HTTP_BEGINS.contains(&&begin[..seen]) {
                let mut stream = stream;
                // Closing over unread bytes would take the answer back.
                let _ = stream.read(&mut [0; 4096]).await?;
                stream.write_all(PLAIN_HTTP).await?;
                return Ok(None);
            }
            self.acceptor.accept(stream).await.map(Some)
        };
        let stream = match tokio::time::timeout(self.limits.handshake, handshake).await {
            Ok(Ok(Some(stream))) => stream,
            Ok(Ok(None)) => return tracing::debug!("HTTP on the HTTPS port"),
            Ok(Err(problem)) => return tracing::debug!(%problem, "TLS handshake failed"),
            Err(_) => return tracing::debug!("TLS handshake took too long"),
        };
        let tls = stream.get_ref().1;
        let http2 = tls.alpn_protocol() == Some(b"h2");
        let chain = tls.peer_certificates().map(|chain| {
            Arc::new(
                chain
                    .iter()
                    .map(|certificate| certificate.clone().into_owned())
                    .collect::<Vec<_>>(),
            )
        });
        let client = Client { peer, chain };
        let activity = Arc::new(Activity::new());
        let io = TokioIo::new(Wire::new(stream, (!http2).then(|| activity.clone()), place));
        if http2 {
            self.http2(io, activity, client).await;
        } else {
            self.http1(io, activity, client).await;
        }
    }

    async fn http1(self, io: TokioIo<Wire>, activity: Arc<Activity>, client: Client) {
        let service = service_fn(self.answers(&activity, client));
        let mut builder = http1::Builder::new();
        // Heads and idleness are timed by `Activity`: hyper's timer takes the one for the other.
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .max_headers(HEAD_FIELDS)
            .max_buf_size(HEAD_BYTES);
        let pace = Arc::new(Pace::default());
        let connection = builder.serve_connection(io, service).with_upgrades();
        let connection = self.attend(connection, |connection| connection.graceful_shutdown(), &activity);
        pace.clone().attend(connection, self.limits.stall).await;
    }

    async fn http2(self, io: TokioIo<Wire>, activity: Arc<Activity>, client: Client) {
        let service = service_fn(self.answers(&activity, client));
        let mut builder = http2::Builder::new(Streams::new(self.limits.stall));
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.limits.streams_per_connection)
            .max_header_list_size(u32::try_from(HEAD_BYTES).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(RESETS_UNSEEN)
            .max_local_error_reset_streams(RESETS_BY_US)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING);
        let connection = builder.serve_connection(io, service);
        self.attend(connection, |connection| connection.graceful_shutdown(), &activity)
            .await;
    }

    /// What hyper calls for each request.
    fn answers(
        &self,
        activity: &Arc<Activity>,
        client: Client,
    ) -> impl Fn(Request<Incoming>) -> Answer + Send + 'static {
        let (front, activity) = (self.front.clone(), activity.clone());
        move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(client.peer);
            let front = front.clone();
            let identity = Identity::Peer(client.chain.clone());
            let busy = activity.begin();
            // Boxed, so that a watch of many hours does not keep the room that its beginning needed.
            Box::pin(async move {
                let response = front.handle(request, identity).await;
                let delivery = response.extensions().get::<Delivery>().copied();
                Ok(response.map(|body| Sent::new(body, delivery.unwrap_or(Delivery::Relay), busy)))
            })
        }
    }

    /// Drives a connection until it ends, or is overdue, or the server closes.
    async fn attend<C>(&self, connection: C, end: impl Fn(Pin<&mut C>), activity: &Activity)
    where
        C: Future<Output = hyper::Result<()>>,
    {
        tokio::pin!(connection);
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = self.closing.cancelled() => {
                end(connection.as_mut());
                connection.await
            }
            overdue = activity.overdue(self.limits.head, self.limits.idle) => {
                tracing::debug!(?overdue, "a connection is closed");
                if overdue == Overdue::Head {
                    return;
                }
                end(connection.as_mut());
                match tokio::time::timeout(LINGER, connection).await {
                    Ok(result) => result,
                    Err(_) => return,
                }
            }
        };
        if let Err(problem) = result {
            tracing::debug!(%problem, "connection ended");
        }
    }
}

/// Who is at the other end: where, and with which certificates.
#[derive(Clone)]
struct Client {
    peer: PeerAddress,
    chain: Option<Arc<Vec<CertificateDer<'static>>>>,
}
