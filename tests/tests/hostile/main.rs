//! Input that means harm, against the real server: each is refused, or the connection closed, in time; then the server stands as before.
//!
//! ```text
//! requests.rs, credentials.rs, patches.rs, heads.rs   rows: a request and how it must be answered
//! connections.rs                      TLS, HTTP/1.1 and HTTP/2 themselves
//! slow.rs                             who trickles and who is silent, within the server's stated times
//! watchers.rs                         who watches and never reads, and who asks for the future
//! floods.rs                           very many at once
//! ```
//!
//! All of it meets one server, whose memory is looked at in the end.

mod connections;
mod credentials;
mod floods;
mod frames;
mod heads;
mod patches;
mod raw;
mod requests;
mod server;
mod slow;
mod watchers;

use std::time::Duration;

use raw::{Outcome, Row};
use server::Server;
use tokio::time::Instant;

/// How long an answer may take. `make torture` wants a second; CI, on a noisy machine, only that nothing hangs.
const PATIENCE: Duration = Duration::from_secs(if option_env!("HOSTILE_STRICT").is_some() { 1 } else { 10 });
/// How much the server's memory may have grown after everything, in KiB.
const GROWTH: u64 = 64 << 10;

/// How long the server may take to give back what it does not use.
const SETTLES: Duration = Duration::from_secs(20);

/// Sends a row and says what is wrong with how it was met.
async fn meet(server: &Server, row: &Row) -> Option<String> {
    let started = Instant::now();
    let outcome = tokio::time::timeout(PATIENCE, raw::exchange(server, row)).await;
    let took = started.elapsed();
    match outcome {
        Ok(outcome) if row.expects.allow(&outcome) => {
            if took > PATIENCE / 4 {
                eprintln!("{}: {took:?}", row.name);
            }
            None
        }
        Ok(outcome) => Some(format!(
            "{}: {outcome:?} after {took:?}, expected {:?}",
            row.name, row.expects
        )),
        Err(_) => Some(format!("{}: no answer within {PATIENCE:?}", row.name)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_input_is_refused_in_time_and_leaves_no_trace() {
    let server = Server::start();
    server.prepare().await;
    let before = server.resident();
    let mut wrong = Vec::new();

    let slow = tokio::spawn(slow::all(server.clone()));
    let rows: Vec<Row> = [requests::rows(), credentials::rows(), patches::rows(), heads::rows()].concat();
    for row in &rows {
        wrong.extend(meet(&server, row).await);
        assert_eq!(server.dead(), None, "after {}: {wrong:#?}\n{}", row.name, server.log());
    }
    wrong.extend(connections::all(&server).await);
    // Not beside what comes next: who holds all places of requests that write holds these, too.
    wrong.extend(watchers::all(server.clone()).await);
    let after_rows = server.resident();
    wrong.extend(floods::all(&server).await);
    wrong.extend(slow.await.expect("the slow ones end"));

    let ordinary = Row::get(
        "an ordinary request afterwards",
        "/api/v1/namespaces/default/configmaps/victim",
    )
    .ok();
    wrong.extend(meet(&server, &ordinary).await);
    // The server gives back every few seconds what a burst has left.
    let mut grown = server.resident().saturating_sub(before);
    let deadline = Instant::now() + SETTLES;
    while grown > GROWTH && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(200)).await;
        grown = server.resident().saturating_sub(before);
    }
    eprintln!(
        "{} rows; resident: {before} KiB before, {after_rows} after the rows, {} in the end, {} at most",
        rows.len(),
        before + grown,
        server.peak()
    );
    if grown > GROWTH {
        wrong.push(format!("the server's memory has grown by {grown} KiB"));
    }
    let log = server.log();
    if log.contains("panicked") {
        wrong.push("the server panicked".to_owned());
    }
    assert!(wrong.is_empty(), "{wrong:#?}\n{log}");
}

/// What a connection came to, in a sentence, unless it is among what was expected.
fn unless(name: &str, outcome: Outcome, fine: bool) -> Option<String> {
    (!fine).then(|| format!("{name}: {outcome:?}"))
}
