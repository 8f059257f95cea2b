//! A [`Runtime`] without containers: deterministic, scripted, for simulations and hollow nodes.
//!
//! It outlives the kubelet that uses it (as containerd does) and dies by [`SimulatedRuntime::power_cut`]. Time is the clock
//! port's and tokio's, ids are counted, so that a seed replays byte for byte.

mod meter;
mod script;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use timonel_client::Clock;

pub use script::{Behaviour, Matcher};

use crate::runtime::{
    AttachRequest, Condition, ContainerConfig, ContainerRecord, ContainerState, ContainerStats, ExecRequest,
    ExecResult, GroupUsage, ImageAuth, ImageRecord, NetworkProbe, ProbeOutcome, Runtime, RuntimeError, RuntimeVersion,
    SandboxConfig, SandboxRecord, SandboxState, labels,
};

/// Containers that exist only as records.
#[derive(Clone, Debug)]
pub struct SimulatedRuntime {
    clock: Arc<dyn Clock>,
    prefix: String,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    sandboxes: BTreeMap<String, SandboxRecord>,
    containers: BTreeMap<String, ContainerRecord>,
    images: BTreeSet<String>,
    meters: meter::Meters,
    script: Vec<(Matcher, Behaviour)>,
    down: bool,
    network_down: bool,
}

