//! The shell around the planner: one task per pod observes, plans and applies; one task lists the runtime.
//!
//! ```text
//! informer (pods of this node) --> manager --one task per pod--> PodWorker: observe -> plan_pod -> apply
//! relist (1 s, and after own actions) -------------------------------^            |-> runtime, volumes, status, events
//! probes ------------------------------------------------------------^
//! ```

mod apply;
mod hooks;
pub mod manager;
mod pod;
mod probing;
pub mod relist;
mod report;
pub(crate) mod rotate;
mod start;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::{Pod, PodStatus, Service};
use timonel_client::events::{EventType, Recorder, reference_to};
use timonel_client::{Clock, Reader, Rng};

use crate::config::Config;
use crate::pod::{NodeFacts, PodEvent, ProbeKind, ProbeResult};
use crate::runtime::Runtime;
use crate::spec::NodeSettings;
use crate::volumes::Volumes;
use crate::volumes::objects::Objects;

/// What all parts of one kubelet share.
pub struct Shared {
    pub(crate) config: Config,
    pub(crate) client: kube::Client,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) volumes: Volumes,
    pub(crate) objects: Arc<dyn Objects>,
    pub(crate) recorder: Recorder,
    pub(crate) relist: relist::Relister,
    pub(crate) services: Reader<Service>,
    pub(crate) rng: Arc<dyn Rng>,
    pub(crate) settings: Arc<NodeSettings>,
    pub(crate) memory_bytes: i64,
    pub(crate) runtime_name: String,
    pub(crate) pods: Mutex<BTreeMap<String, PodView>>,
    pub(crate) usage: crate::stats::Memory,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// What others (the HTTPS API) may see of a pod.
#[derive(Clone, Debug, Default)]
pub struct PodView {
    /// The pod as the API last had it.
    pub pod: Option<Arc<Pod>>,
    /// The status as this kubelet last projected it.
    pub status: Option<PodStatus>,
    /// The last results of each probe by container and kind.
    pub probes: BTreeMap<(String, ProbeKind), Vec<ProbeResult>>,
    /// Why the planner did last what it did.
    pub because: Vec<String>,
}

impl Shared {
    pub(crate) fn facts(&self) -> NodeFacts {
        let timings = &self.config.timings;
        NodeFacts {
            ips: vec![self.config.node_ip.to_string()],
            runtime: self.runtime_name.clone(),
            restart: timings.restart,
            pull: timings.pull,
            retry: timings.retry,
        }
    }

    pub(crate) fn event(&self, pod: &Pod, event: &PodEvent) {
        let mut about = reference_to(pod);
        if let Some(name) = &event.container {
            let init = pod.spec.as_ref().is_some_and(|spec| {
                spec.init_containers
                    .iter()
                    .flatten()
                    .any(|container| container.name == *name)
            });
            let list = if init { "initContainers" } else { "containers" };
            about.field_path = Some(format!("spec.{list}{{{name}}}"));
        }
        let kind = if event.warning {
            EventType::Warning
        } else {
            EventType::Normal
        };
        self.recorder.event(&about, kind, &event.reason, event.message.clone());
    }

    pub(crate) fn say(
        &self,
        pod: &Pod,
        container: Option<&str>,
        warning: bool,
        reason: &str,
        message: impl Into<String>,
    ) {
        self.event(
            pod,
            &PodEvent {
                warning,
                reason: reason.to_owned(),
                message: message.into(),
                container: container.map(str::to_owned),
            },
        );
    }

    /// Looks a pod up by namespace and name.
    pub fn find(&self, namespace: &str, name: &str) -> Option<PodView> {
        let pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        let named = |view: &&PodView| {
            view.pod.as_ref().is_some_and(|pod| {
                pod.metadata.namespace.as_deref() == Some(namespace) && pod.metadata.name.as_deref() == Some(name)
            })
        };
        // The forerunner of that name may still be ending: the younger one is meant.
        let age = |view: &&PodView| {
            view.pod
                .as_ref()
                .and_then(|pod| pod.metadata.creation_timestamp.as_ref().map(|at| at.0))
        };
        pods.values().filter(named).max_by_key(age).cloned()
    }

    /// All pods of this node.
    pub fn all(&self) -> Vec<PodView> {
        self.pods
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }
}
