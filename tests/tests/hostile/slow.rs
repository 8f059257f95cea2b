//! Clients that trickle and clients that are silent, each within the time that the server states.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::raw::{self, CONFIG_MAPS, Outcome};
use crate::server::{REQUEST_TIMEOUT, Server, Who};

/// The server's own times: for a handshake, and for a head, which it looks at twice in that time.
const HANDSHAKE: Duration = Duration::from_secs(10);
const HEAD: Duration = Duration::from_secs(15);
/// What a loaded machine adds.
const GRACE: Duration = Duration::from_secs(3);

/// Runs all of them at the same time.
pub(crate) async fn all(server: Server) -> Vec<String> {
    let (hello, trickle, half, body, chunks, h2) = tokio::join!(
        silent(&server, b""),
        head(&server),
        silent(&server, &[22, 3, 1, 2, 0, 1]),
        body(&server, "Content-Length: 100000\r\n", b" "),
        body(&server, "Transfer-Encoding: chunked\r\n", b"1\r\n \r\n"),
        body_on_http2(&server),
    );
    [hello, trickle, half, body, chunks, h2].into_iter().flatten().collect()
}

/// Connects, says little, and waits.
async fn silent(server: &Server, bytes: &[u8]) -> Option<String> {
    let started = Instant::now();
    let mut stream = server.tcp().await;
    let _ = stream.write_all(bytes).await;
    let end = tokio::time::timeout(HANDSHAKE + GRACE, stream.read(&mut [0; 64])).await;
    end.is_err().then(|| {
        format!(
            "{} bytes of a handshake: open after {:?}",
            bytes.len(),
            started.elapsed()
        )
    })
}

/// One header byte every half second.
async fn head(server: &Server) -> Option<String> {
    let (mut read, mut write) = tokio::io::split(server.tls(Who::Stranger, b"http/1.1").await.ok()?);
    let trickle = async {
        let _ = write.write_all(b"GET /api HTTP/1.1\r\nHost: server\r\nX-Slow: ").await;
        let _ = write.flush().await;
        while write.write_all(b"a").await.is_ok() && write.flush().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let ended = async {
        tokio::select! {
            _ = raw::answer(&mut read) => {}
            () = trickle => {}
        }
    };
    tokio::time::timeout(HEAD + GRACE, ended)
        .await
        .is_err()
        .then(|| "a head that trickles in: open after its time".to_owned())
}

/// A body of which a piece comes every half second is answered with 504 when the request's time is over.
async fn body(server: &Server, framing: &str, piece: &[u8]) -> Option<String> {
    let (mut read, mut write) = tokio::io::split(server.tls(Who::Admin, b"http/1.1").await.ok()?);
    let trickle = async {
        let head =
            format!("POST {CONFIG_MAPS} HTTP/1.1\r\nHost: server\r\nContent-Type: application/json\r\n{framing}\r\n");
        let _ = write.write_all(head.as_bytes()).await;
        while write.write_all(piece).await.is_ok() && write.flush().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        std::future::pending::<Outcome>().await
    };
    let answered = async {
        tokio::select! {
            outcome = raw::answer(&mut read) => outcome,
            outcome = trickle => outcome,
        }
    };
    match tokio::time::timeout(REQUEST_TIMEOUT + GRACE, answered).await {
        Ok(Outcome::Code(504, body)) if body.contains("request did not complete within the allotted timeout") => None,
        other => Some(format!("a body that trickles in, {framing:?}: {other:?}")),
    }
}

/// The same on HTTP/2, where no byte of the body ever comes.
async fn body_on_http2(server: &Server) -> Option<String> {
    use crate::frames::{self, END_HEADERS, HEADERS, frame};

    let mut stream = frames::connect(server, Who::Admin).await;
    let mut block = frames::get(CONFIG_MAPS, &[("content-type", "application/json")]);
    // POST instead of GET.
    block[0] = 0x83;
    let _ = stream.write_all(&frame(HEADERS, END_HEADERS, 1, &block)).await;
    let _ = stream.flush().await;
    let answered = async {
        loop {
            match frames::read(&mut stream).await {
                Some(came) if came.kind == HEADERS && came.stream == 1 => return Some(came.payload),
                Some(_) => {}
                None => return None,
            }
        }
    };
    match tokio::time::timeout(REQUEST_TIMEOUT + GRACE, answered).await {
        // Codes that are not in the static table are written out, plainly or in Huffman's code.
        Ok(Some(block)) if block.first() != Some(&0x88) => None,
        other => Some(format!("a body that never comes on HTTP/2: {other:?}")),
    }
}
