//! `cordon`, `uncordon`, `drain`.

use std::time::Duration;

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use crate::args::{Selectors, duration};
use crate::error::Failure;
use crate::output;
use crate::session::{Call, Session, encode, query};

/// How long a refused eviction waits before it is tried again, as kubectl.
const EVICTION_PAUSE: Duration = Duration::from_secs(5);

/// The nodes to act on.
#[derive(Clone, Debug, Args)]
pub(crate) struct Nodes {
    /// Names of nodes
    names: Vec<String>,
    #[command(flatten)]
    selectors: Selectors,
    /// none, client or server: say what would be done
    #[arg(long, default_value = "none", value_parser = ["none", "client", "server"])]
    dry_run: String,
}

impl Nodes {
    async fn find(&self, session: &Session) -> Result<Vec<Value>, Failure> {
        let mut nodes = Vec::new();
        if let Some(selector) = &self.selectors.selector {
            let mut list = session
                .get(&format!("/api/v1/nodes{}", query(&[("labelSelector", Some(selector))])))
                .await?;
            nodes = list["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
        } else if self.names.is_empty() {
            return Err(Failure::usage("at least one node name or a selector is required"));
        }
        for name in &self.names {
            let name = name.strip_prefix("node/").unwrap_or(name);
            nodes.push(session.get(&format!("/api/v1/nodes/{}", encode(name))).await?);
        }
        Ok(nodes)
    }

    /// Sets whether pods may be scheduled to the nodes.
    pub(crate) async fn cordon(&self, session: &Session, unschedulable: bool) -> Result<Vec<String>, Failure> {
        let word = if unschedulable { "cordoned" } else { "uncordoned" };
        let mut names = Vec::new();
        for node in self.find(session).await? {
            let name = node["metadata"]["name"].as_str().unwrap_or("").to_owned();
            if (node["spec"]["unschedulable"] == true) == unschedulable {
                println!("node/{name} already {word}");
            } else {
                if self.dry_run != "client" {
                    let value = if unschedulable { json!(true) } else { Value::Null };
                    let path = format!("/api/v1/nodes/{}", encode(&name))
                        + &query(&[("dryRun", (self.dry_run == "server").then_some("All"))]);
                    let patch = json!({"spec": {"unschedulable": value}});
                    session
                        .json(Call::patch(&path, "application/strategic-merge-patch+json", &patch))
                        .await?;
                }
                println!("node/{name} {word}{}", output::dry_run_note(&self.dry_run));
            }
            names.push(name);
        }
        Ok(names)
    }
}

/// `drain`'s flags.
#[derive(Clone, Debug, Args)]
pub(crate) struct Drain {
    #[command(flatten)]
    nodes: Nodes,
    /// Go on though pods of DaemonSets stay
    #[arg(long)]
    ignore_daemonsets: bool,
    /// Go on though pods lose their emptyDir volumes
    #[arg(long)]
    delete_emptydir_data: bool,
    /// Go on though pods have no controller that replaces them
    #[arg(long)]
    force: bool,
    /// Seconds that each pod gets to end; negative for its own
    #[arg(long, default_value_t = -1, allow_hyphen_values = true)]
    grace_period: i64,
    /// How long to wait; 0 for as long as it takes
    #[arg(long, default_value = "0", value_parser = duration)]
    timeout: Duration,
    /// Only pods with these labels
    #[arg(long)]
    pod_selector: Option<String>,
    /// Delete instead of evicting: disruption budgets are not asked
    #[arg(long)]
    disable_eviction: bool,
}

/// Why a pod is left where it is, or why it stops the drain.
enum Verdict {
    Evict,
    Leave(&'static str),
    Refuse(&'static str),
}

impl Drain {
    /// Carries the command out.
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        for node in self.nodes.cordon(session, true).await? {
            let pods = self.pods(session, &node).await?;
            if self.nodes.dry_run != "none" {
                for pod in &pods {
                    println!(
                        "evicting pod {}{}",
                        shown(pod),
                        output::dry_run_note(&self.nodes.dry_run)
                    );
                }
            } else {
                let drain = self.evict(session, &pods);
                if self.timeout.is_zero() {
                    drain.await?;
                } else {
                    let late = || {
                        Failure::usage(format!(
                            "unable to drain node {node:?} due to error: global timeout reached: {:?}",
                            self.timeout
                        ))
                    };
                    tokio::time::timeout(self.timeout, drain).await.map_err(|_| late())??;
                }
            }
            println!("node/{node} drained");
        }
        Ok(())
    }

    async fn pods(&self, session: &Session, node: &str) -> Result<Vec<Value>, Failure> {
        let on_node = format!("spec.nodeName={node}");
        let path = "/api/v1/pods".to_owned()
            + &query(&[
                ("fieldSelector", Some(&on_node)),
                ("labelSelector", self.pod_selector.as_deref()),
            ]);
        let mut list = session.get(&path).await?;
        let all = list["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
        let (mut evicted, mut refused) = (Vec::new(), std::collections::BTreeMap::<_, Vec<String>>::new());
        let mut ignored = Vec::new();
        for pod in all {
            match self.verdict(&pod) {
                Verdict::Evict => evicted.push(pod),
                Verdict::Leave("") => {}
                Verdict::Leave(_) => ignored.push(shown(&pod)),
                Verdict::Refuse(why) => refused.entry(why).or_default().push(shown(&pod)),
            }
        }
        if !refused.is_empty() {
            let reasons: Vec<String> = refused
                .into_iter()
                .map(|(why, pods)| format!("cannot delete {why}: {}", pods.join(", ")))
                .collect();
            return Err(Failure::usage(format!(
                "unable to drain node {node:?} due to error: [{}], continuing command...\nThere are pending nodes to be drained:\n {node}\nerror: {}",
                reasons.join(", "),
                reasons.join("\nerror: ")
            )));
        }
        if !ignored.is_empty() {
            eprintln!("Warning: ignoring DaemonSet-managed Pods: {}", ignored.join(", "));
        }
        Ok(evicted)
    }

    fn verdict(&self, pod: &Value) -> Verdict {
        let metadata = &pod["metadata"];
        if metadata["annotations"]["kubernetes.io/config.mirror"].is_string() {
            return Verdict::Leave("");
        }
        let ended = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        let owners = metadata["ownerReferences"].as_array().map_or(&[][..], Vec::as_slice);
        let controller = owners.iter().find(|owner| owner["controller"] == true);
        if controller.is_some_and(|owner| owner["kind"] == "DaemonSet") && !ended {
            return if self.ignore_daemonsets {
                Verdict::Leave("DaemonSet")
            } else {
                Verdict::Refuse("DaemonSet-managed Pods (use --ignore-daemonsets to ignore)")
            };
        }
        let has_data = pod["spec"]["volumes"]
            .as_array()
            .is_some_and(|v| v.iter().any(|v| v["emptyDir"].is_object()));
        if has_data && !ended && !self.delete_emptydir_data {
            return Verdict::Refuse("Pods with local storage (use --delete-emptydir-data to override)");
        }
        if controller.is_none() && !ended && !self.force {
            return Verdict::Refuse("Pods that declare no controller (use --force to override)");
        }
        Verdict::Evict
    }

    async fn evict(&self, session: &Session, pods: &[Value]) -> Result<(), Failure> {
        for pod in pods {
            println!("evicting pod {}", shown(pod));
        }
        futures::future::try_join_all(pods.iter().map(|pod| self.evict_one(session, pod))).await?;
        Ok(())
    }

    async fn evict_one(&self, session: &Session, pod: &Value) -> Result<(), Failure> {
        let (namespace, name) = (&pod["metadata"]["namespace"], &pod["metadata"]["name"]);
        let path = format!(
            "/api/v1/namespaces/{}/pods/{}",
            encode(namespace.as_str().unwrap_or("")),
            encode(name.as_str().unwrap_or(""))
        );
        let mut options = json!({"apiVersion": "v1", "kind": "DeleteOptions"});
        if self.grace_period >= 0 {
            options["gracePeriodSeconds"] = json!(self.grace_period);
        }
        let eviction = json!({
            "apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": {"name": name, "namespace": namespace}, "deleteOptions": options});
        loop {
            let evict_path = format!("{path}/eviction");
            let call = if self.disable_eviction {
                Call::with_json(Method::DELETE, &path, &options)
            } else {
                Call::with_json(Method::POST, &evict_path, &eviction)
            };
            match session.json(call).await {
                Ok(_) => break,
                Err(failure) if failure.reason() == "NotFound" => return Ok(()),
                Err(failure) if failure.code() == 429 => {
                    let Failure::Server { status, .. } = &failure else {
                        return Err(failure);
                    };
                    eprintln!(
                        "error when evicting pods/{name} -n {namespace} (will retry after {EVICTION_PAUSE:?}): {}",
                        status["message"].as_str().unwrap_or("")
                    );
                    tokio::time::sleep(EVICTION_PAUSE).await;
                }
                Err(failure) => return Err(failure.doing(format!("error when evicting pods/{name} -n {namespace}"))),
            }
        }
        loop {
            match session.get(&path).await {
                Err(failure) if failure.reason() == "NotFound" => break,
                Err(failure) => return Err(failure),
                Ok(now) if now["metadata"]["uid"] != pod["metadata"]["uid"] => break,
                Ok(_) => tokio::time::sleep(Duration::from_millis(250)).await,
            }
        }
        println!("pod/{} evicted", name.as_str().unwrap_or(""));
        Ok(())
    }
}

fn shown(pod: &Value) -> String {
    let text = |field: &str| pod["metadata"][field].as_str().unwrap_or("").to_owned();
    format!("{}/{}", text("namespace"), text("name"))
}
