//! Questions in, answers out, over UDP and TCP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::answer::{Outcome, answer};
use crate::zone::Zone;

/// Questions being answered at one time; more wait in the socket's buffer.
const MAX_ASKED: usize = 1024;
/// A silent TCP client is hung up on.
const IDLE: Duration = Duration::from_secs(10);
/// How long a resolver outside may take.
const UPSTREAM: Duration = Duration::from_secs(2);

/// What every answer needs.
#[derive(Clone, Debug)]
pub(crate) struct Responder {
    /// The zone, or nothing until the caches are filled.
    pub(crate) zone: watch::Receiver<Option<Arc<Zone>>>,
    /// Resolvers for names outside.
    pub(crate) forward: Arc<[SocketAddr]>,
}

impl Responder {
    /// Answers one question in wire format; nothing for what is no question.
    async fn respond(&self, question: &[u8], over_udp: bool) -> Option<Vec<u8>> {
        let request = Message::from_vec(question).ok()?;
        let refuse = |code| {
            let mut message = Message::error_msg(request.metadata.id, request.metadata.op_code, code);
            message.add_queries(request.queries.iter().cloned());
            message.metadata.recursion_desired = request.metadata.recursion_desired;
            message
        };
        let zone = self.zone.borrow().clone();
        let Some(zone) = zone else {
            return refuse(ResponseCode::ServFail).to_vec().ok();
        };
        let response = match answer(&zone, &request) {
            Outcome::Answer(message) => *message,
            Outcome::Foreign if self.forward.is_empty() => refuse(ResponseCode::Refused),
            Outcome::Foreign => {
                for resolver in self.forward.iter() {
                    if let Ok(Ok(bytes)) = timeout(UPSTREAM, ask(*resolver, question, over_udp)).await {
                        return Some(bytes);
                    }
                }
                refuse(ResponseCode::ServFail)
            }
        };
        let bytes = response.to_vec().ok()?;
        if over_udp && bytes.len() > usize::from(request.max_payload()) {
            // The client asks again over TCP.
            return response.truncate().to_vec().ok();
        }
        Some(bytes)
    }
}

/// Asks a resolver outside, the way we were asked.
async fn ask(resolver: SocketAddr, question: &[u8], over_udp: bool) -> std::io::Result<Vec<u8>> {
    if over_udp {
        let socket = UdpSocket::bind("0.0.0.0:0").await?;
        socket.connect(resolver).await?;
        socket.send(question).await?;
        let mut buffer = vec![0; 4096];
        let length = socket.recv(&mut buffer).await?;
        buffer.truncate(length);
        return Ok(buffer);
    }
    let mut stream = TcpStream::connect(resolver).await?;
    write_framed(&mut stream, question).await?;
    read_framed(&mut stream).await
}

async fn read_framed(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

async fn write_framed(stream: &mut TcpStream, message: &[u8]) -> std::io::Result<()> {
    let length = u16::try_from(message.len()).map_err(std::io::Error::other)?;
    stream.write_u16(length).await?;
    stream.write_all(message).await?;
    stream.flush().await
}

/// Answers on a UDP socket until `shutdown`.
pub(crate) async fn udp(socket: UdpSocket, responder: Responder, shutdown: CancellationToken) {
    let (socket, slots) = (Arc::new(socket), Arc::new(Semaphore::new(MAX_ASKED)));
    let mut buffer = vec![0; 4096];
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        let (length, from) = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            received = socket.recv_from(&mut buffer) => match received {
                Ok(received) => received,
                Err(error) => {
                    tracing::debug!(%error, "a datagram could not be received");
                    continue;
                }
            },
        };
        let (question, socket, responder) = (buffer[..length].to_vec(), Arc::clone(&socket), responder.clone());
        tokio::spawn(async move {
            let _slot = slot;
            if let Some(bytes) = responder.respond(&question, true).await {
                // A client that went away is no error.
                let _ = socket.send_to(&bytes, from).await;
            }
        });
    }
}

/// Answers on a TCP socket until `shutdown`.
pub(crate) async fn tcp(listener: TcpListener, responder: Responder, shutdown: CancellationToken) {
    let slots = Arc::new(Semaphore::new(MAX_ASKED));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((mut stream, _)) = accepted else {
            // Out of descriptors, most likely: others must close first.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let responder = responder.clone();
        tokio::spawn(async move {
            let _slot = slot;
            while let Ok(Ok(question)) = timeout(IDLE, read_framed(&mut stream)).await {
                let Some(bytes) = responder.respond(&question, false).await else {
                    return;
                };
                if write_framed(&mut stream, &bytes).await.is_err() {
                    return;
                }
            }
        });
    }
}
