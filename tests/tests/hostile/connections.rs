//! TLS and HTTP/2 themselves, abused.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::frames::{
    self, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE,
    frame,
};
use crate::raw::{self, Outcome, Row};
use crate::server::{Server, Who};
use crate::{PATIENCE, meet, unless};

/// Runs every abuse, and sees after each that an ordinary request is answered.
pub(crate) async fn all(server: &Server) -> Vec<String> {
    let mut wrong = Vec::new();
    wrong.extend(plain_http(server).await);
    for (name, bytes) in not_tls() {
        wrong.extend(closed(server, name, &bytes).await);
    }
    for (name, bytes) in streams() {
        wrong.extend(abused(server, name, &bytes).await);
        let ordinary = Row::get("an ordinary request after an abuse of HTTP/2", "/readyz").ok();
        wrong.extend(meet(server, &ordinary).await);
    }
    wrong.extend(many_streams(server).await);
    wrong.extend(giant_header(server).await);
    wrong.extend(server.dead());
    wrong
}

/// HTTP on the HTTPS port gets upstream's sentence.
async fn plain_http(server: &Server) -> Option<String> {
    let mut stream = server.tcp().await;
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: server\r\n\r\n").await;
    let outcome = tokio::time::timeout(PATIENCE, raw::answer(&mut stream)).await;
    let fine = matches!(&outcome, Ok(Outcome::Code(400, body)) if body.contains("Client sent an HTTP request to an HTTPS server."));
    unless("HTTP on the HTTPS port", outcome.unwrap_or(Outcome::Closed), fine)
}

fn not_tls() -> Vec<(&'static str, Vec<u8>)> {
    let record = |kind: u8, length: u16, body: &[u8]| {
        let mut bytes = vec![kind, 3, 1];
        bytes.extend(length.to_be_bytes());
        bytes.extend(body);
        bytes
    };
    vec![
        ("noise where TLS should be", vec![0x5a; 4096]),
        ("SSH where TLS should be", b"SSH-2.0-OpenSSH_9.9\r\n".to_vec()),
        ("a hello that is noise", record(22, 512, &[0xff; 512])),
        ("a hello larger than TLS allows", record(22, 0xffff, &[1; 0xffff])),
        ("data before any hello", record(23, 64, &[0; 64])),
        ("an alert instead of a hello", record(21, 2, &[2, 80])),
    ]
}

/// Expects that the server closes a connection of its own accord.
async fn closed(server: &Server, name: &str, bytes: &[u8]) -> Option<String> {
    let mut stream = server.tcp().await;
    let _ = stream.write_all(bytes).await;
    let end = async {
        let mut piece = [0; 4096];
        while stream.read(&mut piece).await.is_ok_and(|read| read > 0) {}
    };
    tokio::time::timeout(PATIENCE, end)
        .await
        .is_err()
        .then(|| format!("{name}: still open after {PATIENCE:?}"))
}

fn streams() -> Vec<(&'static str, Vec<u8>)> {
    let odd = |at: u32| 2 * at + 1;
    let watch = "/api/v1/namespaces/default/configmaps?watch=true";
    let resets = (0..5000).flat_map(|at| {
        let cancel = frame(RST_STREAM, 0, odd(at), &8_u32.to_be_bytes());
        [frames::ask(odd(at), watch), cancel].concat()
    });
    // The server must reset each stream for the client's mistake: a window update of nothing.
    let made_to_reset = (0..5000).flat_map(|at| {
        let mistake = frame(WINDOW_UPDATE, 0, odd(at), &0_u32.to_be_bytes());
        [frames::ask(odd(at), watch), mistake].concat()
    });
    let continued = frame(
        CONTINUATION,
        0,
        1,
        &frames::get("/api", &[("x-more", &"a".repeat(4000))])[3..],
    );
    let continuations = [
        frame(HEADERS, END_STREAM, 1, &frames::get("/api", &[])),
        continued.repeat(1000),
    ]
    .concat();
    let empty = [
        frame(HEADERS, END_STREAM, 1, &frames::get("/api", &[])),
        frame(CONTINUATION, 0, 1, &[]).repeat(100_000),
    ];
    let overflow = frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes()).repeat(3);
    vec![
        ("5,000 requests that are taken back at once", resets.collect()),
        ("5,000 streams that the server must reset", made_to_reset.collect()),
        ("headers that go on in frame upon frame", continuations),
        ("headers that go on in empty frames", empty.concat()),
        ("a window that overflows", overflow),
        ("data on a stream that never began", frame(DATA, 0, 7, b"data")),
        ("a stream with an even number", frames::ask(2, "/api")),
        (
            "a header block that is noise",
            frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0xff; 512]),
        ),
        ("a frame larger than settled", frame(DATA, 0, 1, &vec![0; 1 << 20])),
        ("settings of half a setting", frame(SETTINGS, 0, 0, &[0; 5])),
        ("a frame size of nothing", frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 0])),
        ("100,000 pings", frame(PING, 0, 0, &[7; 8]).repeat(100_000)),
        (
            "100,000 settings",
            frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 9]).repeat(100_000),
        ),
    ]
}

