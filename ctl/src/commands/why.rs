//! `why`: what is known of why a pod is as it is: the scheduler's verdict on each node, what its containers wait for, who holds on
//! to it. Each line names its evidence.

use clap::Args;
use serde_json::Value;

use crate::error::Failure;
use crate::resolve;
use crate::session::{Session, encode};
use crate::verdicts;

/// `why`'s flags.
#[derive(Clone, Debug, Args)]
pub(crate) struct Why {
    /// TYPE NAME... or TYPE/NAME...
    #[arg(required = true)]
    targets: Vec<String>,
}

/// The scheduler's last decision about a pod, or why it is not known.
type Account = Result<Value, String>;

impl Why {
    /// Carries the command out.
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        for target in resolve::targets(session, &self.targets).await? {
            let resource = &target.resource;
            if !(resource.group.is_empty() && resource.plural == "pods") {
                return Err(Failure::usage(format!(
                    "why tells of pods only, not of {}",
                    resource.plural_name()
                )));
            }
            let Some(name) = &target.name else {
                return Err(Failure::usage("resource(s) were provided, but no name was specified"));
            };
            let pod = session.get(&session.object(resource, name)).await?;
            let account = account_of(session, name).await;
            print!("{}", told(&pod, &account));
        }
        Ok(())
    }
}

