//! `set env` and `set resources`: patches of pod templates.

use clap::Args;
use serde_json::{Map, Value, json};

use crate::args::{Output, Selectors};
use crate::error::Failure;
use crate::output;
use crate::resolve;
use crate::session::{Call, Session, encode, query};

/// What both understand.
#[derive(Clone, Debug, Args)]
struct Common {
    #[command(flatten)]
    selectors: Selectors,
    #[command(flatten)]
    output: Output,
    /// All objects of the type
    #[arg(long)]
    all: bool,
    /// Which containers; * stands for any letters
    #[arg(short, long, default_value = "*")]
    containers: String,
    /// none, client or server: say what would be done
    #[arg(long, default_value = "none", value_parser = ["none", "client", "server"])]
    dry_run: String,
    /// Who is recorded as the owner of the change
    #[arg(long, default_value = "kubectl-set")]
    field_manager: String,
}

/// `set env`'s flags.
#[derive(Clone, Debug, Args)]
pub(crate) struct Env {
    /// TYPE NAME or TYPE/NAME, then NAME=VALUE to set or NAME- to remove
    words: Vec<String>,
    /// NAME=VALUE; may be repeated
    #[arg(short, long)]
    env: Vec<String>,
    /// Take all keys of configmap/NAME or secret/NAME
    #[arg(long)]
    from: Option<String>,
    /// Only these keys of --from
    #[arg(long, value_delimiter = ',')]
    keys: Vec<String>,
    /// Put before the names from --from
    #[arg(long, default_value = "")]
    prefix: String,
    /// Show what is set
    #[arg(long)]
    list: bool,
    /// Permit the change of what is set
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    overwrite: bool,
    #[command(flatten)]
    common: Common,
}

/// `set resources`' flags.
#[derive(Clone, Debug, Args)]
pub(crate) struct Resources {
    /// TYPE NAME or TYPE/NAME
    words: Vec<String>,
    /// For example cpu=200m,memory=512Mi
    #[arg(long, value_delimiter = ',')]
    limits: Vec<String>,
    /// For example cpu=100m,memory=256Mi
    #[arg(long, value_delimiter = ',')]
    requests: Vec<String>,
    #[command(flatten)]
    common: Common,
}

/// Where the pod spec of a kind is.
fn spec_pointer(kind: &str) -> &'static str {
    match kind {
        "Pod" => "/spec",
        "CronJob" => "/spec/jobTemplate/spec/template/spec",
        _ => "/spec/template/spec",
    }
}

impl Common {
    async fn objects(&self, session: &Session, words: &[String]) -> Result<Vec<(String, Value)>, Failure> {
        let mut found = Vec::new();
        for target in resolve::targets(session, words).await? {
            if let Some(name) = &target.name {
                let path = session.object(&target.resource, name);
                let object = session.get(&path).await?;
                found.push((path, object));
                continue;
            }
            if !self.all && self.selectors.selector.is_none() {
                return Err(Failure::usage(
                    "one or more resources must be specified as <resource> <name> or <resource>/<name>",
                ));
            }
            let collection = session.collection(&target.resource, Some(&session.namespace));
            let path = format!(
                "{collection}{}",
                query(&[("labelSelector", self.selectors.selector.as_deref())])
            );
            let mut list = session.get(&path).await?;
            for mut item in list["items"].as_array_mut().map(std::mem::take).unwrap_or_default() {
                item["apiVersion"] = json!(target.resource.api_version());
                item["kind"] = json!(target.resource.kind);
                let name = encode(item["metadata"]["name"].as_str().unwrap_or(""));
                found.push((format!("{collection}/{name}"), item));
            }
        }
        Ok(found)
    }

