//! The cache of one resource: its objects, the events that led here, and who watches.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use bytes::Bytes;
use imbl::OrdMap;
use timonel_api::{ObjectKey, Revision};
use tokio::sync::mpsc;

use super::object::Object;

/// A persistent map: a clone is a snapshot.
pub type Objects = OrdMap<ObjectKey, Arc<Object>>;

/// How many events a resource remembers at most, and at least before the byte budget counts.
const RING_EVENTS: usize = 8192;
const RING_EVENTS_MIN: usize = 256;
/// How much object data the remembered events may hold.
const RING_BYTES: usize = 4 << 20;
/// How many events a watcher may be behind before it is ended.
const WATCHER_BACKLOG: usize = 2048;

/// One change of one object.
#[derive(Debug)]
pub struct CacheEvent {
    /// When.
    pub revision: Revision,
    /// The new state; for a deletion the last state, under the deletion's revision.
    pub object: Arc<Object>,
    /// The state before.
    pub previous: Option<Arc<Object>>,
    /// Whether it was deleted.
    pub deleted: bool,
    left: OnceLock<Bytes>,
}

impl CacheEvent {
    /// What a watcher is told whose selector matched before and does not now: the old object under the new revision.
    pub fn left(&self) -> Option<Bytes> {
        let previous = self.previous.as_ref()?;
        Some(
            self.left
                .get_or_init(|| previous.at_revision(self.revision).bytes().clone())
                .clone(),
        )
    }
}

/// The resource as it stood at one revision.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// When.
    pub revision: Revision,
    /// What.
    pub objects: Objects,
}

/// The answer to a request for an old revision that is not remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooOld {
    /// The oldest revision that is.
    pub oldest: Revision,
}

