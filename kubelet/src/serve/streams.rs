//! exec, attach and port-forward: between the client's WebSocket or SPDY and containerd's SPDY.
//!
//! A client that speaks SPDY is handed through to containerd byte by byte. One that speaks WebSocket (kubectl's default) has its
//! channels mapped to SPDY streams; for port-forward the WebSocket carries SPDY inside, which is unwrapped and pumped.

use std::sync::Arc;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::{HeaderMap, StatusCode, header};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::spdy::{self, Frame};

const V5: &str = "v5.channel.k8s.io";
const V4: &str = "v4.channel.k8s.io";
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";

/// Streams of the client's choice.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted {
    pub(super) stdin: bool,
    pub(super) stdout: bool,
    pub(super) stderr: bool,
    pub(super) tty: bool,
}

/// Channel numbers of the `channel.k8s.io` protocols.
mod channel {
    pub(super) const STDIN: u8 = 0;
    pub(super) const STDOUT: u8 = 1;
    pub(super) const STDERR: u8 = 2;
    pub(super) const ERROR: u8 = 3;
    pub(super) const RESIZE: u8 = 4;
    /// v5 only: the second byte names the channel that is closed.
    pub(super) const CLOSE: u8 = 255;
}

fn wants_spdy(headers: &HeaderMap) -> bool {
    let upgrade = headers
        .get(header::UPGRADE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    upgrade.to_ascii_lowercase().starts_with("spdy/")
}

fn bad(code: StatusCode, message: impl Into<String>) -> Response {
    (code, message.into()).into_response()
}

/// Serves exec and attach; `url` is where containerd has the streams.
pub(super) async fn command(
    upgrade: Result<WebSocketUpgrade, Response>,
    request: axum::extract::Request,
    url: String,
    wanted: Wanted,
) -> Response {
    if wants_spdy(request.headers()) {
        return hand_through(request, url).await;
    }
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(answer) => return answer,
    };
    let upgrade = upgrade.protocols([V5, V4]).max_message_size(4 << 20);
    if upgrade.selected_protocol().is_none() {
        return bad(
            StatusCode::FORBIDDEN,
            "unable to upgrade: none of the requested protocols is known",
        );
    }
    upgrade.on_upgrade(move |socket| async move {
        if let Err(error) = pump(socket, &url, wanted).await {
            tracing::debug!(%error, "a stream ended");
        }
    })
}

/// Serves port-forward; `url` is where containerd has the streams.
pub(super) async fn port_forward(
    upgrade: Result<WebSocketUpgrade, Response>,
    request: axum::extract::Request,
    url: String,
) -> Response {
    if wants_spdy(request.headers()) {
        return hand_through(request, url).await;
    }
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade.protocols([TUNNEL]),
        Err(answer) => return answer,
    };
    if upgrade.selected_protocol().is_none() {
        return bad(
            StatusCode::FORBIDDEN,
            "unable to upgrade: none of the requested protocols is known",
        );
    }
    let connected = spdy::connect(&url, &["portforward.k8s.io"]).await;
    let (stream, already, _) = match connected {
        Ok(connected) => connected,
        Err(error) => return bad(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    upgrade.on_upgrade(move |socket| async move {
        let (mut to_client, mut from_client) = socket.split();
        let (mut from_runtime, mut to_runtime) = stream.into_split();
        let up = async {
            while let Some(Ok(message)) = from_client.next().await {
                match message {
                    Message::Binary(data) if to_runtime.write_all(&data).await.is_err() => break,
                    Message::Close(_) => break,
                    _ => {}
                }
            }
        };
        let down = async {
            if !already.is_empty() && to_client.send(Message::Binary(already.freeze())).await.is_err() {
                return;
            }
            let mut buffer = vec![0; 32 << 10];
            while let Ok(count) = from_runtime.read(&mut buffer).await {
                if count == 0
                    || to_client
                        .send(Message::Binary(Bytes::copy_from_slice(&buffer[..count])))
                        .await
                        .is_err()
                {
                    break;
                }
            }
            let _ = to_client.send(goodbye()).await;
        };
        tokio::select! {
            () = up => {}
            () = down => {}
        }
    })
}

/// Tunnels a SPDY client to containerd.
async fn hand_through(mut request: axum::extract::Request, url: String) -> Response {
    let protocols: Vec<String> = request
        .headers()
        .get_all("x-stream-protocol-version")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|value| value.trim().to_owned())
        .collect();
    let names: Vec<&str> = protocols.iter().map(String::as_str).collect();
    let (mut stream, already, headers) = match spdy::connect(&url, &names).await {
        Ok(connected) => connected,
        Err(error) => return bad(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(client) = upgrade.await else { return };
        let mut client = hyper_util::rt::TokioIo::new(client);
        if client.write_all(&already).await.is_ok() {
            let _ = tokio::io::copy_bidirectional(&mut client, &mut stream).await;
        }
    });
    let mut answer = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "SPDY/3.1");
    if let Some(chosen) = headers.get("x-stream-protocol-version") {
        answer = answer.header("X-Stream-Protocol-Version", chosen);
    }
    answer
        .body(axum::body::Body::empty())
        .unwrap_or_else(|_| bad(StatusCode::INTERNAL_SERVER_ERROR, "cannot answer"))
}

