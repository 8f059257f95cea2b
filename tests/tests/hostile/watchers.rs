//! Watchers that never read, and readers of what has not happened yet.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::frames::{self, DATA, GOAWAY, PING, RST_STREAM, frame};
use crate::raw::{self, CONFIG_MAPS, Row};
use crate::server::{REQUEST_TIMEOUT, STALL, Server, Who};
use crate::{PATIENCE, meet};

/// Watched by nobody else.
const TEMPLATES: &str = "/api/v1/namespaces/default/podtemplates";
/// What each event holds; many of them are more than all buffers between the server and a client.
const FILLING: usize = 100 << 10;
const BURST: usize = 60;
/// How much may have been under way to a client when the server gave it up.
const UNDER_WAY: usize = 64 << 20;
/// How long the server may take to notice, and a loaded machine to write so much.
const NOTICED: Duration = Duration::from_secs(90);
/// A revision that will not come in our time.
const FUTURE: &str = "999999999999999";

pub(crate) async fn all(server: Server) -> Vec<String> {
    let (silent, future) = tokio::join!(never_reading(&server), future(&server));
    [silent, future].concat()
}

/// How many watches of the templates the server serves.
async fn watched(server: &Server) -> Option<usize> {
    let text = raw::whole(server, &Row::get("metrics", "/metrics")).await?;
    let line = |line: &&str| {
        let ours = [
            "apiserver_longrunning_requests{",
            "resource=\"podtemplates\"",
            "verb=\"WATCH\"",
        ];
        ours.iter().all(|part| line.contains(part))
    };
    text.lines().find(line)?.rsplit(' ').next()?.parse().ok()
}

async fn write(server: &Server, number: usize) -> Option<String> {
    let body = format!(
        "{{\"metadata\":{{\"annotations\":{{\"n\":\"{number}{}\"}}}}}}",
        "x".repeat(FILLING)
    );
    let path = format!("{TEMPLATES}/noise");
    meet(
        server,
        &Row::patch(
            "a write that silent watchers are told of",
            "merge-patch+json",
            &path,
            body,
        )
        .ok(),
    )
    .await
}

/// Two clients watch and never read, one on HTTP/1.1 and one on HTTP/2. The server ends both, and has kept little for them.
async fn never_reading(server: &Server) -> Vec<String> {
    let mut wrong = Vec::new();
    let template = r#"{"metadata":{"name":"noise"},"template":{"spec":{"containers":[{"name":"c","image":"i:1"}]}}}"#;
    wrong.extend(meet(server, &Row::post("what is watched", TEMPLATES, template).code(201)).await);
    let mut plain = server.tls(Who::Admin, b"http/1.1").await.expect("a handshake");
    let ask = format!("GET {TEMPLATES}?watch=true HTTP/1.1\r\nHost: server\r\n\r\n");
    plain.write_all(ask.as_bytes()).await.expect("sent");
    plain.flush().await.expect("sent");
    let mut multiplexed = frames::connect(server, Who::Admin).await;
    let ask = frames::ask(1, &format!("{TEMPLATES}?watch=true"));
    multiplexed.write_all(&ask).await.expect("sent");
    multiplexed.flush().await.expect("sent");

    let deadline = Instant::now() + PATIENCE * 4;
    while watched(server).await != Some(2) {
        if Instant::now() > deadline {
            wrong.push("two watches do not begin".to_owned());
            return wrong;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let started = Instant::now();
    for number in 0..BURST {
        wrong.extend(write(server, number).await);
    }
    let mut number = BURST;
    while watched(server).await != Some(0) {
        if started.elapsed() > STALL + NOTICED {
            wrong.push(format!(
                "watchers that do not read are served after {:?}",
                started.elapsed()
            ));
            return wrong;
        }
        wrong.extend(write(server, number).await);
        number += 1;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    eprintln!(
        "watchers that do not read were left after {:?} and {number} events",
        started.elapsed()
    );
    wrong.extend(ended(plain).await);
    wrong.extend(reset(multiplexed).await);
    wrong
}

/// What was under way comes, and then the end, which is no proper one.
async fn ended(mut stream: impl AsyncReadExt + Unpin) -> Option<String> {
    let mut bytes = Vec::new();
    let end = tokio::time::timeout(PATIENCE * 4, stream.read_to_end(&mut bytes)).await;
    let whole = bytes.ends_with(b"0\r\n\r\n");
    (end.is_err() || whole || bytes.len() > UNDER_WAY).then(|| {
        format!(
            "a silent watcher on HTTP/1.1: ended {:?}, {} bytes, as if it were whole: {whole}",
            end.is_ok(),
            bytes.len()
        )
    })
}

/// The stream is reset; the connection lives.
async fn reset(stream: impl AsyncReadExt + AsyncWriteExt + Unpin) -> Option<String> {
    let (mut read, mut write) = tokio::io::split(stream);
    let came = async {
        let (mut reset, mut bytes) = (false, 0);
        write.write_all(&frame(PING, 0, 0, b"the last")).await.ok()?;
        write.flush().await.ok()?;
        loop {
            let came = frames::read(&mut read).await?;
            match came.kind {
                RST_STREAM if came.stream == 1 => reset = true,
                DATA => bytes += came.payload.len(),
                GOAWAY => return None,
                PING if came.flags & 1 == 1 && came.payload == b"the last" => return Some((reset, bytes)),
                _ => {}
            }
        }
    };
    let came = tokio::time::timeout(PATIENCE * 4, came).await;
    // Where the machine is so slow that a ping has gone unanswered for its time, the whole connection is closed.
    let fine = matches!(came, Ok(None)) || matches!(came, Ok(Some((true, bytes))) if bytes < UNDER_WAY);
    (!fine).then(|| format!("a silent watcher on HTTP/2: {came:?}"))
}

/// What has not happened yet is waited for, and then said to be too far away, as upstream says it.
async fn future(server: &Server) -> Vec<String> {
    let token = crate::heads::forged(serde_json::json!(999_999_999_999_999_u64), "default/a\0");
    let rows = [
        Row::get(
            "a list from the future",
            &format!("{CONFIG_MAPS}?resourceVersion={FUTURE}"),
        ),
        Row::get(
            "just this state of the future",
            &format!("{CONFIG_MAPS}?resourceVersion={FUTURE}&resourceVersionMatch=Exact"),
        ),
        Row::get(
            "an object from the future",
            &format!("{CONFIG_MAPS}/victim?resourceVersion={FUTURE}"),
        ),
        Row::get(
            "a continue token from the future",
            &format!("{CONFIG_MAPS}?limit=1&continue={token}"),
        ),
    ];
    let met = rows.iter().map(|row| async move {
        let answer = tokio::time::timeout(REQUEST_TIMEOUT + PATIENCE, raw::whole(server, row)).await;
        let answer = answer.ok().flatten().unwrap_or_default();
        let parts = [
            "HTTP/1.1 504",
            "\"reason\":\"Timeout\"",
            &format!("\"message\":\"Timeout: Too large resource version: {FUTURE}, current: "),
            "\"causes\":[{\"message\":\"Too large resource version\",\"reason\":\"ResourceVersionTooLarge\"}]",
            "\"retryAfterSeconds\":1",
            "retry-after: 1\r\n",
            "\"code\":504",
        ];
        let missing: Vec<&str> = parts.into_iter().filter(|part| !answer.contains(part)).collect();
        (!missing.is_empty()).then(|| format!("{}: {missing:?} is not in {answer}", row.name))
    });
    futures::future::join_all(met).await.into_iter().flatten().collect()
}
