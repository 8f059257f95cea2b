//! `patch`, and `set image`, which is a patch of pod templates.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::args::Output;
use crate::commands::set;
use crate::error::Failure;
use crate::output;
use crate::resolve;
use crate::session::{Call, Session, query};

/// `patch`'s flags.
#[derive(Clone, Debug, Args)]
pub(crate) struct Patch {
    /// TYPE NAME... or TYPE/NAME...
    targets: Vec<String>,
    #[command(flatten)]
    output: Output,
    /// The patch, as JSON or YAML
    #[arg(short, long, required_unless_present = "patch_file")]
    patch: Option<String>,
    /// A file that holds the patch
    #[arg(long)]
    patch_file: Option<std::path::PathBuf>,
    /// json, merge or strategic
    #[arg(long = "type", default_value = "strategic", value_parser = ["json", "merge", "strategic"])]
    kind: String,
    /// The subresource to patch: status, scale
    #[arg(long)]
    subresource: Option<String>,
    /// Who is recorded as the owner of the change
    #[arg(long, default_value = "kubectl-patch")]
    field_manager: String,
    /// none, client or server: say what would be done
    #[arg(long, default_value = "none", value_parser = ["none", "client", "server"])]
    dry_run: String,
}

impl Patch {
    /// Carries the command out.
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let text = match (&self.patch, &self.patch_file) {
            (Some(text), _) => text.clone(),
            (None, Some(file)) => std::fs::read_to_string(file)?,
            (None, None) => {
                return Err(Failure::usage(
                    "must specify --patch or --patch-file containing the contents of the patch",
                ));
            }
        };
        let patch = timonel_api::decode::yaml(text.as_bytes())
            .map_err(|error| Failure::usage(format!("unable to parse {text:?}: {error}")))?
            .value;
        let content_type = match self.kind.as_str() {
            "json" => "application/json-patch+json",
            "merge" => "application/merge-patch+json",
            _ => "application/strategic-merge-patch+json",
        };
        let mut failures = Vec::new();
        for target in resolve::targets(session, &self.targets).await? {
            let Some(name) = &target.name else {
                return Err(Failure::usage("resource(s) were provided, but no name was specified"));
            };
            let object_path = session.object(&target.resource, name);
            let dry_run = (self.dry_run == "server").then_some("All");
            let subresource = self
                .subresource
                .as_ref()
                .map_or(String::new(), |name| format!("/{name}"));
            let path = format!("{object_path}{subresource}")
                + &query(&[("fieldManager", Some(&self.field_manager)), ("dryRun", dry_run)]);
            let done = async {
                let before = session.get(&object_path).await?;
                if self.dry_run == "client" {
                    return Ok((before.clone(), before));
                }
                let after = session.json(Call::patch(&path, content_type, &patch)).await?;
                Ok::<_, Failure>((before, after))
            };
            match done.await {
                Ok((before, after)) => {
                    let same = before["metadata"]["resourceVersion"] == after["metadata"]["resourceVersion"];
                    let what = if same && self.dry_run == "none" {
                        "patched (no change)"
                    } else {
                        "patched"
                    };
                    output::report(&after, what, self.output.output.as_ref(), &self.dry_run)?;
                }
                Err(failure) => failures.push(failure),
            }
        }
        Failure::all(failures)
    }
}

/// `set`'s verbs.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Set {
    /// Change the image of containers
    Image(Image),
    /// Change the environment of containers
    Env(set::Env),
    /// Change what containers request and may use
    Resources(set::Resources),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Image {
    /// TYPE NAME or TYPE/NAME, then CONTAINER=IMAGE; the container * means all
    words: Vec<String>,
    #[command(flatten)]
    output: Output,
}

impl Set {
    /// Carries the command out.
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::Image(image) => image.run(session).await,
            Self::Env(env) => env.run(session).await,
            Self::Resources(resources) => resources.run(session).await,
        }
    }
}

impl Image {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let (changes, targets): (Vec<String>, Vec<String>) =
            self.words.iter().cloned().partition(|word| word.contains('='));
        if changes.is_empty() {
            return Err(Failure::usage("at least one image update is required"));
        }
        for target in resolve::targets(session, &targets).await? {
            let Some(name) = &target.name else {
                return Err(Failure::usage(
                    "one or more resources must be specified as <resource> <name> or <resource>/<name>",
                ));
            };
            let path = session.object(&target.resource, name);
            let object = session.get(&path).await?;
            let is_pod = target.resource.plural == "pods";
            let spec = if is_pod {
                &object["spec"]
            } else {
                &object["spec"]["template"]["spec"]
            };
            let patch = image_patch(spec, &changes)?;
            let Some(patch) = patch else { continue };
            let patch = if is_pod {
                json!({ "spec": patch })
            } else {
                json!({"spec": {"template": {"spec": patch}}})
            };
            let path = path + &query(&[("fieldManager", Some("kubectl-set"))]);
            let after = session
                .json(Call::patch(&path, "application/strategic-merge-patch+json", &patch))
                .await?;
            output::report(&after, "image updated", self.output.output.as_ref(), "none")?;
        }
        Ok(())
    }
}

/// The patch of a pod spec; `None` when every image is already as asked for.
fn image_patch(spec: &Value, changes: &[String]) -> Result<Option<Value>, Failure> {
    let mut patch = serde_json::Map::new();
    for change in changes {
        let (container, image) = change.split_once('=').unwrap_or((change, ""));
        let mut found = false;
        for field in ["initContainers", "containers"] {
            for present in spec[field].as_array().into_iter().flatten() {
                if container != "*" && present["name"] != container {
                    continue;
                }
                found = true;
                if present["image"] != image {
                    let list = patch.entry(field).or_insert_with(|| json!([]));
                    if let Some(list) = list.as_array_mut() {
                        list.push(json!({"name": present["name"], "image": image}));
                    }
                }
            }
        }
        if !found {
            return Err(Failure::usage(format!("unable to find container named {container:?}")));
        }
    }
    Ok((!patch.is_empty()).then_some(Value::Object(patch)))
}
