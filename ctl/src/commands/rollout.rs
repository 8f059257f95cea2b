//! `rollout`: status, history, undo, restart of Deployments, DaemonSets and StatefulSets; pause and resume of Deployments.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::args::duration;
use crate::error::Failure;
use crate::output::{self, table::Layout};
use crate::resolve::{self, Target};
use crate::session::{Call, Session, encode, query};

const REVISION: &str = "deployment.kubernetes.io/revision";
const CHANGE_CAUSE: &str = "kubernetes.io/change-cause";
const TEMPLATE_HASH: &str = "pod-template-hash";

/// `rollout`'s verbs.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Rollout {
    /// Show how far the newest rollout is, and wait for its end
    Status(Status),
    /// List the revisions, or show one
    History(History),
    /// Go back to an earlier revision
    Undo(Undo),
    /// Replace all pods, with the same template
    Restart(Names),
    /// Stop acting on template changes
    Pause(Names),
    /// Act on template changes again
    Resume(Names),
}

/// The objects to act on.
#[derive(Clone, Debug, Args)]
pub(crate) struct Names {
    /// TYPE NAME or TYPE/NAME
    targets: Vec<String>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    names: Names,
    /// Wait for the end
    #[arg(short, long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    watch: bool,
    /// How long to wait; 0 for as long as it takes
    #[arg(long, default_value = "0", value_parser = duration)]
    timeout: Duration,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct History {
    #[command(flatten)]
    names: Names,
    /// Show this revision's template
    #[arg(long, default_value_t = 0)]
    revision: i64,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Undo {
    #[command(flatten)]
    names: Names,
    /// The revision to go back to; 0 for the one before
    #[arg(long, default_value_t = 0)]
    to_revision: i64,
}

impl Rollout {
    /// Carries the command out.
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let names = match &self {
            Self::Status(status) => &status.names,
            Self::History(history) => &history.names,
            Self::Undo(undo) => &undo.names,
            Self::Restart(names) | Self::Pause(names) | Self::Resume(names) => names,
        };
        if names.targets.is_empty() {
            return Err(Failure::usage("required resource not specified"));
        }
        for target in resolve::targets(session, &names.targets).await? {
            for (path, object) in objects(session, &target).await? {
                match &self {
                    Self::Status(status) => status.one(session, &path, object).await?,
                    Self::History(history) => history.one(session, &object).await?,
                    Self::Undo(undo) => undo.one(session, &path, &object).await?,
                    Self::Restart(_) => restart(session, &path, &object).await?,
                    Self::Pause(_) => pause(session, &path, &object, true).await?,
                    Self::Resume(_) => pause(session, &path, &object, false).await?,
                }
            }
        }
        Ok(())
    }
}

async fn objects(session: &Session, target: &Target) -> Result<Vec<(String, Value)>, Failure> {
    if let Some(name) = &target.name {
        let path = session.object(&target.resource, name);
        let object = session.get(&path).await?;
        return Ok(vec![(path, object)]);
    }
    let collection = session.collection(&target.resource, Some(&session.namespace));
    let mut list = session.get(&collection).await?;
    let items = list["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
    Ok(items
        .into_iter()
        .map(|mut item| {
            item["apiVersion"] = json!(target.resource.api_version());
            item["kind"] = json!(target.resource.kind);
            (
                format!(
                    "{collection}/{}",
                    encode(item["metadata"]["name"].as_str().unwrap_or(""))
                ),
                item,
            )
        })
        .collect())
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

fn number(value: &Value, pointer: &str) -> i64 {
    value.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

/// How far a rollout is: kubectl's sentence, and whether it is the last one.
fn progress(object: &Value) -> Result<(String, bool), Failure> {
    let name = text(object, "/metadata/name");
    let kind = object["kind"].as_str().unwrap_or("");
    if number(object, "/metadata/generation") > number(object, "/status/observedGeneration") {
        let noun = match kind {
            "DaemonSet" => "daemon set",
            "StatefulSet" => "statefulset",
            _ => "deployment",
        };
        return Ok((format!("Waiting for {noun} spec update to be observed..."), false));
    }
    match kind {
        "Deployment" => deployment_progress(object, name),
        "DaemonSet" => daemon_set_progress(object, name),
        "StatefulSet" => stateful_set_progress(object),
        other => Err(Failure::usage(format!(
            "no status viewer has been implemented for {other:?}"
        ))),
    }
}

fn deployment_progress(object: &Value, name: &str) -> Result<(String, bool), Failure> {
    let conditions = object["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    if conditions
        .iter()
        .any(|c| c["type"] == "Progressing" && c["reason"] == "ProgressDeadlineExceeded")
    {
        return Err(Failure::usage(format!(
            "deployment {name:?} exceeded its progress deadline"
        )));
    }
    let (wanted, all, updated, available) = (
        number(object, "/spec/replicas"),
        number(object, "/status/replicas"),
        number(object, "/status/updatedReplicas"),
        number(object, "/status/availableReplicas"),
    );
    let waiting = format!("Waiting for deployment {name:?} rollout to finish:");
    Ok(if updated < wanted {
        (
            format!("{waiting} {updated} out of {wanted} new replicas have been updated..."),
            false,
        )
    } else if all > updated {
        (
            format!("{waiting} {} old replicas are pending termination...", all - updated),
            false,
        )
    } else if available < updated {
        (
            format!("{waiting} {available} of {updated} updated replicas are available..."),
            false,
        )
    } else {
        (format!("deployment {name:?} successfully rolled out"), true)
    })
}

/// What cannot be told of sets that people update by deleting pods.
fn rolls(object: &Value) -> Result<(), Failure> {
    if text(object, "/spec/updateStrategy/type") == "RollingUpdate" {
        return Ok(());
    }
    Err(Failure::usage(
        "rollout status is only available for RollingUpdate strategy type",
    ))
}

fn daemon_set_progress(object: &Value, name: &str) -> Result<(String, bool), Failure> {
    rolls(object)?;
    let (desired, updated, available) = (
        number(object, "/status/desiredNumberScheduled"),
        number(object, "/status/updatedNumberScheduled"),
        number(object, "/status/numberAvailable"),
    );
    let waiting = format!("Waiting for daemon set {name:?} rollout to finish:");
    Ok(if updated < desired {
        (
            format!("{waiting} {updated} out of {desired} new pods have been updated..."),
            false,
        )
    } else if available < desired {
        (
            format!("{waiting} {available} of {desired} updated pods are available..."),
            false,
        )
    } else {
        (format!("daemon set {name:?} successfully rolled out"), true)
    })
}

fn stateful_set_progress(object: &Value) -> Result<(String, bool), Failure> {
    rolls(object)?;
    let (replicas, ready, updated) = (
        number(object, "/spec/replicas"),
        number(object, "/status/readyReplicas"),
        number(object, "/status/updatedReplicas"),
    );
    let wanted = replicas - number(object, "/spec/updateStrategy/rollingUpdate/partition");
    let partitioned = object["spec"]["updateStrategy"]["rollingUpdate"].is_object();
    Ok(if ready < replicas {
        (format!("Waiting for {} pods to be ready...", replicas - ready), false)
    } else if partitioned && updated < wanted {
        (
            format!(
                "Waiting for partitioned roll out to finish: {updated} out of {wanted} new pods have been updated..."
            ),
            false,
        )
    } else if partitioned {
        (
            format!("partitioned roll out complete: {updated} new pods have been updated..."),
            true,
        )
    } else if text(object, "/status/updateRevision") != text(object, "/status/currentRevision") {
        (
            format!(
                "waiting for statefulset rolling update to complete {updated} pods at revision {}...",
                text(object, "/status/updateRevision")
            ),
            false,
        )
    } else {
        (
            format!(
                "statefulset rolling update complete {} pods at revision {}...",
                number(object, "/status/currentReplicas"),
                text(object, "/status/currentRevision")
            ),
            true,
        )
    })
}

impl Status {
    async fn one(&self, session: &Session, path: &str, mut object: Value) -> Result<(), Failure> {
        let waiting = async {
            let mut said = String::new();
            loop {
                let (sentence, done) = progress(&object)?;
                if sentence != said {
                    println!("{sentence}");
                    said = sentence;
                }
                if done || !self.watch {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
                object = session.get(path).await?;
            }
        };
        if self.timeout.is_zero() {
            return waiting.await;
        }
        let late = || Failure::usage("timed out waiting for the condition");
        tokio::time::timeout(self.timeout, waiting).await.map_err(|_| late())?
    }
}

/// A revision: its number, what caused it, and its template.
struct Revision {
    number: i64,
    cause: String,
    template: Value,
}

/// The revisions of a Deployment (its ReplicaSets), DaemonSet or StatefulSet (its ControllerRevisions), oldest first.
async fn revisions(session: &Session, object: &Value) -> Result<Vec<Revision>, Failure> {
    let kind = object["kind"].as_str().unwrap_or("");
    let (plural, read): (_, fn(&Value) -> Option<Revision>) = match kind {
        "Deployment" => ("replicasets", of_replica_set),
        "DaemonSet" | "StatefulSet" => ("controllerrevisions", of_controller_revision),
        _ => {
            return Err(Failure::usage(format!(
                "no history viewer has been implemented for {kind:?}"
            )));
        }
    };
    let namespace = text(object, "/metadata/namespace");
    let labels = object["spec"]["selector"]["matchLabels"].as_object();
    let selector = labels.map(|labels| {
        let pairs: Vec<String> = labels
            .iter()
            .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or("")))
            .collect();
        pairs.join(",")
    });
    let path = format!(
        "/apis/apps/v1/namespaces/{namespace}/{plural}{}",
        query(&[("labelSelector", selector.as_deref())])
    );
    let list = session.get(&path).await?;
    let uid = &object["metadata"]["uid"];
    let owned = |one: &&Value| {
        let owners = one["metadata"]["ownerReferences"].as_array();
        owners.is_some_and(|owners| owners.iter().any(|owner| owner["uid"] == *uid))
    };
    let items = list["items"].as_array().into_iter().flatten();
    let mut revisions: Vec<Revision> = items.filter(owned).filter_map(read).collect();
    revisions.sort_by_key(|revision| revision.number);
    Ok(revisions)
}

fn cause(object: &Value) -> String {
    let cause = object["metadata"]["annotations"][CHANGE_CAUSE].as_str();
    cause.unwrap_or("<none>").to_owned()
}

fn of_replica_set(set: &Value) -> Option<Revision> {
    Some(Revision {
        number: set["metadata"]["annotations"][REVISION].as_str()?.parse().ok()?,
        cause: cause(set),
        template: set["spec"]["template"].clone(),
    })
}

/// Its data is a patch that puts the template in place of the one that is there.
fn of_controller_revision(revision: &Value) -> Option<Revision> {
    let mut template = revision["data"]["spec"]["template"].clone();
    template.as_object_mut()?.remove("$patch");
    Some(Revision {
        number: revision["revision"].as_i64()?,
        cause: cause(revision),
        template,
    })
}

impl History {
    async fn one(&self, session: &Session, object: &Value) -> Result<(), Failure> {
        let revisions = revisions(session, object).await?;
        let shown = output::name_of(object);
        if self.revision > 0 {
            let Some(revision) = revisions.iter().find(|revision| revision.number == self.revision) else {
                return Err(Failure::usage(format!(
                    "unable to find the specified revision {}",
                    self.revision
                )));
            };
            println!("{shown} with revision #{}\nPod Template:", self.revision);
            for line in output::yaml(&revision.template)?.lines() {
                println!("  {line}");
            }
            return Ok(());
        }
        println!("{shown} ");
        let mut rows = vec![vec!["REVISION".to_owned(), "CHANGE-CAUSE".to_owned()]];
        rows.extend(
            revisions
                .into_iter()
                .map(|revision| vec![revision.number.to_string(), revision.cause]),
        );
        Layout::compact().write(&mut std::io::stdout().lock(), &rows)?;
        println!();
        Ok(())
    }
}

impl Undo {
    async fn one(&self, session: &Session, path: &str, object: &Value) -> Result<(), Failure> {
        if object["spec"]["paused"] == true {
            let name = text(object, "/metadata/name");
            return Err(Failure::usage(format!(
                "you cannot rollback a paused deployment; resume it first with 'timonctl rollout resume deployment/{name}' and try again"
            )));
        }
        let mut revisions = revisions(session, object).await?;
        let is_deployment = object["kind"] == "Deployment";
        // A Deployment says where it is; of the others the newest revision is the one that they are at.
        let current = if is_deployment {
            let noted = object["metadata"]["annotations"][REVISION].as_str();
            noted.and_then(|text| text.parse::<i64>().ok())
        } else {
            revisions.last().map(|revision| revision.number)
        };
        let found = if self.to_revision > 0 {
            revisions
                .into_iter()
                .find(|revision| revision.number == self.to_revision)
        } else {
            revisions.retain(|revision| Some(revision.number) != current);
            revisions.pop()
        };
        let Some(Revision { mut template, .. }) = found else {
            return Err(Failure::usage(match self.to_revision {
                0 if is_deployment => format!(
                    "no rollout history found for deployment {:?}",
                    text(object, "/metadata/name")
                ),
                revision => format!("unable to find specified revision {revision} in history"),
            }));
        };
        if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
            labels.remove(TEMPLATE_HASH);
        }
        if template == object["spec"]["template"] {
            println!(
                "{} skipped rollback (current template already matches revision {})",
                output::name_of(object),
                self.to_revision
            );
            return Ok(());
        }
        let patch = json!([{"op": "replace", "path": "/spec/template", "value": template}]);
        let path = path.to_owned() + &query(&[("fieldManager", Some("kubectl-rollout"))]);
        session
            .json(Call::patch(&path, "application/json-patch+json", &patch))
            .await?;
        println!("{} rolled back", output::name_of(object));
        Ok(())
    }
}

async fn restart(session: &Session, path: &str, object: &Value) -> Result<(), Failure> {
    if object["spec"]["paused"] == true {
        return Err(Failure::usage(
            "can't restart paused deployment (run rollout resume first)",
        ));
    }
    let now = timonel_client::Clock::now(&timonel_client::SystemClock);
    let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let annotations = json!({"kubectl.kubernetes.io/restartedAt": now});
    let patch = json!({"spec": {"template": {"metadata": {"annotations": annotations}}}});
    change(session, path, &patch).await?;
    println!("{} restarted", output::name_of(object));
    Ok(())
}

async fn pause(session: &Session, path: &str, object: &Value, paused: bool) -> Result<(), Failure> {
    let (is, word) = (
        object["spec"]["paused"] == true,
        if paused { "paused" } else { "resumed" },
    );
    if object["kind"] != "Deployment" {
        let verb = if paused { "pausing" } else { "resuming" };
        return Err(Failure::usage(format!(
            "{} {verb} is not supported",
            output::name_of(object)
        )));
    }
    if is == paused {
        let already = if paused { "already paused" } else { "not paused" };
        return Err(Failure::usage(format!("{} is {already}", output::name_of(object))));
    }
    change(
        session,
        path,
        &json!({"spec": {"paused": if paused { json!(true) } else { Value::Null }}}),
    )
    .await?;
    println!("{} {word}", output::name_of(object));
    Ok(())
}

async fn change(session: &Session, path: &str, patch: &Value) -> Result<Value, Failure> {
    let path = path.to_owned() + &query(&[("fieldManager", Some("kubectl-rollout"))]);
    session
        .json(Call::patch(&path, "application/strategic-merge-patch+json", patch))
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_tell_their_rollouts_too() {
        let told = |kind: &str, spec: Value, status: Value| {
            let object = json!({"kind": kind, "metadata": {"name": "web"}, "spec": spec, "status": status});
            progress(&object).unwrap()
        };
        let daemon = |status| {
            told(
                "DaemonSet",
                json!({"updateStrategy": {"type": "RollingUpdate"}}),
                status,
            )
        };
        assert_eq!(
            daemon(json!({"desiredNumberScheduled": 3, "updatedNumberScheduled": 1})).0,
            "Waiting for daemon set \"web\" rollout to finish: 1 out of 3 new pods have been updated..."
        );
        assert_eq!(
            daemon(json!({"desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 2})).0,
            "Waiting for daemon set \"web\" rollout to finish: 2 of 3 updated pods are available..."
        );
        assert!(daemon(json!({"desiredNumberScheduled": 1, "updatedNumberScheduled": 1, "numberAvailable": 1})).1);
        let rolling =
            json!({"replicas": 3, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}});
        let stateful = |status| told("StatefulSet", rolling.clone(), status);
        assert_eq!(
            stateful(json!({"readyReplicas": 2})).0,
            "Waiting for 1 pods to be ready..."
        );
        assert_eq!(
            stateful(json!({"readyReplicas": 3, "updatedReplicas": 1})).0,
            "Waiting for partitioned roll out to finish: 1 out of 2 new pods have been updated..."
        );
        assert_eq!(
            stateful(json!({"readyReplicas": 3, "updatedReplicas": 2})),
            (
                "partitioned roll out complete: 2 new pods have been updated...".to_owned(),
                true
            )
        );
        let by_hand = json!({"kind": "StatefulSet", "spec": {"updateStrategy": {"type": "OnDelete"}}});
        assert!(progress(&by_hand).is_err());
    }

    #[track_caller]
    fn check(status: Value, sentence: &str, done: bool) {
        let object = json!({"kind": "Deployment", "metadata": {"name": "web", "generation": 2}, "spec": {"replicas": 3}, "status": status});
        assert_eq!(progress(&object).unwrap(), (sentence.to_owned(), done));
    }

    #[test]
    fn a_rollout_is_told_in_kubectls_sentences() {
        check(
            json!({"observedGeneration": 1}),
            "Waiting for deployment spec update to be observed...",
            false,
        );
        check(
            json!({"observedGeneration": 2, "updatedReplicas": 1, "replicas": 4}),
            "Waiting for deployment \"web\" rollout to finish: 1 out of 3 new replicas have been updated...",
            false,
        );
        check(
            json!({"observedGeneration": 2, "updatedReplicas": 3, "replicas": 4}),
            "Waiting for deployment \"web\" rollout to finish: 1 old replicas are pending termination...",
            false,
        );
        check(
            json!({"observedGeneration": 2, "updatedReplicas": 3, "replicas": 3, "availableReplicas": 3}),
            "deployment \"web\" successfully rolled out",
            true,
        );
    }
}
