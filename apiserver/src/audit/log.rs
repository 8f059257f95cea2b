//! Where events go: a bounded queue, and a thread that writes a file and rotates it, named as upstream's `lumberjack` names it.
//!
//! *Guarantees:* whoever logs never waits. An event that finds the queue full, or that cannot be written, is lost, counted, and the loss is
//! said in the server's log. A line is in the file whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use timonel_client::Clock;
use tokio::sync::{mpsc, oneshot};

/// Events that wait to be written.
const QUEUE: usize = 10_000;
/// What they may weigh together.
const QUEUE_BYTES: usize = 64 << 20;
/// Losses are told at most so often.
const COMPLAIN_EVERY: SignedDuration = SignedDuration::from_secs(10);
/// How long the end of the server waits for the last events.
const DRAIN: Duration = Duration::from_secs(5);

/// The file, and when it is rotated.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// The file; standard output without.
    pub path: Option<PathBuf>,
    /// A file that would grow larger is put aside first.
    pub max_bytes: u64,
    /// So many files that were put aside are kept; 0 keeps all.
    pub max_backups: usize,
    /// And so many days; 0 keeps them for ever.
    pub max_days: u32,
}

/// The file cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("opening the audit log {}", path.display())]
pub struct LogError {
    path: PathBuf,
    source: io::Error,
}

enum Message {
    Line(Vec<u8>),
    Drain(oneshot::Sender<()>),
}

#[derive(Debug, Default)]
struct Shared {
    waiting: AtomicUsize,
    lost: AtomicU64,
}

/// The near end of the queue. The thread ends when it is dropped.
#[derive(Debug)]
pub(super) struct Log {
    queue: mpsc::Sender<Message>,
    shared: Arc<Shared>,
}

