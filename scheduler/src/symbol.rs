//! Texts that are looked up for hundreds of nodes per decision.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

/// A text whose hash is worked out once. Symbols are ordered by their hashes first, so that finding one in a map compares
/// numbers that lie in the map, not texts that lie elsewhere. The order means nothing else; it is the same in every process.
#[derive(Clone)]
pub struct Symbol {
    hash: u64,
    text: Arc<str>,
}

impl Symbol {
    /// Makes the symbol of a text.
    pub fn new(text: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write(text.as_bytes());
        Self {
            hash: hasher.finish(),
            text: text.into(),
        }
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl Default for Symbol {
    fn default() -> Self {
        Self::new("")
    }
}

impl Ord for Symbol {
    fn cmp(&self, other: &Self) -> Ordering {
        self.hash.cmp(&other.hash).then_with(|| {
            if Arc::ptr_eq(&self.text, &other.text) {
                Ordering::Equal
            } else {
                self.text.cmp(&other.text)
            }
        })
    }
}

impl PartialOrd for Symbol {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Symbol {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Symbol {}

impl fmt::Debug for Symbol {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.text, out)
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}
