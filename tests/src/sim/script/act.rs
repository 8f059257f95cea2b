//! The commands of a scenario.
//!
//! | | |
//! | --- | --- |
//! | `apply` | creates what the YAML below says |
//! | `patch KIND/NAME JSON`, `scale KIND/NAME N`, `delete KIND/NAME [foreground, orphan]` | changes it |
//! | `wait KIND/NAME PATH VALUE`, `wait KIND/NAME gone` | waits for a condition |
//! | `settle`, `advance 40s`, `until 3m` | waits for rest; lets time pass; lets time pass up to a time since the start |
//! | `kill NODE`, `start NODE`, `crash controllers`, `drain NODE` | does something to a machine or a component |
//! | `behave IMAGE exits 4s 1`, `behave IMAGE unhealthy` | says what containers of an image do |
//! | `show KIND PATH...`, `events` | tells what is there, and what happened since the last time |

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use serde_json::{Value, json};
use timonel_api::resources::{self, ResourceInfo};
use timonel_kubelet::runtime::ProbeOutcome;
use timonel_kubelet::simulated::{Behaviour, Matcher};

use super::{Command, duration, show};
use crate::sim::invariants::{Violation, history, identity};
use crate::sim::rest::Quiet;
use crate::sim::tap::Tap;
use crate::sim::world::{Component, NODES, World};

/// The longest that a scenario waits for anything.
const PATIENCE: Duration = Duration::from_secs(300);
/// How often it looks.
const PERIOD: Duration = Duration::from_millis(500);
/// For how long nobody may write in a world that has settled. Longer than anything that a component puts off, back-offs aside.
const QUIET: Duration = Duration::from_secs(20);
/// How long a component stays dead that a disturbance killed.
const DEAD: Duration = Duration::from_secs(1);

/// A world, and what a scenario does to it.
pub struct Stage<'a> {
    world: &'a mut World,
    began: tokio::time::Instant,
    /// The components that may die of a disturbance.
    taps: Vec<(Component, Arc<Tap>)>,
    /// Events that were told already: key to count.
    told: BTreeMap<String, u64>,
}

impl<'a> Stage<'a> {
    /// Opens a stage on a world. A component that dies of its tap comes back.
    pub fn new(world: &'a mut World, taps: Vec<(Component, Arc<Tap>)>) -> Self {
        Self {
            world,
            began: tokio::time::Instant::now(),
            taps,
            told: BTreeMap::new(),
        }
    }