impl SimulatedRuntime {
    /// Starts an empty node. `prefix` is the first three numbers of its pods' addresses, such as `10.244.1`; it also makes ids unique between nodes.
    pub fn new(clock: Arc<dyn Clock>, prefix: impl Into<String>) -> Self {
        Self {
            clock,
            prefix: prefix.into(),
            state: Arc::default(),
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Like `with`, but fails while the runtime is down, and first lets time do what it has done.
    fn alive<T>(&self, act: impl FnOnce(&mut State) -> Result<T, RuntimeError>) -> Result<T, RuntimeError> {
        let now = self.clock.now();
        self.with(|state| {
            if state.down {
                return Err(RuntimeError::Unavailable("simulated runtime is down".to_owned()));
            }
            state.let_time_pass(now);
            act(state)
        })
    }

    /// Scripts whatever matches; later scripts come before earlier ones.
    pub fn script(&self, matcher: Matcher, behaviour: Behaviour) {
        let now = self.clock.now();
        self.with(|state| {
            // What was used until now was used under the old script.
            state.measure(now);
            state.script.insert(0, (matcher, behaviour));
        });
    }

    /// Ends the running container of that name in every pod that matches.
    pub fn kill(&self, matcher: &Matcher, exit_code: i32) -> usize {
        let now = self.clock.now();
        self.with(|state| {
            let mut killed = 0;
            for container in state.containers.values_mut() {
                if matcher.matches(container) && matches!(container.state, ContainerState::Running { .. }) {
                    exit(container, now, exit_code);
                    killed += 1;
                }
            }
            killed
        })
    }

    /// Cuts the power: everything that ran has ended with 255, no sandbox is ready; what was on the disk stays.
    pub fn power_cut(&self) {
        let now = self.clock.now();
        self.with(|state| {
            for container in state.containers.values_mut() {
                if !matches!(container.state, ContainerState::Exited { .. }) {
                    exit(container, now, 255);
                }
            }
            for sandbox in state.sandboxes.values_mut() {
                sandbox.state = SandboxState::NotReady;
                sandbox.ips.clear();
            }
        });
    }

    /// Takes the runtime down (its containers run on) or up again.
    pub fn set_down(&self, down: bool) {
        self.with(|state| state.down = down);
    }

    /// Takes the pod network down or up again, as the runtime's status tells it.
    pub fn set_network_down(&self, down: bool) {
        self.with(|state| state.network_down = down);
    }

    fn behaviour_of(&self, container: &ContainerRecord) -> Behaviour {
        self.with(|state| state.behaviour(container))
    }

    fn record(&self, id: &str) -> Result<ContainerRecord, RuntimeError> {
        self.alive(|state| state.container(id).cloned())
    }
}

fn exit(container: &mut ContainerRecord, at: jiff::Timestamp, exit_code: i32) {
    let started_at = match container.state {
        ContainerState::Running { started_at } => Some(started_at),
        _ => None,
    };
    let reason = match exit_code {
        0 => "Completed",
        255 => "Unknown",
        _ => "Error",
    };
    container.state = ContainerState::Exited {
        started_at,
        finished_at: at,
        exit_code,
        reason: reason.to_owned(),
        message: String::new(),
    };
}

impl State {
    /// Counts what the running containers have used since the last look.
    fn measure(&mut self, now: jiff::Timestamp) {
        let running: Vec<_> = self
            .containers
            .values()
            .filter_map(|container| {
                let ContainerState::Running { started_at } = container.state else {
                    return None;
                };
                Some((container.id.clone(), started_at, self.behaviour(container).milli_cpu))
            })
            .collect();
        self.meters.advance(running, now);
    }

    fn let_time_pass(&mut self, now: jiff::Timestamp) {
        self.measure(now);
        let ended: Vec<(String, jiff::Timestamp, i32)> = self
            .containers
            .values()
            .filter_map(|container| {
                let ContainerState::Running { started_at } = container.state else {
                    return None;
                };
                let (after, code) = self.behaviour(container).exits?;
                let at = started_at + after;
                (at <= now).then(|| (container.id.clone(), at, code))
            })
            .collect();
        for (id, at, code) in ended {
            if let Some(container) = self.containers.get_mut(&id) {
                exit(container, at, code);
            }
        }
    }

    fn behaviour(&self, container: &ContainerRecord) -> Behaviour {
        let found = self.script.iter().find(|(matcher, _)| matcher.matches(container));
        found.map(|(_, behaviour)| behaviour.clone()).unwrap_or_default()
    }

    fn container(&mut self, id: &str) -> Result<&mut ContainerRecord, RuntimeError> {
        let missing = || RuntimeError::NotFound(format!("container \"{id}\" not found"));
        self.containers.get_mut(id).ok_or_else(missing)
    }

    fn free_ip(&self, prefix: &str) -> String {
        let taken: BTreeSet<&String> = self.sandboxes.values().flat_map(|sandbox| &sandbox.ips).collect();
        (2..=254)
            .map(|last| format!("{prefix}.{last}"))
            .find(|ip| !taken.contains(ip))
            .unwrap_or_default()
    }
}

#[async_trait]
impl Runtime for SimulatedRuntime {
    async fn version(&self) -> Result<RuntimeVersion, RuntimeError> {
        self.alive(|_| {
            Ok(RuntimeVersion {
                name: "simulated".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            })
        })
    }

    async fn status(&self) -> Result<Vec<Condition>, RuntimeError> {
        self.alive(|state| {
            let up = !state.network_down;
            Ok(vec![
                Condition {
                    kind: "RuntimeReady".to_owned(),
                    status: true,
                    reason: String::new(),
                    message: String::new(),
                },
                Condition {
                    kind: "NetworkReady".to_owned(),
                    status: up,
                    reason: if up { "" } else { "NetworkPluginNotReady" }.to_owned(),
                    message: if up { "" } else { "the simulated network is down" }.to_owned(),
                },
            ])
        })
    }

    async fn run_sandbox(&self, config: &SandboxConfig) -> Result<String, RuntimeError> {
        let now = self.clock.now();
        let prefix = self.prefix.clone();
        self.alive(|state| {
            if state.network_down {
                return Err(RuntimeError::Failed("failed to setup network for sandbox".to_owned()));
            }
            state.next += 1;
            let id = format!("{}-s{:06}", prefix.replace('.', "-"), state.next);
            let host = config.network == crate::runtime::NamespaceMode::Node;
            let ips = if host { Vec::new() } else { vec![state.free_ip(&prefix)] };
            state.sandboxes.insert(
                id.clone(),
                SandboxRecord {
                    id: id.clone(),
                    name: config.name.clone(),
                    namespace: config.namespace.clone(),
                    uid: config.uid.clone(),
                    attempt: config.attempt,
                    state: SandboxState::Ready,
                    created_at: now,
                    ips,
                    labels: config.labels.clone(),
                    annotations: config.annotations.clone(),
                },
            );
            Ok(id)
        })
    }

    async fn stop_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        let now = self.clock.now();
        self.alive(|state| {
            for container in state.containers.values_mut().filter(|c| c.sandbox_id == id) {
                if matches!(container.state, ContainerState::Running { .. }) {
                    exit(container, now, 137);
                }
            }
            if let Some(sandbox) = state.sandboxes.get_mut(id) {
                sandbox.state = SandboxState::NotReady;
                sandbox.ips.clear();
            }
            Ok(())
        })
    }

    async fn remove_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        self.stop_sandbox(id).await?;
        self.alive(|state| {
            state.containers.retain(|_, container| container.sandbox_id != id);
            state.sandboxes.remove(id);
            Ok(())
        })
    }

