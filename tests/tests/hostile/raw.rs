//! Requests as bytes, because no library would send these, and what comes back.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::server::{Server, Who};

pub(crate) const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// How a request was met.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// An answer: its code, and how its body begins.
    Code(u16, String),
    /// The connection was closed without one.
    Closed,
}

/// How a request may be met.
#[derive(Clone, Debug)]
pub(crate) enum Expects {
    /// One of these codes.
    Codes(Vec<u16>),
    /// One of these, or the connection closed.
    CodesOrClosed(Vec<u16>),
}

impl Expects {
    pub(crate) fn allow(&self, outcome: &Outcome) -> bool {
        match (self, outcome) {
            (Self::Codes(codes) | Self::CodesOrClosed(codes), Outcome::Code(code, _)) => codes.contains(code),
            (Self::CodesOrClosed(_), Outcome::Closed) => true,
            (Self::Codes(_), Outcome::Closed) => false,
        }
    }
}

/// A request that means harm, and how it must be met.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) who: Who,
    pub(crate) bytes: Vec<u8>,
    /// Sent over and over after the rest, until the server has enough.
    pub(crate) forever: Option<Vec<u8>>,
    pub(crate) expects: Expects,
}

impl Row {
    /// Bytes as they are.
    pub(crate) fn raw(name: &'static str, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            name,
            who: Who::Admin,
            bytes: bytes.into(),
            forever: None,
            expects: Expects::Codes(vec![400]),
        }
    }

    pub(crate) fn request(
        name: &'static str,
        method: &str,
        target: &str,
        headers: &str,
        body: impl Into<Vec<u8>>,
    ) -> Self {
        let body = body.into();
        let mut bytes =
            format!("{method} {target} HTTP/1.1\r\nHost: server\r\nConnection: close\r\n{headers}").into_bytes();
        if !body.is_empty() {
            bytes.extend(format!("Content-Length: {}\r\n", body.len()).into_bytes());
        }
        bytes.extend(b"\r\n");
        bytes.extend(body);
        Self::raw(name, bytes)
    }

    pub(crate) fn get(name: &'static str, target: &str) -> Self {
        Self::request(name, "GET", target, "", "")
    }

    pub(crate) fn post(name: &'static str, target: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::request(name, "POST", target, "Content-Type: application/json\r\n", body)
    }

    pub(crate) fn yaml(name: &'static str, target: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::request(name, "POST", target, "Content-Type: application/yaml\r\n", body)
    }

    pub(crate) fn patch(name: &'static str, kind: &str, target: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = format!("Content-Type: application/{kind}\r\n");
        Self::request(name, "PATCH", target, &headers, body)
    }

    pub(crate) fn by(mut self, who: Who) -> Self {
        self.who = who;
        self
    }

    pub(crate) fn code(mut self, code: u16) -> Self {
        self.expects = Expects::Codes(vec![code]);
        self
    }

    pub(crate) fn codes(mut self, codes: &[u16]) -> Self {
        self.expects = Expects::Codes(codes.to_vec());
        self
    }

    pub(crate) fn ok(self) -> Self {
        self.code(200)
    }

    pub(crate) fn or_closed(mut self) -> Self {
        if let Expects::Codes(codes) = self.expects {
            self.expects = Expects::CodesOrClosed(codes);
        }
        self
    }

    pub(crate) fn then_forever(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.forever = Some(bytes.into());
        self
    }
}

/// Sends a row on a connection of its own and reads the answer.
pub(crate) async fn exchange(server: &Server, row: &Row) -> Outcome {
    let Ok(stream) = server.tls(row.who, b"http/1.1").await else {
        return Outcome::Closed;
    };
    let (mut read, mut write) = tokio::io::split(stream);
    let send = async {
        // The server may have enough before all is sent.
        if write.write_all(&row.bytes).await.is_err() || write.flush().await.is_err() {
            return;
        }
        if let Some(piece) = &row.forever {
            while write.write_all(piece).await.is_ok() {}
        } else {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        outcome = answer(&mut read) => outcome,
        () = async { send.await; std::future::pending().await } => unreachable!("pending"),
    }
}

/// All that the server answers to a request, to the end of the connection.
pub(crate) async fn whole(server: &Server, row: &Row) -> Option<String> {
    let mut stream = server.tls(row.who, b"http/1.1").await.ok()?;
    stream.write_all(&row.bytes).await.ok()?;
    stream.flush().await.ok()?;
    let mut bytes = Vec::new();
    // How the server ends the connection is not the question here.
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8(bytes).ok()
}

/// Reads an answer so far that its code and the beginning of its body are known.
pub(crate) async fn answer(stream: &mut (impl AsyncReadExt + Unpin)) -> Outcome {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => break,
            Ok(read) => bytes.extend(&piece[..read]),
        }
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && (body.len() > 100 || head.starts_with("HTTP/1.1 2"))
        {
            break;
        }
    }
    let text = String::from_utf8_lossy(&bytes);
    let code = text
        .strip_prefix("HTTP/1.1 ")
        .or_else(|| text.strip_prefix("HTTP/1.0 "))
        .and_then(|rest| rest.get(..3)?.parse().ok());
    match code {
        Some(code) => {
            let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            Outcome::Code(code, body.chars().take(300).collect())
        }
        None => Outcome::Closed,
    }
}
