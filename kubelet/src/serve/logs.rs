//! Container logs in CRI's format: `<time> <stream> <P|F> <text>` a line.

use std::io::{BufRead, BufReader, Read, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::mpsc;

/// How often a followed log is looked at.
const POLL: Duration = Duration::from_millis(100);

/// What of a log is wanted.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    pub(super) follow: bool,
    pub(super) timestamps: bool,
    pub(super) tail: Option<usize>,
    pub(super) since: Option<Timestamp>,
    pub(super) limit_bytes: Option<usize>,
    /// `Stdout` or `Stderr`; everything if not said.
    pub(super) stream: Option<String>,
}

/// One line, with or without its end.
#[derive(Debug, PartialEq, Eq)]
struct Line<'a> {
    at: &'a str,
    stream: &'a str,
    whole: bool,
    text: &'a [u8],
}

fn parse(line: &[u8]) -> Option<Line<'_>> {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let mut word = || parts.next().and_then(|part| std::str::from_utf8(part).ok());
    let (at, stream, tags) = (word()?, word()?, word()?);
    Some(Line {
        at,
        stream,
        whole: tags.split(':').next() != Some("P"),
        text: parts.next()?,
    })
}

/// Renders what of a raw line is wanted.
struct Printer {
    options: Options,
    left: Option<usize>,
    in_line: bool,
}