    async fn list_sandboxes(&self) -> Result<Vec<SandboxRecord>, RuntimeError> {
        self.alive(|state| Ok(state.sandboxes.values().cloned().collect()))
    }

    async fn create_container(
        &self,
        sandbox_id: &str,
        config: &ContainerConfig,
        sandbox: &SandboxConfig,
    ) -> Result<String, RuntimeError> {
        let now = self.clock.now();
        self.alive(|state| {
            let missing = || RuntimeError::NotFound(format!("failed to find sandbox id \"{sandbox_id}\""));
            let ready = state.sandboxes.get(sandbox_id).ok_or_else(missing)?;
            if ready.state != SandboxState::Ready {
                return Err(RuntimeError::Failed(format!("sandbox \"{sandbox_id}\" is not running")));
            }
            state.next += 1;
            let id = format!("{}-c{:06}", self.prefix.replace('.', "-"), state.next);
            state.containers.insert(
                id.clone(),
                ContainerRecord {
                    id: id.clone(),
                    sandbox_id: sandbox_id.to_owned(),
                    name: config.name.clone(),
                    pod_uid: config.labels.get(labels::POD_UID).cloned().unwrap_or_default(),
                    attempt: config.attempt,
                    image: config.user_image.clone(),
                    image_id: config.image.clone(),
                    state: ContainerState::Created,
                    created_at: now,
                    labels: config.labels.clone(),
                    annotations: config.annotations.clone(),
                    log_path: format!("{}/{}", sandbox.log_directory, config.log_path),
                },
            );
            Ok(id)
        })
    }

    async fn start_container(&self, id: &str) -> Result<(), RuntimeError> {
        let behaviour = self.behaviour_of(&self.record(id)?);
        tokio::time::sleep(behaviour.start_latency).await;
        if let Some(message) = behaviour.start_error {
            let now = self.clock.now();
            self.alive(|state| {
                exit(state.container(id)?, now, 128);
                Ok(())
            })?;
            return Err(RuntimeError::Failed(message));
        }
        let now = self.clock.now();
        self.alive(|state| {
            let container = state.container(id)?;
            if container.state == ContainerState::Created {
                container.state = ContainerState::Running { started_at: now };
            }
            Ok(())
        })
    }