impl Log {
    pub(super) fn start(config: LogConfig, clock: Arc<dyn Clock>) -> Result<Self, LogError> {
        let mut sink = Sink::open(config)?;
        let (queue, mut waiting) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared::default());
        let log = Self {
            queue,
            shared: Arc::clone(&shared),
        };
        let path = sink.config.path.clone().unwrap_or_default();
        let work = move || {
            let mut told = Complaint::default();
            while let Some(message) = waiting.blocking_recv() {
                match message {
                    Message::Line(line) => {
                        shared.waiting.fetch_sub(line.len(), Ordering::Relaxed);
                        let outcome = sink.write(&line, clock.now());
                        if outcome.is_err() {
                            shared.lost.fetch_add(1, Ordering::Relaxed);
                        }
                        told.look(&shared, outcome.err(), clock.now());
                    }
                    Message::Drain(done) => {
                        let _ = done.send(());
                    }
                }
            }
        };
        let thread = std::thread::Builder::new().name("audit-log".to_owned()).spawn(work);
        thread.map(|_| log).map_err(|source| LogError { path, source })
    }

    /// Queues a line.
    pub(super) fn write(&self, line: Vec<u8>) {
        let size = line.len();
        let before = self.shared.waiting.fetch_add(size, Ordering::Relaxed);
        let fits = before + size <= QUEUE_BYTES;
        if !fits || self.queue.try_send(Message::Line(line)).is_err() {
            self.shared.waiting.fetch_sub(size, Ordering::Relaxed);
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many events are lost so far.
    pub(super) fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// Waits, for a while, until everything that was queued before is written.
    pub(super) async fn drain(&self) {
        let (done, written) = oneshot::channel();
        let all = async {
            if self.queue.send(Message::Drain(done)).await.is_ok() {
                let _ = written.await;
            }
        };
        if tokio::time::timeout(DRAIN, all).await.is_err() {
            tracing::error!("the last audit events could not be written in time");
        }
    }
}

/// Says that events are lost, and does not say it for each of them.
#[derive(Default)]
struct Complaint {
    known: u64,
    at: Option<Timestamp>,
}

impl Complaint {
    fn look(&mut self, shared: &Shared, problem: Option<io::Error>, now: Timestamp) {
        let lost = shared.lost.load(Ordering::Relaxed);
        if lost == self.known || self.at.is_some_and(|at| now < at + COMPLAIN_EVERY) {
            return;
        }
        let reason = problem.map_or("the queue was full".to_owned(), |problem| problem.to_string());
        tracing::error!(
            lost,
            since_last_time = lost - self.known,
            reason,
            "audit events are being lost"
        );
        (self.known, self.at) = (lost, Some(now));
    }
}

struct Sink {
    config: LogConfig,
    file: Option<File>,
    size: u64,
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

impl Sink {
    fn open(config: LogConfig) -> Result<Self, LogError> {
        let Some(path) = &config.path else {
            return Ok(Self {
                config,
                file: None,
                size: 0,
            });
        };
        let opened = open(path).and_then(|file| file.metadata().map(|meta| (file, meta.len())));
        let (file, size) = opened.map_err(|source| LogError {
            path: path.clone(),
            source,
        })?;
        Ok(Self {
            config,
            file: Some(file),
            size,
        })
    }

    fn write(&mut self, line: &[u8], now: Timestamp) -> io::Result<()> {
        let Some(path) = self.config.path.clone() else {
            return io::stdout().lock().write_all(line);
        };
        let length = line.len() as u64;
        if self.size > 0 && self.size + length > self.config.max_bytes {
            self.rotate(&path, now)?;
        }
        let mut file = match self.file.take() {
            Some(file) => file,
            None => open(&path)?,
        };
        let written = file.write_all(line);
        match &written {
            Ok(()) => self.size += length,
            // Half a line would make two lines unreadable.
            Err(_) => file.set_len(self.size)?,
        }
        self.file = Some(file);
        written
    }

    /// Puts the file aside, and deletes what was put aside too long ago.
    fn rotate(&mut self, path: &Path, now: Timestamp) -> io::Result<()> {
        let mut at = now;
        let mut aside = Self::aside(path, at);
        while aside.exists() {
            at += SignedDuration::from_millis(1);
            aside = Self::aside(path, at);
        }
        self.file = None;
        fs::rename(path, &aside)?;
        self.file = Some(open(path)?);
        self.size = 0;
        self.prune(path, now);
        Ok(())
    }

    fn names(path: &Path) -> (String, String) {
        let part =
            |part: Option<&std::ffi::OsStr>| part.map_or(String::new(), |part| part.to_string_lossy().into_owned());
        let extension = match part(path.extension()) {
            none if none.is_empty() => none,
            some => format!(".{some}"),
        };
        (format!("{}-", part(path.file_stem())), extension)
    }

    fn stamp(at: Timestamp) -> String {
        at.strftime("%Y-%m-%dT%H-%M-%S.%3f").to_string()
    }

    /// `audit-2026-11-21T18-30-00.000.log`
    fn aside(path: &Path, at: Timestamp) -> PathBuf {
        let (before, after) = Self::names(path);
        path.with_file_name(format!("{before}{}{after}", Self::stamp(at)))
    }

    fn prune(&self, path: &Path, now: Timestamp) {
        let (before, after) = Self::names(path);
        let length = before.len() + after.len() + Self::stamp(now).len();
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let mut old: Vec<String> = fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| name.len() == length && name.starts_with(&before) && name.ends_with(&after))
            .collect();
        // The names sort by time.
        old.sort_by(|one, other| other.cmp(one));
        let days = SignedDuration::from_hours(24 * i64::from(self.config.max_days));
        let oldest = (self.config.max_days > 0).then(|| format!("{before}{}", Self::stamp(now - days)));
        for (at, name) in old.iter().enumerate() {
            let too_many = self.config.max_backups > 0 && at >= self.config.max_backups;
            let too_old = oldest.as_ref().is_some_and(|oldest| name < oldest);
            if too_many || too_old {
                let _ = fs::remove_file(folder.join(name));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(path: &Path, max_bytes: u64) -> LogConfig {
        LogConfig {
            path: Some(path.to_owned()),
            max_bytes,
            max_backups: 2,
            max_days: 7,
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + second).unwrap()
    }

    fn files(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_that_is_full_is_put_aside_and_the_oldest_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        fs::write(dir.path().join("audit-notes.log"), "not ours").unwrap();
        let mut sink = Sink::open(config(&path, 20)).unwrap();
        for number in 0..5 {
            sink.write(format!("line number {number}\n").as_bytes(), at(number))
                .unwrap();
        }
        assert_eq!(
            files(dir.path()),
            [
                "audit-2026-09-21T14-13-23.000.log",
                "audit-2026-09-21T14-13-24.000.log",
                "audit-notes.log",
                "audit.log"
            ]
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "line number 4\n");
        sink.write(b"much later, so the others are too old\n", at(8 * 86_400))
            .unwrap();
        assert_eq!(files(dir.path()).len(), 3, "{:?}", files(dir.path()));
        let mut again = Sink::open(config(&path, 1000)).unwrap();
        again.write(b"appended\n", at(0)).unwrap();
        assert!(fs::read_to_string(&path).unwrap().ends_with("too old\nappended\n"));
    }

    #[tokio::test]
    async fn a_disk_that_is_full_is_counted_and_nobody_waits() {
        let full = LogConfig {
            path: Some(PathBuf::from("/dev/full")),
            ..config(Path::new(""), u64::MAX)
        };
        let log = Log::start(full, Arc::new(timonel_client::SystemClock)).unwrap();
        for _ in 0..3 {
            log.write(b"{}\n".to_vec());
        }
        log.drain().await;
        assert_eq!(log.lost(), 3);
    }

    #[tokio::test]
    async fn a_queue_that_is_full_is_counted_too() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::start(
            config(&dir.path().join("audit.log"), u64::MAX),
            Arc::new(timonel_client::SystemClock),
        )
        .unwrap();
        log.write(vec![b'x'; QUEUE_BYTES + 1]);
        log.write(b"fits\n".to_vec());
        log.drain().await;
        assert_eq!(log.lost(), 1);
        assert_eq!(fs::read(dir.path().join("audit.log")).unwrap(), b"fits\n");
    }
}
