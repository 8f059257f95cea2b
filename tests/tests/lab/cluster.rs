//! One test's view of the lab: a namespace of its own, both command lines, and evidence for failures.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use timonel_tests::{Tool, eventually, kubectl, timonctl, timonel};

const KUBECONFIG: &str = "/var/lib/timonel/lab/admin.kubeconfig";
/// The lab's timings make every story fit into half a minute; a busy machine gets four times that.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Lab {
    pub(crate) namespace: String,
    pub(crate) kubectl: Tool,
    pub(crate) timonctl: Tool,
    pub(crate) timonel: Tool,
}

impl Lab {
    /// Enters the lab with a fresh namespace; all nodes must be ready before a story starts.
    pub(crate) fn enter(namespace: &str) -> Self {
        let config = Path::new(KUBECONFIG);
        assert!(config.exists(), "no lab is up; `make test-lab` starts one");
        let lab = Self {
            namespace: namespace.to_owned(),
            kubectl: kubectl(config).in_namespace(namespace),
            timonctl: timonctl(config).in_namespace(namespace),
            timonel: timonel(),
        };
        lab.until("three nodes are ready", || {
            let nodes = lab.json(&["get", "nodes"])?;
            let ready = items(&nodes)
                .iter()
                .filter(|node| condition(node, "Ready") == "True")
                .count();
            if ready == 3 {
                Ok(())
            } else {
                Err(format!("{ready} are"))
            }
        });
        let _ = lab
            .kubectl
            .try_run(&["delete", "namespace", namespace, "--ignore-not-found", "--timeout=120s"]);
        lab.kubectl.run(&["create", "namespace", namespace]);
        lab
    }

    /// What kubectl gets as JSON.
    pub(crate) fn json(&self, args: &[&str]) -> Result<Value, String> {
        let text = self.kubectl.try_run(&[args, &["-o", "json"]].concat())?;
        serde_json::from_str(&text).map_err(|error| error.to_string())
    }

    /// The pods that match a selector.
    pub(crate) fn pods(&self, selector: &str) -> Result<Vec<Value>, String> {
        Ok(items(&self.json(&["get", "pods", "-l", selector])?).to_vec())
    }

    /// The one pod of that name.
    pub(crate) fn pod(&self, name: &str) -> Result<Value, String> {
        self.json(&["get", "pod", name])
    }

    /// Waits for a condition.
    #[track_caller]
    pub(crate) fn until<T>(&self, what: &str, condition: impl FnMut() -> Result<T, String>) -> T {
        eventually(what, PATIENCE, condition, || self.evidence())
    }

    /// Waits until exactly `count` pods of a selector are there, ready and not ending, and returns them.
    #[track_caller]
    pub(crate) fn until_ready(&self, selector: &str, count: usize) -> Vec<Value> {
        self.until(&format!("{count} pods of {selector} are ready"), || {
            let pods = self.pods(selector)?;
            let live: Vec<Value> = pods
                .into_iter()
                .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
                .collect();
            let ready = live.iter().filter(|pod| condition(pod, "Ready") == "True").count();
            if ready == count && live.len() == count {
                Ok(live)
            } else {
                Err(format!("{ready} of {}", live.len()))
            }
        })
    }

    /// Applies a manifest.
    #[track_caller]
    pub(crate) fn apply(&self, manifest: &str) {
        self.kubectl.run_with(&["apply", "-f", "-"], manifest);
    }

    /// Runs a command in a pod's first container.
    pub(crate) fn exec(&self, pod: &str, command: &[&str]) -> Result<String, String> {
        self.kubectl.try_run(&[&["exec", pod, "--"], command].concat())
    }

    /// `timonel lab node ...`
    #[track_caller]
    pub(crate) fn node(&self, args: &[&str]) {
        self.timonel.run(&[&["lab", "node"], args].concat());
    }

    /// Everything that explains a failure.
    fn evidence(&self) -> String {
        let calls: [&[&str]; 4] = [
            &["get", "nodes", "-o", "wide"],
            &["get", "all", "-o", "wide"],
            &["describe", "pods"],
            &["get", "events", "--sort-by=.lastTimestamp"],
        ];
        calls
            .map(|args| {
                format!(
                    "--- kubectl {args:?}\n{}",
                    self.kubectl.try_run(args).unwrap_or_else(|e| e)
                )
            })
            .join("\n")
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = self
                .kubectl
                .try_run(&["delete", "namespace", &self.namespace, "--wait=false"]);
        }
    }
}

pub(crate) fn items(list: &Value) -> &[Value] {
    list["items"].as_array().map_or(&[], Vec::as_slice)
}

/// The status of a condition; empty where it is absent.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> &'a str {
    let conditions = object["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    conditions
        .iter()
        .find(|c| c["type"] == kind)
        .and_then(|c| c["status"].as_str())
        .unwrap_or("")
}

pub(crate) fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or("").to_owned()
}

/// The first container's status.
pub(crate) fn container(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]
}

pub(crate) fn restarts(pod: &Value) -> i64 {
    container(pod)["restartCount"].as_i64().unwrap_or(-1)
}
