//! The etcd role: one ordered, durable history of keys and values.
//!
//! ```text
//! commit(Txn) --> writer task (groups what is queued) --> engine (redb | sled) --fsync--> index --> acknowledge, publish to watchers
//! get, range  --> index (key -> revisions, in memory) --> engine record, checksum verified
//! ```

mod traits;

mod clock;
mod position;

mod draft;
mod history;
mod index;
mod watch;

mod memory;

pub use clock::CommitClock;
pub use draft::{MAX_KEY, MAX_VALUE};
pub use memory::{MemoryStore, Unacknowledged};
pub use position::Position;
pub use traits::{Entry, Event, Guard, Op, Page, Range, Store, StoreError, Txn, Watch, WatchItem};
