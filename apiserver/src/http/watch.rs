//! Watches as a stream of JSON lines.

use bytes::{BufMut, Bytes, BytesMut};
use futures::Stream;

use crate::registry::{Frame, Watcher};

/// How much of what is ready goes out in one piece.
const PIECE: usize = 64 << 10;

/// Turns an object's JSON into the shape that the client asked for.
pub(super) type Transform = Box<dyn Fn(&Bytes) -> Bytes + Send + Sync>;

fn write(frame: &Frame, transform: Option<&Transform>, out: &mut BytesMut) {
    out.put_slice(b"{\"type\":\"");
    out.put_slice(frame.kind.as_bytes());
    out.put_slice(b"\",\"object\":");
    match transform {
        Some(transform) if frame.kind != "ERROR" => out.put_slice(&transform(&frame.object)),
        _ => out.put_slice(&frame.object),
    }
    out.put_slice(b"}\n");
}

/// Writes whatever is ready together, so that a burst costs few writes; no event waits for another.
pub(super) fn stream(watcher: Watcher, transform: Option<Transform>) -> impl Stream<Item = Bytes> + Send {
    futures::stream::unfold((watcher, transform), |(mut watcher, transform)| async move {
        let first = watcher.next().await?;
        let mut piece = BytesMut::with_capacity(first.object.len() + 64);
        write(&first, transform.as_ref(), &mut piece);
        while piece.len() < PIECE {
            let Some(frame) = watcher.ready() else { break };
            write(&frame, transform.as_ref(), &mut piece);
        }
        Some((piece.freeze(), (watcher, transform)))
    })
}
