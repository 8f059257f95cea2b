//! `plan`: what the scheduler would do about pods, or about the pods of workloads, were they created now. Nothing is created:
//! the API server makes the pods whole in a dry run, and the scheduler decides about them on a snapshot.

use std::collections::BTreeMap;
use std::io::Write;

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use crate::args::Files;
use crate::error::Failure;
use crate::manifests::{self, Manifest};
use crate::output::{self, Format};
use crate::resolve;
use crate::session::{Call, Session, encode};
use crate::verdicts;

/// As many pods as one question may be about.
const MOST: u64 = 1000;

/// `plan`'s flags.
#[derive(Clone, Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    files: Files,
    /// Output format: json, yaml, jsonpath=...
    #[arg(short, long)]
    output: Option<Format>,
}

/// A pod that would be made, and whose it would be.
struct Planned {
    namespace: String,
    title: String,
    pod: Value,
}

impl Plan {
    /// Carries the command out.
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let mut planned = Vec::new();
        for manifest in manifests::read(&self.files.filename, self.files.recursive)? {
            let (api_version, kind) = manifest.type_meta();
            let resource = resolve::by_kind(session, api_version, kind).await?;
            let namespace = manifest.namespace_in(session, &resource)?;
            planned.extend(pods_of(&manifest, &namespace)?);
        }
        if planned.is_empty() {
            return Err(Failure::usage("there is no pod and no workload to plan"));
        }
        let mut pods = Vec::new();
        // Pods of one workload differ in their names only: the first one tells what the server makes of all.
        let mut whole: BTreeMap<String, Value> = BTreeMap::new();
        for one in &planned {
            let looks = one.pod.to_string();
            let pod = match whole.get(&looks) {
                Some(pod) => pod.clone(),
                None => {
                    let pod = dry_run(session, one).await?;
                    whole.insert(looks, pod.clone());
                    pod
                }
            };
            pods.push(pod);
        }
        let body = json!({"apiVersion": "v1", "kind": "PodList", "items": pods});
        let call = Call::with_json(Method::POST, "/debug/scheduler/plan", &body);
        let mut answer = session
            .json(call)
            .await
            .map_err(|failure| failure.doing("error when asking the scheduler".to_owned()))?;
        let accounts = answer["pods"].as_array_mut().into_iter().flatten();
        for (account, one) in accounts.zip(&planned) {
            account["name"] = json!(one.title);
        }
        let out = &mut std::io::stdout().lock();
        match &self.output {
            Some(format) if !format.is_table() => output::print(out, format, &answer),
            _ => {
                let accounts = answer["pods"].as_array().into_iter().flatten();
                for account in accounts {
                    out.write_all(told(account).as_bytes())?;
                }
                Ok(())
            }
        }
    }
}

/// The pods that would come of an object.
fn pods_of(manifest: &Manifest, namespace: &str) -> Result<Vec<Planned>, Failure> {
    let (object, name) = (&manifest.object, manifest.name());
    let (_, kind) = manifest.type_meta();
    let spec = &object["spec"];
    let number = |value: &Value| value.as_u64().unwrap_or(1);
    let (template, count) = match kind {
        "Pod" => {
            let planned = Planned {
                namespace: namespace.to_owned(),
                title: name.to_owned(),
                pod: whole(object, object, name, None),
            };
            return Ok(vec![planned]);
        }
        "Deployment" | "ReplicaSet" | "StatefulSet" | "ReplicationController" => {
            (&spec["template"], number(&spec["replicas"]))
        }
        "Job" => (&spec["template"], at_once(spec)),
        "CronJob" => {
            let job = &spec["jobTemplate"]["spec"];
            (&job["template"], at_once(job))
        }
        "PodTemplate" => (&object["template"], 1),
        "DaemonSet" => {
            return Err(Failure::usage(format!(
                "daemonset {name:?}: a DaemonSet chooses the nodes of its pods itself; there is nothing to plan"
            )));
        }
        // Whatever else stands in the file makes no pods.
        _ => return Ok(Vec::new()),
    };
    if count > MOST {
        return Err(Failure::usage(format!(
            "{name:?}: at most {MOST} pods can be planned at once, not {count}"
        )));
    }
    let owner = json!([{
        "apiVersion": object["apiVersion"], "kind": kind, "name": name, "uid": "plan", "controller": true,
    }]);
    let pod = whole(template, object, name, Some(owner));
    let planned = (0..count).map(|at| Planned {
        namespace: namespace.to_owned(),
        title: format!("{name}-{at}"),
        pod: pod.clone(),
    });
    Ok(planned.collect())
}

