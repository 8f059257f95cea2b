//! What only a store with a disk can show: reopening, damage, full disks, retention, snapshots. And crashes of the memory store.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _};
use tempfile::TempDir;
use timonel_api::Revision;
use timonel_store::engine::{EngineError, Records, Writes};
use timonel_store::{
    CommitClock, Corrupt, EmbeddedConfig, EmbeddedStore, Engine, MemoryStore, Op, OpenError, Position, Range,
    Retention, Store, StoreError, Txn, Unacknowledged, snapshot,
};

const ENGINES: [Engine; 2] = [Engine::Redb, Engine::Sled];

fn put(key: &str, value: &str) -> Txn {
    Txn {
        guards: vec![],
        ops: vec![Op::Put(key.to_owned(), Bytes::copy_from_slice(value.as_bytes()))],
    }
}

fn open(dir: &Path, engine: Engine) -> EmbeddedStore {
    EmbeddedStore::open(EmbeddedConfig::at(dir).engine(engine)).unwrap()
}

async fn listing(store: &dyn Store) -> Vec<(String, Bytes, Revision)> {
    let page = store.range(Range::default()).await.unwrap();
    page.entries
        .into_iter()
        .map(|entry| (entry.key.to_string(), entry.value, entry.mod_revision))
        .collect()
}

#[tokio::test]
async fn a_reopened_store_has_its_state_its_history_and_its_compaction() {
    for engine in ENGINES {
        let dir = TempDir::new().unwrap();
        let store = open(dir.path(), engine);
        for number in 0..20 {
            store
                .commit(put(&format!("/{}", number % 3), &number.to_string()))
                .await
                .unwrap();
        }
        store.compact(Revision(15)).await.unwrap();
        let delete = Txn {
            guards: vec![],
            ops: vec![Op::Delete("/0".to_owned())],
        };
        store.commit(delete).await.unwrap();
        let before = listing(&store).await;
        let old = store.get("/0", Some(Revision(16))).await.unwrap();
        // The deletion was the newest revision; once compacted no record tells of it.
        store.close().await;
        let store = open(dir.path(), engine);
        assert_eq!(
            (store.current_revision(), store.oldest_revision()),
            (Revision(22), Revision(15))
        );
        assert_eq!(listing(&store).await, before);
        assert_eq!(store.get("/0", Some(Revision(16))).await.unwrap(), old);
        store.compact(Revision(22)).await.unwrap();
        store.close().await;
        let store = open(dir.path(), engine);
        assert_eq!(
            (store.current_revision(), store.oldest_revision()),
            (Revision(22), Revision(22))
        );
        assert_eq!(listing(&store).await, before);
        store.close().await;
    }
}

#[tokio::test]
async fn compaction_really_deletes_records() {
    for engine in ENGINES {
        let dir = TempDir::new().unwrap();
        let store = open(dir.path(), engine);
        for number in 0..50 {
            store.commit(put("/a", &number.to_string())).await.unwrap();
        }
        store.compact(Revision(51)).await.unwrap();
        store.commit(put("/b", "x")).await.unwrap();
        store.close().await;
        let report = snapshot::check(dir.path()).unwrap();
        assert_eq!(
            (report.keys, report.records, report.garbage, report.engine),
            (2, 2, 0, engine)
        );
    }
}

#[tokio::test]
async fn the_wrong_engine_is_a_clear_error() {
    let dir = TempDir::new().unwrap();
    open(dir.path(), Engine::Redb).close().await;
    let error = EmbeddedStore::open(EmbeddedConfig::at(dir.path()).engine(Engine::Sled))
        .map(drop)
        .unwrap_err();
    assert!(
        error.to_string().contains("holds a redb store and was opened as sled"),
        "{error}"
    );
}

