//! `create`: from files, or by a generator per kind.
//!
//! A generator turns flags into an object; sending and reporting it is the same for all of them.

mod config;
mod policy;
mod rbac;
mod services;
mod token;
mod workloads;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use crate::args::{Files, Output, Selectors};
use crate::commands::{apply, validate};
use crate::error::Failure;
use crate::manifests;
use crate::output;
use crate::resolve;
use crate::session::{Call, Session, query};

/// `create`'s flags.
#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Create {
    #[command(subcommand)]
    generator: Option<Box<Generator>>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    selectors: Selectors,
    #[command(flatten)]
    common: Common,
    /// A URI to POST the file to, as it is
    #[arg(long)]
    raw: Option<String>,
}

/// What all forms of `create` understand.
#[derive(Clone, Debug, Args)]
pub(crate) struct Common {
    #[command(flatten)]
    pub(crate) output: Output,
    /// none, client or server: say what would be done
    #[arg(long, default_value = "none", value_parser = ["none", "client", "server"])]
    pub(crate) dry_run: String,
    /// Who is recorded as the owner of the fields
    #[arg(long, default_value = "kubectl-create")]
    pub(crate) field_manager: String,
    /// Keep the configuration in an annotation, for apply to compare with later
    #[arg(long)]
    pub(crate) save_config: bool,
    /// strict (or true), warn, ignore (or false): what to do about unknown and duplicate fields
    #[arg(long, default_value = "strict", value_parser = validate::LEVELS)]
    pub(crate) validate: String,
}

/// The kinds that can be made from flags alone.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Generator {
    /// Create a namespace
    #[command(visible_alias = "ns")]
    Namespace(workloads::Named),
    /// Create a service account
    #[command(visible_alias = "sa")]
    Serviceaccount(workloads::Named),
    /// Create a deployment
    #[command(visible_alias = "deploy")]
    Deployment(workloads::Deployment),
    /// Create a job
    Job(workloads::Job),
    /// Create a cron job
    #[command(visible_alias = "cj")]
    Cronjob(workloads::CronJob),
    /// Create a config map from files, folders or literal values
    #[command(visible_alias = "cm")]
    Configmap(config::ConfigMap),
    /// Create a secret
    #[command(subcommand)]
    Secret(config::Secret),
    /// Create a service
    #[command(subcommand, visible_alias = "svc")]
    Service(services::Service),
    /// Create an ingress
    #[command(visible_alias = "ing")]
    Ingress(services::Ingress),
    /// Create a role
    Role(rbac::Role),
    /// Create a cluster role
    Clusterrole(rbac::ClusterRole),
    /// Create a role binding
    Rolebinding(rbac::RoleBinding),
    /// Create a cluster role binding
    Clusterrolebinding(rbac::ClusterRoleBinding),
    /// Create a quota
    #[command(visible_alias = "resourcequota")]
    Quota(policy::Quota),
    /// Create a priority class
    #[command(visible_alias = "pc")]
    Priorityclass(policy::PriorityClass),
    /// Create a pod disruption budget
    #[command(visible_alias = "pdb")]
    Poddisruptionbudget(policy::PodDisruptionBudget),
    /// Request a service account's token
    Token(token::Token),
}

/// What a generator made.
pub(crate) struct Made {
    pub(crate) object: Value,
    /// kubectl's words before a refusal; without, the refusal is printed as the server's own.
    pub(crate) refused: Option<&'static str>,
}

impl Made {
    pub(crate) fn new(object: Value, refused: &'static str) -> Self {
        Self {
            object,
            refused: Some(refused),
        }
    }

    pub(crate) fn plain(object: Value) -> Self {
        Self { object, refused: None }
    }
}

