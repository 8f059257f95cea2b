//! A cluster that can be crashed, cut and healed piece by piece.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use timonel_api::Revision;
use timonel_apiserver::identity::UserInfo;
use timonel_apiserver::{ApiServer, Config, Deps};
use timonel_client::accounts::NAMESPACE;
use timonel_client::{Clock, Rng, SeededRng, TokioClock};
use timonel_controller_manager as controllers;
use timonel_kubelet as kubelet;
use timonel_kubelet::simulated::SimulatedRuntime;
use timonel_scheduler as scheduler;
use timonel_store::{CommitClock, MemoryStore, Range, Store as _, Unacknowledged};
use tokio_util::sync::CancellationToken;

use super::link::{Faults, Link, Log, Way};
use super::stats::Kubelets;
use super::tap::Tap;

/// Everything that can crash by itself, besides the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Component {
    /// The scheduler.
    Scheduler,
    /// The controller manager.
    Controllers,
    /// The kubelet of a node, by the node's number from 1.
    Kubelet(u8),
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheduler => f.write_str("scheduler"),
            Self::Controllers => f.write_str("controllers"),
            Self::Kubelet(number) => write!(f, "kubelet-{number}"),
        }
    }
}

impl Component {
    fn agent(self) -> &'static str {
        match self {
            Self::Scheduler => "kube-scheduler",
            Self::Controllers => "kube-controller-manager",
            Self::Kubelet(_) => "kubelet",
        }
    }

    fn user(self) -> UserInfo {
        match self {
            Self::Scheduler => UserInfo::new("system:kube-scheduler", &[]),
            Self::Controllers => UserInfo::new("system:kube-controller-manager", &[]),
            Self::Kubelet(number) => UserInfo::new(&format!("system:node:node-{number}"), &["system:nodes"]),
        }
    }
}

impl Component {
    /// Its way to a server. The controllers' accounts are the server's bootstrap policy's to know.
    fn way(self, server: &ApiServer) -> Way {
        let (accounts, agent) = (server.clone(), self.agent());
        Way::with_accounts(server.client(self.user(), agent), move |account| {
            accounts.client(UserInfo::service_account(NAMESPACE, account), agent)
        })
    }
}

struct Running {
    link: Link,
    stop: CancellationToken,
}

/// The number of nodes.
pub const NODES: u8 = 3;

/// A simulated cluster.
pub struct World {
    seed: u64,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    store: MemoryStore,
    server: Option<ApiServer>,
    running: BTreeMap<Component, Running>,
    faults: BTreeMap<Component, Faults>,
    runtimes: BTreeMap<u8, SimulatedRuntime>,
    user: Link,
    log: Arc<Log>,
    taps: BTreeMap<Component, Arc<Tap>>,
    kubelets: Kubelets,
    told: Vec<String>,
}

/// One write, as the store keeps it.
#[derive(Clone, Debug)]
pub struct Write {
    /// Its revision.
    pub revision: Revision,
    /// What was written.
    pub key: String,
    /// Its new value; none where it was deleted.
    pub value: Option<String>,
    /// The component that asked for the deletion of this key's object, where one did: first, or last where it is gone.
    pub deleter: Option<&'static str>,
}

impl World {
    /// Starts a healthy cluster. Must run inside a paused current-thread runtime.
    pub async fn start(seed: u64) -> Self {
        Self::start_at(seed, "2026-01-01T00:00:00Z".parse().expect("a date")).await
    }

