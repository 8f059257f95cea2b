//! Workloads that are no Deployments: daemons, sets with names, jobs by number and by the clock, claims on volumes.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::cluster::{Lab, condition, items, name};

/// A template of one busybox container, indented for `spec.template` of a workload at the top level.
fn template(app: &str, command: &str, restart: &str) -> String {
    format!(
        r#"  template:
    metadata: {{labels: {{app: {app}}}}}
    spec:
      terminationGracePeriodSeconds: 1
      restartPolicy: {restart}
      containers:
      - name: main
        image: busybox:1.35
        command: [sh, -c, {command:?}]
"#
    )
}

const IDLE: &str = "trap exit TERM; while true; do sleep 0.2; done";

#[test]
fn a_daemon_runs_on_every_node_and_is_rolled_node_by_node() {
    let lab = Lab::enter("daemons");
    let template = template("guard", IDLE, "Always");
    lab.apply(&format!(
        "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {{name: guard}}\nspec:\n  selector: {{matchLabels: {{app: guard}}}}\n{template}"
    ));
    let first = lab.until_ready("app=guard", 3);
    let nodes: BTreeSet<&str> = first
        .iter()
        .filter_map(|pod| pod["spec"]["nodeName"].as_str())
        .collect();
    assert_eq!(nodes, BTreeSet::from(["node-1", "node-2", "node-3"]));
    lab.timonctl.run(&["rollout", "restart", "daemonset/guard"]);
    for tool in [&lab.kubectl, &lab.timonctl] {
        tool.run(&["rollout", "status", "daemonset/guard", "--timeout=100s"]);
    }
    let before: BTreeSet<String> = first.iter().map(name).collect();
    let after: BTreeSet<String> = lab.until_ready("app=guard", 3).iter().map(name).collect();
    assert!(before.is_disjoint(&after), "{before:?} {after:?}");
    let history = lab.kubectl.run(&["rollout", "history", "daemonset/guard"]);
    assert_eq!(history, lab.timonctl.run(&["rollout", "history", "daemonset/guard"]));
    assert!(
        history.lines().any(|line| line.starts_with("2 ")),
        "two revisions: {history}"
    );
}

#[test]
fn a_stateful_sets_pods_have_an_order_and_names_that_stay() {
    let lab = Lab::enter("stateful");
    let template = template("db", IDLE, "Always");
    lab.apply(&format!(
        "apiVersion: v1
kind: Service
metadata: {{name: db}}
spec: {{clusterIP: None, selector: {{app: db}}, ports: [{{port: 80}}]}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: db}}
spec:
  serviceName: db
  replicas: 3
  selector: {{matchLabels: {{app: db}}}}
{template}"
    ));
    let mut pods = lab.until_ready("app=db", 3);
    pods.sort_by_key(name);
    let names: Vec<String> = pods.iter().map(name).collect();
    assert_eq!(names, ["db-0", "db-1", "db-2"]);
    let ready_at = |pod: &Value| {
        let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions.into_iter().find(|condition| condition["type"] == "Ready");
        ready.map(|ready| ready["lastTransitionTime"].as_str().unwrap_or_default().to_owned())
    };
    for pair in pods.windows(2) {
        let made = pair[1]["metadata"]["creationTimestamp"].as_str().map(str::to_owned);
        assert!(ready_at(&pair[0]) <= made, "each waits for the one before: {pair:?}");
    }
    assert_eq!(lab.exec("db-1", &["hostname"]).as_deref(), Ok("db-1\n"));
    let address = pods[0]["status"]["podIP"].as_str().expect("an address").to_owned();
    lab.until("a pod finds another by its name", || {
        let said = lab.exec("db-2", &["nslookup", "db-0.db.stateful.svc.cluster.local"])?;
        if said.contains(&address) { Ok(()) } else { Err(said) }
    });

    let uid = |pod: &Value| pod["metadata"]["uid"].as_str().map(str::to_owned);
    lab.timonctl.run(&["delete", "pod", "db-1"]);
    lab.until("another pod has the name", || {
        let pod = lab.pod("db-1")?;
        if uid(&pod) != uid(&pods[1]) && condition(&pod, "Ready") == "True" {
            Ok(())
        } else {
            Err("not yet".to_owned())
        }
    });
    lab.kubectl.run(&["scale", "statefulset/db", "--replicas=1"]);
    let left = lab.until_ready("app=db", 1);
    assert_eq!(name(&left[0]), "db-0");
}

