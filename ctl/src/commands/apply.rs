//! `apply`: client-side (three-way patch against the last-applied annotation) and server-side.

use clap::Args;
use http::Method;
use serde_json::{Value, json};
use timonel_api::{facts, patch::diff};

use crate::args::{Files, Output, Selectors};
use crate::commands::validate;
use crate::error::Failure;
use crate::manifests::{self, Manifest};
use crate::output::{self, Format};
use crate::resolve::{self, Resource};
use crate::session::{Call, Session, encode, query};

/// Where client-side apply keeps what it applied last.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// How often a patch is made anew when somebody else was quicker.
const MAX_RETRIES: usize = 5;

/// `apply`'s flags.
#[derive(Clone, Debug, Args)]
pub(crate) struct Apply {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    selectors: Selectors,
    #[command(flatten)]
    output: Output,
    /// Let the server merge, by field ownership
    #[arg(long)]
    server_side: bool,
    /// With --server-side: take fields over from their owners
    #[arg(long)]
    force_conflicts: bool,
    /// Who is recorded as the owner of the fields
    #[arg(long)]
    field_manager: Option<String>,
    /// none, client or server: say what would be done
    #[arg(long, default_value = "none", value_parser = ["none", "client", "server"])]
    dry_run: String,
    /// strict (or true), warn, ignore (or false): what to do about unknown and duplicate fields
    #[arg(long, default_value = "strict", value_parser = validate::LEVELS)]
    validate: String,
    /// Delete what was applied before and is not in the files, among the objects of --selector
    #[arg(long, requires = "selector")]
    prune: bool,
    /// Overwrite what others changed
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    overwrite: bool,
    /// Wait for deletions of --prune
    #[arg(long)]
    wait: bool,
}

impl Apply {
    /// Carries the command out.
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        if self.prune {
            return Err(Failure::usage(
                "--prune is not there yet; delete what is left over by name or selector",
            ));
        }
        if self.files.filename.is_empty() {
            return Err(Failure::usage("must specify one of -f and -k"));
        }
        if self.force_conflicts && !self.server_side {
            return Err(Failure::usage("--force-conflicts only works with --server-side"));
        }
        let manifests = manifests::read(&self.files.filename, self.files.recursive)?;
        let (mut failures, mut applied) = (Vec::new(), Vec::new());
        for manifest in &manifests {
            match self.one(session, manifest).await {
                Ok((object, what)) => {
                    applied.push(object.clone());
                    if self.shows_lines() {
                        output::report(&object, what, self.output.output.as_ref(), &self.dry_run)?;
                    }
                }
                Err(failure) => failures.push(failure),
            }
        }
        if !self.shows_lines()
            && let Some(format) = &self.output.output
        {
            let all = match applied.as_slice() {
                [one] => one.clone(),
                many => json!({"apiVersion": "v1", "kind": "List", "items": many, "metadata": {"resourceVersion": ""}}),
            };
            output::print(&mut std::io::stdout().lock(), format, &all)?;
        }
        Failure::all(failures)
    }

    fn shows_lines(&self) -> bool {
        matches!(
            self.output.output,
            None | Some(Format::Name | Format::Table | Format::Wide)
        )
    }

    async fn one(&self, session: &Session, manifest: &Manifest) -> Result<(Value, &'static str), Failure> {
        let (api_version, kind) = manifest.type_meta();
        let resource = resolve::by_kind(session, api_version, kind).await?;
        let namespace = manifest.namespace_in(session, &resource)?;
        let collection = session.collection(&resource, Some(&namespace));
        validate::manifest(session, manifest, &collection, &self.validate).await?;
        if manifest.name().is_empty() {
            return Err(Failure::usage(format!(
                "error when applying {:?}: resource name may not be empty",
                manifest.source
            )));
        }
        let mut object = manifest.object.clone();
        if resource.namespaced {
            object["metadata"]["namespace"] = json!(namespace);
        }
        let path = format!("{collection}/{}", encode(manifest.name()));
        if self.server_side {
            self.server_side(session, manifest, &path, &object).await
        } else {
            self.client_side(session, manifest, &resource, &collection, &path, &object)
                .await
        }
    }

    fn server_dry_run(&self) -> Option<&'static str> {
        (self.dry_run == "server").then_some("All")
    }

    async fn server_side(
        &self,
        session: &Session,
        manifest: &Manifest,
        path: &str,
        object: &Value,
    ) -> Result<(Value, &'static str), Failure> {
        let path = path.to_owned()
            + &query(&[
                ("fieldManager", Some(self.field_manager.as_deref().unwrap_or("kubectl"))),
                ("fieldValidation", Some(validate::field_validation(&self.validate))),
                ("force", Some(if self.force_conflicts { "true" } else { "false" })),
                ("dryRun", self.server_dry_run()),
            ]);
        match session
            .json(Call::patch(&path, "application/apply-patch+yaml", object))
            .await
        {
            Ok(object) => Ok((object, "serverside-applied")),
            Err(failure) if failure.reason() == "Conflict" => Err(Failure::usage(conflict_words(&failure))),
            Err(failure) => Err(failure.doing(format!("error when applying patch from {:?}", manifest.source))),
        }
    }

    async fn client_side(
        &self,
        session: &Session,
        manifest: &Manifest,
        resource: &Resource,
        collection: &str,
        path: &str,
        object: &Value,
    ) -> Result<(Value, &'static str), Failure> {
        let modified = with_last_applied(object);
        let manager = self.field_manager.as_deref().unwrap_or("kubectl-client-side-apply");
        let parameters = query(&[
            ("fieldManager", Some(manager)),
            ("fieldValidation", Some(validate::field_validation(&self.validate))),
            ("dryRun", self.server_dry_run()),
        ]);
        for _ in 0..MAX_RETRIES {
            let live = match session.get(path).await {
                Ok(live) => live,
                Err(failure) if failure.reason() == "NotFound" => {
                    if self.dry_run == "client" {
                        return Ok((modified, "created"));
                    }
                    let path = collection.to_owned() + &parameters;
                    let created = session.json(Call::with_json(Method::POST, &path, &modified)).await;
                    return created
                        .map(|object| (object, "created"))
                        .map_err(|failure| failure.doing(format!("error when creating {:?}", manifest.source)));
                }
                Err(failure) => {
                    return Err(failure.doing(format!(
                        "error when retrieving current configuration from {:?}",
                        manifest.source
                    )));
                }
            };
            warn_without_memory(resource, &live);
            let (patch, content_type) = difference(resource, &modified, &live)?;
            if patch.as_object().is_none_or(serde_json::Map::is_empty) {
                return Ok((live, "unchanged"));
            }
            if self.dry_run == "client" {
                return Ok((live, "configured"));
            }
            let path = path.to_owned() + &parameters;
            match session.json(Call::patch(&path, content_type, &patch)).await {
                Ok(object) => return Ok((object, "configured")),
                Err(failure) if failure.reason() == "Conflict" => {}
                Err(failure) => {
                    return Err(failure.doing(format!("error when applying patch from {:?}", manifest.source)));
                }
            }
        }
        Err(Failure::usage(format!(
            "{:?} was changed by others {MAX_RETRIES} times while it was being applied",
            manifest.name()
        )))
    }
}