/// Sends frames and nothing more. The server may end the connection or live with them; it must have settled its mind in time.
async fn abused(server: &Server, name: &str, bytes: &[u8]) -> Option<String> {
    let started = Instant::now();
    let (mut read, mut write) = tokio::io::split(frames::connect(server, Who::Admin).await);
    let abuse = async {
        // Ended by a ping, so that an answer to it shows that all before it has been dealt with.
        if write.write_all(bytes).await.is_ok() {
            let _ = write.write_all(&frame(PING, 0, 0, b"the last")).await;
            let _ = write.flush().await;
        }
        std::future::pending::<()>().await;
    };
    let settled = async {
        loop {
            match frames::read(&mut read).await {
                None => return,
                Some(came) if came.kind == GOAWAY => return,
                Some(came) if came.kind == PING && came.flags & 1 == 1 && came.payload == b"the last" => return,
                Some(_) => {}
            }
        }
    };
    let settled = async {
        tokio::select! {
            () = settled => {}
            () = abuse => {}
        }
    };
    tokio::time::timeout(PATIENCE, settled)
        .await
        .is_err()
        .then(|| format!("{name}: neither answered nor closed after {:?}", started.elapsed()))
}

/// Of 5,000 requests opened at once on one connection, no more than the settled number are taken on.
async fn many_streams(server: &Server) -> Option<String> {
    let (mut read, mut write) = tokio::io::split(frames::connect(server, Who::Admin).await);
    let watch = "/api/v1/namespaces/default/configmaps?watch=true";
    let asked: Vec<u8> = (0..5000).flat_map(|at| frames::ask(2 * at + 1, watch)).collect();
    let send = async {
        let _ = write.write_all(&asked).await;
        let _ = write.flush().await;
        std::future::pending::<()>().await;
    };
    let mut answered = 0;
    let mut refused = 0;
    let count = async {
        loop {
            match frames::read(&mut read).await {
                None => return,
                Some(came) => match came.kind {
                    GOAWAY => return,
                    HEADERS => answered += 1,
                    RST_STREAM => refused += 1,
                    _ => {}
                },
            }
            if answered + refused == 5000 {
                return;
            }
        }
    };
    let both = async {
        tokio::select! {
            () = count => {}
            () = send => {}
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, both).await.is_ok();
    (!in_time || answered > 100)
        .then(|| format!("5,000 streams: {answered} answered, {refused} refused, in time: {in_time}"))
}

/// A header larger than all headers may be.
async fn giant_header(server: &Server) -> Option<String> {
    let mut stream = frames::connect(server, Who::Admin).await;
    let block = frames::get("/api", &[("x-giant", &"a".repeat(1 << 20))]);
    let pieces: Vec<&[u8]> = block.chunks(16_000).collect();
    let last = pieces.len() - 1;
    let mut bytes = Vec::new();
    for (at, piece) in pieces.into_iter().enumerate() {
        let ends = if at == last { END_HEADERS } else { 0 };
        bytes.extend(match at {
            0 => frame(HEADERS, END_STREAM | ends, 1, piece),
            _ => frame(CONTINUATION, ends, 1, piece),
        });
    }
    let _ = stream.write_all(&bytes).await;
    let end = async {
        loop {
            match frames::read(&mut stream).await {
                // 431 is no code of the static table: its text stands in the block.
                Some(came) if came.kind == HEADERS => {
                    return came.payload.windows(3).any(|text| text == b"431") || came.payload[0] != 0x88;
                }
                Some(came) if came.kind == RST_STREAM || came.kind == GOAWAY => return true,
                None => return true,
                Some(_) => {}
            }
        }
    };
    let refused = tokio::time::timeout(PATIENCE, end).await;
    (refused != Ok(true)).then(|| format!("a header of a megabyte on HTTP/2: {refused:?}"))
}
