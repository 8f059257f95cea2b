//! The scheduler's loop: follows the caches, pops pods, decides, and starts the writes. Decisions are made one at a time;
//! writes run beside them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::Api;
use timonel_api::{ObjectKey, pod};
use timonel_client::events::{EventType, Recorder};
use timonel_client::informer::{self, Change, Reader, Selection};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::account::Account;
use crate::bind::{self, Nomination};
use crate::cluster::{Cluster, Owners};
use crate::decide::{Decision, Turn, decide_for};
use crate::desk::{self, Desk, Question};
use crate::plugins::{About, Choice, ClusterEvent, Happened, choose_volumes};
use crate::pod_info::{PodInfo, nominated_node, scheduler_name};
use crate::preempt::{Preemption, preempt};
use crate::profile::Profile;
use crate::queue::SchedulingQueue;
use crate::snapshot::Snapshot;
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
        let old = self.cluster.set_node(Arc::clone(&node));
        for event in changed_in(old.as_deref(), &node) {
            let about = About::Node {
                old: old.clone(),
                new: Some(Arc::clone(&node)),
            };
            self.queue.happened(Happened { event, about }, Instant::now());
        }
    }

    fn drop_node(&mut self, node: Arc<Node>) {
        self.cluster
            .remove_node(node.metadata.name.as_deref().unwrap_or_default());
        let about = About::Node {
            old: Some(node),
            new: None,
        };
        let event = ClusterEvent::NodeRemoved;
        self.queue.happened(Happened { event, about }, Instant::now());
    }

    fn node_changed(&mut self, change: Change<Node>) {
        match change {
            Change::Applied(node) => self.take_node(node),
            Change::Deleted(node) => self.drop_node(node),
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
        let key = timonel_client::runner::key_of(pod);
        self.queue.remove(&key);
        self.desk.forget(&key);
        if self.cluster.withdraw(uid) {
            self.queue.happened(ClusterEvent::PodGone, Instant::now());
        }
        self.take_off(uid);
    }

    /// Takes a pod off its node, and tells those whom that may help.
    fn take_off(&mut self, uid: &str) {
        let Some((old, node)) = self.cluster.placed(uid) else {
            return;
        };
        let (old, node) = (Arc::clone(old), node.to_owned());
        self.cluster.remove_pod(uid);
        let about = About::Pod {
            old: Some(old),
            new: None,
            node: self.cluster.node(&node),
        };
        let event = ClusterEvent::PodGone;
        self.queue.happened(Happened { event, about }, Instant::now());
    }

    /// Counts a pod where it is said to be, and tells those whom that may help.
    fn put_on(&mut self, info: Arc<PodInfo>, node: &str) {
        if pod::is_terminal(&info.pod) {
            self.cluster.withdraw(&info.uid);
            return self.take_off(&info.uid);
        }
        let old = self.cluster.placed(&info.uid).map(|(old, _)| Arc::clone(old));
        self.cluster.set_placed(Arc::clone(&info), node);
        // A pod that was made smaller leaves room as one that is gone.
        let shrunk = |old: &Arc<PodInfo>| old.requests.each().any(|(name, was)| info.requests.get(name) < was);
        let shrank = old.as_ref().is_some_and(shrunk);
        let about = About::Pod {
            old,
            new: Some(info),
            node: self.cluster.node(node),
        };
        let event = ClusterEvent::PodPlaced;
        let now = Instant::now();
        if shrank {
            let event = ClusterEvent::PodGone;
            let about = about.clone();
            self.queue.happened(Happened { event, about }, now);
        }
        self.queue.happened(Happened { event, about }, now);
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
            self.put_on(Arc::new(PodInfo::new(pod, None)), &node);
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

    fn schedule_one(&mut self) {
        let now = Instant::now();
        let Some(key) = self.queue.pop(now) else { return };
        let pod = self.pods.get(&key).filter(|pod| self.is_ours(pod));
        let Some((pod, profile)) = pod.and_then(|pod| {
            let profile = Arc::clone(&self.profile(&pod)?.0);
            Some((pod, profile))
        }) else {
            self.queue.remove(&key);
            return;
        };
        let selector = self.owners.selector(&pod);
        let info = Arc::new(PodInfo::new(pod, selector));
        let snapshot = self.snapshot();
        let turn = Turn {
            start: self.start,
            tie: self.deps.rng.next_u64(),
            thorough: false,
        };
        let decision = decide_for(&profile, &info, &snapshot, turn);
        self.start = decision.next_start;
        match decision.node.clone() {
            Some(node) => {
                tracing::debug!(pod = %key, node, "decided");
                self.keep_account(&info, &decision, desk::NODES_PLACED, |_| {});
                let volumes = profile.volume_patience.and_then(|patience| {
                    let choice = choose_volumes(&info, &snapshot, &node)?;
                    Some((choice, patience))
                });
                // Nobody looks at that world any more: it is changed where it stands, not copied.
                drop((snapshot, decision));
                self.start_binding(info, node, volumes);
            }
            None => self.refuse(&profile, &key, &info, &snapshot, &decision),
        }
    }

    /// The world as a decision sees it now.
    fn snapshot(&mut self) -> Snapshot {
        let mut snapshot = self.cluster.snapshot();
        snapshot.storage = self.volumes.snapshot();
        snapshot
    }

    /// Keeps account of a decision for those who ask later.
    fn keep_account(&self, info: &PodInfo, decision: &Decision, nodes: usize, add: impl FnOnce(&mut Account)) {
        let mut account = Account::of(info, decision, nodes);
        account.time = Some(self.deps.clock.now().to_string());
        add(&mut account);
        self.desk.keep(account);
    }

    /// Answers what would become of pods: beside the loop, on the world as it is now.
    fn answer(&mut self, question: Question) {
        let pods: Vec<Arc<PodInfo>> = question
            .pods
            .into_iter()
            .map(|pod| {
                let selector = self.owners.selector(&pod);
                Arc::new(PodInfo::new(Arc::new(pod), selector))
            })
            .collect();
        let profiles = self.profiles.iter();
        let profiles = profiles
            .map(|(name, (profile, _))| (name.clone(), Arc::clone(profile)))
            .collect();
        let (snapshot, budgets) = (self.snapshot(), self.budgets.list());
        self.writes.spawn_blocking(move || {
            // Who asked may have gone.
            let _ = question
                .answer
                .send(crate::plan::plan(&profiles, &snapshot, &budgets, &pods));
            Written::Reported
        });
    }

    fn start_binding(&mut self, info: Arc<PodInfo>, node: String, volumes: Option<(Choice, Duration)>) {
        if volumes.is_some() && self.waits.len() >= WAITS {
            self.queue.failed(&info.key, Instant::now());
            return;
        }
        self.cluster.assume(Arc::clone(&info), &node);
        let client = self.deps.client.clone();
        if let Some((choice, patience)) = volumes {
            let volumes = self.volumes.reserve(&info, &node, &choice, patience);
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
        profile: &Profile,
        key: &ObjectKey,
        info: &Arc<PodInfo>,
        snapshot: &crate::snapshot::Snapshot,
        decision: &Decision,
    ) {
        self.queue
            .unschedulable(key, Some(Arc::clone(info)), decision.rejected_by(), Instant::now());
        let mut message = decision.message();
        let mut add = |why: &str| {
            if decision.nodes > 0 && !why.is_empty() {
                message = format!("{message} {why}");
            }
        };
        let (mut victims, mut displaced) = (Vec::new(), Vec::new());
        let nomination = match preempt(
            profile,
            info,
            snapshot,
            decision,
            &self.budgets.list(),
            self.deps.rng.next_u64(),
        ) {
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
        self.keep_account(info, decision, desk::NODES_REFUSED, |account| {
            account.message = Some(message.clone());
            account.victims = victims
                .iter()
                .map(|victim: &Arc<PodInfo>| victim.key.to_string())
                .collect();
            if let Nomination::Node(node) = &nomination {
                account.nominated_node = Some(node.clone());
            }
        });
        for other in &displaced {
            self.cluster.withdraw(&other.uid);
        }
        let warning = EventType::Warning;
        self.publish(&info.pod, &info.pod, warning, "FailedScheduling", message.clone());
        if let Nomination::Node(node) = &nomination {
            for victim in &victims {
                let text = format!("Preempted by pod {} on node {node}", info.uid);
                self.publish(&info.pod, &victim.pod, EventType::Normal, "Preempted", text);
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
                if let Err(error) = bind::evict(&client, &*clock, &victim.pod, &pod).await {
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
        self.publish(
            &info.pod,
            &info.pod,
            EventType::Warning,
            "FailedScheduling",
            message.clone(),
        );
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
                self.publish(&info.pod, &info.pod, EventType::Normal, "Scheduled", text);
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

/// What it may mean for waiting pods that a node is now as it is.
fn changed_in(old: Option<&Node>, node: &Node) -> Vec<ClusterEvent> {
    let Some(old) = old else {
        return vec![ClusterEvent::NodeAdded];
    };
    let mut events = Vec::new();
    let allocatable = |node: &Node| node.status.as_ref().and_then(|status| status.allocatable.clone());
    if allocatable(old) != allocatable(node) {
        events.push(ClusterEvent::NodeAllocatable);
    }
    if old.metadata.labels != node.metadata.labels {
        events.push(ClusterEvent::NodeLabels);
    }
    let taints = |node: &Node| node.spec.as_ref().map(|spec| (spec.taints.clone(), spec.unschedulable));
    if taints(old) != taints(node) {
        events.push(ClusterEvent::NodeTaints);
    }
    events
}