async fn account_of(session: &Session, name: &str) -> Account {
    let path = format!("/debug/scheduler/pods/{}/{}", encode(&session.namespace), encode(name));
    session.get(&path).await.map_err(|failure| match failure {
        Failure::Server { status, .. } => status["message"].as_str().unwrap_or_default().to_owned(),
        other => other.to_string(),
    })
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Everything that is known, a line each.
fn told(pod: &Value, account: &Account) -> String {
    let meta = &pod["metadata"];
    let mut lines = Vec::new();
    deletion(meta, &mut lines);
    placement(pod, account, &mut lines);
    for field in [
        "initContainerStatuses",
        "containerStatuses",
        "ephemeralContainerStatuses",
    ] {
        let statuses = pod["status"][field].as_array();
        for (at, status) in statuses.into_iter().flatten().enumerate() {
            container(status, &format!("status.{field}[{at}]"), &mut lines);
        }
    }
    if let Some(reason) = pod["status"]["reason"].as_str() {
        let message = text(&pod["status"]["message"]);
        lines.push(format!("{reason}: {message} (status.reason)"));
    }
    let mut told = format!(
        "pod {}/{}: {}\n",
        text(&meta["namespace"]),
        text(&meta["name"]),
        text(&pod["status"]["phase"])
    );
    for line in lines {
        told.push_str("  ");
        told.push_str(&line);
        told.push('\n');
    }
    told
}

fn deletion(meta: &Value, lines: &mut Vec<String>) {
    let Some(since) = meta["deletionTimestamp"].as_str() else {
        return;
    };
    lines.push(format!(
        "is being deleted, at the latest at {since} (metadata.deletionTimestamp)"
    ));
    let finalizers = meta["finalizers"].as_array().into_iter().flatten();
    for finalizer in finalizers {
        lines.push(format!(
            "stays until its owner removes the finalizer {} (metadata.finalizers)",
            text(finalizer)
        ));
    }
}

fn placement(pod: &Value, account: &Account, lines: &mut Vec<String>) {
    let (spec, conditions) = (&pod["spec"], pod["status"]["conditions"].as_array());
    let node = spec["nodeName"].as_str().filter(|node| !node.is_empty());
    let gates: Vec<&str> = spec["schedulingGates"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|gate| text(&gate["name"]))
        .collect();
    match node {
        Some(node) => lines.push(format!("is on node {node} (spec.nodeName)")),
        None if !gates.is_empty() => {
            lines.push(format!(
                "waits for somebody to remove its scheduling gates: {} (spec.schedulingGates)",
                gates.join(", ")
            ));
            return;
        }
        None => {
            let scheduled = conditions
                .into_iter()
                .flatten()
                .find(|condition| condition["type"] == "PodScheduled");
            lines.push(match scheduled {
                Some(scheduled) => format!(
                    "has no node: {}: {} (status.conditions, PodScheduled)",
                    text(&scheduled["reason"]),
                    text(&scheduled["message"])
                ),
                None => "has no node, and no scheduler has said why (status.conditions, PodScheduled)".to_owned(),
            });
        }
    }
    match account {
        Ok(account) => {
            let when = account["time"]
                .as_str()
                .map_or(String::new(), |time| format!(" at {time}"));
            lines.push(format!(
                "{} decided{when}: {}",
                text(&account["schedulerName"]),
                verdicts::outcome(account)
            ));
            lines.extend(verdicts::lines(account).into_iter().map(|line| format!("  {line}")));
        }
        Err(why) => lines.push(format!("the scheduler's verdicts are not known: {why}")),
    }
}

fn container(status: &Value, field: &str, lines: &mut Vec<String>) {
    let name = text(&status["name"]);
    let state = &status["state"];
    let ended = |ended: &Value| {
        let message = ended["message"]
            .as_str()
            .map_or(String::new(), |message| format!(": {message}"));
        format!(
            "with exit code {}, {}{message}",
            ended["exitCode"],
            text(&ended["reason"])
        )
    };
    let waiting = &state["waiting"];
    if waiting.is_object() {
        let message = waiting["message"]
            .as_str()
            .map_or(String::new(), |message| format!(": {message}"));
        lines.push(format!(
            "container {name} waits: {}{message} ({field}.state.waiting)",
            text(&waiting["reason"])
        ));
    } else if state["terminated"].is_object() && state["terminated"]["exitCode"] != 0 {
        lines.push(format!(
            "container {name} ended {} ({field}.state.terminated)",
            ended(&state["terminated"])
        ));
    } else if state["running"].is_object() && status["ready"] != true {
        let probe = if status["started"] == true { "ready" } else { "started" };
        lines.push(format!("container {name} runs and is not {probe} ({field}.{probe})"));
    }
    let last = &status["lastState"]["terminated"];
    if last.is_object() {
        lines.push(format!(
            "container {name} was restarted {} times, and ended last {} ({field}.lastState.terminated)",
            status["restartCount"],
            ended(last)
        ));
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_without_a_node_is_told_node_by_node() {
        let pod = json!({
            "metadata": {"namespace": "demo", "name": "big"}, "spec": {},
            "status": {"phase": "Pending", "conditions": [{
                "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                "message": "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s).",
            }]},
        });
        let account = json!({
            "namespace": "demo", "name": "big", "schedulerName": "default-scheduler", "time": "2026-01-01T00:00:05Z", "node": null,
            "message": "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s).",
            "nodes": [
                {"node": "n1", "plugin": "NodeResourcesFit", "reasons": ["Insufficient cpu"]},
                {"node": "n2", "plugin": "TaintToleration", "reasons": ["node(s) had untolerated taint(s)"], "detail": "{dedicated: gpu}"},
            ],
            "leftOut": 3,
        });
        expect![[r#"
            pod demo/big: Pending
              has no node: Unschedulable: 0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s). (status.conditions, PodScheduled)
              default-scheduler decided at 2026-01-01T00:00:05Z: 0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s).
                n1: NodeResourcesFit: Insufficient cpu
                n2: TaintToleration: node(s) had untolerated taint(s) ({dedicated: gpu})
                3 more nodes are left out here
        "#]]
        .assert_eq(&told(&pod, &Ok(account)));
    }

    #[test]
    fn a_pod_that_crashes_and_one_that_is_held_are_told() {
        let crashing = json!({
            "metadata": {"namespace": "demo", "name": "web"}, "spec": {"nodeName": "n1"},
            "status": {"phase": "Running", "containerStatuses": [{
                "name": "c", "restartCount": 4, "ready": false,
                "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s restarting failed container"}},
                "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
            }]},
        });
        let unknown = Err("no decision about pod demo/web is kept".to_owned());
        let held = json!({
            "metadata": {"namespace": "demo", "name": "held", "deletionTimestamp": "2026-01-01T00:00:30Z", "finalizers": ["a/b"]},
            "spec": {"schedulingGates": [{"name": "quota"}]}, "status": {"phase": "Pending"},
        });
        expect![[r#"
            pod demo/web: Running
              is on node n1 (spec.nodeName)
              the scheduler's verdicts are not known: no decision about pod demo/web is kept
              container c waits: CrashLoopBackOff: back-off 40s restarting failed container (status.containerStatuses[0].state.waiting)
              container c was restarted 4 times, and ended last with exit code 137, OOMKilled (status.containerStatuses[0].lastState.terminated)
            pod demo/held: Pending
              is being deleted, at the latest at 2026-01-01T00:00:30Z (metadata.deletionTimestamp)
              stays until its owner removes the finalizer a/b (metadata.finalizers)
              waits for somebody to remove its scheduling gates: quota (spec.schedulingGates)
        "#]]
        .assert_eq(&(told(&crashing, &unknown) + &told(&held, &unknown)));
    }
}
