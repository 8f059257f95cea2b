//! The index: which revisions every key has, and which keys every revision changed. Values are elsewhere.
//!
//! ```text
//! keys: key -> [version, version, ...]      get and range, now or at a revision
//! log:  revision -> [key, key, ...]         watches that resume; what compaction has to visit
//! ```
//!
//! It is plain data without locks, time or IO, so that the in-memory and the embedded store share every rule of history.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::SystemTime;

use timonel_api::Revision;

use crate::position::Position;
use crate::traits::StoreError;

/// One write of a key, without the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    /// Where its record is.
    pub(crate) position: Position,
    /// The revision that began this life of the key.
    pub(crate) create_revision: Revision,
    /// Counts the writes of this life, from 1.
    pub(crate) version: u64,
    /// False for a deletion.
    pub(crate) live: bool,
}

/// What one revision changed.
#[derive(Clone, Debug)]
pub(crate) struct Logged {
    pub(crate) revision: Revision,
    pub(crate) time: SystemTime,
    /// In the order of the operations.
    pub(crate) keys: Vec<Arc<str>>,
    /// Keys and values together, for the byte budget of the history.
    pub(crate) bytes: u64,
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    keys: BTreeMap<Arc<str>, Vec<Version>>,
    /// Every revision after `oldest` that changed something.
    log: VecDeque<Logged>,
    log_bytes: u64,
    oldest: Revision,
    oldest_time: SystemTime,
    current: Revision,
}

/// A listing before its values are read.
#[derive(Debug)]
pub(crate) struct Selection {
    pub(crate) revision: Revision,
    pub(crate) found: Vec<(Arc<str>, Version)>,
    pub(crate) remaining: u64,
}

impl Index {
    /// Starts an empty history at `current`, of which nothing before `current` can be read.
    pub(crate) fn starting_at(current: Revision) -> Self {
        Self {
            keys: BTreeMap::new(),
            log: VecDeque::new(),
            log_bytes: 0,
            oldest: current,
            oldest_time: SystemTime::UNIX_EPOCH,
            current,
        }
    }

    pub(crate) fn current(&self) -> Revision {
        self.current
    }

    pub(crate) fn oldest(&self) -> Revision {
        self.oldest
    }

    pub(crate) fn log_bytes(&self) -> u64 {
        self.log_bytes
    }

    pub(crate) fn key_count(&self) -> usize {
        self.keys.len()
    }

    /// Returns the revision to read at, or why it cannot be read.
    pub(crate) fn resolve(&self, at: Option<Revision>) -> Result<Revision, StoreError> {
        match at {
            None => Ok(self.current),
            Some(asked) if asked < self.oldest => Err(StoreError::Compacted {
                asked,
                oldest: self.oldest,
            }),
            Some(asked) if asked > self.current => Err(StoreError::Future {
                asked,
                current: self.current,
            }),
            Some(asked) => Ok(asked),
        }
    }

    /// Returns the newest write of a key, be it a deletion or not.
    pub(crate) fn newest(&self, key: &str) -> Option<&Version> {
        self.keys.get(key)?.last()
    }

    /// Returns the key as the index holds it, so that copies share its bytes.
    pub(crate) fn newest_key(&self, key: &str) -> Option<Arc<str>> {
        self.keys.get_key_value(key).map(|(key, _)| Arc::clone(key))
    }

    /// Returns the key as the index holds it (so that copies share its bytes) and its state at a revision, if it existed then.
    pub(crate) fn at(&self, key: &str, at: Revision) -> Option<(Arc<str>, Version)> {
        let (key, versions) = self.keys.get_key_value(key)?;
        Some((Arc::clone(key), *state_at(versions, at)?))
    }

    /// Returns what the key was just before `position`, if it existed.
    pub(crate) fn before(&self, key: &str, position: Position) -> Option<Version> {
        let versions = self.keys.get(key)?;
        let count = versions.partition_point(|version| version.position < position);
        versions[..count].last().filter(|version| version.live).copied()
    }

