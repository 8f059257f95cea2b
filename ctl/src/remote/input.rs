//! Standard input on its way to a container.

use std::io::Read;

use tokio::sync::mpsc;

use super::{CLOSE, STDIN};

/// As much of standard input as goes into one frame.
const CHUNK: usize = 16 * 1024;

/// The keys that let go of an attached process, `ctrl-p,ctrl-q` unless told otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DetachKeys(Vec<u8>);

impl std::str::FromStr for DetachKeys {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let key = |name: &str| match (name.strip_prefix("ctrl-"), name.as_bytes()) {
            (Some(letter), _) if letter.len() == 1 && letter.is_ascii() => Ok(letter.as_bytes()[0] & 0x1f),
            (None, [one]) => Ok(*one),
            _ => Err(format!(
                "invalid detach keys ({text}): {name:?} is not a character or ctrl-CHARACTER"
            )),
        };
        text.split(',').map(key).collect::<Result<_, _>>().map(Self)
    }
}

/// Reads standard input on a thread of its own, which must not keep the program from ending while it waits for a key.
pub(super) fn pump(
    frames: mpsc::Sender<Vec<u8>>,
    detach: Option<DetachKeys>,
    half_close: bool,
    detached: mpsc::Sender<()>,
) {
    std::thread::spawn(move || {
        if copy(std::io::stdin(), &frames, detach.as_ref(), half_close) == Outcome::Detached {
            let _ = detached.blocking_send(());
        }
    });
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Ended,
    Detached,
}

/// Turns what a reader gives into frames, until its end or the detach keys. Blocks while frames are waiting to be sent.
pub(super) fn copy(
    mut from: impl Read,
    frames: &mpsc::Sender<Vec<u8>>,
    detach: Option<&DetachKeys>,
    half_close: bool,
) -> Outcome {
    let mut buffer = vec![0; CHUNK];
    let mut matched = 0;
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        if let Some(DetachKeys(keys)) = detach {
            for byte in &buffer[..read] {
                matched = if *byte == keys[matched] {
                    matched + 1
                } else {
                    usize::from(*byte == keys[0])
                };
                if matched == keys.len() {
                    return Outcome::Detached;
                }
            }
        }
        let frame = [&[STDIN][..], &buffer[..read]].concat();
        if send(frames, frame).is_err() {
            return Outcome::Ended;
        }
    }
    if half_close {
        let _ = send(frames, vec![CLOSE, STDIN]);
    }
    Outcome::Ended
}

/// Blocks on a thread; in a test, which has a runtime on its thread, there must be room.
fn send(frames: &mpsc::Sender<Vec<u8>>, frame: Vec<u8>) -> Result<(), ()> {
    if tokio::runtime::Handle::try_current().is_ok() {
        return frames.try_send(frame).map_err(|_| ());
    }
    frames.blocking_send(frame).map_err(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detach_keys_are_found_across_reads() {
        let keys: DetachKeys = "ctrl-p,ctrl-q".parse().unwrap();
        assert_eq!(keys, DetachKeys(vec![0x10, 0x11]));
        let (frames, mut waiting) = mpsc::channel(8);
        let typed = b"ls\n\x10".chain(&b"\x10\x11never"[..]);
        assert_eq!(copy(typed, &frames, Some(&keys), true), Outcome::Detached);
        assert_eq!(waiting.try_recv().unwrap(), b"\x00ls\n\x10");
        assert!(waiting.try_recv().is_err());
        assert!("alt-x".parse::<DetachKeys>().is_err());
    }
}
