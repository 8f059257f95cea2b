//! `exec` and `attach`: a process in a container, with our terminal.

use std::time::Duration;

use clap::Args;
use serde_json::Value;

use crate::args::duration;
use crate::commands::logs;
use crate::error::Failure;
use crate::remote::{self, DetachKeys, End, Streams};
use crate::session::{Session, encode, query};

/// `exec`'s flags.
#[derive(Clone, Debug, Args)]
pub(crate) struct Exec {
    /// POD or TYPE/NAME
    words: Vec<String>,
    /// The command and its arguments, after --
    #[arg(last = true)]
    command: Vec<String>,
    #[command(flatten)]
    target: Container,
}

/// `attach`'s flags.
#[derive(Clone, Debug, Args)]
pub(crate) struct Attach {
    /// POD or TYPE/NAME
    word: String,
    #[command(flatten)]
    target: Container,
    /// The keys that let go of the container
    #[arg(long, default_value = "ctrl-p,ctrl-q")]
    detach_keys: DetachKeys,
}

/// Which container, and which streams of it.
#[derive(Clone, Debug, Args)]
pub(crate) struct Container {
    /// Which container; the annotated one or the first one without
    #[arg(short, long)]
    container: Option<String>,
    /// Pass standard input on
    #[arg(short = 'i', long)]
    stdin: bool,
    /// Standard input is a terminal
    #[arg(short, long)]
    tty: bool,
    /// Print nothing of our own
    #[arg(short, long)]
    quiet: bool,
    /// How long to wait for a pod of TYPE/NAME
    #[arg(long, default_value = "1m", value_parser = duration)]
    pod_running_timeout: Duration,
}

impl Container {
    fn streams(&self) -> Streams {
        let mut streams = Streams {
            stdin: self.stdin,
            tty: self.tty,
            quiet: self.quiet,
            detach: None,
        };
        streams.fit_terminal();
        streams
    }

    async fn pod(&self, session: &Session, word: &str) -> Result<Value, Failure> {
        let look = async {
            loop {
                match logs::pod_of(session, word).await {
                    Err(Failure::Usage(message)) if message.ends_with("selects no pods") => {
                        tokio::time::sleep(Duration::from_millis(500)).await;
                    }
                    other => return other,
                }
            }
        };
        tokio::time::timeout(self.pod_running_timeout, look)
            .await
            .map_err(|_| Failure::usage("timed out waiting for the condition"))?
    }
}

/// A container of a pod, and how it is found.
pub(crate) struct Found<'a> {
    pub(crate) name: &'a str,
    pub(crate) tty: bool,
}

/// Chooses the container: the named one, the annotated one, or the first.
pub(crate) fn choose<'a>(pod: &'a Value, wanted: Option<&str>, quiet: bool) -> Result<Found<'a>, Failure> {
    let pod_name = pod["metadata"]["name"].as_str().unwrap_or("");
    let lists = [
        ("containers", ""),
        ("ephemeralContainers", " (ephem)"),
        ("initContainers", " (init)"),
    ];
    let all: Vec<(&Value, &str)> = lists
        .iter()
        .flat_map(|(field, note)| pod["spec"][field].as_array().into_iter().flatten().map(|c| (c, *note)))
        .collect();
    let name_of = |container: &'a Value| container["name"].as_str().unwrap_or("");
    let annotated = pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"].as_str();
    let found = match (wanted, annotated) {
        (Some(name), _) => Some(
            all.iter()
                .find(|(c, _)| c["name"] == name)
                .ok_or_else(|| Failure::usage(format!("container {name} not found in pod {pod_name}")))?,
        ),
        (None, Some(name)) => all.iter().find(|(c, _)| c["name"] == name),
        (None, None) => None,
    };
    let container = match found {
        Some((container, _)) => *container,
        None => {
            let Some((first, _)) = all.first() else {
                return Err(Failure::usage(format!("pod {pod_name} has no containers")));
            };
            if all.len() > 1 && !quiet {
                let names: Vec<String> = all.iter().map(|(c, note)| format!("{}{note}", name_of(c))).collect();
                eprintln!("Defaulted container {:?} out of: {}", name_of(first), names.join(", "));
            }
            first
        }
    };
    Ok(Found {
        name: name_of(container),
        tty: container["tty"] == true,
    })
}

