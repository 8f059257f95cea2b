//! Durable commits per second, each engine beside a bare append log that is synced with fdatasync, in alternating rounds of one run.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use timonel_store::{EmbeddedConfig, EmbeddedStore, Engine, Op, Store, Txn};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::{Failure, say};

const ROUNDS: usize = 3;

/// What was measured: commits per second, and latencies.
struct Measured {
    rate: f64,
    p50: Duration,
    p99: Duration,
}

pub(crate) async fn run(dir: &Path, time: Duration) -> Result<(), Failure> {
    say("engine  writers  commits/s   p50 ms   p99 ms   (median of 3 alternating rounds, values of 1-4 KiB)");
    for writers in [1, 32, 64] {
        let mut measured: [Vec<Measured>; 3] = Default::default();
        for round in 0..ROUNDS {
            for (at, engine) in [None, Some(Engine::Redb), Some(Engine::Sled)].into_iter().enumerate() {
                let place = dir.join(format!("bench-{writers}-{round}-{at}"));
                std::fs::create_dir_all(&place)?;
                let result = match engine {
                    None => log(&place, writers, time).await?,
                    Some(engine) => store(&place, engine, writers, time).await?,
                };
                std::fs::remove_dir_all(&place)?;
                measured[at].push(result);
            }
        }
        for (name, mut rounds) in ["log", "redb", "sled"].into_iter().zip(measured) {
            rounds.sort_by(|a, b| a.rate.total_cmp(&b.rate));
            let Measured { rate, p50, p99 } = &rounds[rounds.len() / 2];
            let (p50, p99) = (p50.as_secs_f64() * 1e3, p99.as_secs_f64() * 1e3);
            say(&format!("{name:<7} {writers:>7} {rate:>10.0} {p50:>8.2} {p99:>8.2}"));
        }
    }
    Ok(())
}

async fn store(dir: &Path, engine: Engine, writers: u64, time: Duration) -> Result<Measured, Failure> {
    let store = EmbeddedStore::open(EmbeddedConfig::at(dir.join("store")).engine(engine))?;
    let commit = |op| {
        let store = store.clone();
        async move {
            store
                .commit(Txn {
                    guards: Vec::new(),
                    ops: vec![op],
                })
                .await
                .map(drop)
                .map_err(Failure::from)
        }
    };
    let measured = measure(writers, time, commit).await;
    store.close().await;
    measured
}

/// The least that a durable write can cost: append what is queued, one fdatasync, answer.
async fn log(dir: &Path, writers: u64, time: Duration) -> Result<Measured, Failure> {
    let mut file = std::fs::File::create(dir.join("log"))?;
    let (sender, mut queue) = mpsc::channel::<(Op, oneshot::Sender<()>)>(1024);
    let writer = std::thread::spawn(move || -> std::io::Result<()> {
        let mut buffer = Vec::new();
        while let Some(first) = queue.blocking_recv() {
            let mut replies = Vec::new();
            let mut next = Some(first);
            while let Some((op, reply)) = next {
                if let Op::Put(key, value) = &op {
                    buffer.extend_from_slice(key.as_bytes());
                    buffer.extend_from_slice(value);
                }
                replies.push(reply);
                next = queue.try_recv().ok();
            }
            file.write_all(&buffer)?;
            file.sync_data()?;
            buffer.clear();
            for reply in replies {
                // A writer that has stopped measuring does not wait.
                let _ = reply.send(());
            }
        }
        Ok(())
    });
    let commit = |op| {
        let sender = sender.clone();
        async move {
            let (reply, done) = oneshot::channel();
            sender.send((op, reply)).await?;
            Ok(done.await?)
        }
    };
    let measured = measure(writers, time, commit).await;
    drop(sender);
    writer.join().map_err(|_| "the log's writer panicked")??;
    measured
}

async fn measure<F>(writers: u64, time: Duration, commit: impl Fn(Op) -> F) -> Result<Measured, Failure>
where
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let started = Instant::now();
    let commit = Arc::new(commit);
    let writers = (0..writers).map(|writer| {
        let commit = Arc::clone(&commit);
        async move {
            let mut latencies = Vec::new();
            for number in 0u64.. {
                if started.elapsed() >= time {
                    break;
                }
                let len = 1024 + usize::try_from((writer * 7919 + number * 104_729) % 3072)?;
                let key = format!("/registry/pods/default/pod-{writer}-{}", number % 100);
                let before = Instant::now();
                commit(Op::Put(key, Bytes::from(vec![7; len]))).await?;
                latencies.push(before.elapsed());
            }
            Ok::<_, Failure>(latencies)
        }
    });
    let mut latencies: Vec<Duration> = futures::future::try_join_all(writers).await?.concat();
    let took = started.elapsed();
    latencies.sort_unstable();
    let at = |part: usize| latencies.get(latencies.len() * part / 100).copied().unwrap_or_default();
    let count = u32::try_from(latencies.len())?;
    Ok(Measured {
        rate: f64::from(count) / took.as_secs_f64(),
        p50: at(50),
        p99: at(99),
    })
}
