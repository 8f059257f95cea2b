//! `auth`: what one may do, and who one is.

use std::io;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use crate::describe::rule_rows;
use crate::error::Failure;
use crate::output::{self, Format, table::Layout};
use crate::resolve;
use crate::session::{Call, Session};

/// `auth`'s verbs.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Auth {
    /// Check whether an action is allowed
    CanI(CanI),
    /// Tell as whom the server sees you
    Whoami(Whoami),
}

/// `auth can-i`'s flags.
#[derive(Clone, Debug, Args)]
pub(crate) struct CanI {
    /// VERB, then TYPE, TYPE/NAME or a path such as /healthz
    words: Vec<String>,
    /// In all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// List all that is allowed
    #[arg(long)]
    list: bool,
    /// No header above the list
    #[arg(long)]
    no_headers: bool,
    /// Only the exit code
    #[arg(short, long)]
    quiet: bool,
    /// The subresource, for example log or scale
    #[arg(long, default_value = "")]
    subresource: String,
}

/// `auth whoami`'s flags.
#[derive(Clone, Debug, Args)]
pub(crate) struct Whoami {
    /// yaml or json
    #[arg(short, long)]
    output: Option<Format>,
}

impl Auth {
    /// Carries the command out.
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::CanI(question) if question.list => question.list(session).await,
            Self::CanI(question) => question.ask(session).await,
            Self::Whoami(whoami) => whoami.run(session).await,
        }
    }
}

async fn review(session: &Session, group: &str, kind: &str, plural: &str, spec: &Value) -> Result<Value, Failure> {
    let body = json!({"apiVersion": format!("{group}/v1"), "kind": kind, "metadata": {}, "spec": spec});
    let path = format!("/apis/{group}/v1/{plural}");
    session.json(Call::with_json(Method::POST, &path, &body)).await
}

const AUTHORIZATION: &str = "authorization.k8s.io";

impl CanI {
    async fn ask(&self, session: &Session) -> Result<(), Failure> {
        let (verb, object, name) = match self.words.as_slice() {
            [verb, object] => (verb, object.as_str(), ""),
            [verb, object, name] => (verb, object.as_str(), name.as_str()),
            _ => {
                return Err(Failure::usage(
                    "you must specify two arguments: verb resource or verb resource/resourceName.\nSee 'timonctl auth can-i -h' for help and examples.",
                ));
            }
        };
        let spec = if object.starts_with('/') {
            json!({"nonResourceAttributes": {"path": object, "verb": verb}})
        } else {
            let (word, name) = object.split_once('/').unwrap_or((object, name));
            let (group, plural, namespaced) = if word == "*" {
                ("*".to_owned(), "*".to_owned(), true)
            } else {
                match resolve::one(session, word).await {
                    Ok(found) => (found.group, found.plural, found.namespaced),
                    Err(_) => {
                        eprintln!("Warning: the server doesn't have a resource type '{word}'");
                        let (plural, group) = word.split_once('.').unwrap_or((word, ""));
                        (group.to_owned(), plural.to_owned(), true)
                    }
                }
            };
            if !namespaced && !self.all_namespaces {
                let group = if group.is_empty() {
                    String::new()
                } else {
                    format!(" in group '{group}'")
                };
                eprintln!("Warning: resource '{plural}' is not namespace scoped{group}\n");
            }
            let namespace = if self.all_namespaces {
                ""
            } else {
                session.namespace.as_str()
            };
            json!({"resourceAttributes": {"namespace": namespace, "verb": verb, "group": group, "resource": plural,
                "subresource": self.subresource, "name": name}})
        };
        let answer = review(
            session,
            AUTHORIZATION,
            "SelfSubjectAccessReview",
            "selfsubjectaccessreviews",
            &spec,
        )
        .await?;
        let status = &answer["status"];
        let allowed = status["allowed"] == true;
        if !self.quiet {
            let mut line = if allowed { "yes" } else { "no" }.to_owned();
            if !allowed {
                for field in ["reason", "evaluationError"] {
                    if let Some(text) = status[field].as_str().filter(|text| !text.is_empty()) {
                        line += &format!(" - {text}");
                    }
                }
            }
            println!("{line}");
        }
        if allowed { Ok(()) } else { Err(Failure::Exit(1)) }
    }

    async fn list(&self, session: &Session) -> Result<(), Failure> {
        if !self.words.is_empty() {
            return Err(Failure::usage("list option must be specified with no arguments"));
        }
        let spec = json!({"namespace": session.namespace});
        let answer = review(
            session,
            AUTHORIZATION,
            "SelfSubjectRulesReview",
            "selfsubjectrulesreviews",
            &spec,
        )
        .await?;
        let status = &answer["status"];
        if let Some(why) = status["evaluationError"].as_str().filter(|why| !why.is_empty()) {
            eprintln!("Warning: the list may be incomplete: {why}");
        }
        let mut all: Vec<Value> = Vec::new();
        for field in ["resourceRules", "nonResourceRules"] {
            all.extend(status[field].as_array().cloned().unwrap_or_default());
        }
        let mut rows = Vec::new();
        if !self.no_headers {
            rows.push(
                ["Resources", "Non-Resource URLs", "Resource Names", "Verbs"]
                    .map(str::to_owned)
                    .to_vec(),
            );
        }
        rows.extend(rule_rows(&all).into_iter().map(|row| row.to_vec()));
        Layout::default().write(&mut io::stdout().lock(), &rows)?;
        Ok(())
    }
}

impl Whoami {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        const GROUP: &str = "authentication.k8s.io";
        let body = json!({"apiVersion": format!("{GROUP}/v1"), "kind": "SelfSubjectReview", "metadata": {}});
        let path = format!("/apis/{GROUP}/v1/selfsubjectreviews");
        let answer = session.json(Call::with_json(Method::POST, &path, &body)).await?;
        if let Some(format) = &self.output {
            return output::print(&mut io::stdout().lock(), format, &answer);
        }
        let user = &answer["status"]["userInfo"];
        let list = |value: &Value| {
            let texts: Vec<&str> = value
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            format!("[{}]", texts.join(" "))
        };
        let mut rows = vec![vec!["ATTRIBUTE".to_owned(), "VALUE".to_owned()]];
        for (title, field) in [("Username", "username"), ("UID", "uid")] {
            if let Some(text) = user[field].as_str().filter(|text| !text.is_empty()) {
                rows.push(vec![title.to_owned(), text.to_owned()]);
            }
        }
        if user["groups"].as_array().is_some_and(|groups| !groups.is_empty()) {
            rows.push(vec!["Groups".to_owned(), list(&user["groups"])]);
        }
        for (key, value) in user["extra"].as_object().into_iter().flatten() {
            rows.push(vec![format!("Extra: {key}"), list(value)]);
        }
        Layout::default().write(&mut io::stdout().lock(), &rows)?;
        Ok(())
    }
}
