//! Two StatefulSet pods of one identity are never there at once.
//!
//! A name is free before a pod gets it: the pod before it is gone from the API, and its containers from the nodes that live. The
//! second half is [`nodes`], which looks at the machines.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use timonel_kubelet::runtime::{ContainerState, Runtime, labels};

use super::Violation;
use super::history::{Invariant, Moment, controller, is_live, of, text};
use crate::sim::world::{NODES, World};

/// See the module.
#[derive(Default)]
pub struct Identity;

impl Invariant for Identity {
    fn says(&self) -> &'static str {
        "never two StatefulSet pods of one identity"
    }

    fn look(&mut self, moment: &Moment<'_>, there: &BTreeMap<String, Value>) -> Result<(), Violation> {
        if moment.resource != "core/pods" {
            return Ok(());
        }
        let index = |pod: &Value| text(pod, "/metadata/labels/apps.kubernetes.io~1pod-index").to_owned();
        let Some(pod) = moment.now else {
            let ours = moment.writer() == "kube-controller-manager";
            // Nobody knows then whether its containers have ended.
            let forced =
                |pod: &&Value| is_live(pod) && !index(pod).is_empty() && text(pod, "/status/phase") == "Running";
            return match moment.before.filter(forced).filter(|_| ours) {
                Some(pod) => Err(format!(
                    "{} was taken away by force while it ran",
                    text(pod, "/metadata/name")
                )),
                None => Ok(()),
            };
        };
        let (name, ordinal) = (text(pod, "/metadata/name"), index(pod));
        if ordinal.is_empty() || !is_live(pod) {
            return Ok(());
        }
        if moment.is_creation() && moment.before.is_some() {
            return Err(format!("{name} was replaced while it was there"));
        }
        let owner = controller(pod).map(|(uid, _)| uid);
        let twin = of(there, "core/pods").find(|(key, other)| {
            *key != moment.key && index(other) == ordinal && controller(other).map(|(uid, _)| uid) == owner
        });
        match twin {
            Some((_, twin)) => Err(format!("{name} and {} have one identity", text(twin, "/metadata/name"))),
            None => Ok(()),
        }
    }
}

/// No two nodes run containers of pods of the same name at once.
///
/// # Errors
/// Which pod runs twice.
pub async fn nodes(world: &World) -> Result<(), Violation> {
    let mut running: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for node in 1..=NODES {
        let containers = world.runtime(node).list_containers().await;
        for container in containers.map_err(|error| error.to_string())? {
            let label = |key: &str| container.labels.get(key).cloned().unwrap_or_default();
            if matches!(container.state, ContainerState::Running { .. }) {
                let pods = running.entry(label(labels::POD_NAME)).or_default();
                pods.insert(label(labels::POD_UID));
            }
        }
    }
    match running.iter().find(|(_, pods)| pods.len() > 1) {
        Some((name, pods)) => Err(format!("{name} runs {} times", pods.len())),
        None => Ok(()),
    }
}
