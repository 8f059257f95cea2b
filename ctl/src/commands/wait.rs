//! `wait`: until a condition holds, a path has a value, or an object is created or gone.

use std::time::Duration;

use clap::Args;
use serde_json::Value;
use timonel_api::jsonpath::Template;

use crate::args::{Files, Selectors};
use crate::error::Failure;
use crate::manifests;
use crate::output::{self, Format};
use crate::resolve::{self, Target};
use crate::session::{Session, encode, query};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(150);

/// `wait`'s flags.
#[derive(Clone, Debug, Args)]
pub(crate) struct Wait {
    /// TYPE NAME... or TYPE/NAME...
    targets: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    selectors: Selectors,
    /// All objects of the type
    #[arg(long)]
    all: bool,
    /// Objects of all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// create, delete, condition=NAME[=VALUE] or jsonpath='{PATH}'[=VALUE]
    #[arg(long = "for", required = true)]
    conditions: Vec<Condition>,
    /// How long to wait for each object; 0 looks once, less than that waits a week
    #[arg(long, default_value = "30s", allow_hyphen_values = true)]
    timeout: String,
    /// Output format: name, yaml, json
    #[arg(short, long)]
    output: Option<Format>,
}

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    Create,
    Delete,
    Status { name: String, value: String },
    Path { template: String, value: Option<String> },
}

impl std::str::FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            None if text.eq_ignore_ascii_case("create") => Ok(Self::Create),
            None if text.eq_ignore_ascii_case("delete") => Ok(Self::Delete),
            Some(("condition", rest)) => {
                let (name, value) = rest.split_once('=').unwrap_or((rest, "true"));
                Ok(Self::Status {
                    name: name.to_owned(),
                    value: value.to_owned(),
                })
            }
            Some(("jsonpath", rest)) => Self::path(rest),
            _ => Err(format!("unrecognized condition: {text:?}")),
        }
    }
}

impl Condition {
    /// `PATH` or `PATH=VALUE`; a `==` in a path's filter splits nothing.
    fn path(text: &str) -> Result<Self, String> {
        let mut parts = vec![String::new()];
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let doubled = rest.starts_with("==");
            match parts.last_mut() {
                _ if c == '=' && !doubled => parts.push(String::new()),
                Some(last) => last.push_str(if doubled { "==" } else { &rest[..c.len_utf8()] }),
                None => {}
            }
            rest = &rest[c.len_utf8() + usize::from(doubled)..];
        }
        let (path, value) = match parts.as_slice() {
            [path] => (path, None),
            [path, value] => (path, Some(value.trim_matches(['\'', '"']).to_owned())),
            _ => return Err("jsonpath wait format must be --for=jsonpath='{.status.readyReplicas}'=3 or --for=jsonpath='{.status.readyReplicas}'".to_owned()),
        };
        let template = output::relaxed(path)?;
        Template::parse(&template).map_err(|error| format!("error parsing {template}: {error}"))?;
        if value.as_ref().is_some_and(String::is_empty) {
            return Err(
                "jsonpath wait has to have a value after equal sign, like --for=jsonpath='{.status.readyReplicas}'=3"
                    .to_owned(),
            );
        }
        Ok(Self::Path { template, value })
    }

    /// Whether it holds for an object; `None` is one that is not there.
    fn holds(&self, object: Option<&Value>) -> bool {
        match (self, object) {
            (Self::Create, object) => object.is_some(),
            (Self::Delete, object) => object.is_none(),
            (_, None) => false,
            (Self::Status { name, value }, Some(object)) => {
                let generation = object["metadata"]["generation"].as_i64();
                let stale = |seen: &Value| matches!((seen.as_i64(), generation), (Some(seen), Some(now)) if seen < now);
                if stale(&object["status"]["observedGeneration"]) {
                    return false;
                }
                object["status"]["conditions"].as_array().is_some_and(|all| {
                    all.iter().any(|condition| {
                        let text = |field: &str| condition[field].as_str().unwrap_or("");
                        text("type").eq_ignore_ascii_case(name)
                            && text("status").eq_ignore_ascii_case(value)
                            && !stale(&condition["observedGeneration"])
                    })
                })
            }
            (Self::Path { template, value }, Some(object)) => {
                let found = Template::parse(template).ok().and_then(|path| path.render(object).ok());
                match (found, value) {
                    (Some(found), Some(value)) => found == *value,
                    (Some(found), None) => !found.is_empty(),
                    (None, _) => false,
                }
            }
        }
    }
}

