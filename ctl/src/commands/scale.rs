//! `scale`: the scale subresource.

use clap::Args;
use serde_json::json;

use crate::args::{Files, Output};
use crate::error::Failure;
use crate::manifests;
use crate::output;
use crate::resolve::{self, Target};
use crate::session::{Call, Session, query};

/// `scale`'s flags.
#[derive(Clone, Debug, Args)]
pub(crate) struct Scale {
    /// TYPE NAME... or TYPE/NAME...
    targets: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    output: Output,
    /// How many replicas there are to be
    #[arg(long)]
    replicas: u32,
    /// Only if there are so many now; -1 for any number
    #[arg(long, default_value_t = -1, allow_hyphen_values = true)]
    current_replicas: i64,
    /// Only if the object is still at this version
    #[arg(long)]
    resource_version: Option<String>,
    /// none, client or server: say what would be done
    #[arg(long, default_value = "none", value_parser = ["none", "client", "server"])]
    dry_run: String,
}

impl Scale {
    /// Carries the command out.
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let mut targets = Vec::new();
        if self.files.filename.is_empty() {
            targets = resolve::targets(session, &self.targets).await?;
        } else {
            for manifest in manifests::read(&self.files.filename, self.files.recursive)? {
                let (api_version, kind) = manifest.type_meta();
                let resource = resolve::by_kind(session, api_version, kind).await?;
                targets.push(Target {
                    resource,
                    name: Some(manifest.name().to_owned()),
                });
            }
        }
        let mut failures = Vec::new();
        for target in targets {
            let Some(name) = &target.name else {
                return Err(Failure::usage("resource(s) were provided, but no name was specified"));
            };
            if let Err(failure) = self.scale(session, &target, name).await {
                failures.push(failure);
            }
        }
        Failure::all(failures)
    }

    async fn scale(&self, session: &Session, target: &Target, name: &str) -> Result<(), Failure> {
        let object_path = session.object(&target.resource, name);
        let path = format!("{object_path}/scale");
        if self.current_replicas >= 0 {
            let scale = session.get(&path).await?;
            let actual = scale["spec"]["replicas"].as_i64().unwrap_or(0);
            if actual != self.current_replicas {
                return Err(Failure::usage(format!(
                    "Expected replicas to be {}, was {actual}",
                    self.current_replicas
                )));
            }
        }
        let mut patch = json!({"spec": {"replicas": self.replicas}});
        if let Some(version) = &self.resource_version {
            patch["metadata"] = json!({"resourceVersion": version});
        }
        if self.dry_run != "client" {
            let path = path + &query(&[("dryRun", (self.dry_run == "server").then_some("All"))]);
            session
                .json(Call::patch(&path, "application/merge-patch+json", &patch))
                .await?;
        }
        let object = session.get(&object_path).await?;
        output::report(&object, "scaled", self.output.output.as_ref(), &self.dry_run)
    }
}
