//! Volumes that nobody had to prepare.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::cluster::Lab;

/// A StatefulSet with a claim per pod that names no class, as a course's pages have it.
const MANIFEST: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: notes}
spec: {clusterIP: None, selector: {app: notes}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: notes}
spec:
  serviceName: notes
  replicas: 2
  persistentVolumeClaimRetentionPolicy: {whenScaled: Retain, whenDeleted: Delete}
  selector: {matchLabels: {app: notes}}
  template:
    metadata: {labels: {app: notes}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: busybox:1.35
        command: [sh, -c, "echo $HOSTNAME >> /data/starts; trap exit TERM; while true; do sleep 0.2; done"]
        volumeMounts: [{name: data, mountPath: /data}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec:
      accessModes: [ReadWriteOnce]
      resources: {requests: {storage: 100Mi}}
"#;

fn volumes_of(lab: &Lab) -> Result<BTreeSet<String>, String> {
    let claims = lab.json(&["get", "pvc"])?;
    let claims = claims["items"].as_array().cloned().unwrap_or_default();
    let volume = |claim: &Value| claim["spec"]["volumeName"].as_str().map(str::to_owned);
    Ok(claims.iter().filter_map(volume).collect())
}

/// The node of a pod that runs.
fn node(pod: &Value) -> String {
    pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned()
}

/// Waits until a pod has started so many times over the same files, on the same node.
fn until_started(lab: &Lab, what: &str, times: usize, on: &str) {
    let wanted = "notes-0\n".repeat(times);
    lab.until(what, || {
        let said = lab.exec("notes-0", &["cat", "/data/starts"])?;
        let place = node(&lab.pod("notes-0")?);
        if said == wanted && place == on {
            Ok(())
        } else {
            Err(format!("on {place:?}: {said:?}"))
        }
    });
}

#[test]
fn a_stateful_sets_pods_keep_their_files_and_the_files_go_with_the_set() {
    let lab = Lab::enter("notes");
    lab.apply(MANIFEST);
    lab.until_ready("app=notes", 2);
    let volumes = volumes_of(&lab).expect("claims");
    assert_eq!(volumes.len(), 2, "each has its own: {volumes:?}");
    let home = node(&lab.pod("notes-0").expect("there"));

    lab.kubectl.run(&["delete", "pod", "notes-0"]);
    until_started(&lab, "it started twice after a deletion", 2, &home);

    lab.kubectl
        .run(&["set", "image", "statefulset/notes", "main=timonel.dev/demo:2.0"]);
    until_started(&lab, "it started a third time with another image", 3, &home);
    lab.kubectl
        .run(&["rollout", "status", "statefulset/notes", "--timeout=60s"]);

    lab.node(&["kill", &home]);
    lab.until(
        "the pod of the lost node is given up and not replaced elsewhere",
        || {
            let pod = lab.pod("notes-0")?;
            match pod["metadata"]["deletionTimestamp"].as_str() {
                Some(_) => Ok(()),
                None => Err(format!("{:#}", pod["status"]["conditions"])),
            }
        },
    );
    assert_eq!(node(&lab.pod("notes-0").expect("there")), home);
    lab.node(&["start", &home]);
    until_started(&lab, "it started a fourth time when the node was back", 4, &home);
    assert_eq!(volumes_of(&lab).expect("claims"), volumes, "the claims are the same");

    lab.kubectl.run(&["delete", "statefulset", "notes"]);
    lab.until(
        "the volumes are gone, which is told only after their folders are",
        || {
            let left: Vec<&String> = volumes
                .iter()
                .filter(|name| lab.json(&["get", "pv", name.as_str()]).is_ok())
                .collect();
            if left.is_empty() {
                Ok(())
            } else {
                Err(format!("{left:?}"))
            }
        },
    );
}