impl Wait {
    /// Carries the command out.
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let timeout = match self.timeout.strip_prefix('-') {
            Some(_) => Duration::from_secs(7 * 24 * 3600),
            None => crate::args::duration(&self.timeout).map_err(Failure::usage)?,
        };
        let start = tokio::time::Instant::now();
        let deleting = self.conditions.contains(&Condition::Delete);
        let mut objects = self.find(session).await?;
        while objects.is_empty() && self.conditions.contains(&Condition::Create) && start.elapsed() < timeout {
            tokio::time::sleep(PAUSE).await;
            objects = self.find(session).await?;
        }
        if objects.is_empty() {
            return match (deleting, self.conditions.contains(&Condition::Create)) {
                (true, _) => Ok(()),
                (false, true) => Err(Failure::usage("timed out waiting for the condition")),
                (false, false) => Err(Failure::usage("no matching resources found")),
            };
        }
        let mut failures = Vec::new();
        for (path, shown, plural) in objects {
            match self.one(session, &path, start + timeout).await {
                Ok(object) => {
                    let last = object.unwrap_or(shown);
                    output::report(&last, "condition met", self.output.as_ref(), "none")?;
                }
                Err(Some(failure)) => failures.push(failure),
                Err(None) => failures.push(Failure::usage(format!(
                    "timed out waiting for the condition on {plural}/{}",
                    shown["metadata"]["name"].as_str().unwrap_or("")
                ))),
            }
        }
        Failure::all(failures)
    }

    /// Waits for one object; `Err(None)` is that the time is over.
    async fn one(
        &self,
        session: &Session,
        path: &str,
        end: tokio::time::Instant,
    ) -> Result<Option<Value>, Option<Failure>> {
        let mut uid = None;
        loop {
            let object = match session.get(path).await {
                Ok(object) => Some(object),
                Err(failure) if failure.reason() == "NotFound" => None,
                Err(failure) => return Err(Some(failure)),
            };
            // An object of the same name with another uid is not the one that was waited for.
            let now = object.as_ref().map(|object| object["metadata"]["uid"].clone());
            let replaced = uid.is_some() && now.is_some() && uid != now;
            uid = uid.or(now);
            let seen = object.as_ref().filter(|_| !replaced);
            if self.conditions.iter().all(|condition| condition.holds(seen)) {
                return Ok(object);
            }
            if tokio::time::Instant::now() >= end {
                return Err(None);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The objects, as path, last state and plural; those that are not there only count where they may come.
    async fn find(&self, session: &Session) -> Result<Vec<(String, Value, String)>, Failure> {
        let mut targets = Vec::new();
        if self.files.filename.is_empty() {
            targets = resolve::targets(session, &self.targets).await?;
        } else {
            for manifest in manifests::read(&self.files.filename, self.files.recursive)? {
                let (api_version, kind) = manifest.type_meta();
                targets.push(Target {
                    resource: resolve::by_kind(session, api_version, kind).await?,
                    name: Some(manifest.name().to_owned()),
                });
            }
        }
        let mut found = Vec::new();
        for Target { resource, name } in targets {
            if let Some(name) = name {
                let path = session.object(&resource, &name);
                match session.get(&path).await {
                    Ok(object) => found.push((path, object, resource.plural_name())),
                    Err(failure) if failure.reason() == "NotFound" => {
                        let later = [Condition::Create, Condition::Delete];
                        if !self.conditions.iter().any(|condition| later.contains(condition)) {
                            return Err(failure);
                        }
                    }
                    Err(failure) => return Err(failure),
                }
                continue;
            }
            if self.selectors.selector.is_none() && self.selectors.field_selector.is_none() && !self.all {
                return Err(Failure::usage(
                    "resource name may not be empty: name objects, or use --all or a selector",
                ));
            }
            let namespace = (!self.all_namespaces).then_some(session.namespace.as_str());
            let path = session.collection(&resource, namespace)
                + &query(&[
                    ("labelSelector", self.selectors.selector.as_deref()),
                    ("fieldSelector", self.selectors.field_selector.as_deref()),
                ]);
            let mut list = session.get(&path).await?;
            for mut item in list["items"].as_array_mut().map(std::mem::take).unwrap_or_default() {
                item["apiVersion"] = resource.api_version().into();
                item["kind"] = resource.kind.clone().into();
                let namespace = item["metadata"]["namespace"].as_str().map(str::to_owned);
                let own = item["metadata"]["name"].as_str().unwrap_or("").to_owned();
                let path = format!(
                    "{}/{}",
                    session.collection(&resource, namespace.as_deref()),
                    encode(&own)
                );
                found.push((path, item, resource.plural_name()));
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn conditions_hold_or_do_not() {
        let pod = json!({"metadata": {"generation": 2}, "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
        for (text, expected) in [
            ("condition=ready", true),
            ("condition=Ready=false", false),
            ("jsonpath={.status.phase}=Running", true),
            ("jsonpath={.status.phase}=Pending", false),
            ("jsonpath='{.status.phase}'=Running", false),
            ("jsonpath=.status.phase='Running'", true),
            ("jsonpath={.status.phase}", true),
            ("jsonpath={.status.phase}=", false),
            ("jsonpath={.status.conditions[?(@.type==\"Ready\")].status}=True", true),
            ("delete", false),
            ("create", true),
        ] {
            let Ok(condition) = text.parse::<Condition>() else {
                assert!(!expected, "{text}");
                continue;
            };
            assert_eq!(condition.holds(Some(&pod)), expected, "{text}");
        }
        assert!(Condition::Delete.holds(None));
        assert!("ready".parse::<Condition>().is_err());
    }
}
