//! The etcd role: one ordered, durable history of keys and values.
//!
//! ```text
//! commit(Txn) --> writer thread: draft (guards, pure) --> engine (redb | sled) --fsync--> index, watchers, answer
//! get, range  --> index (key -> revisions, in memory) --> engine record, checksum verified
//! watch       --> the past from index and engine, then the present through a bounded buffer
//! ```
//!
//! [`MemoryStore`] and [`EmbeddedStore`] share everything but the place of the values: the index, the drafting of
//! transactions and the watches. One suite (`tests/suite.rs`) holds them to the words of [`Store`].

mod traits;

mod clock;
mod position;

mod draft;
mod history;
mod index;
mod watch;

mod memory;

mod embedded;
pub mod engine;
mod record;
pub mod snapshot;

pub use clock::CommitClock;
pub use draft::{MAX_KEY, MAX_VALUE};
pub use embedded::{Damage, EmbeddedConfig, EmbeddedStore, OpenError, Retention};
pub use engine::Engine;
pub use memory::{MemoryStore, Unacknowledged};
pub use position::Position;
pub use record::Corrupt;
pub use traits::{Entry, Event, Guard, Op, Page, Range, Store, StoreError, Txn, Watch, WatchItem};
