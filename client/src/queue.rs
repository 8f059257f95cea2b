//! A work queue of keys: each key at most once, delayed and rate-limited adds, bounded.
//!
//! A key that is added while it is being worked on is handed out again after [`Queue::done`], never to two workers at
//! once. The shape is client-go's workqueue; the names are ours.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// How a queue bounds itself and backs off.
#[derive(Clone, Debug)]
pub struct QueueConfig {
    /// The first pause after a failure. Upstream's controllers use 5 ms.
    pub base: Duration,
    /// The longest pause between attempts. Upstream's controllers use 1000 s; a lab is more patient with a minute.
    pub cap: Duration,
    /// How many keys may wait. A queue that is full forgets what is added and says so in [`Queue::take_overflow`].
    pub capacity: usize,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            base: Duration::from_millis(5),
            cap: Duration::from_secs(1000),
            capacity: 1 << 20,
        }
    }
}

struct State<T> {
    /// Ready to be handed out, in order.
    ready: VecDeque<T>,
    /// In `ready`, or to be put there when its work is done.
    dirty: BTreeSet<T>,
    working: BTreeSet<T>,
    /// Waiting for a time; `seq` keeps the order of equal times.
    delayed: BTreeMap<(Instant, u64), T>,
    due: BTreeMap<T, (Instant, u64)>,
    failures: BTreeMap<T, u32>,
    seq: u64,
    overflowed: bool,
}

/// The queue. Share it in an `Arc`.
pub struct Queue<T> {
    state: Mutex<State<T>>,
    wake: Notify,
    config: QueueConfig,
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl<T: Clone + Ord> Queue<T> {
    /// Makes an empty queue.
    pub fn new(config: QueueConfig) -> Self {
        Self {
            state: Mutex::new(State {
                ready: VecDeque::new(),
                dirty: BTreeSet::new(),
                working: BTreeSet::new(),
                delayed: BTreeMap::new(),
                due: BTreeMap::new(),
                failures: BTreeMap::new(),
                seq: 0,
                overflowed: false,
            }),
            wake: Notify::new(),
            config,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a key now.
    pub fn add(&self, key: T) {
        let mut state = self.lock();
        if state.dirty.contains(&key) {
            return;
        }
        if state.dirty.len() >= self.config.capacity {
            state.overflowed = true;
            return;
        }
        state.dirty.insert(key.clone());
        if !state.working.contains(&key) {
            state.ready.push_back(key);
            drop(state);
            self.wake.notify_one();
        }
    }

    /// Adds a key after a time. Of several pending times for one key the earliest counts.
    pub fn add_after(&self, key: T, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        let mut state = self.lock();
        let at = Instant::now() + delay;
        if let Some(&pending) = state.due.get(&key) {
            if pending.0 <= at {
                return;
            }
            state.delayed.remove(&pending);
        } else if state.due.len() >= self.config.capacity {
            state.overflowed = true;
            return;
        }
        state.seq += 1;
        let slot = (at, state.seq);
        state.delayed.insert(slot, key.clone());
        state.due.insert(key, slot);
        drop(state);
        self.wake.notify_one();
    }

    /// Adds a key after a pause that doubles with each failure; returns the pause.
    pub fn add_rate_limited(&self, key: T) -> Duration {
        let failures = {
            let mut state = self.lock();
            let count = state.failures.entry(key.clone()).or_insert(0);
            *count = count.saturating_add(1);
            *count - 1
        };
        let pause = self
            .config
            .base
            .saturating_mul(2u32.saturating_pow(failures))
            .min(self.config.cap);
        self.add_after(key, pause);
        pause
    }

    /// Forgets a key's failures.
    pub fn forget(&self, key: &T) {
        self.lock().failures.remove(key);
    }

    /// Returns how often in a row a key has failed.
    pub fn failures(&self, key: &T) -> u32 {
        self.lock().failures.get(key).copied().unwrap_or(0)
    }

    /// Returns how many keys are ready.
    pub fn len(&self) -> usize {
        self.lock().ready.len()
    }

    /// Tells whether no key is ready.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tells, once, whether a key was dropped because the queue was full. The owner then adds all that it knows.
    pub fn take_overflow(&self) -> bool {
        std::mem::take(&mut self.lock().overflowed)
    }

    /// Waits for the next key and marks it as being worked on. Each key must be given back with [`Queue::done`].
    ///
    /// *Cancel safety*: safe.
    pub async fn next(&self) -> T {
        loop {
            let due = {
                let mut state = self.lock();
                let now = Instant::now();
                while let Some((&slot, _)) = state.delayed.first_key_value() {
                    if slot.0 > now {
                        break;
                    }
                    if let Some(key) = state.delayed.remove(&slot) {
                        state.due.remove(&key);
                        if state.dirty.insert(key.clone()) && !state.working.contains(&key) {
                            state.ready.push_back(key);
                        }
                    }
                }
                if let Some(key) = state.ready.pop_front() {
                    state.dirty.remove(&key);
                    state.working.insert(key.clone());
                    let more = !state.ready.is_empty();
                    drop(state);
                    if more {
                        self.wake.notify_one();
                    }
                    return key;
                }
                state.delayed.first_key_value().map(|(slot, _)| slot.0)
            };
            match due {
                Some(at) => {
                    tokio::select! {
                        biased;
                        () = self.wake.notified() => {}
                        () = tokio::time::sleep_until(at) => {}
                    }
                }
                None => self.wake.notified().await,
            }
        }
    }

    /// Gives a key back.
    pub fn done(&self, key: &T) {
        let mut state = self.lock();
        state.working.remove(key);
        if state.dirty.contains(key) {
            state.ready.push_back(key.clone());
            drop(state);
            self.wake.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> Queue<&'static str> {
        Queue::new(QueueConfig::default())
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_waits_once_however_often_it_is_added() {
        let queue = queue();
        queue.add("a");
        queue.add("a");
        assert_eq!((queue.next().await, queue.len()), ("a", 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_added_while_worked_on_comes_again_after_done() {
        let queue = queue();
        queue.add("a");
        let key = queue.next().await;
        queue.add("a");
        assert!(queue.is_empty());
        queue.done(&key);
        assert_eq!(queue.next().await, "a");
    }

    #[tokio::test(start_paused = true)]
    async fn failures_back_off_and_are_forgotten() {
        let queue = queue();
        let pauses: Vec<_> = (0..3).map(|_| queue.add_rate_limited("a").as_millis()).collect();
        assert_eq!(pauses, [5, 10, 20]);
        queue.forget(&"a");
        assert_eq!(queue.failures(&"a"), 0);
        let began = Instant::now();
        assert_eq!(queue.next().await, "a");
        assert_eq!(began.elapsed().as_millis(), 5, "the earliest of several times counts");
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_says_that_it_dropped_a_key() {
        let queue = Queue::new(QueueConfig {
            capacity: 1,
            ..QueueConfig::default()
        });
        queue.add("a");
        queue.add("b");
        assert!(queue.take_overflow());
        assert!(!queue.take_overflow());
        assert_eq!(queue.len(), 1);
    }
}
