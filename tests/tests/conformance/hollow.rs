//! A node that nobody stands behind: pods that come to it are said to run, pods that are to go are said to be gone.
//!
//! For entries of the catalogue that need a pod to be running, and say nothing about what runs in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Api, Resource};

/// Pods of this image never become ready.
pub(crate) const BROKEN: &str = "broken:404";

/// Plays the kubelets of some nodes until it is dropped.
pub(crate) struct Hollow {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// Registers a node with so many CPUs, which is ready as far as its object says.
pub(crate) fn node(api: &Api, name: &str, labels: &Value, cpus: u32) {
    let nodes = api.at("v1", "nodes");
    nodes.create(json!({"metadata": {"name": name, "labels": labels}}));
    let amounts = json!({"cpu": cpus.to_string(), "memory": "64Gi", "pods": "110", "ephemeral-storage": "10Gi"});
    nodes.patch(
        &format!("{name}/status"),
        json!({"status": {
            "capacity": amounts, "allocatable": amounts,
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "said by a test",
                "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        }}),
    );
    nodes.until("the node is free of taints", name, |node| {
        node["spec"]["taints"].as_array().is_none_or(Vec::is_empty)
    });
}

impl Hollow {
    /// Registers a node and plays its kubelet.
    pub(crate) fn start(api: &Api) -> Self {
        Self::start_all(api, &["hollow"])
    }

    /// Registers nodes and plays their kubelets.
    pub(crate) fn start_all(api: &Api, names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        for name in &names {
            node(api, name, &json!({}), 64);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (api, stopped) = (api.clone(), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let addresses = AtomicUsize::new(1);
            while !stopped.load(Ordering::Relaxed) {
                for name in &names {
                    turn(&api, name, &addresses);
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Hollow {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Looks at all pods of the node once. Pods come and go between the look and the word, so that answers do not matter.
fn turn(api: &Api, node: &str, addresses: &AtomicUsize) {
    let pods = api.at("v1", "pods");
    let Some(answer) = api.try_get(&format!("{}?fieldSelector=spec.nodeName%3D{node}", pods.path)) else {
        return;
    };
    let list: Value = serde_json::from_str(&answer.text).unwrap_or_default();
    for pod in list["items"].as_array().into_iter().flatten() {
        let (metadata, spec) = (&pod["metadata"], &pod["spec"]);
        let [namespace, name] = ["namespace", "name"].map(|field| metadata[field].as_str().unwrap_or_default());
        let path = pods.within(namespace).path_of(name);
        if metadata["deletionTimestamp"].is_string() {
            let now = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": metadata["uid"]}});
            api.send("DELETE", &path, "application/json", now.to_string());
        } else if pod["status"]["phase"] == "Pending" && spec["containers"][0]["image"] != BROKEN {
            let number = addresses.fetch_add(1, Ordering::Relaxed);
            let ip = format!("10.244.{}.{}", number / 250, number % 250 + 1);
            let yes =
                |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"});
            let status = json!({"metadata": {"uid": metadata["uid"]}, "status": {
                "phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "startTime": "2026-01-01T00:00:00Z",
                "conditions": [yes("PodScheduled"), yes("Initialized"), yes("ContainersReady"), yes("Ready")],
                "containerStatuses": [{"name": spec["containers"][0]["name"], "image": spec["containers"][0]["image"], "imageID": "",
                    "ready": true, "started": true, "restartCount": 0, "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}],
            }});
            let path = format!("{path}/status");
            api.send("PATCH", &path, "application/merge-patch+json", status.to_string());
        }
    }
}

/// Says that a running pod is ready, or is not.
pub(crate) fn say_ready(pods: &Resource, name: &str, ready: bool) {
    let status = if ready { "True" } else { "False" };
    let condition = |kind: &str| json!({"type": kind, "status": status, "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let conditions = json!({"status": {"conditions": [condition("ContainersReady"), condition("Ready")]}});
    pods.strategic(&format!("{name}/status"), &conditions);
}
