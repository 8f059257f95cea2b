//! Just enough SPDY/3.1 to speak with containerd's streaming server as a client.
//!
//! SPDY, not WebSocket, because containerd's WebSocket protocol (v4) cannot close standard input while output goes on.
//! Headers are sent as stored deflate blocks without the dictionary, which Go's reader accepts; header blocks that come back
//! are not needed and not read. No flow control: spdystream has none.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

const SYN_STREAM: u16 = 1;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const FIN: u8 = 1;
/// No frame that containerd sends is larger.
const MAX_FRAME: usize = 16 << 20;

/// Something that came from the other side.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// Bytes of a stream; `fin` says that they are its last.
    Data { stream: u32, data: Bytes, fin: bool },
    /// A stream was ended at once.
    Reset { stream: u32 },
    /// The other side wants its ping back.
    Ping { id: u32 },
    /// The other side is leaving.
    GoAway,
    /// Nothing of interest.
    Other,
}

/// Upgrades a connection to SPDY at a URL of containerd's streaming server; answers it with what was read too far.
pub(super) async fn connect(url: &str, protocols: &[&str]) -> io::Result<(TcpStream, BytesMut, http::HeaderMap)> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{what}: {url}"));
    let uri: http::Uri = url.parse().map_err(|_| bad("not a URL"))?;
    let authority = uri.authority().ok_or_else(|| bad("no host in"))?.as_str().to_owned();
    let mut stream = TcpStream::connect(&authority).await?;
    stream.set_nodelay(true)?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: 0\r\n"
    );
    for protocol in protocols {
        request.push_str(&format!("X-Stream-Protocol-Version: {protocol}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut buffer = BytesMut::with_capacity(4096);
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if buffer.len() > 64 << 10 || stream.read_buf(&mut buffer).await? == 0 {
            return Err(bad("no answer from"));
        }
    };
    let head = buffer.split_to(end);
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut lines = head.lines();
    let first = lines.next().unwrap_or_default();
    if first.split(' ').nth(1) != Some("101") {
        return Err(io::Error::other(format!("containerd refused the stream: {first}")));
    }
    let mut headers = http::HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if let (Ok(name), Ok(value)) = (name.trim().parse::<http::HeaderName>(), value.trim().parse()) {
            headers.append(name, value);
        }
    }
    Ok((stream, buffer, headers))
}

/// Writes frames.
#[derive(Debug)]
pub(super) struct Writer<W> {
    to: W,
    begun: bool,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    pub(super) fn new(to: W) -> Self {
        Self { to, begun: false }
    }

    /// Opens a stream of a type such as `stdin`.
    pub(super) async fn open(&mut self, stream: u32, kind: &str) -> io::Result<()> {
        let frame = self.syn_stream(stream, &[("streamtype", kind)]);
        self.to.write_all(&frame).await?;
        self.to.flush().await
    }

    fn syn_stream(&mut self, stream: u32, headers: &[(&str, &str)]) -> Bytes {
        let length = |text: &str| u32::try_from(text.len()).unwrap_or_default();
        let mut plain = BytesMut::new();
        plain.put_u32(u32::try_from(headers.len()).unwrap_or_default());
        for (name, value) in headers {
            plain.put_u32(length(name));
            plain.put_slice(name.as_bytes());
            plain.put_u32(length(value));
            plain.put_slice(value.as_bytes());
        }
        let mut block = BytesMut::new();
        if !self.begun {
            // A zlib stream is begun once for the whole connection.
            block.put_slice(&[0x78, 0x01]);
            self.begun = true;
        }
        let size = u16::try_from(plain.len()).unwrap_or_default();
        block.put_u8(0);
        block.put_u16_le(size);
        block.put_u16_le(!size);
        block.put_slice(&plain);
        // An empty stored block: only at it does Go's reader hand the bytes on instead of waiting for more.
        block.put_slice(&[0, 0, 0, 0xff, 0xff]);
        let mut frame = BytesMut::new();
        frame.put_u16(0x8003);
        frame.put_u16(SYN_STREAM);
        frame.put_u32(u32::try_from(10 + block.len()).unwrap_or_default());
        frame.put_u32(stream);
        frame.put_u32(0);
        frame.put_u16(0);
        frame.put_slice(&block);
        frame.freeze()
    }