impl Printer {
    fn print(&mut self, raw: &[u8], out: &mut Vec<u8>) {
        let Some(line) = parse(raw) else { return };
        if self
            .options
            .stream
            .as_deref()
            .is_some_and(|wanted| !wanted.eq_ignore_ascii_case(line.stream) && wanted != "All")
        {
            return;
        }
        if let Some(since) = self.options.since
            && line.at.parse::<Timestamp>().is_ok_and(|at| at < since)
        {
            return;
        }
        let begin = out.len();
        if self.options.timestamps && !self.in_line {
            out.extend_from_slice(line.at.as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(line.text);
        if line.whole {
            out.push(b'\n');
        }
        self.in_line = !line.whole;
        if let Some(left) = &mut self.left {
            let keep = (out.len() - begin).min(*left);
            out.truncate(begin + keep);
            *left -= keep;
        }
    }

    fn is_done(&self) -> bool {
        self.left == Some(0)
    }
}

/// A log file that may be rotated under the reader.
struct Source {
    path: PathBuf,
    file: BufReader<std::fs::File>,
    inode: u64,
    partial: Vec<u8>,
}

impl Source {
    fn open(path: &Path) -> std::io::Result<Self> {
        let file = std::fs::File::open(path)?;
        Ok(Self {
            path: path.to_owned(),
            inode: file.metadata()?.ino(),
            file: BufReader::with_capacity(64 << 10, file),
            partial: Vec::new(),
        })
    }

    /// The next whole raw line, if there is one.
    fn next(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        self.file.read_until(b'\n', &mut self.partial)?;
        if self.partial.last() != Some(&b'\n') {
            return Ok(None);
        }
        let mut line = std::mem::take(&mut self.partial);
        line.pop();
        Ok(Some(line))
    }

    /// Goes on with the new file after a rotation; answers whether it did.
    fn follow_rotation(&mut self) -> bool {
        let moved = std::fs::metadata(&self.path).is_ok_and(|meta| meta.ino() != self.inode);
        if !moved {
            return false;
        }
        match Self::open(&self.path) {
            Ok(fresh) => {
                *self = fresh;
                true
            }
            Err(_) => false,
        }
    }

    /// Moves to where the last `lines` lines begin. What is cut into partial lines counts as one.
    fn seek_tail(&mut self, lines: usize) -> std::io::Result<()> {
        let length = self.file.get_ref().metadata()?.len();
        let mut from = length;
        let mut tail: Vec<u8> = Vec::new();
        let start = loop {
            let ends = |byte: &&u8| **byte == b'\n';
            // One more than wanted, for the end of the line before.
            if from == 0 || tail.iter().filter(ends).count() > lines {
                break begin_of_last(&tail, lines);
            }
            let step = from.min(64 << 10);
            from -= step;
            self.file.seek(std::io::SeekFrom::Start(from))?;
            let mut block = vec![0; usize::try_from(step).unwrap_or_default()];
            self.file.read_exact(&mut block)?;
            block.extend_from_slice(&tail);
            tail = block;
        };
        self.file.seek(std::io::SeekFrom::Start(from + start as u64))?;
        Ok(())
    }
}

fn begin_of_last(tail: &[u8], lines: usize) -> usize {
    let mut left = lines;
    if left == 0 {
        return tail.len();
    }
    let end = tail.len().saturating_sub(1);
    for at in (0..end).rev() {
        if tail[at] == b'\n' {
            left -= 1;
            if left == 0 {
                return at + 1;
            }
        }
    }
    0
}

/// Reads a log into a channel until its end; with `follow`, until `is_running` says that nothing more will come.
///
/// Must be called off the executor's threads: it reads files and sleeps.
pub(super) fn read(
    path: &Path,
    options: &Options,
    to: &mpsc::Sender<Bytes>,
    is_running: &dyn Fn() -> bool,
) -> std::io::Result<()> {
    let mut source = loop {
        match Source::open(path) {
            Ok(source) => break source,
            Err(error)
                if error.kind() == std::io::ErrorKind::NotFound
                    && options.follow
                    && is_running()
                    && !to.is_closed() =>
            {
                std::thread::sleep(POLL);
            }
            Err(error) => return Err(error),
        }
    };
    if let Some(lines) = options.tail {
        source.seek_tail(lines)?;
    }
    let mut printer = Printer {
        options: options.clone(),
        left: options.limit_bytes,
        in_line: false,
    };
    let mut out = Vec::new();
    let mut last_round = false;
    loop {
        while let Some(raw) = source.next()? {
            printer.print(&raw, &mut out);
            if out.len() > 32 << 10 && to.blocking_send(std::mem::take(&mut out).into()).is_err() {
                return Ok(());
            }
            if printer.is_done() {
                break;
            }
        }
        if !out.is_empty() && to.blocking_send(std::mem::take(&mut out).into()).is_err() {
            return Ok(());
        }
        if printer.is_done() || !options.follow || to.is_closed() {
            return Ok(());
        }
        if source.follow_rotation() {
            continue;
        }
        if last_round {
            return Ok(());
        }
        // One more look after the container has ended, for what it wrote last.
        last_round = !is_running();
        std::thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "2026-01-01T00:00:00.000000001Z stdout F one\n\
        2026-01-01T00:00:01Z stderr F two\n\
        2026-01-01T00:00:02Z stdout P th\n\
        2026-01-01T00:00:02Z stdout F ree\n\
        2026-01-01T00:00:03Z stdout F \n";

    fn text(options: Options) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        std::fs::write(&path, LOG).unwrap();
        let (to, mut from) = mpsc::channel(64);
        read(&path, &options, &to, &|| false).unwrap();
        drop(to);
        let mut all = Vec::new();
        while let Some(bytes) = from.blocking_recv() {
            all.extend_from_slice(&bytes);
        }
        String::from_utf8(all).unwrap()
    }

    #[test]
    fn lines_are_joined_cut_and_dated_as_asked() {
        assert_eq!(text(Options::default()), "one\ntwo\nthree\n\n");
        let tail = |tail| Options {
            tail: Some(tail),
            ..Options::default()
        };
        assert_eq!(text(tail(0)), "");
        assert_eq!(text(tail(1)), "\n");
        assert_eq!(text(tail(4)), "two\nthree\n\n");
        assert_eq!(text(tail(99)), "one\ntwo\nthree\n\n");
        let since = Options {
            since: Some("2026-01-01T00:00:01Z".parse().unwrap()),
            ..Options::default()
        };
        assert_eq!(text(since), "two\nthree\n\n");
        let limit = Options {
            limit_bytes: Some(5),
            ..Options::default()
        };
        assert_eq!(text(limit), "one\nt");
        let timestamps = Options {
            timestamps: true,
            tail: Some(3),
            ..Options::default()
        };
        assert_eq!(text(timestamps), "2026-01-01T00:00:02Z three\n2026-01-01T00:00:03Z \n");
        let stderr = Options {
            stream: Some("Stderr".into()),
            ..Options::default()
        };
        assert_eq!(text(stderr), "two\n");
    }

    #[test]
    fn following_goes_over_a_rotation_and_ends_with_the_container() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        std::fs::write(&path, "2026-01-01T00:00:00Z stdout F a\n").unwrap();
        let (to, mut from) = mpsc::channel(64);
        let running = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
        let (watched, file) = (running.clone(), path.clone());
        let reader = std::thread::spawn(move || {
            let options = Options {
                follow: true,
                ..Options::default()
            };
            read(&file, &options, &to, &|| {
                watched.load(std::sync::atomic::Ordering::SeqCst)
            })
        });
        assert_eq!(from.blocking_recv().unwrap(), "a\n");
        std::fs::rename(&path, dir.path().join("0.log.1")).unwrap();
        std::fs::write(&path, "2026-01-01T00:00:01Z stdout F b\n").unwrap();
        assert_eq!(from.blocking_recv().unwrap(), "b\n");
        running.store(false, std::sync::atomic::Ordering::SeqCst);
        assert!(from.blocking_recv().is_none());
        reader.join().unwrap().unwrap();
    }
}
