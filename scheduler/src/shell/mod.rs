//! The scheduler's loop: follows the caches, pops pods, decides, and starts the writes. Decisions are made one at a time;
//! writes run beside them.

mod follow;
mod outcome;
mod schedule;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::Api;
use timonel_api::pod;
use timonel_client::events::{EventType, Recorder};
use timonel_client::informer::{self, Reader, Selection};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::bind;
use crate::cluster::{Cluster, Owners};
use crate::desk::Desk;
use crate::extender::Extender;
use crate::plugins::ClusterEvent;
use crate::pod_info::{PodInfo, scheduler_name};
use crate::profile::Profile;
use crate::queue::SchedulingQueue;
use crate::volumes::Volumes;
use crate::{Config, Deps};

/// Writes that may be under way at once.
const WRITES: usize = 256;
/// Pods that may wait for their volumes at once. They hold no place among the writes: a volume may take minutes.
const WAITS: usize = 4096;

/// How a write ended.
enum Written {
    Bound {
        info: Arc<PodInfo>,
        node: String,
        result: Result<(), bind::WriteError>,
    },
    Reported,
}

struct Scheduler {
    deps: Deps,
    /// By scheduler name, each with who speaks for it in events.
    profiles: BTreeMap<String, (Arc<Profile>, Recorder)>,
    /// Where the next decision begins to look.
    start: usize,
    desk: Desk,
    extenders: Arc<[Extender]>,
    cluster: Cluster,
    queue: SchedulingQueue,
    pods: Reader<Pod>,
    nodes: Reader<Node>,
    namespaces: Reader<Namespace>,
    budgets: Reader<PodDisruptionBudget>,
    owners: Owners,
    writes: JoinSet<Written>,
    volumes: Volumes,
    waits: JoinSet<Written>,
}

/// Runs until `shutdown`.
pub(crate) async fn run(config: Config, deps: Deps, shutdown: CancellationToken) {
    let client = &deps.client;
    let token = shutdown.clone();
    let all = Selection::all;
    let owners = Owners {
        replica_sets: informer::start(Api::all(client.clone()), all(), token.clone()),
        stateful_sets: informer::start(Api::all(client.clone()), all(), token.clone()),
        replication_controllers: informer::start(Api::all(client.clone()), all(), token.clone()),
        services: informer::start(Api::all(client.clone()), all(), token.clone()),
    };
    let recorder = |profile: &Arc<Profile>| {
        let (clock, name) = (Arc::clone(&deps.clock), profile.scheduler_name.clone());
        let recorder = Recorder::start(client.clone(), clock, name.clone(), "", token.clone());
        (name, (Arc::clone(profile), recorder))
    };
    let mut scheduler = Scheduler {
        queue: SchedulingQueue::new(config.queue.clone()),
        profiles: config.profiles.iter().map(recorder).collect(),
        start: 0,
        desk: config.desk.clone(),
        extenders: config.extenders.into(),
        volumes: Volumes::start(client, &token),
        waits: JoinSet::new(),
        cluster: Cluster::default(),
        pods: informer::start(Api::all(client.clone()), all(), token.clone()),
        nodes: informer::start(Api::all(client.clone()), all(), token.clone()),
        namespaces: informer::start(Api::all(client.clone()), all(), token.clone()),
        budgets: informer::start(Api::all(client.clone()), all(), token),
        owners,
        writes: JoinSet::new(),
        deps,
    };
    let synced = scheduler.wait_synced();
    tokio::select! {
        biased;
        () = shutdown.cancelled() => return,
        () = synced => {}
    }
    scheduler.work(shutdown).await;
}

impl Scheduler {
    fn wait_synced(&self) -> impl Future<Output = ()> + 'static {
        let (pods, nodes, namespaces) = (self.pods.clone(), self.nodes.clone(), self.namespaces.clone());
        let (budgets, owners) = (self.budgets.clone(), self.owners.clone());
        let volumes = self.volumes.wait_synced();
        async move {
            volumes.await;
            nodes.wait_synced().await;
            pods.wait_synced().await;
            namespaces.wait_synced().await;
            budgets.wait_synced().await;
            owners.replica_sets.wait_synced().await;
            owners.stateful_sets.wait_synced().await;
            owners.replication_controllers.wait_synced().await;
            owners.services.wait_synced().await;
        }
    }

    async fn work(&mut self, shutdown: CancellationToken) {
        let mut nodes = self.nodes.changes();
        let mut namespaces = self.namespaces.changes();
        let mut pods = self.pods.changes();
        let mut services = self.owners.services.changes();
        let mut sets = self.owners.replica_sets.changes();
        let mut questions = self.desk.open();
        let mut volumes = self.volumes.changes();
        // The caches are whole: take them in before the first decision.
        self.resync_nodes();
        self.resync_namespaces();
        self.resync_pods();
        loop {
            let now = Instant::now();
            let ready = self.writes.len() < WRITES && self.queue.active_len() > 0;
            let due = if ready { None } else { self.queue.next_due() };
            let mut schedule = false;
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(written) = self.writes.join_next() => {
                    if let Ok(written) = written {
                        self.written(written);
                    }
                }
                Some(waited) = self.waits.join_next() => {
                    if let Ok(waited) = waited {
                        self.written(waited);
                    }
                }
                change = nodes.next() => self.node_changed(change),
                change = namespaces.next() => self.namespace_changed(change),
                change = pods.next_with_old() => self.pod_changed(change),
                Some(question) = questions.recv() => self.answer(question),
                event = volumes.next() => self.queue.happened(event, now),
                _ = services.next() => self.queue.happened(ClusterEvent::Other, now),
                _ = sets.next() => {}
                () = std::future::ready(()), if ready => schedule = true,
                () = tokio::time::sleep_until(due.unwrap_or(now)), if due.is_some() && self.writes.len() < WRITES => {
                    schedule = true;
                }
            }
            if schedule {
                // It waits for nobody but extenders; these are not waited for when the scheduler is to end.
                tokio::select! {
                    biased;
                    () = self.schedule_one() => {}
                    () = shutdown.cancelled() => break,
                }
            }
        }
        self.writes.shutdown().await;
        self.waits.shutdown().await;
    }

    /// How a pod is scheduled, if it is ours.
    fn profile(&self, pod: &Pod) -> Option<&(Arc<Profile>, Recorder)> {
        self.profiles.get(scheduler_name(pod))
    }

    /// Speaks of a pod in events.
    fn publish(&self, pod: &Pod, of: &Pod, kind: EventType, reason: &'static str, text: String) {
        if let Some((_, recorder)) = self.profile(pod) {
            recorder.publish(of, kind, reason, text);
        }
    }

    /// Whether a pod without a node is ours to schedule now. Gated pods wait until their gates are gone; the API server says so
    /// in their status, as upstream's.
    fn is_ours(&self, pod: &Pod) -> bool {
        let Some((profile, _)) = self.profile(pod) else {
            return false;
        };
        let gates = pod.spec.as_ref().and_then(|spec| spec.scheduling_gates.as_deref());
        pod::is_active(pod) && !(profile.gates && gates.is_some_and(|gates| !gates.is_empty()))
    }
}
