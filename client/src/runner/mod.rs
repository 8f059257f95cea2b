//! The one generic controller runner.
//!
//! ```text
//! sources --changes--> keys --> queue --> observe -> plan -> apply --> writes
//!                                 ^                                      |
//!                                 +-- done, when the caches caught up <--+
//! ```
//!
//! *Read your own writes.* After an apply, the runner keeps the key back until every cache that the apply wrote to has
//! reached what it wrote. So a planner never sees a world older than its own last decision, and needs no expectations.

mod source;
mod writes;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use timonel_api::ObjectKey;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use source::{Source, key_of};
pub use writes::Writes;

use crate::Clock;
use crate::queue::{Queue, QueueConfig};

/// How long a key waits for its caches at most. A cache that is this far behind hangs; planning on it again is then
/// better than never planning again. Upstream's expectations expire after 5 minutes.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(60);

/// What a planner decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan<A, B> {
    /// What to do, in order.
    pub actions: Vec<A>,
    /// When to look again even if nothing changes.
    pub requeue: Option<Duration>,
    /// Why: one typed reason per choice.
    pub because: Vec<B>,
}

impl<A, B> Default for Plan<A, B> {
    fn default() -> Self {
        Self {
            actions: Vec::new(),
            requeue: None,
            because: Vec::new(),
        }
    }
}

impl<A, B> Plan<A, B> {
    /// Makes the plan that does nothing.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Tells whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    /// Adds an action and the reason for it.
    pub fn act(&mut self, action: A, because: B) {
        self.actions.push(action);
        self.because.push(because);
    }

    /// Asks to look again after `delay`, or sooner if that was asked before.
    pub fn look_again(&mut self, delay: Duration) {
        self.requeue = Some(self.requeue.map_or(delay, |earlier| earlier.min(delay)));
    }
}

/// Why observing or applying failed, and whether trying again can help.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// Try again after a pause that grows.
    #[error("{act}")]
    Backoff {
        /// What was tried, with its subject.
        act: String,
        /// Why it failed.
        #[source]
        source: kube::Error,
    },
    /// Wait until something changes.
    #[error("{act}")]
    Terminal {
        /// What was tried, with its subject.
        act: String,
        /// Why it failed.
        #[source]
        source: kube::Error,
    },
    /// The plan went as far as it safely could; look at the world again.
    #[error("{0}")]
    Again(String),
}

impl ReconcileError {
    /// Wraps a client error: what a retry cannot mend (invalid, method not allowed, malformed) is terminal.
    pub fn from_client(act: impl Into<String>, source: kube::Error) -> Self {
        let act = act.into();
        match &source {
            kube::Error::Api(status) if matches!(status.code, 400 | 405 | 413 | 415 | 422) => {
                Self::Terminal { act, source }
            }
            _ => Self::Backoff { act, source },
        }
    }
}

/// Adds what was tried to a client's result.
pub trait Acting<T> {
    /// Turns the error into a [`ReconcileError`] that names the act.
    ///
    /// # Errors
    /// The original error, named.
    fn acting(self, act: impl FnOnce() -> String) -> Result<T, ReconcileError>;
}

impl<T> Acting<T> for kube::Result<T> {
    fn acting(self, act: impl FnOnce() -> String) -> Result<T, ReconcileError> {
        self.map_err(|source| ReconcileError::from_client(act(), source))
    }
}

/// A controller: where its keys come from, and observe, plan, apply.
#[async_trait]
pub trait Controller: Send + Sync + 'static {
    /// An owned snapshot of all that a decision about one key rests on.
    type Observed: Send + Sync;
    /// One step of a plan.
    type Action: Send + Sync + fmt::Debug;
    /// A typed reason.
    type Because: Send + Sync + fmt::Debug;

    /// The name that logs and errors use, upstream's where there is one.
    fn name(&self) -> &'static str;

    /// The caches to follow, and which keys a change in them concerns. Called once.
    fn sources(&self) -> Vec<Source>;

    /// Every key there is: looked at after a gap in the changes.
    fn keys(&self) -> Vec<ObjectKey>;

    /// Takes the snapshot; `None` when there is nothing (left) to decide about.
    async fn observe(&self, key: &ObjectKey) -> Result<Option<Self::Observed>, ReconcileError>;

    /// Decides. Pure.
    fn plan(&self, observed: &Self::Observed, now: Timestamp) -> Plan<Self::Action, Self::Because>;

    /// Carries out the plan and records what it wrote, also when it fails half way.
    async fn apply(
        &self,
        key: &ObjectKey,
        observed: &Self::Observed,
        plan: &Plan<Self::Action, Self::Because>,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError>;
}

/// How a runner works.
#[derive(Clone, Debug)]
pub struct RunnerConfig {
    /// How many keys are worked on at once. Upstream's controllers use 5 to 20.
    pub workers: usize,
    /// Bounds and back-off of the queue.
    pub queue: QueueConfig,
}

