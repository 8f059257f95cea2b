//! Pods that wait for a node.
//!
//! ```text
//!   add --> active (by priority, then age) --pop--> in flight --bound--> gone
//!             ^            ^                            |
//!             |            +-- pause over -- back-off <-+-- an error
//!             |                                 ^       |
//!             +------- an event that may help --+-- unschedulable (reasons remembered)
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use timonel_api::ObjectKey;
use tokio::time::Instant;

use crate::plugins::{self, ClusterEvent};

/// Pods that no event has helped for this long are tried again all the same, as upstream.
const LEFTOVER: Duration = Duration::from_secs(300);

/// How long failed pods wait.
#[derive(Clone, Debug)]
pub struct QueueConfig {
    /// After the first failure. Upstream: 1 s.
    pub initial_backoff: Duration,
    /// At most. Upstream: 10 s.
    pub max_backoff: Duration,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            initial_backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(10),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Active,
    Backoff,
    Unschedulable,
    InFlight,
}

#[derive(Debug)]
struct Waiting {
    place: Place,
    priority: i32,
    /// Order of arrival.
    seq: u64,
    attempts: u32,
    /// Not before this time.
    until: Instant,
    /// Since when unschedulable.
    since: Instant,
    /// Who rejected it.
    plugins: BTreeSet<&'static str>,
    /// What happened while it was in flight.
    missed: Vec<ClusterEvent>,
}

/// The queue. It holds keys; the pods themselves are the caller's.
#[derive(Debug)]
pub struct SchedulingQueue {
    config: QueueConfig,
    pods: BTreeMap<ObjectKey, Waiting>,
    active: BTreeSet<(std::cmp::Reverse<i32>, u64, ObjectKey)>,
    backoff: BTreeSet<(Instant, ObjectKey)>,
    seq: u64,
}

impl SchedulingQueue {
    /// Makes an empty queue.
    pub fn new(config: QueueConfig) -> Self {
        Self {
            config,
            pods: BTreeMap::new(),
            active: BTreeSet::new(),
            backoff: BTreeSet::new(),
            seq: 0,
        }
    }

    /// Adds a pod that is new or has changed in a way that matters.
    pub fn add(&mut self, key: &ObjectKey, priority: i32, now: Instant) {
        if let Some(waiting) = self.pods.get_mut(key) {
            if waiting.place == Place::Active {
                self.active
                    .remove(&(std::cmp::Reverse(waiting.priority), waiting.seq, key.clone()));
                self.active
                    .insert((std::cmp::Reverse(priority), waiting.seq, key.clone()));
            }
            waiting.priority = priority;
            if waiting.place == Place::Unschedulable {
                self.retry(key, now);
            }
            return;
        }
        self.seq += 1;
        self.pods.insert(
            key.clone(),
            Waiting {
                place: Place::Active,
                priority,
                seq: self.seq,
                attempts: 0,
                until: now,
                since: now,
                plugins: BTreeSet::new(),
                missed: Vec::new(),
            },
        );
        self.active.insert((std::cmp::Reverse(priority), self.seq, key.clone()));
    }

    /// Forgets a pod: it was bound or deleted.
    pub fn remove(&mut self, key: &ObjectKey) {
        if let Some(waiting) = self.pods.remove(key) {
            self.active
                .remove(&(std::cmp::Reverse(waiting.priority), waiting.seq, key.clone()));
            self.backoff.remove(&(waiting.until, key.clone()));
        }
    }

    /// Tells whether a pod waits here.
    pub fn contains(&self, key: &ObjectKey) -> bool {
        self.pods.contains_key(key)
    }

    /// Takes the most urgent pod. It stays in flight until [`Self::remove`], [`Self::failed`] or [`Self::unschedulable`].
    pub fn pop(&mut self, now: Instant) -> Option<ObjectKey> {
        self.wake_due(now);
        let (_, _, key) = self.active.pop_first()?;
        if let Some(waiting) = self.pods.get_mut(&key) {
            waiting.place = Place::InFlight;
            waiting.attempts = waiting.attempts.saturating_add(1);
        }
        Some(key)
    }

    /// Puts a pod back that met an error: it is tried again after a pause.
    pub fn failed(&mut self, key: &ObjectKey, now: Instant) {
        let config = self.config.clone();
        if let Some(waiting) = self.pods.get_mut(key) {
            waiting.place = Place::Backoff;
            waiting.until = now + pause(&config, waiting.attempts);
            waiting.missed.clear();
            self.backoff.insert((waiting.until, key.clone()));
        }
    }

    /// Puts a pod back for which there is no node, with the plugins that said so.
    pub fn unschedulable(&mut self, key: &ObjectKey, plugins: BTreeSet<&'static str>, now: Instant) {
        let config = self.config.clone();
        let Some(waiting) = self.pods.get_mut(key) else { return };
        waiting.place = Place::Unschedulable;
        waiting.until = now + pause(&config, waiting.attempts);
        waiting.since = now;
        waiting.plugins = plugins;
        let missed = std::mem::take(&mut waiting.missed);
        if missed.iter().any(|event| helps(&waiting.plugins, *event)) {
            self.retry(key, now);
        }
    }

