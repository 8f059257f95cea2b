//! What a container is made from.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod};

use super::expansion::expand;
use super::sandbox::pod_labels;
use super::{ConfigError, NodeSettings, resources, security};
use crate::pod::restart::spec_hash;
use crate::runtime::{ContainerConfig, ImageRecord, Mount, labels};

/// What has to be known to make a container.
#[derive(Clone, Debug)]
pub struct Parts<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// The container's spec.
    pub container: &'a Container,
    /// How often it was restarted before.
    pub attempt: u32,
    /// Its image.
    pub image: &'a str,
    /// What is known about the image.
    pub record: Option<&'a ImageRecord>,
    /// Its environment.
    pub env: Vec<(String, String)>,
    /// Its mounts.
    pub mounts: Vec<Mount>,
    /// The node's memory in bytes.
    pub memory: i64,
}

/// Builds the container's configuration.
///
/// # Errors
/// When its security context contradicts the image.
pub fn container(parts: Parts<'_>, _settings: &NodeSettings) -> Result<ContainerConfig, ConfigError> {
    let (pod, container) = (parts.pod, parts.container);
    let spec = pod.spec.clone().unwrap_or_default();
    let known: BTreeMap<String, String> = parts.env.iter().cloned().collect();
    let expanded = |list: &Option<Vec<String>>| -> Vec<String> {
        list.iter().flatten().map(|text| expand(text, &known)).collect()
    };
    let mut all_labels = pod_labels(pod);
    // Only the four that identify it: the pod's own labels stay on the sandbox.
    all_labels.retain(|key, _| key.starts_with("io.kubernetes."));
    all_labels.insert(labels::CONTAINER_NAME.to_owned(), container.name.clone());
    let grace = spec.termination_grace_period_seconds.unwrap_or(30);
    let path = container
        .termination_message_path
        .clone()
        .unwrap_or_else(|| "/dev/termination-log".to_owned());
    let policy = container
        .termination_message_policy
        .clone()
        .unwrap_or_else(|| "File".to_owned());
    let annotations = BTreeMap::from([
        (labels::HASH.to_owned(), spec_hash(container)),
        (labels::RESTART_COUNT.to_owned(), parts.attempt.to_string()),
        (labels::TERMINATION_PATH.to_owned(), path),
        (labels::TERMINATION_POLICY.to_owned(), policy),
        (labels::POD_GRACE.to_owned(), grace.to_string()),
    ]);
    Ok(ContainerConfig {
        name: container.name.clone(),
        attempt: parts.attempt,
        image: parts.image.to_owned(),
        user_image: container.image.clone().unwrap_or_default(),
        command: expanded(&container.command),
        args: expanded(&container.args),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        mounts: parts.mounts,
        labels: all_labels,
        annotations,
        log_path: format!("{}/{}.log", container.name, parts.attempt),
        stdin: container.stdin == Some(true),
        stdin_once: container.stdin_once == Some(true),
        tty: container.tty == Some(true),
        resources: resources::resources(pod, container, parts.memory),
        security: security::context(pod, container, parts.record)?,
        env: parts.env,
    })
}
