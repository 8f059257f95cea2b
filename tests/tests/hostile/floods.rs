//! Very many at once: watches, and requests in flight.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::frames::{self, HEADERS};
use crate::raw::{self, CONFIG_MAPS, Outcome, Row};
use crate::server::{REQUEST_TIMEOUT, Server, Who};
use crate::{PATIENCE, meet};

const CONNECTIONS: u32 = 100;
const STREAMS: u32 = 100;
/// How long ten thousand watches may take to begin, and an event to reach them all.
const ALL: Duration = Duration::from_secs(if option_env!("HOSTILE_STRICT").is_some() { 8 } else { 20 });
/// The limit of requests in flight that change something, and how many more are tried.
const MUTATING: usize = 200;
const MORE: usize = 20;

pub(crate) async fn all(server: &Server) -> Vec<String> {
    [too_many_in_flight(server).await, ten_thousand_watches(server).await].concat()
}

/// A write of Mallory's whose body does not come, so that it stays in flight.
fn unfinished() -> String {
    format!(
        "POST {CONFIG_MAPS} HTTP/1.1\r\nHost: server\r\nImpersonate-User: mallory\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n"
    )
}

/// Waits, for as long as a request may take, until the metrics say something.
async fn metrics_say(server: &Server, line: &str) -> bool {
    let deadline = Instant::now() + REQUEST_TIMEOUT + PATIENCE;
    while Instant::now() < deadline {
        let all = Row::get("metrics", "/metrics");
        if matches!(raw::whole(server, &all).await, Some(text) if text.lines().any(|found| found == line)) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    false
}

/// Beyond the limit requests are turned away with 429, but system:masters are served; when the others are gone, so is everybody.
async fn too_many_in_flight(server: &Server) -> Vec<String> {
    let mut wrong = Vec::new();
    let idle = "apiserver_current_inflight_requests{request_kind=\"mutating\"} 0";
    if !metrics_say(server, idle).await {
        wrong.push("requests are still in flight whose clients are gone".to_owned());
    }
    let opened = (0..MUTATING + MORE).map(|_| async {
        let mut stream = server.tls(Who::Admin, b"http/1.1").await.expect("a handshake");
        stream.write_all(unfinished().as_bytes()).await.expect("sent");
        stream.flush().await.expect("sent");
        stream
    });
    let mut open = futures::future::join_all(opened).await;
    let answers = open.iter_mut().map(|stream| async {
        let mut bytes = [0; 1024];
        match tokio::time::timeout(Duration::from_millis(500), stream.read(&mut bytes)).await {
            Ok(Ok(read)) => Some(String::from_utf8_lossy(&bytes[..read]).into_owned()),
            _ => None,
        }
    });
    let turned_away: Vec<String> = futures::future::join_all(answers).await.into_iter().flatten().collect();
    let proper = turned_away
        .iter()
        .filter(|answer| {
            let lower = answer.to_lowercase();
            answer.starts_with("HTTP/1.1 429")
                && lower.contains("retry-after: 1\r\n")
                && answer.contains("Too many requests, please try again later.")
        })
        .count();
    if proper != MORE || turned_away.len() != MORE {
        wrong.push(format!(
            "{proper} of {MORE} requests too many were turned away: {:?}",
            turned_away.first()
        ));
    }
    let body = r#"{"metadata":{"generateName":"m-"}}"#;
    wrong.extend(
        meet(
            server,
            &Row::post("an administrator meanwhile", CONFIG_MAPS, body).code(201),
        )
        .await,
    );
    wrong.extend(meet(server, &Row::get("a reader meanwhile", CONFIG_MAPS).ok()).await);
    drop(open);
    let deadline = Instant::now() + PATIENCE * 4;
    let headers = "Impersonate-User: mallory\r\nContent-Type: application/json\r\n";
    let again = Row::request("Mallory when the others are gone", "POST", CONFIG_MAPS, headers, body).code(201);
    while let Some(still) = meet(server, &again).await {
        if Instant::now() > deadline {
            wrong.push(still);
            break;
        }
    }
    wrong
}

/// Ten thousand watches begin, get an event, and hinder nobody.
async fn ten_thousand_watches(server: &Server) -> Vec<String> {
    let mut wrong = Vec::new();
    let started = Instant::now();
    let before = server.resident();
    let watch = "/api/v1/namespaces/default/secrets?watch=true";
    let opened = (0..CONNECTIONS).map(|_| async {
        let mut stream = frames::connect(server, Who::Admin).await;
        let asked: Vec<u8> = (0..STREAMS).flat_map(|at| frames::ask(2 * at + 1, watch)).collect();
        stream.write_all(&asked).await.expect("sent");
        stream.flush().await.expect("sent");
        let mut answered = 0;
        while answered < STREAMS {
            match frames::read(&mut stream).await {
                Some(came) if came.kind == HEADERS && came.payload.first() == Some(&0x88) => answered += 1,
                Some(_) => {}
                None => break,
            }
        }
        (stream, answered)
    });
    let Ok(open) = tokio::time::timeout(ALL, futures::future::join_all(opened)).await else {
        return vec![format!(
            "{} watches did not begin within {ALL:?}",
            CONNECTIONS * STREAMS
        )];
    };
    let begun: u32 = open.iter().map(|(_, answered)| answered).sum();
    if begun != CONNECTIONS * STREAMS {
        wrong.push(format!("{begun} watches have begun"));
    }
    let all_begun = started.elapsed();
    let during = server.resident();
    wrong.extend(
        meet(
            server,
            &Row::get("a reader beside ten thousand watches", CONFIG_MAPS).ok(),
        )
        .await,
    );
    let secret = r#"{"metadata":{"name":"seen-by-all"}}"#;
    let create = Row::post(
        "a write beside ten thousand watches",
        "/api/v1/namespaces/default/secrets",
        secret,
    )
    .code(201);
    wrong.extend(meet(server, &create).await);
    let events = open.into_iter().map(|(mut stream, _)| async move {
        let mut got = 0;
        while got < STREAMS {
            match frames::read(&mut stream).await {
                Some(came)
                    if came.kind == frames::DATA && came.payload.windows(11).any(|text| text == b"seen-by-all") =>
                {
                    got += 1
                }
                Some(_) => {}
                None => break,
            }
        }
        (stream, got)
    });
    match tokio::time::timeout(ALL, futures::future::join_all(events)).await {
        Ok(open) => {
            let got: u32 = open.iter().map(|(_, got)| got).sum();
            if got != CONNECTIONS * STREAMS {
                wrong.push(format!("{got} watches have seen the event"));
            }
        }
        Err(_) => wrong.push(format!("an event did not reach all watches within {ALL:?}")),
    }
    eprintln!(
        "{begun} watches began in {all_begun:?}, all had an event after {:?}; resident {before} KiB before, {during} with them",
        started.elapsed()
    );
    let ends = matches!(
        raw::exchange(server, &Row::get("", "/readyz")).await,
        Outcome::Code(200, _)
    );
    if !ends {
        wrong.push("not ready after ten thousand watches".to_owned());
    }
    wrong
}