    /// Tells the queue what happened, so that pods it may help are tried again.
    pub fn happened(&mut self, event: ClusterEvent, now: Instant) {
        let mut helped = Vec::new();
        for (key, waiting) in &mut self.pods {
            match waiting.place {
                Place::InFlight if !waiting.missed.contains(&event) => waiting.missed.push(event),
                Place::Unschedulable if helps(&waiting.plugins, event) => helped.push(key.clone()),
                _ => {}
            }
        }
        for key in helped {
            self.retry(&key, now);
        }
    }

    /// When [`Self::pop`] may next have something that it does not have now.
    pub fn next_due(&self) -> Option<Instant> {
        let backoff = self.backoff.first().map(|(at, _)| *at);
        let leftover = self
            .pods
            .values()
            .filter(|waiting| waiting.place == Place::Unschedulable);
        let leftover = leftover.map(|waiting| waiting.since + LEFTOVER).min();
        backoff.into_iter().chain(leftover).min()
    }

    /// Returns how many pods could be popped now.
    pub fn active_len(&self) -> usize {
        self.active.len()
    }

    fn retry(&mut self, key: &ObjectKey, now: Instant) {
        let Some(waiting) = self.pods.get_mut(key) else { return };
        if waiting.until > now {
            waiting.place = Place::Backoff;
            self.backoff.insert((waiting.until, key.clone()));
        } else {
            waiting.place = Place::Active;
            self.active
                .insert((std::cmp::Reverse(waiting.priority), waiting.seq, key.clone()));
        }
    }

    fn wake_due(&mut self, now: Instant) {
        while let Some((at, key)) = self.backoff.first().cloned() {
            if at > now {
                break;
            }
            self.backoff.remove(&(at, key.clone()));
            if self
                .pods
                .get(&key)
                .is_some_and(|waiting| waiting.place == Place::Backoff)
            {
                self.retry(&key, now);
            }
        }
        let left: Vec<ObjectKey> = self
            .pods
            .iter()
            .filter(|(_, waiting)| waiting.place == Place::Unschedulable && waiting.since + LEFTOVER <= now)
            .map(|(key, _)| key.clone())
            .collect();
        for key in left {
            self.retry(&key, now);
        }
    }
}

fn pause(config: &QueueConfig, attempts: u32) -> Duration {
    let doublings = attempts.saturating_sub(1).min(16);
    (config.initial_backoff * 2u32.pow(doublings)).min(config.max_backoff)
}

fn helps(rejected_by: &BTreeSet<&'static str>, event: ClusterEvent) -> bool {
    // A pod that met an empty cluster was rejected by nobody: any node helps.
    if rejected_by.is_empty() {
        return event == ClusterEvent::NodeAdded;
    }
    plugins::all()
        .iter()
        .any(|plugin| rejected_by.contains(plugin.name()) && plugin.wakes_on(event))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("default", name)
    }

    #[tokio::test(start_paused = true)]
    async fn pops_by_priority_then_age() {
        let mut queue = SchedulingQueue::new(QueueConfig::default());
        let now = Instant::now();
        for (name, priority) in [("old", 0), ("young", 0), ("urgent", 10)] {
            queue.add(&key(name), priority, now);
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.pop(now)).map(|key| key.name).collect();
        assert_eq!(order, ["urgent", "old", "young"]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_that_may_help_wakes_an_unschedulable_pod_after_its_pause() {
        let mut queue = SchedulingQueue::new(QueueConfig::default());
        let now = Instant::now();
        queue.add(&key("a"), 0, now);
        queue.pop(now);
        queue.unschedulable(&key("a"), BTreeSet::from(["TaintToleration"]), now);
        queue.happened(ClusterEvent::PodGone, now);
        assert_eq!(
            queue.next_due(),
            Some(now + LEFTOVER),
            "a pod that is gone frees no taint"
        );
        queue.happened(ClusterEvent::NodeTaints, now);
        assert_eq!(queue.pop(now), None);
        assert_eq!(queue.pop(now + Duration::from_secs(1)), Some(key("a")));
    }

    #[tokio::test(start_paused = true)]
    async fn what_happened_in_flight_is_not_missed() {
        let mut queue = SchedulingQueue::new(QueueConfig::default());
        let now = Instant::now();
        queue.add(&key("a"), 0, now);
        queue.pop(now);
        queue.happened(ClusterEvent::NodeAdded, now);
        queue.unschedulable(&key("a"), BTreeSet::new(), now);
        assert_eq!(queue.pop(now + Duration::from_secs(1)), Some(key("a")));
    }
}
