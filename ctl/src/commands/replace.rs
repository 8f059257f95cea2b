//! `replace` and `certificate`: whole objects in place of those that are there.

use std::time::Duration;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};
use timonel_client::{Clock, SystemClock};

use crate::args::{Files, Output};
use crate::commands::validate;
use crate::error::Failure;
use crate::manifests;
use crate::output;
use crate::resolve;
use crate::session::{Call, Session, encode, query};

/// `replace`'s flags.
#[derive(Clone, Debug, Args)]
pub(crate) struct Replace {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    output: Output,
    /// Delete the object and make it anew
    #[arg(long)]
    force: bool,
    /// The subresource to replace: status, scale
    #[arg(long)]
    subresource: Option<String>,
    /// none, client or server: say what would be done
    #[arg(long, default_value = "none", value_parser = ["none", "client", "server"])]
    dry_run: String,
    /// Who is recorded as the owner of the fields
    #[arg(long, default_value = "kubectl-replace")]
    field_manager: String,
    /// strict (or true), warn, ignore (or false): what to do about unknown and duplicate fields
    #[arg(long, default_value = "strict", value_parser = validate::LEVELS)]
    validate: String,
}

impl Replace {
    /// Carries the command out.
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        if self.files.filename.is_empty() {
            return Err(Failure::usage("must specify one of -f and -k"));
        }
        let mut failures = Vec::new();
        for manifest in manifests::read(&self.files.filename, self.files.recursive)? {
            let replaced = async {
                let (api_version, kind) = manifest.type_meta();
                let resource = resolve::by_kind(session, api_version, kind).await?;
                let namespace = manifest.namespace_in(session, &resource)?;
                let collection = session.collection(&resource, Some(&namespace));
                validate::manifest(session, &manifest, &collection, &self.validate).await?;
                let mut object = manifest.object.clone();
                if resource.namespaced {
                    object["metadata"]["namespace"] = json!(namespace);
                }
                let path = format!("{collection}/{}", encode(manifest.name()));
                self.one(session, &collection, &path, &object)
                    .await
                    .map_err(|failure| failure.doing(format!("error when replacing {:?}", manifest.source)))
            };
            match replaced.await {
                Ok(object) => output::report(&object, "replaced", self.output.output.as_ref(), &self.dry_run)?,
                Err(failure) => failures.push(failure),
            }
        }
        Failure::all(failures)
    }

    async fn one(&self, session: &Session, collection: &str, path: &str, object: &Value) -> Result<Value, Failure> {
        if self.dry_run == "client" {
            return Ok(object.clone());
        }
        let parameters = query(&[
            ("fieldManager", Some(&self.field_manager)),
            ("fieldValidation", Some(validate::field_validation(&self.validate))),
            ("dryRun", (self.dry_run == "server").then_some("All")),
        ]);
        if !self.force {
            let subresource = self
                .subresource
                .as_ref()
                .map_or(String::new(), |name| format!("/{name}"));
            let path = format!("{path}{subresource}{parameters}");
            return session.json(Call::with_json(Method::PUT, &path, object)).await;
        }
        let delete = Call {
            method: Method::DELETE,
            ..Call::get(path)
        };
        match session.json(delete).await {
            Err(failure) if failure.reason() != "NotFound" => return Err(failure),
            _ => {}
        }
        while session.get(path).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let path = format!("{collection}{parameters}");
        session.json(Call::with_json(Method::POST, &path, object)).await
    }
}

/// `certificate`'s verbs.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Certificate {
    /// Approve signing requests
    Approve(Requests),
    /// Deny signing requests
    Deny(Requests),
}

/// The requests to decide on.
#[derive(Clone, Debug, Args)]
pub(crate) struct Requests {
    /// Names of signing requests
    names: Vec<String>,
    /// Decide again on what is decided
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    output: Output,
}

impl Certificate {
    /// Carries the command out.
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let (requests, kind, reason, word) = match &self {
            Self::Approve(requests) => (requests, "Approved", "KubectlApprove", "approved"),
            Self::Deny(requests) => (requests, "Denied", "KubectlDeny", "denied"),
        };
        if requests.names.is_empty() {
            return Err(Failure::usage(
                "one or more CSRs must be specified as <name> or -f <filename>",
            ));
        }
        for name in &requests.names {
            let name = name.rsplit('/').next().unwrap_or(name);
            let path = format!(
                "/apis/certificates.k8s.io/v1/certificatesigningrequests/{}",
                encode(name)
            );
            let mut request = session.get(&path).await?;
            let mut conditions = request["status"]["conditions"].as_array().cloned().unwrap_or_default();
            if !conditions.iter().any(|condition| condition["type"] == kind) || requests.force {
                conditions.retain(|condition| condition["type"] != kind);
                let now = SystemClock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
                let verb = if kind == "Approved" { "approve" } else { "deny" };
                conditions.push(
                    json!({"type": kind, "status": "True", "reason": reason, "lastUpdateTime": now,
                    "message": format!("This CSR was {word} by kubectl certificate {verb}.")}),
                );
                request["status"]["conditions"] = json!(conditions);
                let path = format!("{path}/approval");
                request = session.json(Call::with_json(Method::PUT, &path, &request)).await?;
            }
            output::report(&request, word, requests.output.output.as_ref(), "none")?;
        }
        Ok(())
    }
}
