//! `edit` and `diff`: an object as text, changed in an editor, or compared with a file.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use clap::Args;
use serde_json::Value;
use timonel_api::{decode, facts, patch};

use crate::args::{Files, Output};
use crate::commands::apply;
use crate::error::Failure;
use crate::manifests;
use crate::output;
use crate::resolve::{self, Resource};
use crate::session::{Call, Session, encode, query};

/// `edit`'s flags.
#[derive(Clone, Debug, Args)]
pub(crate) struct Edit {
    /// TYPE NAME... or TYPE/NAME...
    targets: Vec<String>,
    #[command(flatten)]
    output: Output,
    /// Who is recorded as the owner of the change
    #[arg(long, default_value = "kubectl-edit")]
    field_manager: String,
}

const HEADER: &str = "# Please edit the object below. Lines beginning with a '#' will be ignored,\n# and an empty file will abort the edit. If an error occurs while saving this file will be\n# reopened with the relevant failures.\n#\n";

/// A file that only we may read, gone when dropped.
struct Draft(PathBuf);

impl Draft {
    fn write(text: &str) -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("timonctl-edit-{}.yaml", std::process::id()));
        let mut options = std::fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)?;
        file.write_all(text.as_bytes())?;
        Ok(Self(path))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Edit {
    /// Carries the command out.
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        if self.targets.is_empty() {
            return Err(Failure::usage("must specify one of -f and -k, or an object to edit"));
        }
        for target in resolve::targets(session, &self.targets).await? {
            let Some(name) = &target.name else {
                return Err(Failure::usage("resource(s) were provided, but no name was specified"));
            };
            let path = session.object(&target.resource, name);
            self.one(session, &path, &target.resource).await?;
        }
        Ok(())
    }

    async fn one(&self, session: &Session, path: &str, resource: &Resource) -> Result<(), Failure> {
        let mut live = session.get(path).await?;
        output::strip_managed_fields(&mut live);
        let original = output::yaml(&live)?;
        let mut text = format!("{HEADER}{original}");
        loop {
            let edited = open_editor(&text)?;
            let body: String = edited
                .lines()
                .filter(|line| !line.starts_with('#'))
                .map(|l| format!("{l}\n"))
                .collect();
            if body.trim().is_empty() || body == original {
                eprintln!("Edit cancelled, no changes made.");
                return Ok(());
            }
            let sent = async {
                let wanted = decode::yaml(body.as_bytes())
                    .map_err(|error| Failure::usage(format!("the edited file is not YAML: {error}")))?
                    .value;
                let path = path.to_owned()
                    + &query(&[
                        ("fieldManager", Some(&self.field_manager)),
                        ("fieldValidation", Some("Strict")),
                    ]);
                let (patch, content_type) = difference(resource, &live, &wanted)?;
                session.json(Call::patch(&path, content_type, &patch)).await
            };
            match sent.await {
                Ok(object) => return output::report(&object, "edited", self.output.output.as_ref(), "none"),
                // What the user wrote is shown again, with what is wrong; to save it unchanged gives up.
                Err(failure) if edited != text => {
                    let why: String = failure.to_string().lines().map(|line| format!("# {line}\n")).collect();
                    text = format!("{HEADER}{why}#\n{body}");
                }
                Err(failure) => return Err(failure),
            }
        }
    }
}

fn open_editor(text: &str) -> Result<String, Failure> {
    let draft = Draft::write(text)?;
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    let editor = set("KUBE_EDITOR")
        .or_else(|| set("EDITOR"))
        .unwrap_or_else(|| "vi".to_owned());
    let status = std::process::Command::new("sh")
        .arg("-c")
        .arg(format!("{editor} \"$1\""))
        .arg("edit")
        .arg(&draft.0)
        .status()
        .map_err(|error| Failure::usage(format!("cannot start the editor {editor:?}: {error}")))?;
    if !status.success() {
        return Err(Failure::usage(format!(
            "there was a problem with the editor {editor:?}: {status}"
        )));
    }
    Ok(std::fs::read_to_string(&draft.0)?)
}

