//! Decides transactions: which guards hold, and which changes follow. Pure; the stores write down what it says.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use timonel_api::Revision;

use crate::index::{Index, Version};
use crate::position::Position;
use crate::traits::{Guard, Op, StoreError, Txn};

/// The longest key. Kubernetes' longest (group, resource, namespace, name) stay under 1 KiB.
pub const MAX_KEY: usize = 4096;
/// The largest value. Upstream's API server refuses bodies above 3 MiB.
pub const MAX_VALUE: usize = 8 * 1024 * 1024;

/// One change that is to be written down.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) key: Arc<str>,
    pub(crate) version: Version,
    /// `None` for a deletion.
    pub(crate) value: Option<Bytes>,
    /// What it replaces, if the key existed.
    pub(crate) previous: Option<Version>,
}

/// What one transaction comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is done at this revision (the present one if it changes nothing).
    Done(Revision),
    /// The guard on `key` does not hold in the state at `seen`.
    Conflict { key: String, seen: Revision },
    /// It is malformed.
    Invalid(String),
}

/// Several transactions decided one after the other, each seeing those before it.
pub(crate) struct Draft<'a> {
    index: &'a Index,
    /// The newest versions that this draft itself makes.
    newest: HashMap<Arc<str>, Version>,
    current: Revision,
    changes: Vec<Change>,
}

/// A decided batch.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    /// In history order; several revisions.
    pub(crate) changes: Vec<Change>,
    /// When they were committed.
    pub(crate) time: SystemTime,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(index: &'a Index) -> Self {
        Self {
            index,
            newest: HashMap::new(),
            current: index.current(),
            changes: Vec::new(),
        }
    }

    /// Decides one transaction.
    pub(crate) fn decide(&mut self, txn: Txn) -> Verdict {
        if let Err(reason) = validate(&txn) {
            return Verdict::Invalid(reason);
        }
        for guard in &txn.guards {
            if !self.holds(guard) {
                return Verdict::Conflict {
                    key: guard.key().to_owned(),
                    seen: self.current,
                };
            }
        }
        let revision = self.current.next();
        let mut sub = 0;
        for op in txn.ops {
            let (key, value) = match op {
                Op::Put(key, value) => (key, Some(value)),
                Op::Delete(key) => (key, None),
            };
            if self.change(key, value, Position { revision, sub }) {
                sub += 1;
            }
        }
        if sub > 0 {
            self.current = revision;
        }
        Verdict::Done(self.current)
    }

    pub(crate) fn finish(self, time: SystemTime) -> Batch {
        Batch {
            changes: self.changes,
            time,
        }
    }

    fn change(&mut self, key: String, value: Option<Bytes>, position: Position) -> bool {
        let previous = self.live(&key);
        if previous.is_none() && value.is_none() {
            return false;
        }
        let version = Version {
            position,
            create_revision: previous.map_or(position.revision, |previous| previous.create_revision),
            version: previous.map_or(1, |previous| previous.version + 1),
            live: value.is_some(),
        };
        let key = self.index.newest_key(&key).unwrap_or_else(|| Arc::from(key));
        self.newest.insert(Arc::clone(&key), version);
        self.changes.push(Change {
            key,
            version,
            value,
            previous,
        });
        true
    }

    fn live(&self, key: &str) -> Option<Version> {
        let newest = self.newest.get(key).or_else(|| self.index.newest(key))?;
        newest.live.then_some(*newest)
    }

    fn holds(&self, guard: &Guard) -> bool {
        let live = self.live(guard.key());
        match guard {
            Guard::Absent(_) => live.is_none(),
            Guard::Exists(_) => live.is_some(),
            Guard::At(_, revision) => live.is_some_and(|live| live.position.revision == *revision),
        }
    }
}

fn validate(txn: &Txn) -> Result<(), String> {
    let mut seen = HashSet::new();
    for op in &txn.ops {
        let (key, value) = match op {
            Op::Put(key, value) => (key, value.len()),
            Op::Delete(key) => (key, 0),
        };
        if key.is_empty() || key.len() > MAX_KEY {
            return Err(format!("a key has 1 to {MAX_KEY} bytes, this one {}", key.len()));
        }
        if value > MAX_VALUE {
            return Err(format!("the value of {key} has {value} bytes, more than {MAX_VALUE}"));
        }
        if !seen.insert(key.as_str()) {
            return Err(format!("key {key} is named twice"));
        }
    }
    if u32::try_from(txn.ops.len()).is_err() {
        return Err("too many operations".to_owned());
    }
    Ok(())
}

impl Verdict {
    /// Turns a refusal that needs no look at the history into its error.
    pub(crate) fn invalid(reason: String) -> StoreError {
        StoreError::Invalid { reason }
    }
}
