//! `taint`: marks on nodes that keep pods away.

use clap::Args;
use serde_json::{Value, json};

use crate::args::{Output, Selectors};
use crate::error::Failure;
use crate::output;
use crate::session::{Call, Session, encode, query};

/// `taint`'s flags.
#[derive(Clone, Debug, Args)]
pub(crate) struct Taint {
    /// node(s) NAME..., then KEY=VALUE:EFFECT to set, KEY:EFFECT- or KEY- to remove
    words: Vec<String>,
    #[command(flatten)]
    selectors: Selectors,
    #[command(flatten)]
    output: Output,
    /// All nodes
    #[arg(long)]
    all: bool,
    /// Permit the change of a taint that is there
    #[arg(long)]
    overwrite: bool,
    /// none, client or server: say what would be done
    #[arg(long, default_value = "none", value_parser = ["none", "client", "server"])]
    dry_run: String,
    /// Who is recorded as the owner of the change
    #[arg(long, default_value = "kubectl-taint")]
    field_manager: String,
}

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// A change to one taint.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    Set { key: String, value: String, effect: String },
    Remove { key: String, effect: Option<String> },
}

impl Change {
    /// Reads a change; `None` for a word that is none.
    fn read(word: &str) -> Result<Option<Self>, Failure> {
        let known = |effect: &str| {
            if EFFECTS.contains(&effect) {
                Ok(effect.to_owned())
            } else {
                Err(Failure::usage(format!(
                    "invalid taint effect: {effect}, unsupported taint effect"
                )))
            }
        };
        if let Some(word) = word.strip_suffix('-') {
            let (key, effect) = word
                .split_once(':')
                .map_or((word, None), |(key, effect)| (key, Some(effect)));
            let key = key.split('=').next().unwrap_or(key);
            return Ok(Some(Self::Remove {
                key: key.to_owned(),
                effect: effect.map(known).transpose()?,
            }));
        }
        let Some((pair, effect)) = word.split_once(':') else {
            if word.contains('=') {
                return Err(Failure::usage(format!(
                    "invalid taint spec: {word}, an effect is missing"
                )));
            }
            return Ok(None);
        };
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok(Some(Self::Set {
            key: key.to_owned(),
            value: value.to_owned(),
            effect: known(effect)?,
        }))
    }
}

/// A node's taints after the changes.
fn changed(node: &str, present: &[Value], changes: &[Change], overwrite: bool) -> Result<Vec<Value>, Failure> {
    let mut taints = present.to_vec();
    for change in changes {
        match change {
            Change::Set { key, value, effect } => {
                let same = |taint: &Value| taint["key"] == key.as_str() && taint["effect"] == effect.as_str();
                if taints.iter().any(same) && !overwrite {
                    return Err(Failure::usage(format!(
                        "node {node} already has {key} taint(s) with same effect(s) and --overwrite is false"
                    )));
                }
                taints.retain(|taint| !same(taint));
                let mut taint = json!({"key": key, "effect": effect});
                if !value.is_empty() {
                    taint["value"] = json!(value);
                }
                taints.push(taint);
            }
            Change::Remove { key, effect } => {
                let before = taints.len();
                taints.retain(|taint| {
                    taint["key"] != key.as_str()
                        || effect.as_ref().is_some_and(|effect| taint["effect"] != effect.as_str())
                });
                if taints.len() == before {
                    let shown = effect
                        .as_ref()
                        .map_or_else(|| key.clone(), |effect| format!("{key}:{effect}"));
                    return Err(Failure::usage(format!("taint {shown:?} not found")));
                }
            }
        }
    }
    Ok(taints)
}

impl Taint {
    /// Carries the command out.
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let (mut names, mut changes) = (Vec::new(), Vec::new());
        for (index, word) in self.words.iter().enumerate() {
            match Change::read(word)? {
                Some(change) => changes.push(change),
                None if index == 0 && ["node", "nodes", "no"].contains(&word.as_str()) => {}
                None => names.push(word.split_once('/').map_or(word.as_str(), |(_, name)| name).to_owned()),
            }
        }
        if changes.is_empty() {
            return Err(Failure::usage("at least one taint update is required"));
        }
        let mut nodes = Vec::new();
        if self.all || self.selectors.selector.is_some() {
            let path = format!(
                "/api/v1/nodes{}",
                query(&[("labelSelector", self.selectors.selector.as_deref())])
            );
            let mut list = session.get(&path).await?;
            nodes = list["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
        } else if names.is_empty() {
            return Err(Failure::usage(
                "at least one resource name must be specified since 'all' parameter is not set",
            ));
        }
        for name in &names {
            nodes.push(session.get(&format!("/api/v1/nodes/{}", encode(name))).await?);
        }
        let sets = changes.iter().any(|change| matches!(change, Change::Set { .. }));
        let removes = changes.iter().any(|change| matches!(change, Change::Remove { .. }));
        let word = match (sets, removes) {
            (true, true) => "modified",
            (true, false) => "tainted",
            _ => "untainted",
        };
        let mut failures = Vec::new();
        for node in nodes {
            if let Err(failure) = self.one(session, node, &changes, word).await {
                failures.push(failure);
            }
        }
        Failure::all(failures)
    }

    async fn one(&self, session: &Session, mut node: Value, changes: &[Change], word: &str) -> Result<(), Failure> {
        let name = node["metadata"]["name"].as_str().unwrap_or("").to_owned();
        let present = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
        let taints = changed(&name, &present, changes, self.overwrite)?;
        if self.dry_run == "client" {
            node["spec"]["taints"] = json!(taints);
        } else {
            // The version makes sure that nobody's taint is lost in between.
            let patch = json!({"metadata": {"resourceVersion": node["metadata"]["resourceVersion"]}, "spec": {"taints": taints}});
            let path = format!("/api/v1/nodes/{}", encode(&name))
                + &query(&[
                    ("fieldManager", Some(&self.field_manager)),
                    ("dryRun", (self.dry_run == "server").then_some("All")),
                ]);
            node = session
                .json(Call::patch(&path, "application/merge-patch+json", &patch))
                .await?;
        }
        node["apiVersion"] = json!("v1");
        node["kind"] = json!("Node");
        output::report(&node, word, self.output.output.as_ref(), &self.dry_run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taints_are_set_and_removed() {
        let read = |word: &str| Change::read(word).unwrap().unwrap();
        let present = [
            json!({"key": "a", "effect": "NoSchedule"}),
            json!({"key": "a", "effect": "NoExecute"}),
        ];
        let set = [read("a=b:NoSchedule")];
        assert!(changed("n", &present, &set, false).is_err());
        assert_eq!(
            changed("n", &present, &set, true).unwrap()[1],
            json!({"key": "a", "value": "b", "effect": "NoSchedule"})
        );
        assert_eq!(
            changed("n", &present, &[read("a-")], false).unwrap(),
            Vec::<Value>::new()
        );
        assert_eq!(changed("n", &present, &[read("a:NoExecute-")], false).unwrap().len(), 1);
        assert!(changed("n", &present, &[read("x-")], false).is_err());
        assert_eq!(Change::read("node-1").unwrap(), None);
        assert!(Change::read("a=b:Never").is_err());
    }
}
