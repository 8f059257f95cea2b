//! `logs`: one container's, or those of several pods.

use std::io::Write;

use clap::Args;
use futures::{AsyncBufReadExt, StreamExt, TryStreamExt};
use serde_json::Value;
use std::time::Duration;

use crate::args::duration;
use crate::error::Failure;
use crate::resolve;
use crate::session::{Session, encode, query};

/// `logs`' flags.
#[derive(Clone, Debug, Args)]
pub(crate) struct Logs {
    /// POD or TYPE/NAME, then perhaps CONTAINER
    words: Vec<String>,
    /// Pods by label
    #[arg(short = 'l', long)]
    selector: Option<String>,
    /// Which container
    #[arg(short, long)]
    container: Option<String>,
    /// All containers of the pod
    #[arg(long)]
    all_containers: bool,
    /// Go on with what is logged from now on
    #[arg(short, long)]
    follow: bool,
    /// The container's life before this one
    #[arg(short, long)]
    previous: bool,
    /// How many lines from the end; -1 for all (10 with a selector)
    #[arg(long, allow_hyphen_values = true)]
    tail: Option<i64>,
    /// Only what is newer than this, for example 5s, 2m or 3h
    #[arg(long, value_parser = duration)]
    since: Option<Duration>,
    /// Only what is newer than this time (RFC 3339)
    #[arg(long)]
    since_time: Option<String>,
    /// Put the time before each line
    #[arg(long)]
    timestamps: bool,
    /// Put pod and container before each line
    #[arg(long)]
    prefix: bool,
    /// At most so many bytes
    #[arg(long)]
    limit_bytes: Option<u64>,
    /// How many logs a selector may follow at once
    #[arg(long, default_value_t = 5)]
    max_log_requests: usize,
}

struct Source {
    pod: String,
    container: Option<String>,
}

impl Logs {
    /// Carries the command out.
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let sources = self.sources(session).await?;
        if self.follow && sources.len() > self.max_log_requests {
            return Err(Failure::usage(format!(
                "you are attempting to follow {} log streams, but maximum allowed concurrency is {}, use --max-log-requests to increase the limit",
                sources.len(),
                self.max_log_requests
            )));
        }
        if self.follow {
            let streams = futures::stream::iter(sources.iter().map(|source| self.print(session, source)));
            return streams.buffer_unordered(self.max_log_requests).try_collect().await;
        }
        for source in &sources {
            self.print(session, source).await?;
        }
        Ok(())
    }

    async fn sources(&self, session: &Session) -> Result<Vec<Source>, Failure> {
        let container = self.container.clone().or_else(|| self.words.get(1).cloned());
        let pods = match (&self.selector, self.words.first()) {
            (Some(selector), None) => pods_of(session, selector).await?,
            (None, Some(word)) => vec![pod_of(session, word).await?],
            (Some(_), Some(_)) => return Err(Failure::usage("only a selector (-l) or a POD name is allowed")),
            (None, None) => {
                return Err(Failure::usage(
                    "expected 'logs [-f] [-p] (POD | TYPE/NAME) [-c CONTAINER]'.\nPOD or TYPE/NAME is a required argument for the logs command",
                ));
            }
        };
        let mut sources = Vec::new();
        for pod in pods {
            let name = pod["metadata"]["name"].as_str().unwrap_or("").to_owned();
            let containers = |field: &str| pod["spec"][field].as_array().cloned().unwrap_or_default();
            if self.all_containers {
                for one in containers("initContainers").into_iter().chain(containers("containers")) {
                    let container = one["name"].as_str().map(str::to_owned);
                    sources.push(Source {
                        pod: name.clone(),
                        container,
                    });
                }
                continue;
            }
            let mut container = container.clone();
            if container.is_none() {
                let all = containers("containers");
                let marked = pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"].as_str();
                container = marked
                    .or_else(|| all.first().and_then(|c| c["name"].as_str()))
                    .map(str::to_owned);
                if all.len() > 1 && marked.is_none() {
                    let names: Vec<&str> = all.iter().filter_map(|c| c["name"].as_str()).collect();
                    eprintln!(
                        "Defaulted container {:?} out of: {}",
                        container.as_deref().unwrap_or(""),
                        names.join(", ")
                    );
                }
            }
            sources.push(Source { pod: name, container });
        }
        Ok(sources)
    }

    async fn print(&self, session: &Session, source: &Source) -> Result<(), Failure> {
        let flag = |on: bool| on.then_some("true");
        let tail = self
            .tail
            .or_else(|| self.selector.as_ref().map(|_| 10))
            .filter(|tail| *tail >= 0)
            .map(|t| t.to_string());
        let since = self.since.map(|since| since.as_secs().max(1).to_string());
        let limit = self.limit_bytes.map(|limit| limit.to_string());
        let path = session.collection(&pods(), Some(&session.namespace))
            + &format!("/{}/log", encode(&source.pod))
            + &query(&[
                ("container", source.container.as_deref()),
                ("follow", flag(self.follow)),
                ("previous", flag(self.previous)),
                ("timestamps", flag(self.timestamps)),
                ("tailLines", tail.as_deref()),
                ("sinceSeconds", since.as_deref()),
                ("sinceTime", self.since_time.as_deref()),
                ("limitBytes", limit.as_deref()),
            ]);
        let response = session
            .send(crate::session::Call {
                accept: "*/*",
                ..crate::session::Call::get(&path)
            })
            .await?;
        let prefix = if self.prefix {
            format!("[pod/{}/{}] ", source.pod, source.container.as_deref().unwrap_or(""))
        } else {
            String::new()
        };
        let body = http_body_util::BodyExt::into_data_stream(response.into_body()).map_err(std::io::Error::other);
        let mut reader = body.into_async_read();
        let mut line = Vec::new();
        loop {
            line.clear();
            if reader.read_until(b'\n', &mut line).await? == 0 {
                return Ok(());
            }
            let mut out = std::io::stdout().lock();
            out.write_all(prefix.as_bytes())?;
            out.write_all(&line)?;
            out.flush()?;
        }
    }
}