/// The object with itself in its annotation, as kubectl writes it: one line of JSON and a newline.
pub(crate) fn with_last_applied(object: &Value) -> Value {
    let mut bare = object.clone();
    if let Some(annotations) = bare["metadata"].get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove(LAST_APPLIED);
    }
    if !bare["metadata"]["annotations"].is_object() {
        bare["metadata"]["annotations"] = json!({});
    }
    let text = format!("{bare}\n");
    bare["metadata"]["annotations"][LAST_APPLIED] = json!(text);
    bare
}

/// The patch that leads from live to what is wanted, and its content type.
pub(crate) fn difference(
    resource: &Resource,
    modified: &Value,
    live: &Value,
) -> Result<(Value, &'static str), Failure> {
    let last: Value = live["metadata"]["annotations"][LAST_APPLIED]
        .as_str()
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_else(|| json!({}));
    match facts::schema_for(&resource.group, &resource.version, &resource.kind) {
        Some(schema) => {
            let patch = diff::three_way_strategic(schema, &last, modified, live)
                .map_err(|error| Failure::usage(format!("creating patch: {error}")))?;
            Ok((patch, "application/strategic-merge-patch+json"))
        }
        None => Ok((
            diff::three_way_merge(&last, modified, live),
            "application/merge-patch+json",
        )),
    }
}

/// Says so where an object was not made by apply.
fn warn_without_memory(resource: &Resource, live: &Value) {
    if live["metadata"]["annotations"][LAST_APPLIED]
        .as_str()
        .is_none_or(str::is_empty)
    {
        eprintln!(
            "Warning: resource {}/{} is missing the {LAST_APPLIED} annotation which is required by timonctl apply. timonctl apply should only be used on resources created declaratively by either timonctl create --save-config or timonctl apply. The missing annotation will be patched automatically.",
            resource.plural,
            live["metadata"]["name"].as_str().unwrap_or("")
        );
    }
}

fn conflict_words(failure: &Failure) -> String {
    let Failure::Server { status, .. } = failure else {
        return failure.to_string();
    };
    format!(
        "{}\nPlease review the fields above--they currently have other managers. Here\nare the ways you can resolve this warning:\n* If you intend to manage all of these fields, please re-run the apply\n  command with the `--force-conflicts` flag.\n* If you do not intend to manage all of the fields, please edit your\n  manifest to remove references to the fields that should keep their\n  current managers.\n* You may co-own fields by updating your manifest to match the existing\n  value; in this case, you'll become the manager if the other manager(s)\n  stop managing the field (remove it from their configuration).\nSee https://kubernetes.io/docs/reference/using-api/server-side-apply/#conflicts",
        status["message"].as_str().unwrap_or("")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_applied_remembers_itself_without_its_memory() {
        let once = with_last_applied(&json!({"kind": "ConfigMap", "metadata": {"name": "a"}}));
        assert_eq!(with_last_applied(&once), once);
        let text = once["metadata"]["annotations"][LAST_APPLIED].as_str().unwrap();
        assert!(text.ends_with("}\n") && !text.contains(LAST_APPLIED));
    }
}