    async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), RuntimeError> {
        let record = match self.record(id) {
            Ok(record) => record,
            Err(RuntimeError::NotFound(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        if !matches!(record.state, ContainerState::Running { .. }) {
            return Ok(());
        }
        let behaviour = self.behaviour_of(&record);
        let (wait, code) = match behaviour.stop_latency {
            Some(latency) if latency <= grace => (latency, behaviour.stop_code),
            _ => (grace, 137),
        };
        tokio::time::sleep(wait).await;
        let now = self.clock.now();
        self.alive(|state| {
            if let Ok(container) = state.container(id)
                && matches!(container.state, ContainerState::Running { .. })
            {
                exit(container, now, code);
            }
            Ok(())
        })
    }

    async fn remove_container(&self, id: &str) -> Result<(), RuntimeError> {
        self.alive(|state| {
            state.containers.remove(id);
            Ok(())
        })
    }

    async fn list_containers(&self) -> Result<Vec<ContainerRecord>, RuntimeError> {
        self.alive(|state| Ok(state.containers.values().cloned().collect()))
    }

    async fn reopen_log(&self, _id: &str) -> Result<(), RuntimeError> {
        Ok(())
    }

    async fn container_stats(&self) -> Result<Vec<ContainerStats>, RuntimeError> {
        let now = self.clock.now();
        self.alive(|state| {
            let running = state
                .containers
                .values()
                .filter(|c| matches!(c.state, ContainerState::Running { .. }));
            Ok(running
                .map(|container| ContainerStats {
                    id: container.id.clone(),
                    name: container.name.clone(),
                    pod_uid: container.pod_uid.clone(),
                    at: now,
                    cpu_nanos: state.meters.cpu_nanos(&container.id),
                    memory_bytes: state.behaviour(container).memory_bytes,
                    disk_bytes: 0,
                })
                .collect())
        })
    }

    async fn group_usage(&self, groups: &[String], now: jiff::Timestamp) -> BTreeMap<String, GroupUsage> {
        let measured = self.alive(|state| {
            let used = groups.iter().filter_map(|group| {
                let usage = state.group_usage(group, now)?;
                Some((group.clone(), usage))
            });
            Ok(used.collect())
        });
        measured.unwrap_or_default()
    }

    async fn exec_sync(&self, id: &str, _command: &[String], _timeout: Duration) -> Result<ExecResult, RuntimeError> {
        let record = self.record(id)?;
        if !matches!(record.state, ContainerState::Running { .. }) {
            return Err(RuntimeError::Failed(format!("container \"{id}\" is not running")));
        }
        let (exit_code, output) = match self.behaviour_of(&record).probe_at(&record, self.clock.now()) {
            ProbeOutcome::Success { output } => (0, output),
            ProbeOutcome::Failure { output } => (1, output),
            ProbeOutcome::Error { message } => return Err(RuntimeError::Failed(message)),
        };
        Ok(ExecResult {
            exit_code,
            stdout: output.into_bytes(),
            stderr: Vec::new(),
        })
    }

    async fn exec(&self, _request: &ExecRequest) -> Result<String, RuntimeError> {
        Err(no_streams())
    }

    async fn attach(&self, _request: &AttachRequest) -> Result<String, RuntimeError> {
        Err(no_streams())
    }

    async fn port_forward(&self, _sandbox_id: &str, _ports: &[u16]) -> Result<String, RuntimeError> {
        Err(no_streams())
    }

    async fn probe_network(&self, container_id: &str, _probe: &NetworkProbe, timeout: Duration) -> ProbeOutcome {
        let record = match self.record(container_id) {
            Ok(record) if matches!(record.state, ContainerState::Running { .. }) => record,
            Ok(_) => {
                return ProbeOutcome::Failure {
                    output: "dial tcp: connect: connection refused".to_owned(),
                };
            }
            Err(error) => {
                return ProbeOutcome::Error {
                    message: error.to_string(),
                };
            }
        };
        let behaviour = self.behaviour_of(&record);
        tokio::time::sleep(behaviour.probe_latency.min(timeout)).await;
        if behaviour.probe_latency > timeout {
            return ProbeOutcome::Failure {
                output: "context deadline exceeded".to_owned(),
            };
        }
        behaviour.probe_at(&record, self.clock.now())
    }

    async fn list_images(&self) -> Result<Vec<ImageRecord>, RuntimeError> {
        self.alive(|state| Ok(state.images.iter().map(|image| image_record(image)).collect()))
    }

    async fn image(&self, image: &str) -> Result<Option<ImageRecord>, RuntimeError> {
        self.alive(|state| Ok(state.images.contains(image).then(|| image_record(image))))
    }

    async fn pull_image(&self, image: &str, _auth: Option<&ImageAuth>) -> Result<String, RuntimeError> {
        let behaviour = self.with(|state| {
            let found = state.script.iter().find(|(matcher, _)| matcher.matches_image(image));
            found.map(|(_, behaviour)| behaviour.clone()).unwrap_or_default()
        });
        tokio::time::sleep(behaviour.pull_latency).await;
        if let Some(message) = behaviour.pull_error {
            return Err(RuntimeError::Failed(message));
        }
        self.alive(|state| {
            state.images.insert(image.to_owned());
            Ok(image_record(image).id)
        })
    }

    async fn remove_image(&self, image: &str) -> Result<(), RuntimeError> {
        self.alive(|state| {
            state.images.remove(image);
            Ok(())
        })
    }
}

fn no_streams() -> RuntimeError {
    RuntimeError::Failed("the simulated runtime has no streams".to_owned())
}

fn image_record(image: &str) -> ImageRecord {
    ImageRecord {
        id: format!("simulated:{image}"),
        tags: vec![image.to_owned()],
        digests: Vec::new(),
        size: 1 << 20,
        uid: None,
        username: String::new(),
    }
}
