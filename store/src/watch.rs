//! Watches: the past is read from the history, the present comes through a bounded buffer per watcher.
//!
//! A watch reads the past in pieces until there is none left, and subscribes under the same lock that proves it: so
//! there is neither a gap nor a duplicate where the past meets the present. A watcher whose buffer is full is dropped
//! by the writer, which never waits; its stream gives what was buffered and then `Lagged`.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use timonel_api::Revision;
use tokio::sync::mpsc::error::{TryRecvError, TrySendError};
use tokio::sync::{mpsc, watch};

use crate::history::{History, Replay};
use crate::traits::{StoreError, Watch, WatchItem};

/// How long a watch that sees nothing of its own waits before it says how far the store is. Only writes elsewhere start
/// the wait: an idle store wakes nobody.
const PROGRESS: Duration = Duration::from_millis(250);

/// All live watchers.
pub(crate) struct Hub {
    watchers: Vec<Watcher>,
    buffer: usize,
}

struct Watcher {
    prefix: String,
    items: mpsc::Sender<WatchItem>,
    why: Arc<OnceLock<StoreError>>,
}

/// A watcher's end of its buffer.
pub(crate) struct Subscription {
    items: mpsc::Receiver<WatchItem>,
    /// Why the buffer was closed; nothing means that the watcher was too slow.
    why: Arc<OnceLock<StoreError>>,
}

impl Hub {
    /// Gives every watcher a buffer of so many revisions.
    pub(crate) fn new(buffer: usize) -> Self {
        Self {
            watchers: Vec::new(),
            buffer: buffer.max(1),
        }
    }

    pub(crate) fn subscribe(&mut self, prefix: &str) -> Subscription {
        let (sender, items) = mpsc::channel(self.buffer);
        let why = Arc::new(OnceLock::new());
        self.watchers.push(Watcher {
            prefix: prefix.to_owned(),
            items: sender,
            why: Arc::clone(&why),
        });
        Subscription { items, why }
    }

    /// Gives everybody their part of one revision. Whoever has no room left, or has gone, is forgotten.
    pub(crate) fn send(&mut self, item: &WatchItem) {
        self.watchers.retain(|watcher| {
            let events: Vec<_> =
                item.events.iter().filter(|event| event.key.starts_with(&watcher.prefix)).cloned().collect();
            if events.is_empty() {
                return !watcher.items.is_closed();
            }
            match watcher.items.try_send(WatchItem { revision: item.revision, events }) {
                Ok(()) => true,
                Err(TrySendError::Full(_)) => {
                    tracing::warn!(prefix = %watcher.prefix, revision = %item.revision, "a watcher fell behind and is ended");
                    false
                }
                Err(TrySendError::Closed(_)) => false,
            }
        });
    }

    /// Ends everybody's watch.
    pub(crate) fn end(&mut self, reason: &StoreError) {
        for watcher in self.watchers.drain(..) {
            // It was empty: this is the only place that fills it, and the watcher is forgotten with it.
            let _ = watcher.why.set(reason.clone());
        }
    }
}

/// One watch in progress.
struct Feed {
    history: Arc<History>,
    prefix: String,
    /// Everything up to here has been given out.
    last: Revision,
    replayed: VecDeque<WatchItem>,
    live: Option<Subscription>,
    published: watch::Receiver<Revision>,
    asked: watch::Receiver<u64>,
}

/// Starts a watch. `after` must have been checked.
pub(crate) fn follow(history: &Arc<History>, prefix: &str, after: Revision) -> Watch {
    let feed = Feed {
        history: Arc::clone(history),
        prefix: prefix.to_owned(),
        last: after,
        replayed: VecDeque::new(),
        live: None,
        published: history.published.subscribe(),
        asked: history.asked.subscribe(),
    };
    stream::unfold(Some(feed), |feed| async {
        let mut feed = feed?;
        match feed.next().await {
            Ok(item) => Some((Ok(item), Some(feed))),
            Err(error) => Some((Err(error), None)),
        }
    })
    .boxed()
}

impl Feed {
    async fn next(&mut self) -> Result<WatchItem, StoreError> {
        loop {
            if let Some(item) = self.replayed.pop_front() {
                self.last = item.revision;
                return Ok(item);
            }
            if let Some(live) = &mut self.live {
                let item = next_live(live, self.last, &mut self.published, &mut self.asked).await?;
                self.last = item.revision;
                return Ok(item);
            }
            match self.history.replay(&self.prefix, self.last)? {
                Replay::Items(items) => self.replayed = items.into(),
                Replay::Live(subscription) => self.live = Some(subscription),
            }
        }
    }
}

async fn next_live(
    live: &mut Subscription,
    last: Revision,
    published: &mut watch::Receiver<Revision>,
    asked: &mut watch::Receiver<u64>,
) -> Result<WatchItem, StoreError> {
    let ended = |why: &OnceLock<StoreError>| why.get().cloned().unwrap_or(StoreError::Lagged { at: last });
    let quiet = async {
        tokio::select! {
            biased;
            Ok(()) = asked.changed() => {}
            true = passed(published, last) => tokio::time::sleep(PROGRESS).await,
            else => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        item = live.items.recv() => return item.ok_or_else(|| ended(&live.why)),
        () = quiet => {}
    }
    // Whatever is published has been put into the buffer before: read the revision first, then look into the buffer.
    let revision = (*published.borrow()).max(last);
    match live.items.try_recv() {
        Ok(item) => Ok(item),
        Err(TryRecvError::Empty) => Ok(WatchItem {
            revision,
            events: Vec::new(),
        }),
        Err(TryRecvError::Disconnected) => Err(ended(&live.why)),
    }
}

/// Waits until the store is beyond `last`; false if the store is gone.
async fn passed(published: &mut watch::Receiver<Revision>, last: Revision) -> bool {
    published.wait_for(|published| *published > last).await.is_ok()
}
