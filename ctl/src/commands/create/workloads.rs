//! Generators of namespaces, service accounts, deployments, jobs and cron jobs.

use clap::Args;
use serde_json::{Map, Value, json};
use timonel_client::Rng as _;

use super::{Common, Made};
use crate::error::Failure;
use crate::resolve;
use crate::session::Session;

/// A kind that needs a name only.
#[derive(Clone, Debug, Args)]
pub(crate) struct Named {
    name: String,
    #[command(flatten)]
    pub(super) common: Common,
}

impl Named {
    pub(super) fn namespace(&self) -> Made {
        let name = &self.name;
        Made::plain(
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}, "spec": {}, "status": {}}),
        )
    }

    pub(super) fn service_account(&self) -> Made {
        let object = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": self.name}});
        Made::new(object, "failed to create serviceaccount:")
    }
}

/// `create deployment`
#[derive(Clone, Debug, Args)]
pub(crate) struct Deployment {
    name: String,
    /// Image to run; may be repeated
    #[arg(long, required = true, value_delimiter = ',')]
    image: Vec<String>,
    /// How many replicas
    #[arg(short, long, default_value_t = 1)]
    replicas: u32,
    /// The port that the container listens at
    #[arg(long)]
    port: Option<u16>,
    /// The command to run instead of the image's, after --
    #[arg(last = true)]
    command: Vec<String>,
    #[command(flatten)]
    pub(super) common: Common,
}

impl Deployment {
    pub(super) fn make(&self) -> Result<Made, Failure> {
        if self.image.len() > 1 && !self.command.is_empty() {
            return Err(Failure::usage("cannot specify multiple --image options and command"));
        }
        if self.image.len() > 1 && self.port.is_some() {
            return Err(Failure::usage("cannot specify multiple --image options and --port"));
        }
        let containers: Vec<Value> = self
            .image
            .iter()
            .map(|image| container(&container_name(image), image, &self.command, self.port))
            .collect();
        let labels = json!({"app": self.name});
        let object = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": self.name, "labels": labels},
            "spec": {
                "replicas": self.replicas, "selector": {"matchLabels": labels}, "strategy": {},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}}},
            "status": {}});
        Ok(Made::new(object, "failed to create deployment:"))
    }
}

fn container(name: &str, image: &str, command: &[String], port: Option<u16>) -> Value {
    let mut container = json!({"name": name, "image": image, "resources": {}});
    if !command.is_empty() {
        container["command"] = json!(command);
    }
    if let Some(port) = port {
        container["ports"] = json!([{"containerPort": port}]);
    }
    container
}

/// The image's last path segment without tag and digest; where that is no DNS label, made one, with a random tail.
fn container_name(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    let bare = last.split([':', '@']).next().unwrap_or(last);
    if !bare.contains(['.', '_']) && !bare.contains(|c: char| c.is_ascii_uppercase()) {
        return bare.to_owned();
    }
    let mut name = bare.to_lowercase().replace(['.', '_'], "-");
    name.truncate(57);
    format!("{name}-{}", suffix())
}

/// Five random characters, of those that upstream takes for generated names.
fn suffix() -> String {
    timonel_client::OsRng.suffix(5)
}

/// `create job`
#[derive(Clone, Debug, Args)]
pub(crate) struct Job {
    name: String,
    /// Image to run
    #[arg(long, required_unless_present = "from", conflicts_with = "from")]
    image: Option<String>,
    /// The cron job to take the job's template from, as cronjob/NAME
    #[arg(long)]
    from: Option<String>,
    /// The command to run instead of the image's, after --
    #[arg(last = true)]
    command: Vec<String>,
    #[command(flatten)]
    pub(super) common: Common,
}

impl Job {
    pub(super) async fn make(&self, session: &Session) -> Result<Made, Failure> {
        let object = match &self.from {
            Some(from) => self.copy_cron_job(session, from).await?,
            None => {
                let image = self.image.as_deref().unwrap_or("");
                json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": self.name},
                    "spec": {"template": {"metadata": {}, "spec": {
                        "containers": [container(&self.name, image, &self.command, None)], "restartPolicy": "Never"}}},
                    "status": {}})
            }
        };
        Ok(Made::new(object, "failed to create job:"))
    }

    async fn copy_cron_job(&self, session: &Session, from: &str) -> Result<Value, Failure> {
        if !self.command.is_empty() {
            return Err(Failure::usage("cannot specify --from and command"));
        }
        let words = [from.to_owned()];
        let [target] = &resolve::targets(session, &words).await?[..] else {
            return Err(Failure::usage("--from must name one cron job, as cronjob/NAME"));
        };
        let (Some(name), "cronjobs") = (&target.name, target.resource.plural.as_str()) else {
            return Err(Failure::usage(format!(
                "from must be an existing cronjob: {from:?} is not one"
            )));
        };
        let cron_job = session.get(&session.object(&target.resource, name)).await?;
        Ok(job_from(&self.name, &cron_job))
    }
}

fn job_from(name: &str, cron_job: &Value) -> Value {
    let template = &cron_job["spec"]["jobTemplate"];
    let mut annotations = template["metadata"]["annotations"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    annotations.insert("cronjob.kubernetes.io/instantiate".to_owned(), json!("manual"));
    let mut metadata = Map::new();
    metadata.insert("name".to_owned(), json!(name));
    metadata.insert("annotations".to_owned(), Value::Object(annotations));
    if template["metadata"]["labels"].is_object() {
        metadata.insert("labels".to_owned(), template["metadata"]["labels"].clone());
    }
    metadata.insert("ownerReferences".to_owned(), json!([{
        "apiVersion": "batch/v1", "kind": "CronJob", "name": cron_job["metadata"]["name"], "uid": cron_job["metadata"]["uid"], "controller": true}]));
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template["spec"], "status": {}})
}

/// `create cronjob`
#[derive(Clone, Debug, Args)]
pub(crate) struct CronJob {
    name: String,
    /// Image to run
    #[arg(long)]
    image: String,
    /// When to run, in cron's notation
    #[arg(long)]
    schedule: String,
    /// The pods' restart policy: OnFailure or Never
    #[arg(long, default_value = "OnFailure")]
    restart: String,
    /// The command to run instead of the image's, after --
    #[arg(last = true)]
    command: Vec<String>,
    #[command(flatten)]
    pub(super) common: Common,
}

impl CronJob {
    pub(super) fn make(&self) -> Made {
        let pod = json!({"metadata": {}, "spec": {
            "containers": [container(&self.name, &self.image, &self.command, None)], "restartPolicy": self.restart}});
        let object = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": self.name},
            "spec": {"schedule": self.schedule, "jobTemplate": {"metadata": {"name": self.name}, "spec": {"template": pod}}},
            "status": {}});
        Made::new(object, "failed to create cronjob:")
    }
}