    /// Starts a healthy cluster at a time of one's choice.
    pub async fn start_at(seed: u64, epoch: Timestamp) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::starting_at(epoch));
        let rng: Arc<dyn Rng> = Arc::new(SeededRng::new(seed));
        let commit_clock = Arc::clone(&clock);
        let store = MemoryStore::with_clock(CommitClock::from_fn(move || commit_clock.now().into()));
        let runtimes = (1..=NODES)
            .map(|number| {
                (
                    number,
                    SimulatedRuntime::new(Arc::clone(&clock), format!("10.244.{number}")),
                )
            })
            .collect();
        let user = Link::new(None, Self::fork(&rng), "user", Arc::default());
        let mut world = Self {
            seed,
            clock,
            rng,
            store,
            server: None,
            running: BTreeMap::new(),
            faults: BTreeMap::new(),
            runtimes,
            user,
            log: Arc::default(),
            taps: BTreeMap::new(),
            kubelets: Kubelets::default(),
            told: Vec::new(),
        };
        world.start_server().await;
        for component in Self::components() {
            world.start_component(component);
        }
        world
    }

    /// All components but the API server.
    pub fn components() -> Vec<Component> {
        let kubelets = (1..=NODES).map(Component::Kubelet);
        [Component::Scheduler, Component::Controllers]
            .into_iter()
            .chain(kubelets)
            .collect()
    }

    fn fork(rng: &Arc<dyn Rng>) -> Arc<dyn Rng> {
        Arc::new(SeededRng::new(rng.next_u64()))
    }

    /// The seed's own randomness, for what happens to the world.
    pub fn rng(&self) -> Arc<dyn Rng> {
        Arc::clone(&self.rng)
    }

    /// A user's client: an administrator's, over a link without faults that fails only while the server is down.
    pub fn user(&self) -> kube::Client {
        self.user.client()
    }

    /// The containers of a node.
    pub fn runtime(&self, node: u8) -> &SimulatedRuntime {
        &self.runtimes[&node]
    }

    /// Notes what happened, for the reader of a failure.
    pub fn tell(&mut self, what: impl fmt::Display) {
        let line = format!("{} {what}", self.clock.now());
        self.told.push(line);
    }

    /// What happened, a line each, and how to make it happen again.
    pub fn story(&self) -> String {
        let again = format!(
            "again: SIM_SEED={} cargo nextest run -p timonel-tests --test simulation",
            self.seed
        );
        format!("{}\n{again}", self.told.join("\n"))
    }

    async fn start_server(&mut self) {
        let deps = Deps {
            store: Arc::new(self.store.clone()),
            clock: Arc::clone(&self.clock),
            rng: Self::fork(&self.rng),
        };
        let config = Config {
            node_stats: Some(Arc::new(self.kubelets.clone())),
            ..Config::default()
        };
        let server = ApiServer::start(config, deps)
            .await
            .expect("a server starts over any store");
        let user = UserInfo::new("kubernetes-admin", &["system:masters"]);
        self.user.connect(Some(Way::of(server.client(user, "simulation"))));
        for (component, running) in &self.running {
            running.link.connect(Some(component.way(&server)));
        }
        self.server = Some(server);
    }

    /// Whether the API server runs.
    pub fn is_server_up(&self) -> bool {
        self.server.is_some()
    }

    /// Kills the API server. What it had not acknowledged may be lost or kept.
    pub fn crash_server(&mut self) {
        let Some(server) = self.server.take() else { return };
        self.user.connect(None);
        for running in self.running.values() {
            running.link.connect(None);
        }
        server.stop();
        let kept = if self.rng.next_u64().is_multiple_of(2) {
            Unacknowledged::Kept
        } else {
            Unacknowledged::Lost
        };
        self.store = self.store.reopen(kept);
        self.tell(format!("the API server crashes; unacknowledged writes: {kept:?}"));
    }

    /// A planted bug: the API server crashes and what it acknowledged since `revision` is not on its disk.
    pub async fn crash_server_and_lose_acknowledged_writes(&mut self, keep: impl Fn(&str) -> bool) {
        self.crash_server();
        let page = self.store.range(Range::default()).await.expect("readable");
        let ops = page
            .entries
            .iter()
            .filter(|entry| !keep(&entry.key))
            .map(|entry| timonel_store::Op::Delete(entry.key.to_string()))
            .collect();
        self.store
            .commit(timonel_store::Txn {
                guards: Vec::new(),
                ops,
            })
            .await
            .expect("writable");
    }

    /// Starts the API server again, over what its disk holds.
    pub async fn restart_server(&mut self) {
        if self.server.is_none() {
            self.start_server().await;
            self.tell("the API server is back");
        }
    }

    /// Starts a component that is not running.
    pub fn start_component(&mut self, component: Component) {
        if self.running.contains_key(&component) {
            return;
        }
        let link = Link::new(
            self.server.as_ref().map(|server| component.way(server)),
            Self::fork(&self.rng),
            component.agent(),
            Arc::clone(&self.log),
        );
        link.set_tap(self.taps.get(&component).cloned());
        link.set_faults(self.faults.get(&component).copied().unwrap_or_default());
        let (stop, client) = (CancellationToken::new(), link.client());
        let (clock, rng, token) = (Arc::clone(&self.clock), Self::fork(&self.rng), stop.clone());
        match component {
            Component::Scheduler => {
                let deps = scheduler::Deps { client, clock, rng };
                tokio::spawn(async move { drop(scheduler::run(scheduler::Config::default(), deps, token).await) });
            }
            Component::Controllers => {
                let link = link.clone();
                let accounts = Arc::new(move |account: &str| link.client_of(account));
                let deps = controllers::Deps {
                    client,
                    accounts,
                    clock,
                    rng,
                };
                let config = controllers::Config {
                    timings: controllers::Timings::lab(),
                    cluster_cidr: "10.244.0.0/16".parse().ok(),
                    root_ca_pem: Some("simulated".to_owned()),
                    ..controllers::Config::default()
                };
                tokio::spawn(async move { drop(controllers::run(config, deps, token).await) });
            }
            Component::Kubelet(number) => {
                let runtime = Arc::new(self.runtimes[&number].clone());
                let deps = kubelet::Deps {
                    client,
                    clock,
                    rng,
                    runtime,
                };
                let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, number));
                let mut config = kubelet::Config::hollow(format!("node-{number}"), address);
                config.timings = kubelet::Timings::lab();
                let kubelets = self.kubelets.clone();
                tokio::spawn(async move {
                    let crashed = token.clone();
                    if let Ok(kubelet) = kubelet::Kubelet::new(config, deps, token).await
                        && !crashed.is_cancelled()
                    {
                        kubelets.serve(&format!("node-{number}"), kubelet.shared());
                        kubelet.run().await;
                    }
                });
            }
        }
        self.running.insert(component, Running { link, stop });
    }

    /// Kills a component: nothing that it was about to do happens any more.
    pub fn crash_component(&mut self, component: Component) {
        if let Some(running) = self.running.remove(&component) {
            running.link.sever();
            running.stop.cancel();
            if let Component::Kubelet(number) = component {
                self.kubelets.end(&format!("node-{number}"));
            }
            self.tell(format!("{component} crashes"));
        }
    }

    /// Cuts a node's power: its kubelet and its containers die.
    pub fn power_cut(&mut self, node: u8) {
        self.crash_component(Component::Kubelet(node));
        self.runtimes[&node].power_cut();
        self.tell(format!("node-{node} loses power"));
    }

    /// Cuts a component off from the API server, or joins it again.
    pub fn set_cut(&mut self, component: Component, cut: bool) {
        if let Some(running) = self.running.get(&component) {
            running.link.set_cut(cut);
            self.tell(format!(
                "{component} is {}",
                if cut { "cut off" } else { "joined again" }
            ));
        }
    }

    /// Makes a component's link misbehave, also after it restarts.
    pub fn set_faults(&mut self, component: Component, faults: Faults) {
        self.faults.insert(component, faults);
        if let Some(running) = self.running.get(&component) {
            running.link.set_faults(faults);
        }
        self.tell(format!("{component}: {faults:?}"));
    }

    /// Lets a tap see and disturb what a component sends and is told, also after the component restarts.
    pub fn set_tap(&mut self, component: Component, tap: Arc<Tap>) {
        if let Some(running) = self.running.get(&component) {
            running.link.set_tap(Some(Arc::clone(&tap)));
        }
        self.taps.insert(component, tap);
    }

    /// Everything that the store holds, but for Secrets, which are sealed.
    pub async fn objects(&self) -> Vec<(String, serde_json::Value)> {
        let page = self.store.range(Range::default()).await.expect("readable");
        let parse = |entry: &timonel_store::Entry| {
            let object = serde_json::from_slice(&entry.value).ok()?;
            Some((entry.key.to_string(), object))
        };
        page.entries.iter().filter_map(parse).collect()
    }

    /// The time in this world.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The newest revision.
    pub fn revision(&self) -> Revision {
        self.store.current_revision()
    }

    /// Ends every fault and starts whatever is down.
    pub async fn heal(&mut self) {
        self.restart_server().await;
        for component in Self::components() {
            self.set_faults(component, Faults::default());
            self.set_cut(component, false);
            self.start_component(component);
        }
        self.tell("everything is healed");
    }

    /// Lets time pass.
    pub async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// What happened, every write in its order, and what the store holds in the end, byte for byte but for the server's own
    /// keys, which are random by design.
    pub async fn history(&self) -> String {
        let random = ["cluster-info", "/secrets/", "extension-apiserver-authentication"];
        let stable = |key: &str| !random.iter().any(|part| key.contains(part));
        let written = self.writes().await.into_iter().filter(|write| stable(&write.key));
        let lines = written.map(|write| {
            let value = write.value.as_deref().unwrap_or("deleted");
            format!("{} {} {value}", write.revision, write.key)
        });
        let lines: Vec<String> = self.told.iter().cloned().chain(lines).collect();
        lines.join("\n")
    }

    /// Every write in its order.
    pub async fn writes(&self) -> Vec<Write> {
        self.writes_after(self.store.oldest_revision()).await
    }

    /// Every write after a revision, in its order.
    pub async fn writes_after(&self, mut seen: Revision) -> Vec<Write> {
        let last = self.store.current_revision();
        let mut writes = Vec::new();
        if seen >= last {
            return writes;
        }
        let mut items = self.store.watch("/", seen).await.expect("the whole history is there");
        while seen < last {
            let item = items.next().await.expect("goes on").expect("readable");
            seen = item.revision;
            writes.extend(item.events.iter().map(|event| {
                Write {
                    revision: event.revision,
                    key: event.key.to_string(),
                    value: event
                        .entry
                        .as_ref()
                        .map(|entry| String::from_utf8_lossy(&entry.value).into_owned()),
                    deleter: self.log.deleter(&event.key, event.entry.is_none()),
                }
            }));
        }
        writes
    }

    /// How many pods were made and ReplicaSets written without the writer being told so.
    pub fn unanswered(&self) -> usize {
        self.log.unanswered()
    }

    /// What authorization refused to any component, in the server's words.
    pub fn refused(&self) -> Vec<String> {
        self.log.refused()
    }
}
