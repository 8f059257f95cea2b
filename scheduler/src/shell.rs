//! The scheduler's loop: follows the caches, pops pods, decides, and starts the writes. Decisions are made one at a time;
//! writes run beside them.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::Api;
use timonel_api::{ObjectKey, pod};
use timonel_client::events::{EventType, Recorder};
use timonel_client::informer::{self, Change, Reader, Selection};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::bind::{self, Nomination};
use crate::cluster::{Cluster, Owners};
use crate::decide::{Decision, decide};
use crate::plugins::{ClusterEvent, choose_volumes};
use crate::pod_info::{PodInfo, nominated_node};
use crate::preempt::{Preemption, preempt};
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
    config: Config,
    deps: Deps,
    recorder: Recorder,
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
    let recorder = Recorder::start(
        client.clone(),
        Arc::clone(&deps.clock),
        config.scheduler_name.clone(),
        "",
        token.clone(),
    );
    let mut scheduler = Scheduler {
        queue: SchedulingQueue::new(config.queue.clone()),
        volumes: Volumes::start(client, config.bind_timeout, &token),
        waits: JoinSet::new(),
        recorder,
        cluster: Cluster::default(),
        pods: informer::start(Api::all(client.clone()), all(), token.clone()),
        nodes: informer::start(Api::all(client.clone()), all(), token.clone()),
        namespaces: informer::start(Api::all(client.clone()), all(), token.clone()),
        budgets: informer::start(Api::all(client.clone()), all(), token),
        owners,
        writes: JoinSet::new(),
        config,
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
        let mut volumes = self.volumes.changes();
        // The caches are whole: take them in before the first decision.
        self.resync_nodes();
        self.resync_namespaces();
        self.resync_pods();
        loop {
            let now = Instant::now();
            let ready = self.writes.len() < WRITES && self.queue.active_len() > 0;
            let due = if ready { None } else { self.queue.next_due() };
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
                event = volumes.next() => self.queue.happened(event, now),
                _ = services.next() => self.queue.happened(ClusterEvent::Other, now),
                _ = sets.next() => {}
                () = std::future::ready(()), if ready => self.schedule_one(),
                () = tokio::time::sleep_until(due.unwrap_or(now)), if due.is_some() && self.writes.len() < WRITES => {
                    self.schedule_one();
                }
            }
        }
        self.writes.shutdown().await;
        self.waits.shutdown().await;
    }

    fn resync_nodes(&mut self) {
        let nodes = self.nodes.list();
        let known: BTreeSet<String> = nodes.iter().filter_map(|node| node.metadata.name.clone()).collect();
        self.cluster.keep_nodes(&known);
        for node in nodes {
            self.take_node(node);
        }
    }

    fn take_node(&mut self, node: Arc<Node>) {
        for event in self.cluster.set_node(node) {
            self.queue.happened(event, Instant::now());
        }
    }

    fn node_changed(&mut self, change: Change<Node>) {
        match change {
            Change::Applied(node) => self.take_node(node),
            Change::Deleted(node) => self
                .cluster
                .remove_node(node.metadata.name.as_deref().unwrap_or_default()),
            Change::Resynced => self.resync_nodes(),
        }
    }

    fn resync_namespaces(&mut self) {
        for namespace in self.namespaces.list() {
            self.cluster.set_namespace(&namespace);
        }
    }

    fn namespace_changed(&mut self, change: Change<Namespace>) {
        match change {
            Change::Applied(namespace) => {
                self.cluster.set_namespace(&namespace);
                self.queue.happened(ClusterEvent::Other, Instant::now());
            }
            Change::Deleted(namespace) => {
                self.cluster
                    .remove_namespace(namespace.metadata.name.as_deref().unwrap_or_default());
            }
            Change::Resynced => self.resync_namespaces(),
        }
    }

    fn resync_pods(&mut self) {
        self.cluster.clear_placed();
        for pod in self.pods.list() {
            self.take_pod(pod, None);
        }
        self.queue.happened(ClusterEvent::PodGone, Instant::now());
    }

    fn pod_changed(&mut self, (change, old): (Change<Pod>, Option<Arc<Pod>>)) {
        match change {
            Change::Applied(pod) => self.take_pod(pod, old),
            Change::Deleted(pod) => self.drop_pod(&pod),
            Change::Resynced => self.resync_pods(),
        }
    }

    fn drop_pod(&mut self, pod: &Pod) {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        self.queue.remove(&timonel_client::runner::key_of(pod));
        let withdrawn = self.cluster.withdraw(uid);
        if self.cluster.remove_pod(uid) || withdrawn {
            self.queue.happened(ClusterEvent::PodGone, Instant::now());
        }
    }

    /// Follows what the status of a pod without a node says of the room that it waits for.
    fn follow_nomination(&mut self, pod: &Arc<Pod>, old: Option<&Pod>) {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        match nominated_node(pod) {
            Some(node) => self
                .cluster
                .nominate(Arc::new(PodInfo::new(Arc::clone(pod), None)), node),
            // What has never been written may be known here already.
            None if old.and_then(nominated_node).is_some() && self.cluster.withdraw(uid) => {
                self.queue.happened(ClusterEvent::PodGone, Instant::now());
            }
            None => {}
        }
    }

    fn take_pod(&mut self, pod: Arc<Pod>, old: Option<Arc<Pod>>) {
        let now = Instant::now();
        if let Some(old) = &old
            && old.metadata.uid != pod.metadata.uid
        {
            self.drop_pod(old);
        }
        let key = timonel_client::runner::key_of(&*pod);
        let node = pod
            .spec
            .as_ref()
            .and_then(|spec| spec.node_name.clone())
            .filter(|name| !name.is_empty());
        if let Some(node) = node {
            self.queue.remove(&key);
            let same = |old: &Pod| {
                old.spec == pod.spec
                    && old.metadata.labels == pod.metadata.labels
                    && old.metadata.deletion_timestamp == pod.metadata.deletion_timestamp
                    && pod::is_terminal(old) == pod::is_terminal(&pod)
            };
            let uid = pod.metadata.uid.as_deref().unwrap_or_default();
            if self.cluster.is_placed(uid) && old.is_some_and(|old| same(&old)) {
                return;
            }
            let info = Arc::new(PodInfo::new(pod, None));
            let event = self.cluster.set_placed(info, &node);
            self.queue.happened(event, now);
        } else if self.is_ours(&pod) {
            self.follow_nomination(&pod, old.as_deref());
            let matters = old.is_none_or(|old| {
                old.spec != pod.spec || old.metadata.labels != pod.metadata.labels || !self.queue.contains(&key)
            });
            let assumed = self.cluster.is_placed(pod.metadata.uid.as_deref().unwrap_or_default());
            if matters && !assumed {
                let priority = pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0);
                self.queue.add(&key, priority, now);
            }
        } else {
            self.queue.remove(&key);
            self.cluster.withdraw(pod.metadata.uid.as_deref().unwrap_or_default());
        }
    }

    /// Whether a pod without a node is ours to schedule now. Gated pods wait until their gates are gone.
    fn is_ours(&self, pod: &Pod) -> bool {
        let Some(spec) = &pod.spec else { return false };
        let name = spec.scheduler_name.as_deref().filter(|name| !name.is_empty());
        name.unwrap_or("default-scheduler") == self.config.scheduler_name
            && pod::is_active(pod)
            && spec.scheduling_gates.as_deref().unwrap_or_default().is_empty()
    }

    fn schedule_one(&mut self) {
        let now = Instant::now();
        let Some(key) = self.queue.pop(now) else { return };
        let Some(pod) = self.pods.get(&key).filter(|pod| self.is_ours(pod)) else {
            self.queue.remove(&key);
            return;
        };
        let selector = self.owners.selector(&pod);
        let info = Arc::new(PodInfo::new(pod, selector));
        let mut snapshot = self.cluster.snapshot();
        snapshot.storage = self.volumes.snapshot();
        let decision = decide(&info, &snapshot, self.deps.rng.next_u64());
        tracing::debug!(pod = %key, ?decision, "decided");
        match decision.node.clone() {
            Some(node) => self.start_binding(info, node, &snapshot),
            None => self.refuse(&key, &info, &snapshot, &decision),
        }
    }

    fn start_binding(&mut self, info: Arc<PodInfo>, node: String, snapshot: &crate::snapshot::Snapshot) {
        let choice = choose_volumes(&info, snapshot, &node);
        if choice.is_some() && self.waits.len() >= WAITS {
            self.queue.failed(&info.key, Instant::now());
            return;
        }
        self.cluster.assume(Arc::clone(&info), &node);
        let client = self.deps.client.clone();
        if let Some(choice) = choice {
            let volumes = self.volumes.reserve(&info, &node, &choice);
            let (pods, nodes) = (self.pods.clone(), self.nodes.clone());
            self.waits.spawn(async move {
                let result = match volumes.carry_out(pods, nodes).await {
                    Ok(()) => bind::bind(&client, &info.key, &info.uid, &node).await,
                    Err(source) => Err(bind::WriteError::Volumes {
                        pod: info.key.clone(),
                        source: Box::new(source),
                    }),
                };
                Written::Bound { info, node, result }
            });
            return;
        }
        self.writes.spawn(async move {
            let result = bind::bind(&client, &info.key, &info.uid, &node).await;
            Written::Bound { info, node, result }
        });
    }

    fn refuse(
        &mut self,
        key: &ObjectKey,
        info: &Arc<PodInfo>,
        snapshot: &crate::snapshot::Snapshot,
        decision: &Decision,
    ) {
        let rejected_by = decision.rejections().map(|(_, rejection)| rejection.plugin).collect();
        self.queue.unschedulable(key, rejected_by, Instant::now());
        let mut message = decision.message();
        let mut add = |why: &str| {
            if !decision.verdicts.is_empty() {
                message = format!("{message} {why}");
            }
        };
        let (mut victims, mut displaced) = (Vec::new(), Vec::new());
        let nomination = match preempt(info, snapshot, decision, &self.budgets.list()) {
            Preemption::NotEligible(why) => {
                add(why);
                Nomination::Keep
            }
            Preemption::Nothing(why) => {
                add(&why);
                self.cluster.withdraw(&info.uid);
                Nomination::Clear
            }
            Preemption::Evict {
                node,
                victims: leaving,
                displaced: others,
            } => {
                (victims, displaced) = (leaving, others);
                self.cluster.nominate(Arc::clone(info), &node);
                Nomination::Node(node)
            }
        };
        for other in &displaced {
            self.cluster.withdraw(&other.uid);
        }
        self.recorder
            .publish(&*info.pod, EventType::Warning, "FailedScheduling", message.clone());
        if let Nomination::Node(node) = &nomination {
            for victim in &victims {
                let text = format!("Preempted by pod {} on node {node}", info.uid);
                self.recorder
                    .publish(&*victim.pod, EventType::Normal, "Preempted", text);
            }
        }
        let (client, clock, pod) = (
            self.deps.client.clone(),
            Arc::clone(&self.deps.clock),
            Arc::clone(&info.pod),
        );
        let key = key.clone();
        self.writes.spawn(async move {
            for victim in victims.iter().filter(|victim| !victim.is_terminating()) {
                if let Err(error) = bind::evict(&client, &*clock, &victim.pod, &key).await {
                    tracing::warn!(victim = %victim.key, error = timonel_client::chain(&error), "cannot preempt");
                }
            }
            for other in &displaced {
                if let Err(error) = bind::displace(&client, &other.pod).await {
                    tracing::debug!(pod = %other.key, error = timonel_client::chain(&error), "cannot take a nomination back");
                }
            }
            if let Err(error) = bind::report(&client, &*clock, &pod, "Unschedulable", &message, &nomination).await {
                tracing::debug!(pod = %key, error = timonel_client::chain(&error), "cannot report the condition");
            }
            Written::Reported
        });
    }

    /// Tells why a pod could not be bound because of its volumes.
    fn volumes_failed(&mut self, info: &Arc<PodInfo>, error: &crate::volumes::VolumeError) {
        let why = timonel_client::chain(error);
        let message = format!("running PreBind plugin \"VolumeBinding\": {why}");
        self.recorder
            .publish(&*info.pod, EventType::Warning, "FailedScheduling", message.clone());
        let (client, clock, pod) = (
            self.deps.client.clone(),
            Arc::clone(&self.deps.clock),
            Arc::clone(&info.pod),
        );
        self.writes.spawn(async move {
            let keep = Nomination::Keep;
            if let Err(error) = bind::report(&client, &*clock, &pod, "SchedulerError", &message, &keep).await {
                tracing::debug!(error = timonel_client::chain(&error), "cannot report the condition");
            }
            Written::Reported
        });
    }

    fn written(&mut self, written: Written) {
        let Written::Bound { info, node, result } = written else {
            return;
        };
        self.volumes.release(&info.uid);
        match result {
            Ok(()) => {
                self.queue.remove(&info.key);
                let key = &info.key;
                let text = format!("Successfully assigned {}/{} to {node}", key.namespace, key.name);
                self.recorder.publish(&*info.pod, EventType::Normal, "Scheduled", text);
            }
            Err(error) => {
                tracing::warn!(error = timonel_client::chain(&error), "binding failed");
                let there = self
                    .pods
                    .get(&info.key)
                    .filter(|pod| pod.metadata.uid == info.pod.metadata.uid);
                if let bind::WriteError::Volumes { source, .. } = &error
                    && there.is_some()
                {
                    self.volumes_failed(&info, source);
                }
                self.cluster.forget(&info.uid);
                if let Some(node) = info.nominated() {
                    self.cluster.nominate(Arc::clone(&info), node);
                }
                let now = Instant::now();
                self.queue.failed(&info.key, now);
                self.queue.happened(ClusterEvent::PodGone, now);
                // It may be gone or bound by now; the watch has said so, or will.
                if self
                    .pods
                    .get(&info.key)
                    .is_none_or(|pod| !self.is_ours(&pod) || pod::is_scheduled(&pod))
                {
                    self.queue.remove(&info.key);
                    self.cluster.withdraw(&info.uid);
                }
            }
        }
    }
}
