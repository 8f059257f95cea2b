//! `events`: what happened, oldest first.

use std::io;

use clap::Args;
use futures::{AsyncBufReadExt, TryStreamExt};
use serde_json::{Value, json};
use timonel_client::{Clock, SystemClock};

use crate::describe;
use crate::error::Failure;
use crate::output::{self, Format, table::Layout};
use crate::resolve;
use crate::session::{Session, query};

/// `events`' flags.
#[derive(Clone, Debug, Args)]
pub(crate) struct Events {
    /// Events of all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Only those of an object, as TYPE/NAME
    #[arg(long = "for", value_name = "TYPE/NAME")]
    of: Option<String>,
    /// Only those of these types: Normal, Warning
    #[arg(long, value_delimiter = ',')]
    types: Vec<String>,
    /// Go on with those that come
    #[arg(short, long)]
    watch: bool,
    /// No header
    #[arg(long)]
    no_headers: bool,
    /// Output format: json, yaml, name
    #[arg(short, long)]
    output: Option<Format>,
    /// How many to ask for at a time
    #[arg(long, default_value_t = 500)]
    chunk_size: u64,
}

impl Events {
    /// Carries the command out.
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let namespace = (!self.all_namespaces).then_some(session.namespace.as_str());
        let place = namespace.map_or_else(String::new, |namespace| format!("/namespaces/{namespace}"));
        let selector = match &self.of {
            None => None,
            Some(word) => {
                let Some((kind, name)) = word.split_once('/') else {
                    return Err(Failure::usage("--for must be in resource/name form"));
                };
                let kind = resolve::one(session, kind).await?.kind;
                Some(format!("involvedObject.kind={kind},involvedObject.name={name}"))
            }
        };
        let path = |more: &[(&str, Option<&str>)]| {
            let mut pairs = vec![("fieldSelector", selector.as_deref())];
            pairs.extend_from_slice(more);
            format!("/api/v1{place}/events{}", query(&pairs))
        };
        let (mut events, mut token) = (Vec::new(), None::<String>);
        let limit = self.chunk_size.to_string();
        let version = loop {
            let mut list = session
                .get(&path(&[("limit", Some(&limit)), ("continue", token.as_deref())]))
                .await?;
            events.append(list["items"].as_array_mut().unwrap_or(&mut Vec::new()));
            match list["metadata"]["continue"].as_str() {
                Some(next) if !next.is_empty() => token = Some(next.to_owned()),
                _ => break list["metadata"]["resourceVersion"].as_str().unwrap_or("").to_owned(),
            }
        };
        events.retain(|event| self.wanted(event));
        describe::by_time(&mut events);
        if events.is_empty() && !self.watch {
            match (&self.of, namespace) {
                (_, None) => eprintln!("No events found."),
                (_, Some(namespace)) => eprintln!("No events found in {namespace} namespace."),
            }
            return Ok(());
        }
        if let Some(format) = &self.output {
            for event in &mut events {
                event["apiVersion"] = json!("v1");
                event["kind"] = json!("Event");
            }
            let list =
                json!({"apiVersion": "v1", "kind": "List", "items": events, "metadata": {"resourceVersion": ""}});
            return output::print(&mut io::stdout().lock(), format, &list);
        }
        let mut layout = Layout::default();
        let mut rows = Vec::new();
        if !self.no_headers {
            let mut header = vec!["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"];
            if self.all_namespaces {
                header.insert(0, "NAMESPACE");
            }
            rows.push(header.into_iter().map(str::to_owned).collect());
        }
        rows.extend(events.iter().map(|event| self.row(event)));
        layout.write(&mut io::stdout().lock(), &rows)?;
        if !self.watch {
            return Ok(());
        }
        let request = http::Request::get(path(&[("watch", Some("true")), ("resourceVersion", Some(&version))]))
            .body(Vec::new())
            .map_err(|error| Failure::usage(error.to_string()))?;
        let mut lines = Box::pin(session.client.request_stream(request).await?).lines();
        while let Some(line) = lines.try_next().await? {
            let event: Value = serde_json::from_str(&line)?;
            match event["type"].as_str() {
                Some("ADDED" | "MODIFIED") if self.wanted(&event["object"]) => {
                    layout.write(&mut io::stdout().lock(), &[self.row(&event["object"])])?;
                }
                Some("ERROR") => {
                    return Err(Failure::Server {
                        status: Box::new(event["object"].clone()),
                        doing: None,
                    });
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn wanted(&self, event: &Value) -> bool {
        let kind = event["type"].as_str().unwrap_or("");
        self.types.is_empty() || self.types.iter().any(|wanted| wanted.eq_ignore_ascii_case(kind))
    }

    fn row(&self, event: &Value) -> Vec<String> {
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or("").to_owned();
        let mut row = Vec::new();
        if self.all_namespaces {
            row.push(text("/metadata/namespace"));
        }
        row.extend([
            describe::interval(event, SystemClock.now()),
            text("/type"),
            text("/reason"),
            format!("{}/{}", text("/involvedObject/kind"), text("/involvedObject/name")),
            text("/message").trim().to_owned(),
        ]);
        row
    }
}
