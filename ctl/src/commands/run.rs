//! `run`: one pod from an image, and perhaps attached to it at once.

use std::time::Duration;

use clap::Args;
use http::Method;
use serde_json::{Map, Value, json};

use crate::args::duration;
use crate::commands::create::{Common, Made};
use crate::commands::exec;
use crate::error::Failure;
use crate::remote::Streams;
use crate::session::{Call, Session, encode};

/// `run`'s flags.
#[derive(Clone, Debug, Args)]
pub(crate) struct Run {
    /// The pod's name
    name: String,
    /// The image
    #[arg(long)]
    image: String,
    /// Arguments of the image's command, after --
    #[arg(last = true)]
    args: Vec<String>,
    /// What stands after -- is the command
    #[arg(long)]
    command: bool,
    /// NAME=VALUE; may be repeated
    #[arg(long)]
    env: Vec<String>,
    /// KEY=VALUE pairs, separated by commas
    #[arg(short, long, value_delimiter = ',')]
    labels: Vec<String>,
    /// KEY=VALUE; may be repeated
    #[arg(long)]
    annotations: Vec<String>,
    /// The port that the container listens at
    #[arg(long)]
    port: Option<u16>,
    /// Always, OnFailure or Never
    #[arg(long, default_value = "Always", value_parser = ["Always", "OnFailure", "Never"])]
    restart: String,
    /// Always, IfNotPresent or Never
    #[arg(long)]
    image_pull_policy: Option<String>,
    /// Run the container with all rights
    #[arg(long)]
    privileged: bool,
    /// Keep standard input open, and attach
    #[arg(short = 'i', long)]
    stdin: bool,
    /// Give the container a terminal
    #[arg(short, long)]
    tty: bool,
    /// Attach once it runs
    #[arg(long)]
    attach: bool,
    /// Delete the pod when the session is over
    #[arg(long = "rm")]
    remove: bool,
    /// Print nothing of our own
    #[arg(short, long)]
    quiet: bool,
    /// How long to wait for the pod to run
    #[arg(long, default_value = "1m", value_parser = duration)]
    pod_running_timeout: Duration,
    /// JSON that is merged over the pod
    #[arg(long)]
    overrides: Option<String>,
    #[command(flatten)]
    common: Common,
}

fn pairs(texts: &[String], what: &str) -> Result<Map<String, Value>, Failure> {
    let mut map = Map::new();
    for text in texts {
        let Some((key, value)) = text.split_once('=') else {
            return Err(Failure::usage(format!("unexpected {what}: {text}")));
        };
        map.insert(key.to_owned(), json!(value));
    }
    Ok(map)
}

impl Run {
    fn pod(&self) -> Result<Value, Failure> {
        let mut container = json!({"name": self.name, "image": self.image, "resources": {}});
        if !self.args.is_empty() {
            container[if self.command { "command" } else { "args" }] = json!(self.args);
        }
        if !self.env.is_empty() {
            let entries = pairs(&self.env, "env")?;
            let env: Vec<Value> = entries
                .into_iter()
                .map(|(name, value)| json!({"name": name, "value": value}))
                .collect();
            container["env"] = json!(env);
        }
        if let Some(port) = self.port {
            container["ports"] = json!([{ "containerPort": port }]);
        }
        if let Some(policy) = &self.image_pull_policy {
            container["imagePullPolicy"] = json!(policy);
        }
        if self.privileged {
            container["securityContext"] = json!({"privileged": true});
        }
        if self.stdin {
            container["stdin"] = json!(true);
            container["stdinOnce"] = json!(true);
        }
        if self.tty {
            container["tty"] = json!(true);
        }
        let labels = if self.labels.is_empty() {
            json!({"run": self.name})
        } else {
            Value::Object(pairs(&self.labels, "label")?)
        };
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": self.name, "labels": labels},
            "spec": {"containers": [container], "dnsPolicy": "ClusterFirst", "restartPolicy": self.restart}, "status": {}});
        if !self.annotations.is_empty() {
            pod["metadata"]["annotations"] = Value::Object(pairs(&self.annotations, "annotation")?);
        }
        if let Some(text) = &self.overrides {
            let patch: Value = serde_json::from_str(text)
                .map_err(|error| Failure::usage(format!("--overrides is not JSON: {error}")))?;
            json_patch::merge(&mut pod, &patch);
        }
        Ok(pod)
    }

    /// Carries the command out; with `--restart=Never` and attached, the container's exit code becomes ours.
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let attach = self.attach || self.stdin;
        if self.tty && !self.stdin {
            return Err(Failure::usage(
                "-i/--stdin is required for containers with -t/--tty=true",
            ));
        }
        if self.remove && !attach {
            return Err(Failure::usage("--rm should only be used for attached containers"));
        }
        let attach = attach && self.common.dry_run == "none";
        let common = Common {
            field_manager: "kubectl-run".to_owned(),
            ..self.common.clone()
        };
        let made = Made::plain(self.pod()?);
        if !attach {
            return common.create(session, made).await.map(|_| ());
        }
        let mut object = made.object;
        object["metadata"]["namespace"] = json!(session.namespace);
        let collection = format!("/api/v1/namespaces/{}/pods", session.namespace);
        common.send(session, &collection, object).await?;
        let path = format!("{collection}/{}", encode(&self.name));
        let ended = self.attached(session, &path).await;
        if self.remove {
            session
                .json(Call {
                    method: Method::DELETE,
                    ..Call::get(&path)
                })
                .await?;
            if !self.quiet {
                println!("pod {:?} deleted from {} namespace", self.name, session.namespace);
            }
        }
        ended
    }

    async fn attached(&self, session: &Session, path: &str) -> Result<(), Failure> {
        let is_over = |pod: &Value| matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        let starting = async {
            loop {
                let pod = session.get(path).await?;
                if is_over(&pod) || pod["status"]["containerStatuses"][0]["state"]["running"].is_object() {
                    return Ok::<_, Failure>(pod);
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let mut pod = tokio::time::timeout(self.pod_running_timeout, starting)
            .await
            .map_err(|_| Failure::usage("timed out waiting for the condition"))??;
        if is_over(&pod) {
            let log = session
                .bytes(Call {
                    accept: "*/*",
                    ..Call::get(&format!("{path}/log"))
                })
                .await?;
            std::io::Write::write_all(&mut std::io::stdout(), &log)?;
        } else {
            let mut streams = Streams {
                stdin: self.stdin,
                tty: self.tty,
                quiet: self.quiet,
                detach: None,
            };
            streams.fit_terminal();
            let container = exec::choose(&pod, None, self.quiet)?;
            exec::attach(session, &pod, &container, streams).await?;
        }
        if self.restart != "Never" {
            return Ok(());
        }
        while !is_over(&pod) {
            tokio::time::sleep(Duration::from_millis(100)).await;
            pod = session.get(path).await?;
        }
        let code = &pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"];
        match code.as_u64().and_then(|code| u8::try_from(code).ok()) {
            Some(0) | None => Ok(()),
            Some(code) => {
                eprintln!(
                    "pod {}/{} terminated ({})",
                    session.namespace,
                    self.name,
                    pod["status"]["containerStatuses"][0]["state"]["terminated"]["reason"]
                        .as_str()
                        .unwrap_or("Error")
                );
                Err(Failure::Exit(code))
            }
        }
    }
}
