//! One watcher's stream: initial state, remembered events, live events, bookmarks, the end.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use timonel_api::Revision;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until};
use tokio_util::sync::CancellationToken;

use super::list::{check_options, parse_revision};
use super::options::ListOptions;
use super::{Registry, Target};
use crate::cache::{CacheEvent, Caches, Filter, Object, Subscription};
use crate::error::ApiError;

/// How often a watcher that allows bookmarks gets one.
const BOOKMARKS: Duration = Duration::from_secs(60);
/// How long a watch lasts that names no timeout; up to as much again is added at random so that they do not all end together.
const LASTS: Duration = Duration::from_secs(1800);

/// One line of a watch: `{"type": kind, "object": object}`.
#[derive(Clone, Debug)]
pub struct Frame {
    /// `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK`, `ERROR`
    pub kind: &'static str,
    /// The object's JSON.
    pub object: Bytes,
}

/// A running watch.
#[derive(Debug)]
pub struct Watcher {
    filter: Filter,
    initial: VecDeque<Arc<Object>>,
    initial_end: Option<Revision>,
    backlog: VecDeque<Arc<CacheEvent>>,
    subscription: Option<Subscription>,
    failure: Option<Frame>,
    bookmarks: Option<Interval>,
    bookmark_due: bool,
    deadline: Instant,
    stop: CancellationToken,
    caches: Arc<Caches>,
    api_version: String,
    kind: &'static str,
    /// What the client has seen before this watch, where it named a revision.
    after: Revision,
    /// What it has seen by now.
    seen: Revision,
}

fn error_frame(error: &ApiError) -> Frame {
    Frame {
        kind: "ERROR",
        object: error.to_status().body.to_string().into(),
    }
}

impl Registry {
    /// Starts a watch. It ends at its timeout, at `stop`, or with an `ERROR` frame when it cannot go on.
    pub async fn watch(
        &self,
        target: &Target,
        options: &ListOptions,
        stop: CancellationToken,
    ) -> Result<Watcher, ApiError> {
        check_options(options, true)?;
        let filter = self.filter(target, options)?;
        self.require_readable(target, options)?;
        let lasts = options
            .timeout
            .filter(|timeout| !timeout.is_zero())
            .unwrap_or_else(|| LASTS.mul_f64(1.0 + self.rng.unit()));
        let bookmarks = options.bookmarks.then(|| {
            let mut interval = interval_at(Instant::now() + BOOKMARKS, BOOKMARKS);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        });
        let mut watcher = Watcher {
            initial: VecDeque::new(),
            initial_end: None,
            backlog: VecDeque::new(),
            subscription: None,
            failure: None,
            bookmarks,
            bookmark_due: false,
            deadline: Instant::now() + lasts,
            stop,
            caches: self.caches.clone(),
            api_version: target.info.api_version(),
            kind: target.info.kind,
            after: Revision::ZERO,
            seen: Revision::ZERO,
            filter,
        };
        let version = options.resource_version.as_str();
        let cache = &target.slot.cache;
        let wants_state = options.initial_events.unwrap_or(matches!(version, "" | "0"));
        if wants_state {
            match version {
                "" => self.caches.catch_up().await?,
                "0" => {}
                other => self.wait_not_older(parse_revision(other)?).await?,
            }
            let (snapshot, subscription) = cache.subscribe(self.caches.applied(), watcher.filter.trigger());
            watcher.initial = watcher.filter.select(&snapshot.objects).cloned().collect();
            watcher.seen = snapshot.revision;
            watcher.initial_end =
                (options.initial_events == Some(true) && options.bookmarks).then_some(snapshot.revision);
            watcher.subscription = Some(subscription);
        } else {
            let after = match version {
                "" | "0" => self.caches.applied(),
                other => parse_revision(other)?,
            };
            watcher.after = after;
            watcher.seen = after;
            match cache.subscribe_after(after, watcher.filter.trigger()) {
                Ok((events, subscription)) => {
                    watcher.backlog = events.into();
                    watcher.subscription = Some(subscription);
                }
                Err(old) => {
                    let message = format!("too old resource version: {after} ({})", old.oldest);
                    watcher.failure = Some(error_frame(&ApiError::gone(message)));
                }
            }
        }
        Ok(watcher)
    }
}

impl Watcher {
    /// Returns the next frame; `None` ends the stream.
    ///
    /// *Cancel safety:* a dropped call loses nothing.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.ready() {
                return Some(frame);
            }
            let subscription = self.subscription.as_mut()?;
            let bookmarks = &mut self.bookmarks;
            let tick = async {
                match bookmarks {
                    Some(interval) => interval.tick().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                event = subscription.events.recv() => match event {
                    Some(event) => self.backlog.push_back(event),
                    None => self.lost(),
                },
                _ = tick => self.bookmark_due = true,
                () = sleep_until(self.deadline) => {
                    self.subscription = None;
                    return self.bookmarks.is_some().then(|| self.bookmark(None));
                }
            }
        }
    }

    /// Returns the next frame if there is one without waiting.
    pub fn ready(&mut self) -> Option<Frame> {
        if let Some(object) = self.initial.pop_front() {
            return Some(Frame {
                kind: "ADDED",
                object: object.bytes().clone(),
            });
        }
        if let Some(revision) = self.initial_end.take() {
            return Some(self.bookmark(Some(revision)));
        }
        // Read before the queue is drained: every event up to here is in the queue by now.
        let applied = self.bookmark_due.then(|| self.caches.applied());
        loop {
            while let Some(event) = self.backlog.pop_front() {
                if let Some(frame) = self.frame(&event) {
                    return Some(frame);
                }
            }
            let Some(subscription) = self.subscription.as_mut() else {
                return self.failure.take();
            };
            match subscription.events.try_recv() {
                Ok(event) => self.backlog.push_back(event),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    self.lost();
                    return self.failure.take();
                }
            }
        }
        let applied = applied?;
        self.bookmark_due = false;
        self.seen = self.seen.max(applied);
        Some(self.bookmark(None))
    }

    fn lost(&mut self) {
        self.subscription = None;
        if !self.stop.is_cancelled() {
            self.failure = Some(error_frame(&ApiError::gone(format!(
                "too old resource version: {} (the watcher fell behind)",
                self.seen
            ))));
        }
    }

    fn frame(&mut self, event: &CacheEvent) -> Option<Frame> {
        if event.revision <= self.after {
            return None;
        }
        self.seen = self.seen.max(event.revision);
        let before = event
            .previous
            .as_ref()
            .is_some_and(|previous| self.filter.matches(previous));
        let after = !event.deleted && self.filter.matches(&event.object);
        let (kind, object) = match (before, after) {
            (false, true) => ("ADDED", event.object.bytes().clone()),
            (true, true) => ("MODIFIED", event.object.bytes().clone()),
            (true, false) if event.deleted => ("DELETED", event.object.bytes().clone()),
            (true, false) => ("DELETED", event.left()?),
            (false, false) => return None,
        };
        Some(Frame { kind, object })
    }

    fn bookmark(&self, initial_end: Option<Revision>) -> Frame {
        let revision = initial_end.unwrap_or(self.seen).to_string();
        let mut object = json!({
            "kind": self.kind,
            "apiVersion": self.api_version,
            "metadata": {"resourceVersion": revision, "creationTimestamp": null},
        });
        if initial_end.is_some() {
            object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        Frame {
            kind: "BOOKMARK",
            object: object.to_string().into(),
        }
    }
}
