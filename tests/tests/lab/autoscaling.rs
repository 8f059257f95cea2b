//! A busy pod is seen by both command lines, and an autoscaler gives it company until the work is done.

use std::time::Duration;

use timonel_tests::eventually;

use crate::cluster::Lab;

/// Nodes are asked every 15 s, autoscalers look every 15 s, and what is measured has to change first.
const PATIENCE: Duration = Duration::from_secs(240);

/// A Deployment whose containers keep a core busy while the file `/tmp/busy` is there, up to their limit.
const BUSY: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: busy}
spec:
  replicas: 1
  selector: {matchLabels: {app: busy}}
  template:
    metadata: {labels: {app: busy}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: busybox:1.35
        imagePullPolicy: IfNotPresent
        command: [sh, -c, "touch /tmp/busy; while true; do if [ -f /tmp/busy ]; then i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; else sleep 1; fi; done"]
        resources:
          requests: {cpu: 50m, memory: 16Mi}
          limits: {cpu: 100m, memory: 64Mi}
"#;

fn replicas(lab: &Lab) -> Result<i64, String> {
    let deployment = lab.json(&["get", "deployment", "busy"])?;
    deployment["spec"]["replicas"]
        .as_i64()
        .ok_or_else(|| "no replicas".to_owned())
}

/// The thousandths of a core in a line of `top`.
fn millis(line: &str) -> Option<u64> {
    line.split_whitespace()
        .find_map(|word| word.strip_suffix('m')?.parse().ok())
}

#[test]
fn a_busy_pod_is_seen_and_an_autoscaler_scales_it() {
    let lab = Lab::enter("autoscaling");
    lab.apply(BUSY);
    lab.until_ready("app=busy", 1);
    for tool in [&lab.kubectl, &lab.timonctl] {
        let until = |what: &str, check: &dyn Fn() -> Result<(), String>| {
            eventually(what, PATIENCE, check, || {
                tool.try_run(&["get", "pods"]).unwrap_or_else(|e| e)
            });
        };
        until("the busy pod is seen", &|| {
            let shown = tool.try_run(&["top", "pods", "-l", "app=busy", "--containers", "--no-headers"])?;
            let line = shown.lines().next().ok_or("nothing is shown")?;
            match millis(line) {
                Some(50..) if line.contains("main") => Ok(()),
                _ => Err(shown),
            }
        });
        until("every node is measured", &|| {
            let shown = tool.try_run(&["top", "nodes", "--no-headers"])?;
            let measured = shown.lines().filter(|line| !line.contains("<unknown>")).count();
            if measured == 3 { Ok(()) } else { Err(shown) }
        });
    }
    let summary = lab
        .kubectl
        .run(&["get", "--raw", "/api/v1/nodes/node-1/proxy/stats/summary"]);
    let summary: serde_json::Value = serde_json::from_str(&summary).expect("JSON");
    assert!(
        summary["node"]["memory"]["workingSetBytes"].as_u64() > Some(0),
        "{summary:#}"
    );
    assert!(summary["node"]["fs"]["capacityBytes"].as_u64() > Some(0), "{summary:#}");

    lab.kubectl.run(&[
        "autoscale",
        "deployment",
        "busy",
        "--cpu-percent=50",
        "--min=1",
        "--max=3",
    ]);
    let waits = |what: &str, wanted: i64| {
        eventually(
            what,
            PATIENCE,
            || match replicas(&lab)? {
                found if found == wanted => Ok(()),
                found => Err(format!("{found} replicas")),
            },
            || lab.kubectl.try_run(&["describe", "hpa", "busy"]).unwrap_or_else(|e| e),
        );
    };
    waits("the autoscaler asks for all that it may", 3);
    let busy = lab.until_ready("app=busy", 3);
    let described = lab.kubectl.run(&["describe", "hpa", "busy"]);
    assert!(described.contains("SuccessfulRescale"), "{described}");
    for pod in &busy {
        let name = pod["metadata"]["name"].as_str().expect("a name");
        lab.exec(name, &["rm", "-f", "/tmp/busy"]).expect("the work is done");
    }
    waits("the autoscaler asks for no more than it must", 1);
}
