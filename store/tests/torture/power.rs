//! Power cuts: the disk keeps what was synced and, of what was written since, any sectors it likes.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use redb::StorageBackend;
use tempfile::TempDir;
use timonel_api::Revision;
use timonel_store::engine::RedbRecords;
use timonel_store::{EmbeddedConfig, EmbeddedStore, Engine, Op, OpenError, Store, Txn};

use crate::Dice;
use crate::witness::Witness;

const SECTOR: usize = 512;
const CUTS: u64 = 80;

/// A disk that remembers what was not synced.
#[derive(Clone, Debug, Default)]
struct Disk(Arc<Mutex<Platters>>);

#[derive(Clone, Debug, Default)]
struct Platters {
    /// What a reader sees.
    view: Vec<u8>,
    /// What is certainly there after a power cut.
    synced: Vec<u8>,
    /// Sectors written since the last sync, as they were written.
    written: Vec<(usize, Vec<u8>)>,
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().view.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        let platters = self.0.lock().unwrap();
        let from = platters
            .view
            .get(offset..offset + out.len())
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(from);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        // A journalling file system orders a file's growth before the data; the new part may be zeros.
        let mut platters = self.0.lock().unwrap();
        platters.view.resize(usize::try_from(len).unwrap(), 0);
        platters.synced.resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        // A real disk takes its time, and that is when the power goes.
        std::thread::sleep(Duration::from_micros(300));
        let mut platters = self.0.lock().unwrap();
        platters.synced = platters.view.clone();
        platters.written.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        let mut platters = self.0.lock().unwrap();
        platters.view[offset..offset + data.len()].copy_from_slice(data);
        let mut at = 0;
        while at < data.len() {
            let end = data.len().min(at + SECTOR - (offset + at) % SECTOR);
            platters.written.push((offset + at, data[at..end].to_vec()));
            at = end;
        }
        Ok(())
    }
}

impl Disk {
    /// Whether something was written that was not synced.
    fn dirty(&self) -> bool {
        !self.0.lock().unwrap().written.is_empty()
    }

    /// Returns the disk as it may be after a power cut right now.
    fn cut(&self, dice: &mut Dice) -> Disk {
        let mut platters = self.0.lock().unwrap().clone();
        let kept = dice.roll(5);
        for (offset, data) in std::mem::take(&mut platters.written) {
            if dice.roll(4) < kept && offset + data.len() <= platters.synced.len() {
                platters.synced[offset..offset + data.len()].copy_from_slice(&data);
            }
        }
        platters.view = platters.synced.clone();
        Disk(Arc::new(Mutex::new(platters)))
    }
}

fn open_redb(disk: &Disk, dir: &Path) -> EmbeddedStore {
    let records = RedbRecords::with_backend(disk.clone(), 1024 * 1024).unwrap();
    EmbeddedStore::with_records(EmbeddedConfig::at(dir), Arc::new(records)).unwrap()
}