impl Create {
    /// Carries the command out.
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self.generator {
            Some(generator) => generator.run(session).await,
            None => self.files(session).await,
        }
    }

    async fn files(self, session: &Session) -> Result<(), Failure> {
        if self.files.filename.is_empty() {
            return Err(Failure::usage("must specify one of -f and -k"));
        }
        if let Some(path) = &self.raw {
            let mut body = Vec::new();
            for name in &self.files.filename {
                if name.as_os_str() == "-" {
                    std::io::Read::read_to_end(&mut std::io::stdin(), &mut body)?;
                } else {
                    body.extend(std::fs::read(name)?);
                }
            }
            let mut call = Call::with_json(Method::POST, path, &Value::Null);
            call.body = Some(body);
            let answer = session.bytes(call).await?;
            std::io::Write::write_all(&mut std::io::stdout(), &answer)?;
            return Ok(());
        }
        let selector = self
            .selectors
            .selector
            .as_deref()
            .map(timonel_api::selector::LabelSelector::parse)
            .transpose()
            .map_err(|error| Failure::usage(error.to_string()))?;
        let mut failures = Vec::new();
        for manifest in manifests::read(&self.files.filename, self.files.recursive)? {
            if let Some(selector) = &selector
                && !selector.matches(&manifest.labels())
            {
                continue;
            }
            let created = async {
                let (api_version, kind) = manifest.type_meta();
                let resource = resolve::by_kind(session, api_version, kind).await?;
                let namespace = manifest.namespace_in(session, &resource)?;
                let collection = session.collection(&resource, Some(&namespace));
                validate::manifest(session, &manifest, &collection, &self.common.validate).await?;
                let mut object = manifest.object.clone();
                if resource.namespaced {
                    object["metadata"]["namespace"] = json!(namespace);
                }
                let doing = || format!("error when creating {:?}", manifest.source);
                self.common
                    .send(session, &collection, object)
                    .await
                    .map_err(|failure| failure.doing(doing()))
            };
            match created.await {
                Ok(object) => self.common.report(&object)?,
                Err(failure) => failures.push(failure),
            }
        }
        Failure::all(failures)
    }
}

impl Common {
    /// Sends an object to its collection; with a dry run of the client it comes back as it is.
    pub(crate) async fn send(&self, session: &Session, collection: &str, object: Value) -> Result<Value, Failure> {
        let object = if self.save_config {
            apply::with_last_applied(&object)
        } else {
            object
        };
        if self.dry_run == "client" {
            return Ok(object);
        }
        let path = collection.to_owned()
            + &query(&[
                ("dryRun", (self.dry_run == "server").then_some("All")),
                ("fieldManager", Some(&self.field_manager)),
                ("fieldValidation", Some(validate::field_validation(&self.validate))),
            ]);
        session.json(Call::with_json(Method::POST, &path, &object)).await
    }

    /// Prints `pod/web created`, or the object as `-o` asks.
    pub(crate) fn report(&self, object: &Value) -> Result<(), Failure> {
        output::report(object, "created", self.output.output.as_ref(), &self.dry_run)
    }

    /// Sends what a generator made, in the session's namespace, and reports it.
    pub(crate) async fn create(&self, session: &Session, made: Made) -> Result<Value, Failure> {
        let Made { mut object, refused } = made;
        let (api_version, kind) = (
            object["apiVersion"].as_str().unwrap_or("").to_owned(),
            object["kind"].as_str().unwrap_or("").to_owned(),
        );
        let resource = resolve::by_kind(session, &api_version, &kind).await?;
        // As kubectl: the namespace is written into the object only where the command line names it.
        if resource.namespaced && (session.namespace_given || self.dry_run != "client") {
            object["metadata"]["namespace"] = json!(session.namespace);
        }
        let collection = session.collection(&resource, Some(&session.namespace));
        let sent = self.send(session, &collection, object).await;
        let object = sent.map_err(|failure| match (&failure, refused) {
            (Failure::Server { status, .. }, Some(words)) => {
                Failure::usage(format!("{words} {}", status["message"].as_str().unwrap_or("unknown")))
            }
            _ => failure,
        })?;
        self.report(&object)?;
        Ok(object)
    }
}

impl Generator {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let (made, common) = match self {
            Self::Namespace(named) => (named.namespace(), named.common),
            Self::Serviceaccount(named) => (named.service_account(), named.common),
            Self::Deployment(deployment) => (deployment.make()?, deployment.common),
            Self::Job(job) => (job.make(session).await?, job.common),
            Self::Cronjob(cron_job) => (cron_job.make(), cron_job.common),
            Self::Configmap(config_map) => (config_map.make()?, config_map.common),
            Self::Secret(secret) => secret.make()?,
            Self::Service(service) => service.make()?,
            Self::Ingress(ingress) => (ingress.make()?, ingress.common),
            Self::Role(role) => (role.make(session).await?, role.common),
            Self::Clusterrole(role) => (role.make(session).await?, role.common),
            Self::Rolebinding(binding) => (binding.make()?, binding.common),
            Self::Clusterrolebinding(binding) => (binding.make()?, binding.common),
            Self::Quota(quota) => (quota.make()?, quota.common),
            Self::Priorityclass(class) => (class.make(), class.common),
            Self::Poddisruptionbudget(budget) => (budget.make()?, budget.common),
            Self::Token(token) => return token.run(session).await,
        };
        common.create(session, made).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests;