    /// Sends bytes of a stream; `fin` closes our side of it.
    pub(super) async fn data(&mut self, stream: u32, data: &[u8], fin: bool) -> io::Result<()> {
        let mut frame = BytesMut::with_capacity(8 + data.len());
        frame.put_u32(stream & 0x7fff_ffff);
        let flags = if fin { u32::from(FIN) << 24 } else { 0 };
        frame.put_u32(flags | (u32::try_from(data.len()).unwrap_or_default() & 0x00ff_ffff));
        frame.put_slice(data);
        self.to.write_all(&frame).await?;
        self.to.flush().await
    }

    /// Answers a ping.
    pub(super) async fn pong(&mut self, id: u32) -> io::Result<()> {
        let mut frame = BytesMut::with_capacity(12);
        frame.put_u16(0x8003);
        frame.put_u16(PING);
        frame.put_u32(4);
        frame.put_u32(id);
        self.to.write_all(&frame).await?;
        self.to.flush().await
    }
}

/// Reads frames.
#[derive(Debug)]
pub(super) struct Reader<R> {
    from: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(super) fn new(from: R, buffer: BytesMut) -> Self {
        Self { from, buffer }
    }

    /// Reads the next frame; `None` when the other side has closed. Cancel safe.
    pub(super) async fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.parse()? {
                return Ok(Some(frame));
            }
            if self.from.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    fn parse(&mut self) -> io::Result<Option<Frame>> {
        let word = |at: usize, buffer: &[u8]| {
            let bytes = buffer.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map(u32::from_be_bytes)
        };
        let (Some(first), Some(second)) = (word(0, &self.buffer), word(4, &self.buffer)) else {
            return Ok(None);
        };
        let length = usize::try_from(second & 0x00ff_ffff).unwrap_or(usize::MAX);
        if length > MAX_FRAME {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "an oversized SPDY frame"));
        }
        if self.buffer.len() < 8 + length {
            return Ok(None);
        }
        let _ = self.buffer.split_to(8);
        let payload = self.buffer.split_to(length).freeze();
        if first & 0x8000_0000 == 0 {
            let fin = (second >> 24) & u32::from(FIN) != 0;
            return Ok(Some(Frame::Data {
                stream: first,
                data: payload,
                fin,
            }));
        }
        let kind = u16::try_from(first & 0xffff).unwrap_or_default();
        let argument = word(0, &payload).unwrap_or_default();
        Ok(Some(match kind {
            RST_STREAM => Frame::Reset { stream: argument },
            PING => Frame::Ping { id: argument },
            GOAWAY => Frame::GoAway,
            _ => Frame::Other,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_are_read_however_they_are_cut() {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes);
        writer.data(3, b"hello", false).await.unwrap();
        writer.pong(2).await.unwrap();
        writer.data(3, b"", true).await.unwrap();
        for cut in 1..bytes.len() {
            let (one, two) = bytes.split_at(cut);
            let mut reader = Reader::new(one.chain(two), BytesMut::new());
            let data = Frame::Data {
                stream: 3,
                data: Bytes::from_static(b"hello"),
                fin: false,
            };
            assert_eq!(reader.next().await.unwrap(), Some(data));
            assert_eq!(reader.next().await.unwrap(), Some(Frame::Ping { id: 2 }));
            let end = Frame::Data {
                stream: 3,
                data: Bytes::new(),
                fin: true,
            };
            assert_eq!(reader.next().await.unwrap(), Some(end));
            assert_eq!(reader.next().await.unwrap(), None);
        }
    }
}