    /// Returns the write of `key` by exactly `revision`.
    pub(crate) fn written_by(&self, key: &str, revision: Revision) -> Option<Version> {
        let versions = self.keys.get(key)?;
        let at = versions.partition_point(|version| version.position.revision < revision);
        versions
            .get(at)
            .filter(|version| version.position.revision == revision)
            .copied()
    }

    /// Lists keys with a prefix, after a key, at a revision, and counts what a limit left out.
    pub(crate) fn select(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: Option<usize>,
        at: Option<Revision>,
    ) -> Result<Selection, StoreError> {
        let revision = self.resolve(at)?;
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let matching = self
            .keys
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter_map(|(key, versions)| state_at(versions, revision).map(|version| (key, version)));
        let limit = limit.unwrap_or(usize::MAX);
        let (mut found, mut remaining) = (Vec::new(), 0);
        for (key, version) in matching {
            if found.len() < limit {
                found.push((Arc::clone(key), *version));
            } else {
                remaining += 1;
            }
        }
        Ok(Selection {
            revision,
            found,
            remaining,
        })
    }

    /// Adds one revision's changes. Revisions must come in order; `current` becomes this one.
    pub(crate) fn add(&mut self, revision: Revision, time: SystemTime, changes: Vec<(Arc<str>, Version, u64)>) {
        let time = self.log.back().map_or(time, |last| last.time.max(time));
        let mut logged = Logged {
            revision,
            time,
            keys: Vec::with_capacity(changes.len()),
            bytes: 0,
        };
        for (key, version, bytes) in changes {
            logged.bytes += bytes;
            logged.keys.push(Arc::clone(&key));
            self.keys.entry(key).or_default().push(version);
        }
        self.log_bytes += logged.bytes;
        self.log.push_back(logged);
        self.current = self.current.max(revision);
    }

    /// Moves `current` forward over revisions that left no record (a restored snapshot, compacted deletions).
    pub(crate) fn advance(&mut self, current: Revision) {
        self.current = self.current.max(current);
    }

    /// Returns at most `limit` log entries after a revision.
    pub(crate) fn log_after(&self, after: Revision, limit: usize) -> impl Iterator<Item = &Logged> {
        let from = self.log.partition_point(|logged| logged.revision <= after);
        self.log.range(from..).take(limit)
    }

    /// Returns when a revision was committed: exact while it is in the history, the start of the history for its oldest.
    pub(crate) fn time_of(&self, revision: Revision) -> Option<SystemTime> {
        if revision < self.oldest || revision > self.current {
            return None;
        }
        let at = self.log.partition_point(|logged| logged.revision <= revision);
        Some(
            at.checked_sub(1)
                .and_then(|at| self.log.get(at))
                .map_or(self.oldest_time, |logged| logged.time),
        )
    }

    /// Returns the newest revision that was committed at or before `time`, if the history reaches back so far.
    pub(crate) fn revision_at(&self, time: SystemTime) -> Option<Revision> {
        let at = self.log.partition_point(|logged| logged.time <= time);
        match at.checked_sub(1).and_then(|at| self.log.get(at)) {
            Some(logged) if at == self.log.len() => Some(logged.revision.max(self.current)),
            Some(logged) => Some(logged.revision),
            None if self.oldest_time <= time => Some(self.oldest),
            None => None,
        }
    }

    /// Returns the revision to compact to, so that what is kept is no older than `not_before` and no larger than `bytes`.
    pub(crate) fn over_budget(&self, not_before: SystemTime, bytes: u64) -> Option<Revision> {
        let mut left = self.log_bytes;
        let mut target = None;
        for logged in &self.log {
            if left <= bytes && logged.time >= not_before {
                break;
            }
            left -= logged.bytes;
            target = Some(logged.revision);
        }
        target
    }