    pub(super) async fn act(&mut self, command: &Command) -> Result<String, Violation> {
        let words: Vec<&str> = command.words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["apply"] => self.apply(&command.body).await?,
            ["patch", what, patch @ ..] => {
                let patch = serde_json::from_str(&patch.join(" ")).map_err(|error| error.to_string())?;
                self.patch(what, &patch).await?;
            }
            ["scale", what, replicas] => {
                let replicas: u32 = replicas.parse().map_err(|_| "no number")?;
                self.patch(what, &json!({"spec": {"replicas": replicas}})).await?;
            }
            ["delete", what] => self.delete(what, "Background").await?,
            ["delete", what, "orphan"] => self.delete(what, "Orphan").await?,
            ["delete", what, "foreground"] => self.delete(what, "Foreground").await?,
            ["wait", what, "gone"] => self.wait(what, |object| object.is_none()).await?,
            ["wait", what, path, value] => {
                let is = |object: Option<&Value>| object.is_some_and(|object| show::at(object, path) == *value);
                self.wait(what, is).await?;
            }
            ["settle"] => self.settle(QUIET).await?,
            ["settle", time] => self.settle(duration(time)?).await?,
            ["advance", time] => self.pass_until(tokio::time::Instant::now() + duration(time)?).await?,
            ["until", time] => self.pass_until(self.began + duration(time)?).await?,
            ["kill", node] => self.world.power_cut(number_of(node)?),
            ["start", node] => self.world.start_component(Component::Kubelet(number_of(node)?)),
            ["crash", "controllers"] => self.world.crash_component(Component::Controllers),
            ["start-controllers"] => self.world.start_component(Component::Controllers),
            ["cordon", node] => {
                self.patch(&format!("node/{node}"), &json!({"spec": {"unschedulable": true}}))
                    .await?
            }
            ["drain", node] => return self.drain(node).await,
            ["behave", image, how @ ..] => self.behave(image, how)?,
            ["show", kind, paths @ ..] => return self.show(kind, paths).await,
            ["events"] => return self.events().await,
            _ => return Err("no such command".to_owned()),
        }
        Ok(String::new())
    }

    /// Lets time pass, and looks after what must be looked at all the while.
    async fn pass(&mut self) -> Result<(), Violation> {
        self.world.pass(PERIOD).await;
        let died: Vec<Component> = self
            .taps
            .iter()
            .filter_map(|(component, tap)| tap.has_died().then_some(*component))
            .collect();
        for component in died {
            self.world.crash_component(component);
            self.world.pass(DEAD).await;
            self.world.start_component(component);
        }
        identity::nodes(self.world).await
    }

    async fn pass_until(&mut self, until: tokio::time::Instant) -> Result<(), Violation> {
        while tokio::time::Instant::now() < until {
            self.pass().await?;
        }
        Ok(())
    }

    async fn settle(&mut self, quiet_for: Duration) -> Result<(), Violation> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut quiet = Quiet::listen(self.world);
        while quiet.lasts(self.world).await < quiet_for {
            if tokio::time::Instant::now() > deadline {
                return Err(format!(
                    "not at rest after {PATIENCE:?}: {} was written last",
                    quiet.last()
                ));
            }
            self.pass().await?;
        }
        Ok(())
    }

    async fn wait(&mut self, what: &str, mut holds: impl FnMut(Option<&Value>) -> bool) -> Result<(), Violation> {
        let (info, name) = named(what)?;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let object = self.ask("GET", &path(info, Some(name)), &Value::Null).await.ok();
            if holds(object.as_ref()) {
                return Ok(());
            }
            if tokio::time::Instant::now() > deadline {
                let status = object.map(|object| object["status"].to_string());
                return Err(format!("not within {PATIENCE:?}: {status:?}"));
            }
            self.pass().await?;
        }
    }

    async fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Value, Violation> {
        let kind = if method == "PATCH" {
            "application/merge-patch+json"
        } else {
            "application/json"
        };
        let body = if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", kind)
            .body(body);
        let request = request.map_err(|error| error.to_string())?;
        self.world
            .user()
            .request(request)
            .await
            .map_err(|error: kube::Error| match error {
                kube::Error::Api(status) => status.message.clone(),
                other => other.to_string(),
            })
    }

    async fn apply(&self, yaml: &str) -> Result<(), Violation> {
        let object: Value = serde_saphyr::from_str(yaml).map_err(|error| error.to_string())?;
        let (api_version, kind) = (history::text(&object, "/apiVersion"), history::text(&object, "/kind"));
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let info = resources::by_kind(group, version, kind).ok_or_else(|| format!("no kind {api_version} {kind}"))?;
        let path = match history::text(&object, "/metadata/namespace") {
            "" => path(info, None),
            namespace => path(info, None).replace("/namespaces/default/", &format!("/namespaces/{namespace}/")),
        };
        self.ask("POST", &path, &object).await.map(drop)
    }

    async fn patch(&self, what: &str, patch: &Value) -> Result<(), Violation> {
        let (info, name) = named(what)?;
        self.ask("PATCH", &path(info, Some(name)), patch).await.map(drop)
    }

    async fn delete(&self, what: &str, propagation: &str) -> Result<(), Violation> {
        let (info, name) = named(what)?;
        let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation});
        self.ask("DELETE", &path(info, Some(name)), &options).await.map(drop)
    }

    fn behave(&self, image: &str, how: &[&str]) -> Result<(), Violation> {
        let behaviour = match how {
            ["exits", after, code] => Behaviour {
                exits: Some((duration(after)?, code.parse().map_err(|_| "no exit code")?)),
                ..Behaviour::default()
            },
            ["unhealthy"] => Behaviour {
                probe: Some(ProbeOutcome::Failure {
                    output: "HTTP probe failed with statuscode: 503".to_owned(),
                }),
                ..Behaviour::default()
            },
            _ => return Err("containers exit or are unhealthy".to_owned()),
        };
        for node in 1..=NODES {
            self.world
                .runtime(node)
                .script(Matcher::image(image), behaviour.clone());
        }
        Ok(())
    }

    /// What `kubectl drain` does: cordons, evicts what is no daemon, and asks again where a budget forbids.
    async fn drain(&mut self, node: &str) -> Result<String, Violation> {
        self.patch(&format!("node/{node}"), &json!({"spec": {"unschedulable": true}}))
            .await?;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut refused = std::collections::BTreeSet::new();
        loop {
            let pods = self.ask("GET", "/api/v1/namespaces/default/pods", &Value::Null).await?;
            let on_node = |pod: &&Value| pod["spec"]["nodeName"] == node;
            let is_daemon = |pod: &Value| pod["metadata"]["ownerReferences"][0]["kind"] == "DaemonSet";
            let left: Vec<&Value> = pods["items"].as_array().into_iter().flatten().filter(on_node).collect();
            let left: Vec<&Value> = left.into_iter().filter(|pod| !is_daemon(pod)).collect();
            if left.is_empty() {
                return Ok(refused.into_iter().collect());
            }
            for pod in left.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()) {
                let name = history::text(pod, "/metadata/name");
                let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
                let to = format!("/api/v1/namespaces/default/pods/{name}/eviction");
                if let Err(words) = self.ask("POST", &to, &eviction).await {
                    refused.insert(format!("refused: {words}\n"));
                }
            }
            if tokio::time::Instant::now() > deadline {
                return Err(format!("{} pods are left on {node}", left.len()));
            }
            self.pass().await?;
        }
    }

    async fn show(&self, kind: &str, paths: &[&str]) -> Result<String, Violation> {
        let info = resource(kind)?;
        let list = self.ask("GET", &path(info, None), &Value::Null).await?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        Ok(show::table(&items, paths))
    }

    async fn events(&mut self) -> Result<String, Violation> {
        let list = self
            .ask("GET", "/api/v1/namespaces/default/events", &Value::Null)
            .await?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        Ok(show::events(&items, &mut self.told))
    }
}

fn number_of(node: &str) -> Result<u8, Violation> {
    let number = node.strip_prefix("node-").and_then(|number| number.parse().ok());
    number
        .filter(|number| (1..=NODES).contains(number))
        .ok_or_else(|| format!("no node {node}"))
}

fn resource(kind: &str) -> Result<&'static ResourceInfo, Violation> {
    let mut all = resources::all().iter();
    all.find(|info| info.plural == kind || info.singular == kind || info.short_names.contains(&kind))
        .ok_or_else(|| format!("no kind {kind}"))
}

fn named(what: &str) -> Result<(&'static ResourceInfo, &str), Violation> {
    let (kind, name) = what.split_once('/').ok_or_else(|| format!("{what} is no KIND/NAME"))?;
    Ok((resource(kind)?, name))
}

fn path(info: &ResourceInfo, name: Option<&str>) -> String {
    let root = if info.group.is_empty() {
        "/api".to_owned()
    } else {
        format!("/apis/{}", info.group)
    };
    let namespace = if info.namespaced { "/namespaces/default" } else { "" };
    let name = name.map(|name| format!("/{name}")).unwrap_or_default();
    format!("{root}/{}{namespace}/{}{name}", info.version, info.plural)
}