/// Moves channels of a WebSocket to and from SPDY streams until the command has ended.
async fn pump(socket: WebSocket, url: &str, wanted: Wanted) -> std::io::Result<()> {
    let (mut to_client, mut from_client) = socket.split();
    let connected = spdy::connect(url, &[V4]).await;
    let (stream, already, _) = match connected {
        Ok(connected) => connected,
        Err(error) => {
            let _ = to_client.send(failure(&format!("error streaming: {error}"))).await;
            let _ = to_client.send(goodbye()).await;
            return Err(error);
        }
    };
    let (from_runtime, to_runtime) = stream.into_split();
    let mut reader = spdy::Reader::new(from_runtime, already);
    let mut writer = spdy::Writer::new(to_runtime);
    // Streams of a client have odd numbers, in the order in which they are opened.
    let mut next = 1;
    let mut streams: Vec<(u8, u32)> = Vec::new();
    for (kind, channel, open) in [
        ("error", channel::ERROR, true),
        ("stdin", channel::STDIN, wanted.stdin),
        ("stdout", channel::STDOUT, wanted.stdout),
        ("stderr", channel::STDERR, wanted.stderr && !wanted.tty),
        ("resize", channel::RESIZE, wanted.tty),
    ] {
        if open {
            writer.open(next, kind).await?;
            streams.push((channel, next));
            next += 2;
        }
    }
    let streams = Arc::new(streams);
    let stream_of = |channel: u8| {
        streams
            .iter()
            .find(|(known, _)| *known == channel)
            .map(|(_, stream)| *stream)
    };
    let channel_of = |stream: u32| {
        streams
            .iter()
            .find(|(_, known)| *known == stream)
            .map(|(channel, _)| *channel)
    };
    // Output ends with these; the client's own input does not hold the end up.
    let mut open: Vec<u8> = streams
        .iter()
        .map(|(channel, _)| *channel)
        .filter(|channel| ![channel::STDIN, channel::RESIZE].contains(channel))
        .collect();
    let mut ended = false;
    while !open.is_empty() {
        tokio::select! {
            biased;
            message = from_client.next() => match message {
                Some(Ok(Message::Binary(data))) => {
                    let Some((&channel, rest)) = data.split_first() else { continue };
                    if channel == channel::CLOSE {
                        if let Some(stream) = rest.first().and_then(|channel| stream_of(*channel)) {
                            writer.data(stream, &[], true).await?;
                        }
                    } else if let Some(stream) = stream_of(channel).filter(|_| !rest.is_empty()) {
                        writer.data(stream, rest, false).await?;
                    }
                }
                Some(Ok(Message::Text(text))) => {
                    let Some((&channel, rest)) = text.as_bytes().split_first() else { continue };
                    if let Some(stream) = stream_of(channel.wrapping_sub(b'0')).or(stream_of(channel)) {
                        writer.data(stream, rest, false).await?;
                    }
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => {
                    // Nobody listens any more: leaving ends the command's input and, through it, most commands.
                    return Ok(());
                }
                Some(Ok(_)) => {}
            },
            frame = reader.next() => match frame? {
                Some(Frame::Data { stream, data, fin }) => {
                    let Some(channel) = channel_of(stream) else { continue };
                    if !data.is_empty() {
                        ended |= channel == channel::ERROR;
                        let sent = to_client.send(tagged(channel, &data)).await;
                        sent.map_err(std::io::Error::other)?;
                    }
                    if fin {
                        open.retain(|known| *known != channel);
                    }
                }
                Some(Frame::Reset { stream }) => {
                    if let Some(channel) = channel_of(stream) {
                        open.retain(|known| *known != channel);
                    }
                }
                Some(Frame::Ping { id }) => writer.pong(id).await?,
                Some(Frame::GoAway) | None => open.clear(),
                Some(Frame::Other) => {}
            },
        }
    }
    if !ended {
        let lost = failure("error streaming: the container runtime closed the connection");
        let _ = to_client.send(lost).await;
    }
    let _ = to_client.send(goodbye()).await;
    // Let the close reach the client before the connection goes.
    let _ = tokio::time::timeout(std::time::Duration::from_secs(2), from_client.next()).await;
    Ok(())
}

/// A close without a code reads as a failure to clients.
fn goodbye() -> Message {
    Message::Close(Some(CloseFrame {
        code: close_code::NORMAL,
        reason: "".into(),
    }))
}

fn failure(message: &str) -> Message {
    let status = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "reason": "InternalError", "code": 500, "message": message,
    });
    tagged(channel::ERROR, status.to_string().as_bytes())
}

fn tagged(channel: u8, data: &[u8]) -> Message {
    let mut bytes = Vec::with_capacity(1 + data.len());
    bytes.push(channel);
    bytes.extend_from_slice(data);
    Message::Binary(bytes.into())
}
