//! `label` and `annotate`: two names for one change of metadata.

use clap::Args;
use serde_json::{Map, Value, json};

use crate::args::{Files, Output, Selectors};
use crate::error::Failure;
use crate::manifests;
use crate::output::{self, table};
use crate::resolve;
use crate::session::{Call, Session, encode, query};

/// The flags of both.
#[derive(Clone, Debug, Args)]
pub(crate) struct Metadata {
    /// TYPE NAME... or TYPE/NAME..., then KEY=VALUE to set and KEY- to remove
    words: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    selectors: Selectors,
    #[command(flatten)]
    output: Output,
    /// Allow to change a value that is there
    #[arg(long)]
    overwrite: bool,
    /// All objects of the type in the namespace
    #[arg(long)]
    all: bool,
    /// In all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Only show what is there
    #[arg(long)]
    list: bool,
    /// Change only if the object is still at this version
    #[arg(long)]
    resource_version: Option<String>,
    /// none, client or server: say what would be done
    #[arg(long, default_value = "none", value_parser = ["none", "client", "server"])]
    dry_run: String,
    /// Who is recorded as the owner of the change
    #[arg(long, default_value = "kubectl-label")]
    field_manager: String,
}

/// Which of the two maps, and its words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Which {
    /// `labels`
    pub(crate) field: &'static str,
    /// `label`
    pub(crate) noun: &'static str,
    /// `labeled`
    pub(crate) done: &'static str,
    /// `unlabeled`
    pub(crate) undone: &'static str,
}

/// `label`
pub(crate) const LABEL: Which = Which {
    field: "labels",
    noun: "label",
    done: "labeled",
    undone: "unlabeled",
};
/// `annotate`
pub(crate) const ANNOTATE: Which = Which {
    field: "annotations",
    noun: "annotation",
    done: "annotated",
    undone: "annotated",
};

impl Metadata {
    /// Carries the command out.
    pub(crate) async fn run(self, session: &Session, which: Which) -> Result<(), Failure> {
        let is_change = |word: &String| word.contains('=') || (word.ends_with('-') && word.len() > 1);
        let first = self.words.iter().position(is_change).unwrap_or(self.words.len());
        let (targets, changes) = self.words.split_at(first);
        if changes.is_empty() && !self.list {
            return Err(Failure::usage(format!(
                "at least one {} update is required",
                which.noun
            )));
        }
        let changes: Vec<(String, Option<String>)> = changes
            .iter()
            .map(|word| match word.split_once('=') {
                Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                None => (word.trim_end_matches('-').to_owned(), None),
            })
            .collect();
        let mut failures = Vec::new();
        for path in self.paths(session, targets).await? {
            if let Err(failure) = self.change(session, &path, &changes, which).await {
                failures.push(failure);
            }
        }
        Failure::all(failures)
    }

    async fn paths(&self, session: &Session, words: &[String]) -> Result<Vec<String>, Failure> {
        let mut paths = Vec::new();
        if !self.files.filename.is_empty() {
            for manifest in manifests::read(&self.files.filename, self.files.recursive)? {
                let (api_version, kind) = manifest.type_meta();
                let resource = resolve::by_kind(session, api_version, kind).await?;
                let namespace = manifest.namespace().unwrap_or(&session.namespace);
                paths.push(format!(
                    "{}/{}",
                    session.collection(&resource, Some(namespace)),
                    encode(manifest.name())
                ));
            }
            return Ok(paths);
        }
        for target in resolve::targets(session, words).await? {
            if let Some(name) = &target.name {
                paths.push(session.object(&target.resource, name));
                continue;
            }
            if !self.all && self.selectors.selector.is_none() && self.selectors.field_selector.is_none() {
                return Err(Failure::usage(
                    "one or more resources must be specified as <resource> <name> or <resource>/<name>",
                ));
            }
            let namespace = (!self.all_namespaces).then_some(session.namespace.as_str());
            let selectors = query(&[
                ("labelSelector", self.selectors.selector.as_deref()),
                ("fieldSelector", self.selectors.field_selector.as_deref()),
            ]);
            let list = session
                .get(&(session.collection(&target.resource, namespace) + &selectors))
                .await?;
            for item in list["items"].as_array().map_or(&[][..], Vec::as_slice) {
                let namespace = item["metadata"]["namespace"].as_str().or(namespace);
                let name = item["metadata"]["name"].as_str().unwrap_or("");
                paths.push(format!(
                    "{}/{}",
                    session.collection(&target.resource, namespace),
                    encode(name)
                ));
            }
        }
        Ok(paths)
    }

    async fn change(
        &self,
        session: &Session,
        path: &str,
        changes: &[(String, Option<String>)],
        which: Which,
    ) -> Result<(), Failure> {
        let mut object = session.get(path).await?;
        let present = object["metadata"][which.field].as_object().cloned().unwrap_or_default();
        if self.list {
            println!("{}", table::all_labels(&Value::Object(present)).replace(',', "\n"));
            return Ok(());
        }
        let mut patch = Map::new();
        let (mut set, mut removed) = (false, false);
        for (key, value) in changes {
            match value {
                Some(value) => {
                    let there = present.get(key).and_then(Value::as_str);
                    if there.is_some_and(|there| there != value) && !self.overwrite {
                        return Err(Failure::usage(format!(
                            "'{key}' already has a value ({}), and --overwrite is false",
                            there.unwrap_or("")
                        )));
                    }
                    set |= there != Some(value);
                    patch.insert(key.clone(), json!(value));
                }
                None if present.contains_key(key) => {
                    removed = true;
                    patch.insert(key.clone(), Value::Null);
                }
                None => println!("{} {key:?} not found.", which.noun),
            }
        }
        if patch.is_empty() || !(set || removed) {
            println!("{} not {}", output::name_of(&object), which.done);
            return Ok(());
        }
        let mut metadata = json!({ which.field: patch });
        if let Some(version) = &self.resource_version {
            metadata["resourceVersion"] = json!(version);
        }
        let what = if removed && !set { which.undone } else { which.done };
        if self.dry_run != "client" {
            let manager = if which.noun == "label" {
                self.field_manager.as_str()
            } else {
                "kubectl-annotate"
            };
            let dry_run = (self.dry_run == "server").then_some("All");
            let path = path.to_owned() + &query(&[("fieldManager", Some(manager)), ("dryRun", dry_run)]);
            let patch = json!({ "metadata": metadata });
            object = session
                .json(Call::patch(&path, "application/merge-patch+json", &patch))
                .await?;
        }
        output::report(&object, what, self.output.output.as_ref(), &self.dry_run)
    }
}
