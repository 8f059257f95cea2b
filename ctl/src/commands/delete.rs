//! `delete`: objects by name, selector or file, waiting until they are gone.

use std::time::Duration;

use clap::Args;
use http::Method;
use serde_json::json;

use crate::args::{Files, Output, Selectors, duration};
use crate::error::Failure;
use crate::manifests;
use crate::output::{self, Format};
use crate::resolve::{self, Target};
use crate::session::{Call, Session, encode, query};

/// `delete`'s flags.
#[derive(Clone, Debug, Args)]
pub(crate) struct Delete {
    /// TYPE NAME..., TYPE/NAME..., or TYPE with -l or --all
    targets: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    selectors: Selectors,
    #[command(flatten)]
    output: Output,
    /// Delete all objects of the type in the namespace
    #[arg(long)]
    all: bool,
    /// With --all or -l: in all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// How the dependents go: background, foreground or orphan
    #[arg(long, default_value = "background", value_parser = ["background", "foreground", "orphan"])]
    cascade: String,
    /// Delete at once, without waiting for the node's word (with --grace-period=0)
    #[arg(long)]
    force: bool,
    /// Seconds that the object gets to end; negative for its own
    #[arg(long, default_value_t = -1, allow_hyphen_values = true)]
    grace_period: i64,
    /// The same as --grace-period=1
    #[arg(long)]
    now: bool,
    /// Treat missing objects as deleted
    #[arg(long)]
    ignore_not_found: bool,
    /// Wait until the objects are gone
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    wait: bool,
    /// How long to wait; 0 for as long as it takes
    #[arg(long, default_value = "0", value_parser = duration)]
    timeout: Duration,
    /// none, or server: say what would be done
    #[arg(long, default_value = "none", value_parser = ["none", "client", "server"])]
    dry_run: String,
}

struct Doomed {
    target: Target,
    path: String,
    source: Option<String>,
}

impl Delete {
    /// Carries the command out.
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        if self.force && self.grace_period < 0 {
            eprintln!(
                "Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated. The resource may continue to run on the cluster indefinitely."
            );
        }
        let doomed = self.doomed(session).await?;
        if doomed.is_empty() {
            println!("No resources found");
            return Ok(());
        }
        let (mut failures, mut waiting) = (Vec::new(), Vec::new());
        for one in doomed {
            match self.delete(session, &one).await {
                Ok(uid) => waiting.push((one, uid)),
                Err(failure) if self.tolerated(&failure, &one) => {}
                Err(failure) => failures.push(match &one.source {
                    Some(source) => failure.doing(format!("error when deleting {source:?}")),
                    None => failure,
                }),
            }
        }
        if self.wait && self.dry_run == "none" {
            let gone = async {
                for (one, uid) in &waiting {
                    until_gone(session, &one.path, uid.as_deref()).await?;
                }
                Ok::<_, Failure>(())
            };
            if self.timeout.is_zero() {
                gone.await?;
            } else {
                let late = || Failure::usage("timed out waiting for the condition");
                tokio::time::timeout(self.timeout, gone).await.map_err(|_| late())??;
            }
        }
        Failure::all(failures)
    }

    fn tolerated(&self, failure: &Failure, one: &Doomed) -> bool {
        failure.reason() == "NotFound"
            && (self.ignore_not_found || (self.all || self.selectors.selector.is_some()) && one.source.is_none())
    }

    async fn doomed(&self, session: &Session) -> Result<Vec<Doomed>, Failure> {
        let mut doomed = Vec::new();
        for manifest in if self.files.filename.is_empty() {
            Vec::new()
        } else {
            manifests::read(&self.files.filename, self.files.recursive)?
        } {
            let (api_version, kind) = manifest.type_meta();
            let resource = resolve::by_kind(session, api_version, kind).await?;
            let namespace = manifest.namespace().unwrap_or(&session.namespace);
            let path = format!(
                "{}/{}",
                session.collection(&resource, Some(namespace)),
                encode(manifest.name())
            );
            let target = Target {
                resource,
                name: Some(manifest.name().to_owned()),
            };
            doomed.push(Doomed {
                target,
                path,
                source: Some(manifest.source.clone()),
            });
        }
        if self.targets.is_empty() {
            if doomed.is_empty() {
                return Err(Failure::usage(
                    "You must provide one or more resources by argument or filename.",
                ));
            }
            return Ok(doomed);
        }
        for target in resolve::targets(session, &self.targets).await? {
            if let Some(name) = target.name.clone() {
                let path = session.object(&target.resource, &name);
                doomed.push(Doomed {
                    target,
                    path,
                    source: None,
                });
                continue;
            }
            if !self.all && self.selectors.selector.is_none() && self.selectors.field_selector.is_none() {
                return Err(Failure::usage("resource(s) were provided, but no name was specified"));
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
                let metadata = &item["metadata"];
                let name = metadata["name"].as_str().unwrap_or("");
                let namespace = metadata["namespace"].as_str().or(namespace);
                let path = format!("{}/{}", session.collection(&target.resource, namespace), encode(name));
                let target = Target {
                    resource: target.resource.clone(),
                    name: Some(name.to_owned()),
                };
                doomed.push(Doomed {
                    target,
                    path,
                    source: None,
                });
            }
        }
        Ok(doomed)
    }

    async fn delete(&self, session: &Session, one: &Doomed) -> Result<Option<String>, Failure> {
        let policy = match self.cascade.as_str() {
            "foreground" => "Foreground",
            "orphan" => "Orphan",
            _ => "Background",
        };
        let mut options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": policy});
        let grace = if self.now {
            1
        } else if self.force && self.grace_period < 0 {
            0
        } else {
            self.grace_period
        };
        if grace >= 0 {
            options["gracePeriodSeconds"] = json!(grace);
        }
        if self.dry_run == "server" {
            options["dryRun"] = json!(["All"]);
        }
        let name = one.target.name.as_deref().unwrap_or("");
        let answer = if self.dry_run == "client" {
            session.get(&one.path).await?
        } else {
            session
                .json(Call::with_json(Method::DELETE, &one.path, &options))
                .await?
        };
        let singular = one.target.resource.singular_name();
        if self.output.output == Some(Format::Name) {
            println!("{singular}/{name}");
        } else {
            let how = output::dry_run_note(&self.dry_run);
            let forced = if self.force { "force deleted" } else { "deleted" };
            let place = answer["metadata"]["namespace"]
                .as_str()
                .map(str::to_owned)
                .or_else(|| one.target.resource.namespaced.then(|| session.namespace.clone()))
                .map_or(String::new(), |namespace| format!(" from {namespace} namespace"));
            println!("{singular} {name:?} {forced}{place}{how}");
        }
        let uid = answer["details"]["uid"]
            .as_str()
            .or_else(|| answer["metadata"]["uid"].as_str());
        Ok(uid.map(str::to_owned))
    }
}

/// Waits until an object is gone, or another of its name has taken its place.
async fn until_gone(session: &Session, path: &str, uid: Option<&str>) -> Result<(), Failure> {
    let mut pause = Duration::from_millis(50);
    loop {
        match session.get(path).await {
            Err(failure) if failure.reason() == "NotFound" => return Ok(()),
            Err(failure) => return Err(failure),
            Ok(object) if uid.is_some_and(|uid| object["metadata"]["uid"] != uid) => return Ok(()),
            Ok(_) => {}
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}