    /// Forgets what was superseded or deleted at or before `revision` and returns where those records are.
    ///
    /// *Errors:* `Future`. A revision that is compacted already is no change.
    pub(crate) fn compact(&mut self, revision: Revision) -> Result<Vec<Position>, StoreError> {
        if revision > self.current {
            return Err(StoreError::Future {
                asked: revision,
                current: self.current,
            });
        }
        let mut dead = Vec::new();
        while self.log.front().is_some_and(|logged| logged.revision <= revision) {
            let Some(logged) = self.log.pop_front() else { break };
            self.log_bytes -= logged.bytes;
            self.oldest_time = logged.time;
            for key in &logged.keys {
                self.prune(key, revision, &mut dead);
            }
        }
        self.oldest = self.oldest.max(revision);
        Ok(dead)
    }

    fn prune(&mut self, key: &Arc<str>, revision: Revision, dead: &mut Vec<Position>) {
        let Some(versions) = self.keys.get_mut(key) else { return };
        let old = versions.partition_point(|version| version.position.revision <= revision);
        let Some(last) = old.checked_sub(1) else { return };
        let drop = if versions[last].live { last } else { old };
        dead.extend(versions.drain(..drop).map(|version| version.position));
        if versions.is_empty() {
            self.keys.remove(key);
        }
    }
}

fn state_at(versions: &[Version], at: Revision) -> Option<&Version> {
    let count = versions.partition_point(|version| version.position.revision <= at);
    versions[..count].last().filter(|version| version.live)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(revision: u64, live: bool) -> Version {
        Version {
            position: Position {
                revision: Revision(revision),
                sub: 0,
            },
            create_revision: Revision(revision),
            version: 1,
            live,
        }
    }

    fn history(changes: &[(&str, u64, bool)]) -> Index {
        let mut index = Index::starting_at(Revision(1));
        for &(key, revision, live) in changes {
            let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(revision);
            index.add(
                Revision(revision),
                time,
                vec![(key.into(), version(revision, live), 10)],
            );
        }
        index
    }

    #[test]
    fn compaction_keeps_the_state_at_its_revision_and_drops_the_rest() {
        let mut index = history(&[
            ("a", 2, true),
            ("b", 3, true),
            ("a", 4, true),
            ("b", 5, false),
            ("a", 6, true),
        ]);
        let mut dead: Vec<_> = index
            .compact(Revision(5))
            .unwrap()
            .iter()
            .map(|at| at.revision.0)
            .collect();
        dead.sort_unstable();
        assert_eq!(dead, [2, 3, 5]);
        let selection = index.select("", None, None, Some(Revision(5))).unwrap();
        assert_eq!(selection.found, [("a".into(), version(4, true))]);
        assert_eq!(
            index.resolve(Some(Revision(4))),
            Err(StoreError::Compacted {
                asked: Revision(4),
                oldest: Revision(5)
            })
        );
        assert_eq!(index.log_bytes(), 10);
    }

    #[test]
    fn the_budget_names_the_revision_to_compact_to() {
        let index = history(&[("a", 2, true), ("a", 3, true), ("a", 4, true)]);
        let seconds = |seconds| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        assert_eq!(index.over_budget(seconds(0), 100), None);
        assert_eq!(index.over_budget(seconds(0), 20), Some(Revision(2)));
        assert_eq!(index.over_budget(seconds(4), 100), Some(Revision(3)));
    }

    #[test]
    fn time_leads_to_revisions_and_back() {
        let index = history(&[("a", 20, true), ("a", 30, true)]);
        let seconds = |seconds| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        assert_eq!(index.revision_at(seconds(25)), Some(Revision(20)));
        assert_eq!(index.revision_at(seconds(99)), Some(Revision(30)));
        assert_eq!(index.revision_at(seconds(1)), Some(Revision(1)));
        assert_eq!(index.time_of(Revision(20)), Some(seconds(20)));
        assert_eq!(index.time_of(Revision(31)), None);
    }
}
