//! Which key each sealed value lies under in the store, and which values do not open at all.
//!
//! Fed by the watch that feeds the caches, so it says what is true at the revision that they show.

use std::collections::{BTreeMap, HashMap};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

#[derive(Debug, Default)]
struct Known {
    /// Which key each value lies under; `None` for one that was written before encryption was on.
    keys: HashMap<String, Option<String>>,
    problems: BTreeMap<String, String>,
}

/// What is known about the values of sealed resources.
#[derive(Debug, Default)]
pub struct Ledger(RwLock<Known>);

impl Ledger {
    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a value that was read from the store, and why it does not open if it does not.
    pub fn note(&self, store_key: &str, stored: &[u8], problem: Option<String>) {
        let mut known = self.write();
        let key = super::key_of(stored).map(str::to_owned);
        known.keys.insert(store_key.to_owned(), key);
        match problem {
            Some(problem) => drop(known.problems.insert(store_key.to_owned(), problem)),
            None => drop(known.problems.remove(store_key)),
        }
    }

    /// Notes that a value is gone.
    pub fn forget(&self, store_key: &str) {
        let mut known = self.write();
        known.keys.remove(store_key);
        known.problems.remove(store_key);
    }

    /// Whether a value lies under another key than the one that seals now, so that writing it again changes something even where the
    /// object stays as it is.
    pub fn is_stale(&self, store_key: &str, sealing: Option<&str>) -> bool {
        self.read()
            .keys
            .get(store_key)
            .is_some_and(|key| key.as_deref() != sealing)
    }

    /// Why a value does not open.
    pub fn problem(&self, store_key: &str) -> Option<String> {
        self.read().problems.get(store_key).cloned()
    }

    /// Why the first of the values below `prefix` that do not open does not, and how many there are.
    pub fn problem_below(&self, prefix: &str) -> Option<(String, usize)> {
        let known = self.read();
        let mut below = known
            .problems
            .range(prefix.to_owned()..)
            .take_while(|(key, _)| key.starts_with(prefix));
        let (_, problem) = below.next()?;
        Some((problem.clone(), 1 + below.count()))
    }

    /// All values that do not open.
    pub fn problems(&self) -> Vec<String> {
        self.read().problems.values().cloned().collect()
    }

    /// How many values lie under each key; the empty name stands for those that are not sealed.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for key in self.read().keys.values() {
            *counts.entry(key.clone().unwrap_or_default()).or_default() += 1;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_which_values_need_an_older_key_and_which_do_not_open() {
        let ledger = Ledger::default();
        ledger.note("/registry/core/secrets/a/one", b"k8s:enc:aesgcm:v1:k1:...", None);
        ledger.note("/registry/core/secrets/a/two", b"k8s:enc:aesgcm:v1:k2:...", None);
        ledger.note("/registry/core/secrets/b/plain", b"{}", None);
        ledger.note(
            "/registry/core/secrets/b/bad",
            b"k8s:enc:aesgcm:v1:k0:...",
            Some("no key".to_owned()),
        );
        assert!(ledger.is_stale("/registry/core/secrets/a/one", Some("k2")));
        assert!(!ledger.is_stale("/registry/core/secrets/a/two", Some("k2")));
        assert!(ledger.is_stale("/registry/core/secrets/b/plain", Some("k2")));
        assert!(
            !ledger.is_stale("/registry/core/configmaps/a/c", Some("k2")),
            "not sealed at all"
        );
        assert_eq!(ledger.problem_below("/registry/core/secrets/a/"), None);
        assert_eq!(
            ledger.problem_below("/registry/core/secrets/"),
            Some(("no key".to_owned(), 1))
        );
        ledger.forget("/registry/core/secrets/b/bad");
        let counts: Vec<_> = ledger.counts().into_iter().collect();
        assert_eq!(counts, [(String::new(), 1), ("k1".to_owned(), 1), ("k2".to_owned(), 1)]);
    }
}
