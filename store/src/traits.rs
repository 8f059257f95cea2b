//! The `Store` trait: what every store promises, whatever it is built on.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use timonel_api::Revision;

/// A value as it stood at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its key.
    pub key: Arc<str>,
    /// What was put.
    pub value: Bytes,
    /// The revision that created the key in its present life.
    pub create_revision: Revision,
    /// The revision that wrote this value.
    pub mod_revision: Revision,
    /// How many writes the present life has seen, from 1.
    pub version: u64,
}

/// What must hold at the moment of the commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// The key does not exist.
    Absent(String),
    /// The key exists and was last written by this revision.
    At(String, Revision),
    /// The key exists.
    Exists(String),
}

impl Guard {
    /// The key that is looked at.
    pub fn key(&self) -> &str {
        match self {
            Self::Absent(key) | Self::At(key, _) | Self::Exists(key) => key,
        }
    }
}

/// One change. A transaction names each key at most once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Writes a value.
    Put(String, Bytes),
    /// Deletes a key; deleting an absent key is no change and makes no event.
    Delete(String),
}

/// Changes that happen together, at one revision, if every guard holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// All must hold, or nothing happens.
    pub guards: Vec<Guard>,
    /// Carried out in order.
    pub ops: Vec<Op>,
}

/// What to list: every key that starts with `prefix`, in byte order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// Empty for everything.
    pub prefix: String,
    /// Skips keys up to and including this one.
    pub after: Option<String>,
    /// At most so many.
    pub limit: Option<usize>,
    /// As it stood at this revision; the newest without.
    pub at: Option<Revision>,
}

/// An answer to a `Range`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The revision that the page shows.
    pub revision: Revision,
    /// In key order.
    pub entries: Vec<Entry>,
    /// How many more matched beyond `limit`.
    pub remaining: u64,
}

/// One key's change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub revision: Revision,
    /// Whose.
    pub key: Arc<str>,
    /// The new state; `None` for a deletion.
    pub entry: Option<Entry>,
    /// The state before, if the key existed and that revision is not compacted.
    pub previous: Option<Entry>,
}

/// What a watch yields: all events of one revision together, so that a reader is never between two halves of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchItem {
    /// Everything up to and including this revision has now been seen.
    pub revision: Revision,
    /// Those that match the prefix; may be empty (progress only).
    pub events: Vec<Event>,
}

/// A stream of changes in revision order. It ends after its first error.
pub type Watch = BoxStream<'static, Result<WatchItem, StoreError>>;

/// Why the store said no.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum StoreError {
    /// A guard did not hold. `actual` is what is there.
    #[error("guard on key {key} does not hold")]
    Conflict {
        /// The first key whose guard failed.
        key: String,
        /// Its present entry.
        actual: Option<Box<Entry>>,
    },
    /// The revision asked for is older than the history kept.
    #[error("revision {asked} is compacted; the history starts at {oldest}")]
    Compacted {
        /// What was asked for.
        asked: Revision,
        /// The oldest that can be read.
        oldest: Revision,
    },
    /// The revision asked for has not happened yet.
    #[error("revision {asked} is in the future; the store is at {current}")]
    Future {
        /// What was asked for.
        asked: Revision,
        /// The newest there is.
        current: Revision,
    },
    /// The watcher was too slow and would have needed an unbounded buffer; list again.
    #[error("watcher fell behind and was ended at revision {at}")]
    Lagged {
        /// The last revision it was given.
        at: Revision,
    },
    /// A record's checksum is wrong. The rest of the store is served.
    #[error("record of key {key} at revision {revision} is damaged")]
    Damaged {
        /// Whose record.
        key: String,
        /// Which one.
        revision: Revision,
    },
    /// The disk is nearly full: writes are refused, reads go on.
    #[error("the store's disk is nearly full; writes are refused")]
    NoSpace,
    /// A transaction named a key twice, or a key or value is over its limit.
    #[error("invalid transaction: {reason}")]
    Invalid {
        /// What is wrong with it.
        reason: String,
    },
    /// The engine failed. The store stops; nothing that is not on disk is ever acknowledged.
    #[error("storage engine failed: {reason}")]
    Engine {
        /// The engine's words.
        reason: String,
    },
    /// The store is shut down.
    #[error("the store is closed")]
    Closed,
}

/// One ordered history of keys and values.
///
/// *Order.* Every commit that changes something gets the next revision; there are no gaps visible to a watcher other than
/// revisions that did not touch its prefix. *Durability.* `commit` returns after the change is on disk. *Visibility.* Once
/// `commit` has returned revision R, `get`, `range` and `current_revision` show R or later.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Returns the newest revision that readers see. An empty store is at revision 1, as etcd is.
    fn current_revision(&self) -> Revision;

    /// Returns the oldest revision that can still be read and watched from.
    fn oldest_revision(&self) -> Revision;

    /// Reads one key, as it stands now or stood at `at`.
    ///
    /// *Errors:* `Compacted`, `Future`, `Damaged`.
    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<Entry>, StoreError>;

    /// Lists keys. All pages that name the same `at` show the same state.
    ///
    /// *Errors:* `Compacted`, `Future`. Damaged records are left out and reported through the log.
    async fn range(&self, range: Range) -> Result<Page, StoreError>;

    /// Carries out a transaction, atomically and durably, and returns its revision.
    ///
    /// A transaction that changes nothing (no ops, or only deletions of absent keys) returns the present revision.
    ///
    /// *Cancel safety:* a dropped call may or may not have taken effect, as a lost connection would.
    ///
    /// *Errors:* `Conflict`, `Invalid`, `NoSpace`, `Engine`, `Closed`; after any of them nothing has changed.
    async fn commit(&self, txn: Txn) -> Result<Revision, StoreError>;

    /// Watches every key that starts with `prefix`, from the revision after `after`, without gap or duplicate.
    ///
    /// The stream also yields items without events now and then, so that a reader knows how far it is.
    ///
    /// *Errors:* `Compacted` where `after` is older than the history; `Future`. In the stream: `Lagged`, `Closed`.
    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError>;

    /// Forgets history before `revision`; the newest state at that point stays readable.
    async fn compact(&self, revision: Revision) -> Result<(), StoreError>;

    /// Returns when a revision was committed, if it is in the history.
    fn time_of(&self, revision: Revision) -> Option<SystemTime>;

    /// Returns the newest revision that was committed at or before `time`, if the history reaches back so far.
    fn revision_at(&self, time: SystemTime) -> Option<Revision>;

    /// Asks every open watch for an item that says how far it is, even if there is nothing to tell.
    fn request_progress(&self);

    /// Stops accepting writes, makes everything durable and ends all watches.
    async fn close(&self);
}
