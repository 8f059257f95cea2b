//! Which events are the same, similar, or spam. The rules and numbers are client-go's `EventCorrelator`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::{SignedDuration, Timestamp};

use super::Occurrence;

/// From this many different messages on, similar events are combined into one.
const SIMILAR_LIMIT: usize = 10;
/// Similar events further apart than this do not count together.
const SIMILAR_WINDOW: SignedDuration = SignedDuration::from_secs(600);
/// Events about one object that may come at once.
const SPAM_BURST: f64 = 25.0;
/// Then one more every five minutes.
const SPAM_REFILL_PER_SECOND: f64 = 1.0 / 300.0;
/// Entries that each memory keeps.
const MEMORY: usize = 4096;

/// What an event is equal to: everything that a reader sees, the message last.
pub(super) type Key = Vec<String>;

/// What to do with an occurrence.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// Write a new event.
    New,
    /// Count one up on an event that is there.
    Again { name: String, count: i32, first: Timestamp },
    /// Drop it.
    Spam,
}

struct Written {
    name: String,
    count: i32,
    first: Timestamp,
}

struct Similar {
    messages: BTreeSet<String>,
    last: Timestamp,
}

struct Bucket {
    tokens: f64,
    last: Timestamp,
}

/// A map that forgets its oldest entries.
struct Bounded<V> {
    map: BTreeMap<Key, V>,
    order: VecDeque<Key>,
}

impl<V> Default for Bounded<V> {
    fn default() -> Self {
        Self {
            map: BTreeMap::new(),
            order: VecDeque::new(),
        }
    }
}

impl<V> Bounded<V> {
    fn entry(&mut self, key: &Key, make: impl FnOnce() -> V) -> &mut V {
        if !self.map.contains_key(key) {
            if self.order.len() >= MEMORY
                && let Some(oldest) = self.order.pop_front()
            {
                self.map.remove(&oldest);
            }
            self.order.push_back(key.clone());
        }
        self.map.entry(key.clone()).or_insert_with(make)
    }
}

/// Remembers what was written.
#[derive(Default)]
pub(super) struct Correlator {
    written: Bounded<Written>,
    similar: Bounded<Similar>,
    buckets: Bounded<Bucket>,
}

impl Correlator {
    /// Decides about an occurrence; also returns the key to remember it by, and the message to write.
    pub(super) fn judge(&mut self, occurrence: &Occurrence) -> (Key, String, Verdict) {
        let about = &occurrence.about;
        let object: Key = [
            &about.kind,
            &about.namespace,
            &about.name,
            &about.uid,
            &about.api_version,
        ]
        .into_iter()
        .map(|part| part.clone().unwrap_or_default())
        .collect();
        let mut group = object.clone();
        group.push(occurrence.kind.as_str().to_owned());
        group.push(occurrence.reason.clone());
        let mut key = group.clone();
        key.push(about.field_path.clone().unwrap_or_default());
        key.push(occurrence.message.clone());
        let mut message = occurrence.message.clone();

        let similar = self.similar.entry(&group, || Similar {
            messages: BTreeSet::new(),
            last: occurrence.at,
        });
        if occurrence.at.duration_since(similar.last) > SIMILAR_WINDOW {
            similar.messages.clear();
        }
        similar.last = occurrence.at;
        similar.messages.insert(occurrence.message.clone());
        if similar.messages.len() >= SIMILAR_LIMIT {
            similar.messages.pop_first();
            message = format!("(combined from similar events): {}", occurrence.message);
            key = group;
        }

        if !self.admit(&object, occurrence.at) {
            return (key, message, Verdict::Spam);
        }
        let verdict = match self.written.map.get(&key) {
            Some(written) => Verdict::Again {
                name: written.name.clone(),
                count: written.count.saturating_add(1),
                first: written.first,
            },
            None => Verdict::New,
        };
        (key, message, verdict)
    }

    fn admit(&mut self, object: &Key, now: Timestamp) -> bool {
        let bucket = self.buckets.entry(object, || Bucket {
            tokens: SPAM_BURST,
            last: now,
        });
        let gained = now.duration_since(bucket.last).as_secs_f64().max(0.0) * SPAM_REFILL_PER_SECOND;
        bucket.tokens = (bucket.tokens + gained).min(SPAM_BURST);
        bucket.last = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }

    /// Remembers that an event was written.
    pub(super) fn written(&mut self, key: Key, name: String, count: i32, first: Timestamp) {
        *self.written.entry(&key, || Written {
            name: String::new(),
            count: 0,
            first,
        }) = Written { name, count, first };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::EventType;

    fn occurrence(message: &str, second: i64) -> Occurrence {
        Occurrence {
            about: Default::default(),
            kind: EventType::Normal,
            reason: "Pulled".into(),
            message: message.into(),
            at: Timestamp::from_second(second).unwrap(),
        }
    }

    #[test]
    fn an_equal_event_is_counted() {
        let mut correlator = Correlator::default();
        let (key, _, verdict) = correlator.judge(&occurrence("a", 0));
        assert_eq!(verdict, Verdict::New);
        correlator.written(key, "e1".into(), 1, Timestamp::UNIX_EPOCH);
        let (_, _, verdict) = correlator.judge(&occurrence("a", 1));
        let first = Timestamp::UNIX_EPOCH;
        assert_eq!(
            verdict,
            Verdict::Again {
                name: "e1".into(),
                count: 2,
                first
            }
        );
    }

    #[test]
    fn ten_similar_events_are_combined() {
        let mut correlator = Correlator::default();
        let messages: Vec<_> = (0..11)
            .map(|n| correlator.judge(&occurrence(&n.to_string(), n)).1)
            .collect();
        assert_eq!(messages[8], "8");
        assert_eq!(messages[9], "(combined from similar events): 9");
    }

    #[test]
    fn spam_about_one_object_is_dropped_until_tokens_return() {
        let mut correlator = Correlator::default();
        let spam = (0..30)
            .filter(|_| correlator.judge(&occurrence("a", 0)).2 == Verdict::Spam)
            .count();
        assert_eq!(spam, 5);
        assert_ne!(correlator.judge(&occurrence("a", 301)).2, Verdict::Spam);
    }
}