impl Default for RunnerConfig {
    fn default() -> Self {
        Self {
            workers: 5,
            queue: QueueConfig::default(),
        }
    }
}

/// Runs a controller until `shutdown`: waits for its caches, then works on keys as they change.
pub async fn run<C: Controller>(
    controller: Arc<C>,
    clock: Arc<dyn Clock>,
    config: RunnerConfig,
    shutdown: CancellationToken,
) {
    let queue = Arc::new(Queue::new(config.queue.clone()));
    let mut tasks = JoinSet::new();
    let mut sources = controller.sources();
    let synced = async {
        for source in &mut sources {
            source.synced().await;
        }
    };
    tokio::select! {
        biased;
        () = shutdown.cancelled() => return,
        () = synced => {}
    }
    for source in sources {
        let all = Arc::clone(&controller);
        tasks.spawn(source.feed(Arc::clone(&queue), move || all.keys()));
    }
    for key in controller.keys() {
        queue.add(key);
    }
    for _ in 0..config.workers.max(1) {
        tasks.spawn(work(Arc::clone(&controller), Arc::clone(&clock), Arc::clone(&queue)));
    }
    tokio::select! {
        biased;
        () = shutdown.cancelled() => {}
        Some(_) = tasks.join_next() => {
            tracing::error!(controller = controller.name(), "a controller task ended unexpectedly");
        }
    }
    tasks.shutdown().await;
}

async fn work<C: Controller>(controller: Arc<C>, clock: Arc<dyn Clock>, queue: Arc<Queue<ObjectKey>>) {
    // Keys that wait for their caches. They hold no worker.
    let mut waiting = JoinSet::new();
    loop {
        let key = tokio::select! {
            biased;
            Some(_) = waiting.join_next() => continue,
            key = queue.next() => key,
        };
        if queue.take_overflow() {
            for key in controller.keys() {
                queue.add(key);
            }
        }
        let mut writes = Writes::default();
        match turn(&*controller, &*clock, &key, &mut writes).await {
            Ok(requeue) => {
                queue.forget(&key);
                if let Some(delay) = requeue {
                    queue.add_after(key.clone(), delay);
                }
            }
            Err(error) => retry(controller.name(), &queue, &key, &error),
        }
        if writes.is_empty() {
            queue.done(&key);
        } else {
            let (queue, name) = (Arc::clone(&queue), controller.name());
            waiting.spawn(async move {
                if tokio::time::timeout(CATCH_UP_LIMIT, writes.caught_up()).await.is_err() {
                    tracing::warn!(controller = name, %key, "caches have not caught up with our own writes");
                }
                queue.done(&key);
            });
        }
    }
}

/// Tells whether an error says that the namespace is going away: then nothing can be created, and nobody needs to hear of it.
pub fn is_namespace_terminating(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let causes = status
        .details
        .as_ref()
        .map(|details| details.causes.as_slice())
        .unwrap_or_default();
    status.code == 403 && causes.iter().any(|cause| cause.reason == "NamespaceTerminating")
}

fn retry(name: &str, queue: &Queue<ObjectKey>, key: &ObjectKey, error: &ReconcileError) {
    match error {
        ReconcileError::Terminal { .. } => {
            queue.forget(key);
            tracing::warn!(controller = name, %key, error = crate::chain(error), "giving up until something changes");
        }
        ReconcileError::Again(why) => {
            queue.add_rate_limited(key.clone());
            tracing::debug!(controller = name, %key, why, "looking again");
        }
        ReconcileError::Backoff { source, .. } if is_namespace_terminating(source) => {
            queue.forget(key);
            tracing::debug!(controller = name, %key, "the namespace is going away");
        }
        ReconcileError::Backoff { source, .. } => {
            let pause = queue.add_rate_limited(key.clone());
            let error = crate::chain(error);
            // A conflict is another writer's success, not a fault: the next look sees what it wrote.
            if matches!(source, kube::Error::Api(status) if status.code == 409) {
                tracing::debug!(controller = name, %key, error, ?pause, "conflict, trying again");
            } else {
                tracing::warn!(controller = name, %key, error, ?pause, "failed, trying again");
            }
        }
    }
}

/// Observes, plans and applies once.
async fn turn<C: Controller>(
    controller: &C,
    clock: &dyn Clock,
    key: &ObjectKey,
    writes: &mut Writes,
) -> Result<Option<Duration>, ReconcileError> {
    let Some(observed) = controller.observe(key).await? else {
        return Ok(None);
    };
    let plan = controller.plan(&observed, clock.now());
    if !plan.is_empty() {
        tracing::debug!(controller = controller.name(), %key, actions = ?plan.actions, because = ?plan.because, "plan");
    }
    controller.apply(key, &observed, &plan, writes).await?;
    Ok(plan.requeue)
}

#[cfg(test)]
mod tests;
