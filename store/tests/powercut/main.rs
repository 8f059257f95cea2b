//! Real power cuts: an ext4 image on a loop device is shut down without flushing its journal, mounted again, and checked.
//!
//! Needs root and loop devices, and takes minutes; `cargo test -p timonel-store --features power-cut --test powercut`.
//! The ordinary suite has `torture`, which imitates the cut.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use tempfile::TempDir;
use timonel_api::Revision;
use timonel_store::{EmbeddedConfig, EmbeddedStore, Engine, Op, OpenError, Store};

#[path = "../../src/bin/store-tool/deed.rs"]
mod deed;

const CUTS: u64 = 20;

nix::ioctl_read!(
    /// `EXT4_IOC_SHUTDOWN`.
    ext4_shutdown, b'X', 125, u32);
/// `EXT4_GOING_FLAGS_NOLOGFLUSH`: not even the journal is written.
const NO_LOG_FLUSH: u32 = 2;

/// An ext4 file system in an image, mounted.
struct Disk {
    image: PathBuf,
    at: PathBuf,
    mounted: bool,
}

fn run(program: &str, args: &[&str]) {
    let done = Command::new(program).args(args).stdout(Stdio::null()).status().unwrap();
    assert!(done.success(), "{program} {args:?} failed: {done}");
}

impl Disk {
    fn make(home: &Path) -> Self {
        let (image, at) = (home.join("image"), home.join("disk"));
        std::fs::create_dir(&at).unwrap();
        std::fs::File::create(&image).unwrap().set_len(256 << 20).unwrap();
        run("mkfs.ext4", &["-q", image.to_str().unwrap()]);
        let mut disk = Self {
            image,
            at,
            mounted: false,
        };
        disk.mount();
        disk
    }

    fn mount(&mut self) {
        run(
            "mount",
            &["-o", "loop", self.image.to_str().unwrap(), self.at.to_str().unwrap()],
        );
        self.mounted = true;
    }

    /// Takes the power away: nothing reaches the image from now on.
    #[expect(unsafe_code, reason = "the ioctl has no safe wrapper")]
    fn cut(&self) {
        let root = std::fs::File::open(&self.at).unwrap();
        let mut flags = NO_LOG_FLUSH;
        // SAFETY: the descriptor is open and the kernel reads one u32 from the pointer.
        unsafe { ext4_shutdown(root.as_raw_fd(), &raw mut flags) }.unwrap();
    }

    fn unmount(&mut self) {
        run("umount", &[self.at.to_str().unwrap()]);
        self.mounted = false;
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted {
            let _ = Command::new("umount").arg("-l").arg(&self.at).status();
        }
    }
}

#[tokio::test]
async fn redb_loses_nothing_when_the_power_is_cut() {
    assert_eq!(cuts(Engine::Redb).await, 0, "redb refused to open");
}

#[tokio::test]
async fn sled_loses_nothing_or_refuses_to_open_when_the_power_is_cut() {
    let refused = cuts(Engine::Sled).await;
    assert!(
        refused * 5 <= CUTS,
        "sled refused to open after {refused} of {CUTS} cuts"
    );
}

async fn cuts(engine: Engine) -> u64 {
    let home = TempDir::new().unwrap();
    let mut disk = Disk::make(home.path());
    let dir = disk.at.join("store");
    let (mut refused, mut acknowledged) = (0, 0);
    for cut in 0..CUTS {
        let said = write_and_cut(&disk, &dir, engine, cut);
        disk.unmount();
        disk.mount();
        acknowledged += said.len() as u64;
        match EmbeddedStore::open(config(&dir, engine)) {
            Ok(store) => {
                judge(&store, &said, cut).await;
                store.close().await;
            }
            Err(OpenError::Engine(error)) => {
                eprintln!("cut {cut}: {error}");
                refused += 1;
                std::fs::remove_dir_all(&dir).unwrap();
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(
        acknowledged > CUTS * 5,
        "only {acknowledged} writes were acknowledged; the torture is too gentle"
    );
    refused
}

fn config(dir: &Path, engine: Engine) -> EmbeddedConfig {
    EmbeddedConfig {
        reserve_bytes: 0,
        ..EmbeddedConfig::at(dir).engine(engine)
    }
}

/// Lets a process write, cuts the power under it, ends it, and returns what was acknowledged before.
fn write_and_cut(disk: &Disk, dir: &Path, engine: Engine, seed: u64) -> Vec<(u64, u64, Revision)> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_store-tool"))
        .args(["write", dir.to_str().unwrap(), &engine.to_string(), &seed.to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let (started, start) = std::sync::mpsc::sync_channel(1);
    let reader = std::thread::spawn(move || {
        let mut acks = Vec::new();
        for line in output.lines() {
            let line = line.unwrap();
            let words: Vec<&str> = line.split(' ').collect();
            let number = |at: usize| words[at].parse::<u64>().unwrap();
            match words[0] {
                "start" => started.send(()).unwrap(),
                "ack" => acks.push((number(1), number(2), Revision(number(3)))),
                _ => {}
            }
        }
        acks
    });
    start
        .recv_timeout(Duration::from_secs(30))
        .expect("the writer does not start");
    std::thread::sleep(Duration::from_millis(40 + seed * 37 % 200));
    disk.cut();
    // Had it gone on acknowledging writes, the check would find them lost.
    std::thread::sleep(Duration::from_millis(30));
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

async fn judge(store: &EmbeddedStore, said: &[(u64, u64, Revision)], seed: u64) {
    assert!(store.damaged().is_empty(), "{:?}", store.damaged());
    let mut events = std::collections::BTreeMap::new();
    let mut expected = store.oldest_revision();
    let mut watch = store.watch("", expected).await.unwrap();
    while let Some(item) = watch.next().now_or_never().flatten() {
        let item = item.unwrap();
        expected = expected.next();
        assert_eq!(item.revision, expected, "a gap or a duplicate");
        events.insert(item.revision, item.events);
    }
    assert_eq!(expected, store.current_revision());
    for &(task, number, revision) in said {
        assert!(revision <= expected, "{revision} was acknowledged and is lost");
        if let Op::Put(key, value) = deed::deed(seed, task, number) {
            let event = &events[&revision][0];
            assert_eq!(*event.key, key);
            assert!(
                event.entry.as_ref().is_some_and(|entry| entry.value == value),
                "{key} at {revision} is not whole"
            );
        }
    }
}
