//! Streams of a process in a container: exec and attach over one WebSocket.
//!
//! ```text
//! stdin (own thread) --\                                  /--> stdout
//! window size changes --+--> WebSocket v5.channel.k8s.io --+--> stderr
//! end of stdin --------/                                  \--> status: the command's exit code
//! ```
//!
//! The first byte of a frame says which stream it belongs to. Version 5 of the protocol can end standard input alone.

mod input;
mod terminal;

use std::io::Write;

use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use crate::error::Failure;
use crate::session::Session;

pub(crate) use input::DetachKeys;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;
/// Frames that wait to be sent: enough to keep a connection busy, few enough that standard input is not read far ahead.
const WAITING_FRAMES: usize = 16;

/// What is connected to the process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Streams {
    pub(crate) stdin: bool,
    pub(crate) tty: bool,
    pub(crate) quiet: bool,
    /// The keys that let go of the process; attach only.
    pub(crate) detach: Option<DetachKeys>,
}

impl Streams {
    /// Drops what the terminal cannot do, and says so.
    pub(crate) fn fit_terminal(&mut self) {
        if !self.stdin {
            self.tty = false;
        } else if self.tty && !terminal::stdin_is_terminal() {
            self.tty = false;
            if !self.quiet {
                eprintln!("Unable to use a TTY - input is not a terminal or the right kind of file");
            }
        }
    }
}

/// How a connection came to its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The process ended with this exit code.
    Exited(u8),
    /// The user let go of it.
    Detached,
}

type Socket<S> = WebSocketStream<S>;

/// Connects to `path` and carries streams until the process ends.
///
/// *Guarantees*: the terminal is as it was before, however this ends: by the process, by an error, by a signal, by a panic.
pub(crate) async fn run(session: &Session, path: &str, streams: &Streams) -> Result<End, Failure> {
    let request = http::Request::get(path)
        .body(Vec::new())
        .map_err(|error| Failure::usage(error.to_string()))?;
    let connection = session.client.connect(request).await?;
    let half_close = connection.supports_stream_close();
    let socket = connection.into_stream();
    let raw = if streams.tty {
        Some(terminal::Raw::enter()?)
    } else {
        None
    };
    let end = tokio::select! {
        biased;
        signal = terminal::ended_by_signal() => Err(Failure::Exit(signal)),
        end = carry(socket, streams, half_close) => end,
    };
    drop(raw);
    end
}

async fn carry<S>(socket: Socket<S>, streams: &Streams, half_close: bool) -> Result<End, Failure>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let (sink, stream) = socket.split();
    let (frames, waiting) = mpsc::channel(WAITING_FRAMES);
    let (detached, mut detaches) = mpsc::channel(1);
    if streams.stdin {
        input::pump(frames.clone(), streams.detach.clone(), half_close, detached);
    }
    if streams.tty {
        tokio::spawn(terminal::sizes(frames.clone()));
    }
    drop(frames);
    tokio::select! {
        biased;
        end = receive(stream) => end,
        Some(()) = detaches.recv() => Ok(End::Detached),
        failure = send(sink, waiting) => Err(failure),
    }
}

/// Sends frames, and pings when there are none for long. Ends only when the connection does.
async fn send<S>(mut sink: SplitSink<Socket<S>, Message>, mut waiting: mpsc::Receiver<Vec<u8>>) -> Failure
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut ping = tokio::time::interval(std::time::Duration::from_secs(30));
    ping.reset();
    loop {
        let message = tokio::select! {
            biased;
            Some(frame) = waiting.recv() => Message::Binary(frame.into()),
            _ = ping.tick() => Message::Ping(bytes::Bytes::new()),
        };
        match sink.send(message).await {
            Ok(()) => {}
            // The receiving side knows better why; it is about to say so.
            Err(WsError::ConnectionClosed | WsError::AlreadyClosed | WsError::Io(_)) => std::future::pending().await,
            Err(error) => return Failure::usage(format!("error sending to the container: {error}")),
        }
    }
}

async fn receive<S>(mut stream: SplitStream<Socket<S>>) -> Result<End, Failure>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    while let Some(message) = stream.next().await {
        let message = message.map_err(|error| Failure::usage(format!("error reading from the container: {error}")))?;
        let data = match message {
            Message::Binary(data) => data,
            Message::Text(text) => text.into(),
            Message::Close(_) => break,
            _ => continue,
        };
        match data.split_first() {
            Some((&STDOUT, data)) => print(&mut std::io::stdout().lock(), data)?,
            Some((&STDERR, data)) => print(&mut std::io::stderr().lock(), data)?,
            Some((&STATUS, data)) if !data.is_empty() => return ended(data),
            _ => {}
        }
    }
    Err(Failure::usage(
        "the connection to the container was lost before the command ended",
    ))
}

fn print(out: &mut impl Write, data: &[u8]) -> Result<(), Failure> {
    out.write_all(data)?;
    out.flush()?;
    Ok(())
}

/// Reads the status that ends a session.
fn ended(data: &[u8]) -> Result<End, Failure> {
    let status: Value = serde_json::from_slice(data)
        .map_err(|error| Failure::usage(format!("error stream protocol error: {error}")))?;
    if status["status"] == "Success" {
        return Ok(End::Exited(0));
    }
    if status["reason"] == "NonZeroExitCode" {
        let causes = status["details"]["causes"].as_array();
        let code = causes
            .into_iter()
            .flatten()
            .find(|cause| cause["reason"] == "ExitCode")
            .and_then(|cause| cause["message"].as_str()?.parse::<u8>().ok());
        return code
            .map(End::Exited)
            .ok_or_else(|| Failure::usage("error stream protocol error: an exit code is missing"));
    }
    Err(Failure::usage(
        status["message"].as_str().unwrap_or("unknown error of the container"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_frame_carries_the_exit_code() {
        assert_eq!(ended(br#"{"status":"Success"}"#).unwrap(), End::Exited(0));
        let seven = br#"{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"7"}]}}"#;
        assert_eq!(ended(seven).unwrap(), End::Exited(7));
        let failed = ended(br#"{"status":"Failure","reason":"InternalError","message":"no such file"}"#);
        assert_eq!(failed.unwrap_err().to_string(), "error: no such file");
    }

    /// A process that echoes standard input until its end, then exits with 3.
    #[tokio::test]
    async fn streams_are_carried_and_standard_input_ends_alone() {
        let (ours, theirs) = tokio::io::duplex(4096);
        let role = tokio_tungstenite::tungstenite::protocol::Role::Server;
        let server = tokio::spawn(async move {
            let mut socket = WebSocketStream::from_raw_socket(theirs, role, None).await;
            let mut heard = Vec::new();
            while let Some(Ok(message)) = socket.next().await {
                match &message.into_data()[..] {
                    [STDIN, data @ ..] => heard.extend_from_slice(data),
                    [CLOSE, STDIN] => break,
                    _ => {}
                }
            }
            let status = br#"{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}"#;
            let frame = [&[STATUS][..], &status[..]].concat();
            socket.send(Message::Binary(frame.into())).await.unwrap();
            heard
        });
        let role = tokio_tungstenite::tungstenite::protocol::Role::Client;
        let socket = WebSocketStream::from_raw_socket(ours, role, None).await;
        let (sink, stream) = socket.split();
        let (frames, waiting) = mpsc::channel(2);
        input::copy(&b"hello"[..], &frames, None, true);
        let end = tokio::select! { end = receive(stream) => end, failure = send(sink, waiting) => Err(failure) };
        assert_eq!(end.unwrap(), End::Exited(3));
        assert_eq!(server.await.unwrap(), b"hello");
    }
}