    /// Changes the chosen containers of an object and sends what differs.
    async fn change(
        &self,
        session: &Session,
        path: &str,
        mut object: Value,
        word: &str,
        change: &dyn Fn(&mut Value) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let before = object.clone();
        let pointer = spec_pointer(object["kind"].as_str().unwrap_or(""));
        let mut any = false;
        let spec = object
            .pointer_mut(pointer)
            .ok_or_else(|| Failure::usage("the object has no pod template"))?;
        for field in ["initContainers", "containers"] {
            for container in spec[field].as_array_mut().into_iter().flatten() {
                if glob(&self.containers, container["name"].as_str().unwrap_or("")) {
                    any = true;
                    change(container)?;
                }
            }
        }
        if !any {
            return Err(Failure::usage(format!(
                "{} does not have any containers matching {:?}",
                output::name_of(&object),
                self.containers
            )));
        }
        if before != object && self.dry_run != "client" {
            let path = path.to_owned()
                + &query(&[
                    ("fieldManager", Some(&self.field_manager)),
                    ("dryRun", (self.dry_run == "server").then_some("All")),
                ]);
            let patch = json_patch::diff(&before, &object);
            let patch = serde_json::to_value(&patch)?;
            object = session
                .json(Call::patch(&path, "application/json-patch+json", &patch))
                .await?;
        }
        output::report(&object, word, self.output.output.as_ref(), &self.dry_run)
    }
}

/// Whether a name fits a pattern in which * stands for any letters.
fn glob(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|name| {
            (0..=name.len())
                .filter(|at| name.is_char_boundary(*at))
                .any(|at| glob(rest, &name[at..]))
        }),
    }
}

impl Env {
    /// Carries the command out.
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let is_change = |word: &String| word.contains('=') || word.ends_with('-');
        let (mut changes, targets): (Vec<String>, Vec<String>) = self.words.iter().cloned().partition(is_change);
        changes.extend(self.env.iter().cloned());
        let mut imported = Vec::new();
        if let Some(from) = &self.from {
            imported = self.import(session, from).await?;
        }
        if changes.is_empty() && imported.is_empty() && !self.list {
            return Err(Failure::usage("at least one environment variable must be provided"));
        }
        for (path, object) in self.common.objects(session, &targets).await? {
            if self.list {
                list(&object, &self.common.containers);
                continue;
            }
            self.common
                .change(session, &path, object, "env updated", &|container| {
                    for entry in &imported {
                        put(container, entry.clone(), self.overwrite)?;
                    }
                    for change in &changes {
                        match change.split_once('=') {
                            Some((name, value)) => {
                                put(container, json!({"name": name, "value": value}), self.overwrite)?;
                            }
                            None => {
                                let name = change.trim_end_matches('-');
                                if let Some(env) = container["env"].as_array_mut() {
                                    env.retain(|entry| entry["name"] != name);
                                }
                            }
                        }
                    }
                    Ok(())
                })
                .await?;
        }
        Ok(())
    }

    /// Entries that refer to the keys of a config map or secret.
    async fn import(&self, session: &Session, from: &str) -> Result<Vec<Value>, Failure> {
        let words = [from.to_owned()];
        let [target] = &resolve::targets(session, &words).await?[..] else {
            return Err(Failure::usage("--from takes one configmap/NAME or secret/NAME"));
        };
        let (Some(name), reference) = (&target.name, target.resource.kind.as_str()) else {
            return Err(Failure::usage("--from takes one configmap/NAME or secret/NAME"));
        };
        let reference = match reference {
            "ConfigMap" => "configMapKeyRef",
            "Secret" => "secretKeyRef",
            _ => {
                return Err(Failure::usage(format!(
                    "unsupported resource specified in --from: {from}"
                )));
            }
        };
        let object = session.get(&session.object(&target.resource, name)).await?;
        let keys = object["data"].as_object().into_iter().flatten().map(|(key, _)| key);
        let entries = keys.filter(|key| self.keys.is_empty() || self.keys.contains(key)).map(|key| {
            let variable: String = key
                .to_uppercase()
                .chars()
                .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
                .collect();
            json!({"name": format!("{}{variable}", self.prefix), "valueFrom": {reference: {"name": name, "key": key}}})
        });
        Ok(entries.collect())
    }
}

