//! SIGKILL to a process that writes, at random moments, 100 times for each engine.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use timonel_api::Revision;
use timonel_store::{EmbeddedConfig, EmbeddedStore, Engine, Op, Store};

use crate::Dice;
use crate::witness::Witness;

#[path = "../../src/bin/store-tool/deed.rs"]
mod deed;

const ROUNDS: u64 = 100;

#[tokio::test]
async fn redb_keeps_every_acknowledged_write_when_killed() {
    torture(Engine::Redb).await;
}

#[tokio::test]
async fn sled_keeps_every_acknowledged_write_when_killed() {
    torture(Engine::Sled).await;
}

async fn torture(engine: Engine) {
    let home = TempDir::new().unwrap();
    let dir = home.path().join("store");
    let mut dice = Dice(42);
    let mut witness = Witness::of_an_empty_store();
    let mut acknowledged = 0;
    for round in 0..ROUNDS {
        let said = write_and_kill(&dir, engine, round, dice.roll(40));
        let store = EmbeddedStore::open(EmbeddedConfig::at(&dir).engine(engine)).unwrap();
        witness.catch_up(&store).await;
        acknowledged += judge(&said, round, &witness);
        witness.forget();
        store.close().await;
    }
    assert!(
        acknowledged > ROUNDS * 5,
        "only {acknowledged} writes were acknowledged; the torture is too gentle"
    );
}

/// Runs a writer, kills it so many milliseconds after it has started to write, and returns what it said.
fn write_and_kill(dir: &std::path::Path, engine: Engine, seed: u64, after: u64) -> Vec<String> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_store-tool"))
        .args(["write", dir.to_str().unwrap(), &engine.to_string(), &seed.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let (started, start) = std::sync::mpsc::sync_channel(1);
    let reader = std::thread::spawn(move || {
        let mut lines = Vec::new();
        for line in output.lines() {
            lines.push(line.unwrap());
            if lines.len() == 1 {
                started.send(()).unwrap();
            }
        }
        lines
    });
    start
        .recv_timeout(Duration::from_secs(30))
        .expect("the writer does not start");
    std::thread::sleep(Duration::from_millis(after));
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

/// Compares what the writer said with what the history holds; returns the number of acknowledged writes.
fn judge(said: &[String], seed: u64, witness: &Witness) -> u64 {
    let mut acknowledged = 0;
    let mut next: BTreeMap<u64, u64> = BTreeMap::new();
    for line in said {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<u64>().unwrap();
        match words[0] {
            "start" => {}
            "ack" => {
                let (task, count, revision) = (number(1), number(2), Revision(number(3)));
                assert_eq!(next.insert(task, count + 1).unwrap_or(0), count);
                acknowledged += 1;
                let Some(events) = witness.seen.get(&revision) else {
                    // A deletion of what was not there makes no event and answers a revision that exists.
                    assert!(
                        matches!(deed::deed(seed, task, count), Op::Delete(_)),
                        "{line}, but there is no such revision"
                    );
                    assert!(revision <= witness.last);
                    continue;
                };
                let event = &events[0];
                match deed::deed(seed, task, count) {
                    Op::Put(key, value) => {
                        assert_eq!(*event.key, key, "{line}");
                        assert!(
                            event.entry.as_ref().is_some_and(|entry| entry.value == value),
                            "{line}: not whole"
                        );
                    }
                    Op::Delete(key) if *event.key == key => assert_eq!(event.entry, None),
                    Op::Delete(_) => {}
                }
            }
            "saw" => {
                let events = &witness
                    .seen
                    .get(&Revision(number(1)))
                    .unwrap_or_else(|| panic!("{line}, but it is gone"));
                let sum = events[0]
                    .entry
                    .as_ref()
                    .map_or("-".to_owned(), |entry| crc32c::crc32c(&entry.value).to_string());
                assert_eq!((&*events[0].key, sum.as_str()), (words[2], words[3]), "{line}");
            }
            other => panic!("the writer said {other}"),
        }
    }
    acknowledged
}