fn refuse_completed(pod: &Value, act: &str) -> Result<(), Failure> {
    match pod["status"]["phase"].as_str() {
        Some(phase @ ("Succeeded" | "Failed")) => Err(Failure::usage(format!(
            "cannot {act} a container in a completed pod; current phase is {phase}"
        ))),
        _ => Ok(()),
    }
}

fn path(session: &Session, pod: &Value, subresource: &str, container: &str, command: &[String], s: &Streams) -> String {
    let flag = |on: bool| on.then_some("true");
    let mut pairs: Vec<(&str, Option<&str>)> = command.iter().map(|word| ("command", Some(word.as_str()))).collect();
    pairs.extend([
        ("container", Some(container)),
        ("stdin", flag(s.stdin)),
        ("stdout", Some("true")),
        ("stderr", flag(!s.tty)),
        ("tty", flag(s.tty)),
    ]);
    format!(
        "/api/v1/namespaces/{}/pods/{}/{subresource}{}",
        pod["metadata"]["namespace"].as_str().unwrap_or(&session.namespace),
        encode(pod["metadata"]["name"].as_str().unwrap_or("")),
        query(&pairs)
    )
}

impl Exec {
    /// Carries the command out; its exit code becomes ours.
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let word = match self.words.as_slice() {
            [] => return Err(Failure::usage("pod, type/name or --filename must be specified")),
            [word] => word,
            _ => {
                return Err(Failure::usage(
                    "exec [POD] [COMMAND] is not supported anymore. Use exec [POD] -- [COMMAND] instead\nSee 'timonctl exec -h' for help and examples",
                ));
            }
        };
        if self.command.is_empty() {
            return Err(Failure::usage(
                "you must specify at least one command for the container",
            ));
        }
        let pod = self.target.pod(session, word).await?;
        refuse_completed(&pod, "exec into")?;
        let container = choose(&pod, self.target.container.as_deref(), self.target.quiet)?;
        let streams = self.target.streams();
        let path = path(session, &pod, "exec", container.name, &self.command, &streams);
        match remote::run(session, &path, &streams).await? {
            End::Exited(0) | End::Detached => Ok(()),
            End::Exited(code) => {
                eprintln!("command terminated with exit code {code}");
                Err(Failure::Exit(code))
            }
        }
    }
}

impl Attach {
    /// Carries the command out.
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let pod = self.target.pod(session, &self.word).await?;
        refuse_completed(&pod, "attach")?;
        let container = choose(&pod, self.target.container.as_deref(), self.target.quiet)?;
        let mut streams = self.target.streams();
        streams.detach = Some(self.detach_keys);
        attach(session, &pod, &container, streams).await.map(|_| ())
    }
}

/// Attaches to a running container.
pub(crate) async fn attach(
    session: &Session,
    pod: &Value,
    container: &Found<'_>,
    mut streams: Streams,
) -> Result<End, Failure> {
    let name = container.name;
    if streams.tty && !container.tty {
        streams.tty = false;
        if !streams.quiet {
            eprintln!("error: Unable to use a TTY - container {name} did not allocate one");
        }
    }
    if !streams.tty {
        streams.detach = None;
    }
    if !streams.quiet && streams.stdin {
        eprintln!("If you don't see a command prompt, try pressing enter.");
    }
    let path = path(session, pod, "attach", name, &[], &streams);
    let end = remote::run(session, &path, &streams).await?;
    if streams.stdin && streams.tty && !streams.quiet && pod["spec"]["restartPolicy"] == "Always" {
        println!(
            "Session ended, resume using 'timonctl attach {} -c {name} -i -t' command when the pod is running",
            pod["metadata"]["name"].as_str().unwrap_or("")
        );
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_container_is_meant_unless_another_is_named_or_annotated() {
        let mut pod =
            json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "a"}, {"name": "b", "tty": true}]}});
        assert_eq!(choose(&pod, None, true).unwrap().name, "a");
        assert!(choose(&pod, Some("b"), true).unwrap().tty);
        pod["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/default-container": "b"});
        assert_eq!(choose(&pod, None, true).unwrap().name, "b");
        let failure = choose(&pod, Some("c"), true).err().unwrap();
        assert_eq!(failure.to_string(), "error: container c not found in pod web");
    }
}