fn pods() -> resolve::Resource {
    timonel_api::resources::by_kind("", "v1", "Pod").map_or_else(resolve::Resource::default, Into::into)
}

async fn pods_of(session: &Session, selector: &str) -> Result<Vec<Value>, Failure> {
    let path = session.collection(&pods(), Some(&session.namespace)) + &query(&[("labelSelector", Some(selector))]);
    let mut list = session.get(&path).await?;
    Ok(list["items"].as_array_mut().map(std::mem::take).unwrap_or_default())
}

/// Finds the pod that a word means: itself, or one that the named object selects, the readiest first.
pub(crate) async fn pod_of(session: &Session, word: &str) -> Result<Value, Failure> {
    let Some((kind, name)) = word.split_once('/') else {
        return session.get(&session.object(&pods(), word)).await;
    };
    let resource = resolve::one(session, kind).await?;
    let object = session.get(&session.object(&resource, name)).await?;
    if resource.plural == "pods" {
        return Ok(object);
    }
    let selector = &object["spec"]["selector"];
    let labels = if selector["matchLabels"].is_object() {
        &selector["matchLabels"]
    } else {
        selector
    };
    let pairs: Vec<String> = labels
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?)))
        .collect();
    if pairs.is_empty() {
        return Err(Failure::usage(format!(
            "cannot find pods of {word}: it has no selector"
        )));
    }
    let mut found = pods_of(session, &pairs.join(",")).await?;
    let ready = |pod: &Value| {
        let conditions = pod["status"]["conditions"].as_array();
        conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
    };
    found.sort_by_key(|pod| {
        (
            !ready(pod),
            pod["metadata"]["creationTimestamp"].as_str().unwrap_or("").to_owned(),
        )
    });
    if found.len() > 1 {
        eprintln!(
            "Found {} pods, using pod/{}",
            found.len(),
            found[0]["metadata"]["name"].as_str().unwrap_or("")
        );
    }
    if found.is_empty() {
        return Err(Failure::usage(format!("{word} selects no pods")));
    }
    Ok(found.remove(0))
}