fn value(number: u64) -> Bytes {
    let mut value = format!("{number} ").into_bytes();
    value.resize(value.len() + usize::try_from(number * 7919 % 9000).unwrap(), b'x');
    Bytes::from(value)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redb_loses_nothing_acknowledged_in_a_power_cut() {
    let home = TempDir::new().unwrap();
    let disk = Disk::default();
    let store = open_redb(&disk, home.path());
    let acknowledged: Arc<Mutex<Vec<(Revision, u64)>>> = Arc::default();
    let writers: Vec<_> = (0..4u64)
        .map(|writer| {
            let (store, acknowledged) = (store.clone(), Arc::clone(&acknowledged));
            tokio::spawn(async move {
                for count in 0.. {
                    let number = count * 4 + writer;
                    let op = Op::Put(format!("/power/{}", number % 50), value(number));
                    let Ok(revision) = store
                        .commit(Txn {
                            guards: vec![],
                            ops: vec![op],
                        })
                        .await
                    else {
                        return;
                    };
                    acknowledged.lock().unwrap().push((revision, number));
                    // Keeps the disk, which is copied for every cut, small.
                    if number % 400 == 0 && store.compact(Revision(revision.0 - 1)).await.is_err() {
                        return;
                    }
                }
            })
        })
        .collect();
    let mut dice = Dice(7);
    let mut torn = 0;
    for round in 0..CUTS {
        tokio::time::sleep(Duration::from_micros(2000 + dice.roll(12_000))).await;
        // Every other cut waits for writes in flight, so that a slow machine is tortured too.
        while round % 2 == 0 && !disk.dirty() {
            tokio::time::sleep(Duration::from_micros(50)).await;
        }
        // First the promises, then the cut: whatever was promised before must be there.
        let promised = acknowledged.lock().unwrap().clone();
        let oldest = store.oldest_revision();
        torn += u64::from(disk.dirty());
        let after = open_redb(&disk.cut(&mut dice), home.path());
        assert!(after.damaged().is_empty());
        assert!(after.oldest_revision() >= oldest, "a compaction was forgotten");
        let last = promised.iter().map(|(revision, _)| *revision).max();
        assert!(
            last.is_none_or(|last| after.current_revision() >= last),
            "{last:?} was acknowledged and is lost"
        );
        for (revision, number) in promised
            .into_iter()
            .filter(|(revision, _)| *revision >= after.oldest_revision())
        {
            let entry = after
                .get(&format!("/power/{}", number % 50), Some(revision))
                .await
                .unwrap()
                .unwrap();
            assert_eq!((entry.mod_revision, entry.value), (revision, value(number)));
        }
        // A watcher that was at the oldest revision sees the rest of history, each revision once.
        let mut watch = after.watch("", after.oldest_revision()).await.unwrap();
        let mut expected = after.oldest_revision();
        while let Some(item) = futures::FutureExt::now_or_never(futures::StreamExt::next(&mut watch)).flatten() {
            expected = expected.next();
            assert_eq!(item.unwrap().revision, expected);
        }
        assert_eq!(expected, after.current_revision());
        after.close().await;
    }
    store.close().await;
    for writer in writers {
        writer.await.unwrap();
    }
    assert!(
        torn > CUTS / 4,
        "only {torn} cuts met unsynced writes; the torture is too gentle"
    );
}

/// For sled, which opens its files itself, the files are copied: synced ones, and of those that a batch under way has
/// changed since, any sectors. sled may refuse to open what a cut left (then a snapshot is restored), but may not lose silently.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sled_loses_nothing_acknowledged_in_a_power_cut_or_refuses_to_open() {
    const CUTS: u64 = 40;
    let home = TempDir::new().unwrap();
    let dir = home.path().join("store");
    let config = |dir: &Path| EmbeddedConfig::at(dir).engine(Engine::Sled);
    let store = EmbeddedStore::open(config(&dir)).unwrap();
    let mut witness = Witness::of_an_empty_store();
    let mut dice = Dice(11);
    let (mut refused, mut torn) = (0, 0);
    for cut in 0..CUTS {
        for number in 0..5 {
            let op = Op::Put(format!("/power/{}", dice.roll(40)), value(cut * 5 + number));
            store
                .commit(Txn {
                    guards: vec![],
                    ops: vec![op],
                })
                .await
                .unwrap();
        }
        witness.catch_up(&store).await;
        // Nothing is under way: everything that was written is synced.
        let image = home.path().join(format!("image-{cut}"));
        copy(&dir, &image);
        let ops = (0..32)
            .map(|at| Op::Put(format!("/torn/{at}"), value(cut * 31 + at)))
            .collect();
        let flying = tokio::spawn({
            let store = store.clone();
            async move { store.commit(Txn { guards: vec![], ops }).await }
        });
        tokio::time::sleep(Duration::from_micros(dice.roll(4000))).await;
        let now = std::fs::read(dir.join("sled/db")).unwrap();
        if !flying.is_finished() {
            torn += u64::from(tear(&image.join("sled/db"), &now, &mut dice));
        }
        match EmbeddedStore::open(config(&image)) {
            Ok(after) => {
                let mut resumed = Witness::of_an_empty_store();
                resumed.catch_up(&after).await;
                assert!(
                    resumed.last >= witness.last,
                    "{} was acknowledged and is lost",
                    witness.last
                );
                for (revision, events) in &witness.seen {
                    assert_eq!(resumed.seen.get(revision), Some(events));
                }
                after.close().await;
            }
            Err(OpenError::Engine(_)) => refused += 1,
            Err(error) => panic!("{error}"),
        }
        flying.await.unwrap().unwrap();
        std::fs::remove_dir_all(&image).unwrap();
    }
    store.close().await;
    assert!(refused * 5 <= CUTS, "sled refused {refused} of {CUTS} cuts");
    assert!(torn > 0, "no cut met unsynced writes; the torture is too gentle");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Carries some of the sectors that have changed over into the image; false if none has.
fn tear(image: &Path, now: &[u8], dice: &mut Dice) -> bool {
    let mut synced = std::fs::read(image).unwrap();
    synced.resize(now.len().max(synced.len()), 0);
    let kept = dice.roll(5);
    let mut changed = false;
    for (old, new) in synced.chunks_mut(SECTOR).zip(now.chunks(SECTOR)) {
        if old[..new.len()] != *new {
            changed = true;
            if dice.roll(4) < kept {
                old[..new.len()].copy_from_slice(new);
            }
        }
    }
    std::fs::write(image, synced).unwrap();
    changed
}
