//! HTTP/2, frame by frame: what a library would not send.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::server::{Server, Who};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One frame as bytes.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame's length");
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A text as HPACK writes it, without Huffman's code.
fn text(out: &mut Vec<u8>, text: &str) {
    let mut length = text.len();
    match u8::try_from(length) {
        Ok(short) if short < 127 => out.push(short),
        _ => {
            out.push(127);
            length -= 127;
            while length >= 128 {
                out.push(u8::try_from(length % 128).unwrap_or(0) | 128);
                length /= 128;
            }
            out.push(u8::try_from(length).unwrap_or(0));
        }
    }
    out.extend(text.as_bytes());
}

/// The header block of `GET path`.
pub(crate) fn get(path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    // :method GET, :scheme https, :path and :authority by their places in the static table.
    let mut block = vec![0x82, 0x87, 0x04];
    text(&mut block, path);
    block.push(0x01);
    text(&mut block, "server");
    for (name, value) in headers {
        block.push(0);
        text(&mut block, name);
        text(&mut block, value);
    }
    block
}

/// Asks for `path` on a stream of its own.
pub(crate) fn ask(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &get(path, &[]))
}

/// A frame that came.
#[derive(Debug)]
pub(crate) struct Came {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// Reads a frame; `None` at the end of the connection.
pub(crate) async fn read(stream: &mut (impl AsyncReadExt + Unpin)) -> Option<Came> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await.ok()?;
    Some(Came {
        kind: head[3],
        flags: head[4],
        stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff,
        payload,
    })
}

/// A connection that has said hello.
pub(crate) async fn connect(server: &Server, who: Who) -> TlsStream<TcpStream> {
    let mut stream = server.tls(who, b"h2").await.expect("a handshake");
    stream.write_all(PREFACE).await.expect("a preface");
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.expect("settings");
    stream.flush().await.expect("sent");
    stream
}