#[tokio::test]
async fn a_snapshot_moves_between_engines_and_time_does_not_go_back() {
    for (from, to) in [(Engine::Redb, Engine::Sled), (Engine::Sled, Engine::Redb)] {
        let dir = TempDir::new().unwrap();
        let (old, new, file) = (
            dir.path().join("old"),
            dir.path().join("new"),
            dir.path().join("snapshot"),
        );
        let store = open(&old, from);
        for number in 0..600 {
            store
                .commit(put(&format!("/{}", number % 300), &"x".repeat(number * 11)))
                .await
                .unwrap();
        }
        let taken = store.snapshot(&file).await.unwrap();
        let before = listing(&store).await;
        let lost = store.commit(put("/lost", "x")).await.unwrap();
        store.close().await;
        assert_eq!(
            snapshot::restore(&file, &new, to).unwrap(),
            Revision(taken.0 + snapshot::BUMP)
        );
        let store = open(&new, to);
        assert_eq!(listing(&store).await, before);
        assert!(store.current_revision() > lost);
        assert!(matches!(
            store.watch("", lost).await.map(drop),
            Err(StoreError::Compacted { .. })
        ));
        assert!(store.commit(put("/after", "x")).await.unwrap() > lost);
        store.close().await;
        assert!(matches!(
            snapshot::restore(&file, &new, to),
            Err(OpenError::Exists { .. })
        ));

        let mut bytes = std::fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&file, bytes).unwrap();
        assert!(matches!(snapshot::verify(&file), Err(OpenError::Snapshot { .. })));
    }
}

/// Records in memory that a test may damage or let fail.
#[derive(Default)]
struct Tampered {
    records: std::sync::Mutex<std::collections::BTreeMap<Position, Vec<u8>>>,
    broken: std::sync::atomic::AtomicBool,
}

impl Records for Tampered {
    fn apply(&self, writes: Writes) -> Result<(), EngineError> {
        assert!(!self.broken.load(Ordering::SeqCst), "the disk is on fire");
        let mut records = self.records.lock().unwrap();
        records.extend(writes.puts);
        writes
            .deletes
            .iter()
            .for_each(|position| drop(records.remove(position)));
        Ok(())
    }

    fn get(&self, position: Position) -> Result<Option<Vec<u8>>, EngineError> {
        Ok(self.records.lock().unwrap().get(&position).cloned())
    }

    fn scan(&self, from: Position, each: &mut dyn FnMut(Position, &[u8])) -> Result<(), EngineError> {
        self.records
            .lock()
            .unwrap()
            .range(from..)
            .for_each(|(position, record)| each(*position, record));
        Ok(())
    }
}

#[tokio::test]
async fn a_damaged_record_is_quarantined_and_the_rest_is_served() {
    let dir = TempDir::new().unwrap();
    let records = Arc::new(Tampered::default());
    let store = EmbeddedStore::with_records(EmbeddedConfig::at(dir.path()), records.clone()).unwrap();
    for key in ["/a", "/b", "/c"] {
        store.commit(put(key, "value")).await.unwrap();
    }
    let position = Position {
        revision: Revision(3),
        sub: 0,
    };
    records.records.lock().unwrap().get_mut(&position).unwrap()[43] ^= 4;
    let damaged = StoreError::Damaged {
        key: "/b".to_owned(),
        revision: Revision(3),
    };
    for reopened in [false, true] {
        let store = match reopened {
            false => store.clone(),
            true => EmbeddedStore::with_records(EmbeddedConfig::at(dir.path()), records.clone()).unwrap(),
        };
        assert_eq!(store.get("/b", None).await, Err(damaged.clone()));
        let keys: Vec<_> = listing(&store).await.into_iter().map(|(key, ..)| key).collect();
        assert_eq!(keys, ["/a", "/c"]);
        assert_eq!(store.damaged().len(), 1);
        assert_eq!(store.damaged()[0].what, Corrupt::Value { key: "/b".to_owned() });
        assert!(dir.path().join("quarantine/3-0").exists());
        assert!(store.snapshot(&dir.path().join("snapshot")).await.is_err());
    }
    // Writing it anew heals it.
    store.commit(put("/b", "again")).await.unwrap();
    assert_eq!(listing(&store).await.len(), 3);
}