fn put(container: &mut Value, entry: Value, overwrite: bool) -> Result<(), Failure> {
    if !container["env"].is_array() {
        container["env"] = json!([]);
    }
    let Some(env) = container["env"].as_array_mut() else {
        return Ok(());
    };
    match env.iter_mut().find(|present| present["name"] == entry["name"]) {
        Some(present) if !overwrite && *present != entry => Err(Failure::usage(format!(
            "'{}' already has a value, and --overwrite is false",
            entry["name"].as_str().unwrap_or("")
        ))),
        Some(present) => {
            *present = entry;
            Ok(())
        }
        None => {
            env.push(entry);
            Ok(())
        }
    }
}

fn list(object: &Value, pattern: &str) {
    let spec = object.pointer(spec_pointer(object["kind"].as_str().unwrap_or("")));
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
    for container in spec
        .and_then(|spec| spec["containers"].as_array())
        .into_iter()
        .flatten()
    {
        let container_name = container["name"].as_str().unwrap_or("");
        if !glob(pattern, container_name) {
            continue;
        }
        println!("# {kind} {name}, container {container_name}");
        for entry in container["env"].as_array().into_iter().flatten() {
            let variable = entry["name"].as_str().unwrap_or("");
            let from = &entry["valueFrom"];
            if let Some(key) = from.get("secretKeyRef") {
                println!(
                    "# {variable} from secret {}, key {}",
                    text(&key["name"]),
                    text(&key["key"])
                );
            } else if let Some(key) = from.get("configMapKeyRef") {
                println!(
                    "# {variable} from configmap {}, key {}",
                    text(&key["name"]),
                    text(&key["key"])
                );
            } else if let Some(field) = from.get("fieldRef") {
                println!("# {variable} from field path {}", text(&field["fieldPath"]));
            } else {
                println!("{variable}={}", text(&entry["value"]));
            }
        }
    }
}

fn amounts(pairs: &[String]) -> Result<Map<String, Value>, Failure> {
    let mut map = Map::new();
    for pair in pairs {
        let Some((name, quantity)) = pair.split_once('=') else {
            return Err(Failure::usage(format!(
                "invalid argument syntax {pair}, expected <resource>=<value>"
            )));
        };
        let quantity =
            timonel_api::quantity::canonical(quantity).map_err(|error| Failure::usage(format!("{name}: {error}")))?;
        map.insert(name.to_owned(), json!(quantity));
    }
    Ok(map)
}

impl Resources {
    /// Carries the command out.
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let (limits, requests) = (amounts(&self.limits)?, amounts(&self.requests)?);
        if limits.is_empty() && requests.is_empty() {
            return Err(Failure::usage(
                "you must specify an update to requests or limits (in the form of --requests/--limits)",
            ));
        }
        for (path, object) in self.common.objects(session, &self.words).await? {
            self.common
                .change(session, &path, object, "resource requirements updated", &|container| {
                    for (field, wanted) in [("limits", &limits), ("requests", &requests)] {
                        for (name, quantity) in wanted {
                            container["resources"][field][name] = quantity.clone();
                        }
                    }
                    Ok(())
                })
                .await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_choose_containers() {
        assert!(glob("*", "main") && glob("m*n", "main") && glob("main", "main"));
        assert!(!glob("m*x", "main") && !glob("main", "mainly"));
    }

    #[test]
    fn variables_are_replaced_only_where_that_is_permitted() {
        let mut container = json!({"name": "main"});
        put(&mut container, json!({"name": "A", "value": "1"}), false).unwrap();
        assert!(put(&mut container, json!({"name": "A", "value": "2"}), false).is_err());
        put(&mut container, json!({"name": "A", "value": "2"}), true).unwrap();
        assert_eq!(container["env"], json!([{"name": "A", "value": "2"}]));
    }
}