/// A watcher only wants objects whose field has this value, before or after the change.
pub type Trigger = (&'static str, String);

/// Receives events from the moment of its registration, in order. It closes early when it falls behind.
#[derive(Debug)]
pub struct Subscription {
    /// The events.
    pub events: mpsc::Receiver<Arc<CacheEvent>>,
    _alive: Arc<()>,
}

#[derive(Debug)]
struct Watcher {
    sender: mpsc::Sender<Arc<CacheEvent>>,
    alive: Weak<()>,
}

#[derive(Debug, Default)]
struct State {
    objects: Objects,
    last: Revision,
    ring: VecDeque<Arc<CacheEvent>>,
    ring_bytes: usize,
    /// Everything after this revision is in the ring.
    ring_start: Revision,
    watchers: Vec<Watcher>,
    triggered: BTreeMap<Trigger, Vec<Watcher>>,
    trigger_fields: BTreeMap<&'static str, usize>,
}

/// The cache of one resource.
#[derive(Debug, Default)]
pub struct ResourceCache {
    state: Mutex<State>,
    closed: AtomicBool,
}

impl ResourceCache {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fills the empty cache.
    pub(super) fn fill(&self, revision: Revision, objects: Objects) {
        let mut state = self.lock();
        state.objects = objects;
        state.last = revision;
        state.ring_start = revision;
    }

    /// Applies the changes of one revision together and tells the watchers. Returns whether some watcher has little room left.
    pub(super) fn apply(&self, revision: Revision, changes: Vec<(ObjectKey, Option<Arc<Object>>)>) -> bool {
        let mut state = self.lock();
        let mut tight = false;
        for (key, new) in changes {
            let previous = match &new {
                Some(object) => state.objects.insert(key, object.clone()),
                None => state.objects.remove(&key),
            };
            let deleted = new.is_none();
            let object = match (new, &previous) {
                (Some(object), _) => object,
                (None, Some(previous)) => Arc::new(previous.at_revision(revision)),
                (None, None) => continue,
            };
            let event = Arc::new(CacheEvent {
                revision,
                object,
                previous,
                deleted,
                left: OnceLock::new(),
            });
            state.last = revision;
            state.remember(event.clone());
            tight |= state.dispatch(&event);
        }
        tight
    }

    /// Returns one object.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<Object>> {
        self.lock().objects.get(key).cloned()
    }

    /// Returns the newest state. `applied` is a revision that the feed had finished before this call.
    pub fn snapshot(&self, applied: Revision) -> Snapshot {
        let state = self.lock();
        Snapshot {
            revision: applied.max(state.last),
            objects: state.objects.clone(),
        }
    }

    /// Returns the state at a past revision, as far as the remembered events reach back.
    pub fn snapshot_at(&self, revision: Revision) -> Result<Snapshot, TooOld> {
        let state = self.lock();
        if revision < state.ring_start {
            return Err(TooOld {
                oldest: state.ring_start,
            });
        }
        let mut objects = state.objects.clone();
        for event in state.ring.iter().rev().take_while(|event| event.revision > revision) {
            match &event.previous {
                Some(previous) => objects.insert(event.object.key.clone(), previous.clone()),
                None => objects.remove(&event.object.key),
            };
        }
        Ok(Snapshot { revision, objects })
    }

    /// Starts watching from the newest state, which is returned.
    pub fn subscribe(&self, applied: Revision, trigger: Option<Trigger>) -> (Snapshot, Subscription) {
        let mut state = self.lock();
        let snapshot = Snapshot {
            revision: applied.max(state.last),
            objects: state.objects.clone(),
        };
        (snapshot, state.register(trigger, self.closed.load(Ordering::Acquire)))
    }

    /// Starts watching from a past revision; the remembered events since then are returned.
    pub fn subscribe_after(
        &self,
        after: Revision,
        trigger: Option<Trigger>,
    ) -> Result<(Vec<Arc<CacheEvent>>, Subscription), TooOld> {
        let mut state = self.lock();
        if after < state.ring_start {
            return Err(TooOld {
                oldest: state.ring_start,
            });
        }
        let from = state.ring.partition_point(|event| event.revision <= after);
        let events = state.ring.range(from..).cloned().collect();
        Ok((events, state.register(trigger, self.closed.load(Ordering::Acquire))))
    }

    /// Ends all watches, now and from now on.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let mut state = self.lock();
        state.watchers.clear();
        state.triggered.clear();
        state.trigger_fields.clear();
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.lock().objects.len()
    }

    /// Whether there are no objects.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl State {
    fn remember(&mut self, event: Arc<CacheEvent>) {
        self.ring_bytes += event.object.weight();
        self.ring.push_back(event);
        while self.ring.len() > RING_EVENTS || (self.ring_bytes > RING_BYTES && self.ring.len() > RING_EVENTS_MIN) {
            if let Some(old) = self.ring.pop_front() {
                self.ring_bytes -= old.object.weight();
                self.ring_start = old.revision;
            }
        }
    }

    fn dispatch(&mut self, event: &Arc<CacheEvent>) -> bool {
        let mut tight = false;
        let mut send = |watcher: &Watcher| {
            tight |= watcher.sender.capacity() < WATCHER_BACKLOG / 4;
            watcher.alive.strong_count() > 0 && watcher.sender.try_send(event.clone()).is_ok()
        };
        self.watchers.retain(&mut send);
        if self.triggered.is_empty() {
            return tight;
        }
        let mut done: Vec<Trigger> = Vec::new();
        for object in [Some(&event.object), event.previous.as_ref()].into_iter().flatten() {
            for (name, value) in &object.fields {
                if !self.trigger_fields.contains_key(name) {
                    continue;
                }
                let trigger = (*name, value.clone());
                if done.contains(&trigger) {
                    continue;
                }
                if let Some(watchers) = self.triggered.get_mut(&trigger) {
                    watchers.retain(&mut send);
                    if watchers.is_empty() {
                        self.triggered.remove(&trigger);
                        if let Some(count) = self.trigger_fields.get_mut(name) {
                            *count -= 1;
                            if *count == 0 {
                                self.trigger_fields.remove(name);
                            }
                        }
                    }
                }
                done.push(trigger);
            }
        }
        tight
    }

    fn register(&mut self, trigger: Option<Trigger>, closed: bool) -> Subscription {
        let (sender, events) = mpsc::channel(WATCHER_BACKLOG);
        let alive = Arc::new(());
        let watcher = Watcher {
            sender,
            alive: Arc::downgrade(&alive),
        };
        if !closed {
            match trigger {
                None => {
                    // Watchers that went away are noticed at the next event; where none comes, here.
                    self.watchers.retain(|watcher| watcher.alive.strong_count() > 0);
                    self.watchers.push(watcher);
                }
                Some(trigger) => {
                    let name = trigger.0;
                    let watchers = self.triggered.entry(trigger).or_default();
                    if watchers.is_empty() {
                        *self.trigger_fields.entry(name).or_default() += 1;
                    }
                    watchers.retain(|watcher| watcher.alive.strong_count() > 0);
                    watchers.push(watcher);
                }
            }
        }
        Subscription { events, _alive: alive }
    }
}
