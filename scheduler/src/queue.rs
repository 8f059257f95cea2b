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
use std::sync::Arc;
use std::time::Duration;

use timonel_api::ObjectKey;
use tokio::time::Instant;

use crate::plugins::{self, ClusterEvent, Happened};
use crate::pod_info::PodInfo;

/// Pods that no event has helped for this long are tried again all the same, as upstream.
const LEFTOVER: Duration = Duration::from_secs(300);

/// More than this that happens while a pod is in flight is not told apart: it is tried again.
const MISSED: usize = 64;

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
    missed: Vec<Happened>,
    /// The pod as it was when it was rejected.
    info: Option<Arc<PodInfo>>,
}

/// The queue. It holds keys; the pods themselves are the caller's.
#[derive(Debug)]
pub struct SchedulingQueue {
    config: QueueConfig,
    pods: BTreeMap<ObjectKey, Waiting>,
    active: BTreeSet<(std::cmp::Reverse<i32>, u64, ObjectKey)>,
    backoff: BTreeSet<(Instant, ObjectKey)>,
    unschedulable: BTreeSet<(Instant, ObjectKey)>,
    in_flight: BTreeSet<ObjectKey>,
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
            unschedulable: BTreeSet::new(),
            in_flight: BTreeSet::new(),
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
                info: None,
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
            self.unschedulable.remove(&(waiting.since, key.clone()));
            self.in_flight.remove(key);
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
            self.in_flight.insert(key.clone());
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
            self.in_flight.remove(key);
            self.backoff.insert((waiting.until, key.clone()));
        }
    }

    /// Puts a pod back for which there is no node, with the plugins that said so.
    pub fn unschedulable(
        &mut self,
        key: &ObjectKey,
        info: Option<Arc<PodInfo>>,
        plugins: BTreeSet<&'static str>,
        now: Instant,
    ) {
        let config = self.config.clone();
        let Some(waiting) = self.pods.get_mut(key) else { return };
        waiting.place = Place::Unschedulable;
        waiting.until = now + pause(&config, waiting.attempts);
        waiting.since = now;
        waiting.plugins = plugins;
        waiting.info = info;
        self.in_flight.remove(key);
        self.unschedulable.insert((now, key.clone()));
        let missed = std::mem::take(&mut waiting.missed);
        if missed.len() >= MISSED || missed.iter().any(|happened| helps(waiting, happened)) {
            self.retry(key, now);
        }
    }

    /// Tells the queue what happened, so that pods it may help are tried again, and only those.
    pub fn happened(&mut self, happened: impl Into<Happened>, now: Instant) {
        let happened = happened.into();
        for key in &self.in_flight {
            if let Some(waiting) = self.pods.get_mut(key)
                && waiting.missed.len() < MISSED
            {
                waiting.missed.push(happened.clone());
            }
        }
        let waiting = self.unschedulable.iter();
        let helped: Vec<ObjectKey> = waiting
            .filter(|(_, key)| self.pods.get(key).is_some_and(|waiting| helps(waiting, &happened)))
            .map(|(_, key)| key.clone())
            .collect();
        for key in helped {
            self.retry(&key, now);
        }
    }

    /// When [`Self::pop`] may next have something that it does not have now.
    pub fn next_due(&self) -> Option<Instant> {
        let backoff = self.backoff.first().map(|(at, _)| *at);
        let leftover = self.unschedulable.first().map(|(since, _)| *since + LEFTOVER);
        backoff.into_iter().chain(leftover).min()
    }

    /// Returns how many pods could be popped now.
    pub fn active_len(&self) -> usize {
        self.active.len()
    }

    fn retry(&mut self, key: &ObjectKey, now: Instant) {
        let Some(waiting) = self.pods.get_mut(key) else { return };
        self.unschedulable.remove(&(waiting.since, key.clone()));
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
        let left = self.unschedulable.iter();
        let left: Vec<ObjectKey> = left
            .take_while(|(since, _)| *since + LEFTOVER <= now)
            .map(|(_, key)| key.clone())
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

fn helps(waiting: &Waiting, happened: &Happened) -> bool {
    // A pod that met an empty cluster was rejected by nobody: any node helps.
    if waiting.plugins.is_empty() {
        return happened.event == ClusterEvent::NodeAdded;
    }
    // What extenders wait for is not known: anything may help them, as upstream.
    if waiting.plugins.contains(crate::extender::NAME) {
        return true;
    }
    let concerned = plugins::all()
        .iter()
        .filter(|plugin| waiting.plugins.contains(plugin.name()) && plugin.wakes_on(happened.event));
    let mut concerned = concerned.peekable();
    match &waiting.info {
        None => concerned.peek().is_some(),
        Some(info) => concerned.any(|plugin| plugin.helps(info, &happened.about)),
    }
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
        queue.unschedulable(&key("a"), None, BTreeSet::from(["TaintToleration"]), now);
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

    fn info(spec: serde_json::Value) -> Arc<PodInfo> {
        let pod = serde_json::json!({"metadata": {"name": "a", "namespace": "default", "uid": "u"}, "spec": spec});
        Arc::new(PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap()), None))
    }

    fn node(spec: serde_json::Value, cpu: &str) -> Option<Arc<k8s_openapi::api::core::v1::Node>> {
        let allocatable = serde_json::json!({"cpu": cpu, "pods": "10"});
        let node = serde_json::json!({"metadata": {"name": "n"}, "spec": spec, "status": {"allocatable": allocatable}});
        Some(Arc::new(serde_json::from_value(node).unwrap()))
    }

    /// Tells whether an event wakes a pod that these plugins rejected.
    fn wakes(spec: serde_json::Value, plugin: &'static str, event: ClusterEvent, about: crate::plugins::About) -> bool {
        let mut queue = SchedulingQueue::new(QueueConfig::default());
        let now = Instant::now();
        queue.add(&key("a"), 0, now);
        queue.pop(now);
        queue.unschedulable(&key("a"), Some(info(spec)), BTreeSet::from([plugin]), now);
        queue.happened(Happened { event, about }, now);
        queue.pop(now + Duration::from_secs(1)).is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn only_an_event_that_helps_this_very_pod_wakes_it() {
        use crate::plugins::About;
        use serde_json::json;
        let about = |old, new| About::Node { old, new };
        let wants = || json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "2"}}}]});
        let grown = |cpu: &str| about(node(json!({}), "1"), node(json!({}), cpu));
        let event = ClusterEvent::NodeAllocatable;
        assert!(
            !wakes(wants(), "NodeResourcesFit", event, grown("1500m")),
            "still too small"
        );
        assert!(wakes(wants(), "NodeResourcesFit", event, grown("2")));
        let tainted = |key: &str| node(json!({"taints": [{"key": key, "effect": "NoSchedule"}]}), "1");
        let event = ClusterEvent::NodeTaints;
        let bare = || json!({"containers": []});
        assert!(!wakes(
            bare(),
            "TaintToleration",
            event,
            about(tainted("a"), tainted("b"))
        ));
        assert!(wakes(
            bare(),
            "TaintToleration",
            event,
            about(tainted("a"), node(json!({}), "1"))
        ));
        let cordoned = || node(json!({"unschedulable": true}), "1");
        assert!(!wakes(bare(), "NodeUnschedulable", event, about(None, cordoned())));
        assert!(wakes(
            bare(),
            "NodeUnschedulable",
            event,
            about(cordoned(), node(json!({}), "1"))
        ));
        let port =
            |port: u16| json!({"containers": [{"name": "c", "ports": [{"containerPort": 1, "hostPort": port}]}]});
        let gone = |spec| About::Pod {
            old: Some(info(spec)),
            new: None,
            node: None,
        };
        assert!(!wakes(port(80), "NodePorts", ClusterEvent::PodGone, gone(port(81))));
        assert!(wakes(port(80), "NodePorts", ClusterEvent::PodGone, gone(port(80))));
    }

    #[tokio::test(start_paused = true)]
    async fn what_happened_in_flight_is_not_missed() {
        let mut queue = SchedulingQueue::new(QueueConfig::default());
        let now = Instant::now();
        queue.add(&key("a"), 0, now);
        queue.pop(now);
        queue.happened(ClusterEvent::NodeAdded, now);
        queue.unschedulable(&key("a"), None, BTreeSet::new(), now);
        assert_eq!(queue.pop(now + Duration::from_secs(1)), Some(key("a")));
    }
}