#[test]
fn a_job_runs_each_index_once_and_another_gives_up() {
    let lab = Lab::enter("jobs");
    let count = template("count", "echo index $JOB_COMPLETION_INDEX", "Never");
    lab.apply(&format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: count}}\nspec:\n  completions: 4\n  parallelism: 2\n  completionMode: Indexed\n{count}"
    ));
    let fail = template("fail", "exit 3", "Never");
    lab.apply(&format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: fail}}\nspec:\n  backoffLimit: 1\n{fail}"
    ));
    for tool in [&lab.kubectl, &lab.timonctl] {
        tool.run(&["wait", "job/count", "--for=condition=Complete", "--timeout=110s"]);
    }
    let job = lab.json(&["get", "job", "count"]).expect("the job");
    assert_eq!(job["status"]["completedIndexes"], "0-3");
    assert_eq!(job["status"]["succeeded"], 4);
    let said: BTreeSet<String> = lab
        .pods("app=count")
        .expect("its pods")
        .iter()
        .map(|pod| lab.kubectl.run(&["logs", &name(pod)]).trim().to_owned())
        .collect();
    assert_eq!(said, (0..4).map(|index| format!("index {index}")).collect());

    lab.kubectl
        .run(&["wait", "job/fail", "--for=condition=Failed", "--timeout=110s"]);
    let job = lab.json(&["get", "job", "fail"]).expect("the job");
    assert_eq!(job["status"]["failed"], 2);
    let conditions = job["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let failed = conditions.iter().find(|condition| condition["type"] == "Failed");
    assert_eq!(failed.expect("it failed")["reason"], "BackoffLimitExceeded");
}

#[test]
fn a_cron_job_starts_jobs_by_the_clock_and_by_hand() {
    let lab = Lab::enter("cron");
    let job = template("tick", "echo tick", "Never").replace("\n", "\n    ");
    lab.apply(&format!(
        "apiVersion: batch/v1\nkind: CronJob\nmetadata: {{name: tick}}\nspec:\n  schedule: \"* * * * *\"\n  jobTemplate:\n    spec:\n    {job}"
    ));
    lab.timonctl.run(&["create", "job", "by-hand", "--from=cronjob/tick"]);
    lab.kubectl
        .run(&["wait", "job/by-hand", "--for=condition=Complete", "--timeout=60s"]);
    lab.until("the clock has started one that completed", || {
        let jobs = lab.json(&["get", "jobs"])?;
        let done = items(&jobs)
            .iter()
            .any(|job| name(job).starts_with("tick-") && job["status"]["succeeded"] == 1);
        if done { Ok(()) } else { Err(jobs.to_string()) }
    });
    let cron = lab.json(&["get", "cronjob", "tick"]).expect("the cron job");
    assert!(cron["status"]["lastScheduleTime"].is_string(), "{cron}");
}

#[test]
fn a_claim_is_bound_to_a_volume_and_held_while_a_pod_uses_it() {
    let lab = Lab::enter("claims");
    let _ = lab
        .kubectl
        .try_run(&["delete", "pv", "disk", "--ignore-not-found", "--timeout=60s"]);
    lab.apply(
        r#"
apiVersion: v1
kind: PersistentVolume
metadata: {name: disk}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  storageClassName: course
  hostPath: {path: /var/lib/course-disk, type: DirectoryOrCreate}
  nodeAffinity:
    required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [node-2]}]}]}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: mine}
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: course
  resources: {requests: {storage: 500Mi}}
"#,
    );
    lab.timonctl.run(&[
        "wait",
        "pvc/mine",
        "--for=jsonpath={.status.phase}=Bound",
        "--timeout=60s",
    ]);
    lab.apply(
        r#"
apiVersion: v1
kind: Pod
metadata: {name: writer, labels: {app: writer}}
spec:
  terminationGracePeriodSeconds: 1
  nodeSelector: {kubernetes.io/hostname: node-2}
  containers:
  - name: main
    image: busybox:1.35
    command: [sh, -c, "echo kept > /data/word; trap exit TERM; while true; do sleep 0.2; done"]
    volumeMounts: [{name: data, mountPath: /data}]
  volumes:
  - name: data
    persistentVolumeClaim: {claimName: mine}
"#,
    );
    lab.until_ready("app=writer", 1);
    lab.until("the word is there", || {
        match lab.exec("writer", &["cat", "/data/word"]) {
            Ok(said) if said == "kept\n" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    lab.kubectl.run(&["delete", "pvc", "mine", "--wait=false"]);
    let held = lab.json(&["get", "pvc", "mine"]).expect("it is still there");
    assert!(held["metadata"]["deletionTimestamp"].is_string());
    lab.kubectl.run(&["delete", "pod", "writer"]);
    lab.kubectl.run(&["wait", "pvc/mine", "--for=delete", "--timeout=60s"]);
    lab.until("the volume is released, and kept", || {
        let volume = lab.json(&["get", "pv", "disk"])?;
        match volume["status"]["phase"].as_str() {
            Some("Released") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    lab.kubectl.run(&["delete", "pv", "disk", "--timeout=60s"]);
}
