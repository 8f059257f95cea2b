//! Writes until it is killed, and says on standard output what was acknowledged and what a watcher saw.
//!
//! Every operation follows from its seed, task and number (see `deed.rs`), so that whoever kills the writer can tell what must be there.
//! Lines: `start REVISION`, `ack TASK NUMBER REVISION`, `saw REVISION KEY CRC` (`-` for a deletion).

use std::path::Path;
use std::sync::Arc;

use futures::StreamExt as _;
use timonel_store::{EmbeddedConfig, EmbeddedStore, Engine, Store, Txn};

use crate::deed::deed;
use crate::{Failure, say};

const TASKS: u64 = 8;

pub(crate) async fn run(dir: &Path, engine: Engine, seed: u64) -> Result<(), Failure> {
    let store = Arc::new(EmbeddedStore::open(EmbeddedConfig::at(dir).engine(engine))?);
    let start = store.current_revision();
    say(&format!("start {start}"));
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            for number in 0.. {
                let txn = Txn {
                    guards: Vec::new(),
                    ops: vec![deed(seed, task, number)],
                };
                let revision = store.commit(txn).await?;
                say(&format!("ack {task} {number} {revision}"));
                if task == 0 && number == 5 {
                    // Compaction is to be interrupted as well.
                    store.compact(start).await?;
                }
            }
            Ok::<(), Failure>(())
        });
    }
    let mut watch = store.watch("", start).await?;
    tasks.spawn(async move {
        while let Some(item) = watch.next().await {
            for event in item?.events {
                let sum = event
                    .entry
                    .map_or("-".to_owned(), |entry| crc32c::crc32c(&entry.value).to_string());
                say(&format!("saw {} {} {sum}", event.revision, event.key));
            }
        }
        Ok(())
    });
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}