#[tokio::test]
async fn a_failed_engine_acknowledges_nothing_any_more() {
    let dir = TempDir::new().unwrap();
    let records = Arc::new(Tampered::default());
    let store = EmbeddedStore::with_records(EmbeddedConfig::at(dir.path()), records.clone()).unwrap();
    store.commit(put("/a", "1")).await.unwrap();
    let mut watch = store.watch("", Revision(2)).await.unwrap();
    assert!(watch.next().now_or_never().is_none());
    records.broken.store(true, Ordering::SeqCst);
    assert!(matches!(
        store.commit(put("/a", "2")).await,
        Err(StoreError::Engine { .. })
    ));
    assert!(matches!(watch.next().await, Some(Err(StoreError::Engine { .. }))));
    records.broken.store(false, Ordering::SeqCst);
    assert!(matches!(
        store.commit(put("/a", "3")).await,
        Err(StoreError::Engine { .. })
    ));
    assert!(matches!(store.failure().await, StoreError::Engine { .. }));
    assert_eq!(store.get("/a", None).await.unwrap().unwrap().value, "1");
    assert_eq!(store.current_revision(), Revision(2));
}

#[tokio::test]
async fn a_nearly_full_disk_refuses_writes_and_serves_reads() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path(), Engine::Redb);
    store.commit(put("/a", "1")).await.unwrap();
    store.close().await;
    let config = EmbeddedConfig {
        reserve_bytes: u64::MAX,
        ..EmbeddedConfig::at(dir.path())
    };
    let store = EmbeddedStore::open(config).unwrap();
    assert_eq!(store.commit(put("/a", "2")).await, Err(StoreError::NoSpace));
    assert_eq!(listing(&store).await.len(), 1);
    store.close().await;
}

#[tokio::test]
async fn history_over_its_budget_of_bytes_or_time_is_compacted() {
    let seconds = Arc::new(AtomicU64::new(0));
    let clock = CommitClock::from_fn({
        let seconds = Arc::clone(&seconds);
        move || SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.load(Ordering::SeqCst))
    });
    for retention in [
        Retention {
            time: Duration::from_secs(1_000_000),
            bytes: 20_000,
        },
        Retention {
            time: Duration::from_secs(50),
            bytes: u64::MAX / 2,
        },
    ] {
        let dir = TempDir::new().unwrap();
        let config = EmbeddedConfig {
            retention,
            clock: clock.clone(),
            ..EmbeddedConfig::at(dir.path())
        };
        let store = EmbeddedStore::open(config).unwrap();
        for number in 0..200 {
            seconds.fetch_add(1, Ordering::SeqCst);
            store
                .commit(put(&format!("/{}", number % 10), &"x".repeat(1000)))
                .await
                .unwrap();
        }
        let kept = store.current_revision().0 - store.oldest_revision().0;
        assert!((10..130).contains(&kept), "{kept} revisions are kept of {retention:?}");
        assert_eq!(listing(&store).await.len(), 10);
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.load(Ordering::SeqCst));
        assert_eq!(
            store.revision_at(now - Duration::from_secs(5)),
            Some(Revision(store.current_revision().0 - 5))
        );
        assert_eq!(store.revision_at(SystemTime::UNIX_EPOCH), None);
        store.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_of_the_memory_store_keeps_what_was_acknowledged() {
    for (fate, expected) in [(Unacknowledged::Lost, 1), (Unacknowledged::Kept, 2)] {
        let store = MemoryStore::new();
        store.commit(put("/a", "1")).await.unwrap();
        let mut watch = store.watch("", Revision(1)).await.unwrap();
        assert_eq!(watch.next().await.unwrap().unwrap().revision, Revision(2));
        store.set_latency(Duration::from_millis(4));
        let pending = tokio::spawn({
            let store = store.clone();
            async move { store.commit(put("/b", "1")).await }
        });
        tokio::time::sleep(Duration::from_millis(1)).await;
        let next = store.reopen(fate);
        assert_eq!(pending.await.unwrap(), Err(StoreError::Closed));
        assert_eq!(store.get("/a", None).await, Err(StoreError::Closed));
        while let Some(item) = watch.next().await {
            assert!(item.is_err() || item.unwrap().revision <= next.current_revision());
        }
        assert_eq!(listing(&next).await.len(), expected);
        assert_eq!(
            next.commit(put("/c", "1")).await.unwrap(),
            Revision(expected as u64 + 2)
        );
        let mut resumed = next.watch("", Revision(2)).await.unwrap();
        assert_eq!(resumed.next().await.unwrap().unwrap().revision, Revision(3));
    }
}