/// How many pods of a Job run at once.
fn at_once(job: &Value) -> u64 {
    let parallelism = job["parallelism"].as_u64().unwrap_or(1);
    let completions = job["completions"].as_u64();
    completions.map_or(parallelism, |completions| completions.min(parallelism))
}

/// A pod under a name that nobody has, so that a dry run never meets one that is there.
fn whole(template: &Value, object: &Value, name: &str, owner: Option<Value>) -> Value {
    let name = if name.is_empty() {
        object["metadata"]["generateName"].as_str().unwrap_or("plan")
    } else {
        name
    };
    let prefix: String = name.trim_end_matches('-').chars().take(200).collect();
    let mut metadata = json!({"generateName": format!("{prefix}-")});
    for field in ["labels", "annotations"] {
        if template["metadata"][field].is_object() {
            metadata[field] = template["metadata"][field].clone();
        }
    }
    if let Some(owner) = owner {
        metadata["ownerReferences"] = owner;
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
}

/// Lets the server default, admit and check a pod without creating it.
async fn dry_run(session: &Session, planned: &Planned) -> Result<Value, Failure> {
    let path = format!("/api/v1/namespaces/{}/pods?dryRun=All", encode(&planned.namespace));
    session
        .json(Call::with_json(Method::POST, &path, &planned.pod))
        .await
        .map_err(|failure| failure.doing(format!("error when planning pod {:?}", planned.title)))
}

/// Tells of one pod: where it would go, or why nowhere, node by node.
fn told(account: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut told = format!(
        "pod {}/{}: {}\n",
        text(&account["namespace"]),
        text(&account["name"]),
        verdicts::outcome(account)
    );
    for line in verdicts::lines(account) {
        told.push_str("  ");
        told.push_str(&line);
        told.push('\n');
    }
    told
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn manifest(object: Value) -> Manifest {
        Manifest {
            object,
            source: "test".to_owned(),
            duplicates: Vec::new(),
        }
    }

    #[test]
    fn a_workload_is_planned_pod_by_pod() {
        let deployment = manifest(json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"replicas": 2, "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}}},
        }));
        let planned = pods_of(&deployment, "demo").unwrap();
        let titles: Vec<&str> = planned.iter().map(|one| one.title.as_str()).collect();
        assert_eq!(titles, ["web-0", "web-1"]);
        assert_eq!(planned[0].pod["metadata"]["generateName"], "web-");
        assert_eq!(planned[0].pod["metadata"]["labels"]["app"], "web");
        let job = json!({"kind": "Job", "apiVersion": "batch/v1", "metadata": {"name": "j"}, "spec": {"parallelism": 5, "completions": 3}});
        assert_eq!(pods_of(&manifest(job), "demo").unwrap().len(), 3);
        let service = json!({"kind": "Service", "apiVersion": "v1", "metadata": {"name": "s"}});
        assert!(pods_of(&manifest(service), "demo").unwrap().is_empty());
        let daemons = json!({"kind": "DaemonSet", "apiVersion": "apps/v1", "metadata": {"name": "d"}});
        assert!(pods_of(&manifest(daemons), "demo").is_err());
    }

    #[test]
    fn the_answer_is_told_node_by_node() {
        let placed = json!({
            "namespace": "demo", "name": "web-0", "node": "n1",
            "nodes": [
                {"node": "n1", "score": 251, "parts": [{"plugin": "NodeResourcesFit", "score": 51, "weight": 1}, {"plugin": "PodTopologySpread", "score": 100, "weight": 2}]},
                {"node": "n2", "plugin": "TaintToleration", "reasons": ["node(s) had untolerated taint(s)"], "detail": "{dedicated: gpu}"},
            ],
        });
        let refused = json!({
            "namespace": "demo", "name": "big", "node": null, "message": "0/1 nodes are available: 1 Insufficient cpu.",
            "nominatedNode": "n1", "victims": ["demo/small"],
            "nodes": [{"node": "n1", "plugin": "NodeResourcesFit", "reasons": ["Insufficient cpu"]}],
        });
        expect![[r#"
            pod demo/web-0: n1
              n1: 251 = NodeResourcesFit 51x1 + PodTopologySpread 100x2
              n2: TaintToleration: node(s) had untolerated taint(s) ({dedicated: gpu})
            pod demo/big: 0/1 nodes are available: 1 Insufficient cpu.
              would preempt on n1: demo/small
              n1: NodeResourcesFit: Insufficient cpu
        "#]]
        .assert_eq(&(told(&placed) + &told(&refused)));
    }
}
