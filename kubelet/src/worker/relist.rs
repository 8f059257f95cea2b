//! Lists the runtime regularly, and promptly when somebody has changed something.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use timonel_client::Clock;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::runtime::{ContainerRecord, Runtime, RuntimeError, SandboxRecord};

/// Everything of one pod in the runtime, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodRuntime {
    /// Sandboxes.
    pub sandboxes: Vec<SandboxRecord>,
    /// Containers.
    pub containers: Vec<ContainerRecord>,
}

/// What the runtime held at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Requests up to this number had been made before the listing began.
    answered: u64,
    /// By pod uid.
    pub pods: BTreeMap<String, Arc<PodRuntime>>,
    /// When the listing began; `None` before the first.
    pub at: Option<Timestamp>,
    /// Why the last attempt failed, if it did.
    pub error: Option<String>,
}

/// Asks for listings and hands their results out.
#[derive(Clone, Debug)]
pub struct Relister(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    asked: AtomicU64,
    wake: Notify,
    snapshot: watch::Sender<Arc<Snapshot>>,
}

impl Default for Relister {
    fn default() -> Self {
        Self::new()
    }
}

impl Relister {
    /// Makes a relister; [`Relister::run`] does the work.
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            asked: AtomicU64::new(0),
            wake: Notify::new(),
            snapshot: watch::Sender::new(Arc::default()),
        }))
    }

    /// Follows the snapshots.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.0.snapshot.subscribe()
    }

    /// The latest snapshot.
    pub fn latest(&self) -> Arc<Snapshot> {
        Arc::clone(&self.0.snapshot.borrow())
    }

    /// Waits for a listing that began after this call.
    pub async fn fresh(&self) {
        let ticket = self.0.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut snapshots = self.subscribe();
        self.0.wake.notify_one();
        let _ = snapshots.wait_for(|snapshot| snapshot.answered >= ticket).await;
    }

    /// Lists every `period`, and whenever asked, until `shutdown`.
    pub async fn run(
        &self,
        runtime: Arc<dyn Runtime>,
        clock: Arc<dyn Clock>,
        period: std::time::Duration,
        shutdown: CancellationToken,
    ) {
        let mut ticker = tokio::time::interval(period);
        ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = self.0.wake.notified() => {}
                _ = ticker.tick() => {}
            }
            let answered = self.0.asked.load(Ordering::SeqCst);
            let at = clock.now();
            match list(runtime.as_ref()).await {
                Ok(pods) => {
                    let before = self.latest();
                    let pods = reuse(&before.pods, pods);
                    self.0.snapshot.send_replace(Arc::new(Snapshot {
                        answered,
                        pods,
                        at: Some(at),
                        error: None,
                    }));
                }
                Err(error) => {
                    tracing::warn!(%error, "the runtime cannot be listed");
                    self.0.snapshot.send_modify(|snapshot| {
                        let mut next = Snapshot::clone(snapshot);
                        next.error = Some(error.to_string());
                        *snapshot = Arc::new(next);
                    });
                    // Those who wait for a fresh listing go on waiting, and ask again through the ticker.
                }
            }
        }
    }
}

/// Keeps the old `Arc` of pods in which nothing changed, so that comparing is cheap.
fn reuse(
    before: &BTreeMap<String, Arc<PodRuntime>>,
    now: BTreeMap<String, PodRuntime>,
) -> BTreeMap<String, Arc<PodRuntime>> {
    now.into_iter()
        .map(|(uid, pod)| match before.get(&uid) {
            Some(known) if **known == pod => (uid, Arc::clone(known)),
            _ => (uid, Arc::new(pod)),
        })
        .collect()
}

async fn list(runtime: &dyn Runtime) -> Result<BTreeMap<String, PodRuntime>, RuntimeError> {
    let mut pods: BTreeMap<String, PodRuntime> = BTreeMap::new();
    for sandbox in runtime.list_sandboxes().await? {
        pods.entry(sandbox.uid.clone()).or_default().sandboxes.push(sandbox);
    }
    for container in runtime.list_containers().await? {
        pods.entry(container.pod_uid.clone())
            .or_default()
            .containers
            .push(container);
    }
    // What carries no uid is not ours.
    pods.remove("");
    for pod in pods.values_mut() {
        pod.sandboxes
            .sort_by(|a, b| (b.attempt, b.created_at, &b.id).cmp(&(a.attempt, a.created_at, &a.id)));
        pod.containers
            .sort_by(|a, b| (b.attempt, b.created_at, &b.id).cmp(&(a.attempt, a.created_at, &a.id)));
    }
    Ok(pods)
}