fn difference(resource: &Resource, live: &Value, wanted: &Value) -> Result<(Value, &'static str), Failure> {
    match facts::schema_for(&resource.group, &resource.version, &resource.kind) {
        Some(schema) => {
            let patch = patch::diff::three_way_strategic(schema, live, wanted, live)
                .map_err(|error| Failure::usage(format!("creating patch: {error}")))?;
            Ok((patch, "application/strategic-merge-patch+json"))
        }
        None => Ok((
            patch::diff::three_way_merge(live, wanted, live),
            "application/merge-patch+json",
        )),
    }
}

/// `diff`'s flags.
#[derive(Clone, Debug, Args)]
pub(crate) struct Diff {
    #[command(flatten)]
    files: Files,
    /// Who would be recorded as the owner of the fields
    #[arg(long, default_value = "kubectl-client-side-apply")]
    field_manager: String,
    /// Compare with what a server-side apply would make
    #[arg(long)]
    server_side: bool,
    /// With --server-side: take fields over from their owners
    #[arg(long)]
    force_conflicts: bool,
}

impl Diff {
    /// Carries the command out; exits with 1 where something differs.
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        if self.files.filename.is_empty() {
            return Err(Failure::usage("must specify one of -f and -k"));
        }
        let mut differs = false;
        for manifest in manifests::read(&self.files.filename, self.files.recursive)? {
            let (api_version, kind) = manifest.type_meta();
            let resource = resolve::by_kind(session, api_version, kind).await?;
            let namespace = manifest.namespace_in(session, &resource)?;
            let collection = session.collection(&resource, Some(&namespace));
            let path = format!("{collection}/{}", encode(manifest.name()));
            let mut object = manifest.object.clone();
            if resource.namespaced {
                object["metadata"]["namespace"] = namespace.clone().into();
            }
            let live = match session.get(&path).await {
                Ok(live) => Some(live),
                Err(failure) if failure.reason() == "NotFound" => None,
                Err(failure) => return Err(failure),
            };
            let merged = self
                .merged(session, &resource, &collection, &path, &object, live.as_ref())
                .await?;
            let name = format!(
                "{}.{}.{namespace}.{}",
                api_version.replace('/', "."),
                kind,
                manifest.name()
            );
            let text = |object: &Value| {
                let mut object = object.clone();
                output::strip_managed_fields(&mut object);
                mask(&mut object);
                output::yaml(&object)
            };
            let (old, new) = (live.as_ref().map_or(Ok(String::new()), text)?, text(&merged)?);
            if old != new {
                differs = true;
                println!("diff -u -N LIVE/{name} MERGED/{name}");
                let changes = similar::TextDiff::from_lines(&old, &new);
                print!(
                    "{}",
                    changes
                        .unified_diff()
                        .header(&format!("LIVE/{name}"), &format!("MERGED/{name}"))
                );
            }
        }
        if differs { Err(Failure::Exit(1)) } else { Ok(()) }
    }

    /// What the server would make of it.
    async fn merged(
        &self,
        session: &Session,
        resource: &Resource,
        collection: &str,
        path: &str,
        object: &Value,
        live: Option<&Value>,
    ) -> Result<Value, Failure> {
        let dry = [
            ("dryRun", Some("All")),
            ("fieldManager", Some(self.field_manager.as_str())),
        ];
        if self.server_side {
            let force = if self.force_conflicts { "true" } else { "false" };
            let path = path.to_owned() + &query(&[dry[0], dry[1], ("force", Some(force))]);
            return session
                .json(Call::patch(&path, "application/apply-patch+yaml", object))
                .await;
        }
        let modified = apply::with_last_applied(object);
        let Some(live) = live else {
            let path = collection.to_owned() + &query(&dry);
            return session
                .json(Call::with_json(http::Method::POST, &path, &modified))
                .await;
        };
        let (patch, content_type) = apply::difference(resource, &modified, live)?;
        let path = path.to_owned() + &query(&dry);
        session.json(Call::patch(&path, content_type, &patch)).await
    }
}

/// What is secret stays out of a comparison.
fn mask(object: &mut Value) {
    if object["kind"] != "Secret" {
        return;
    }
    for field in ["data", "stringData"] {
        for (_, value) in object[field].as_object_mut().into_iter().flatten() {
            *value = "***".into();
        }
    }
}
