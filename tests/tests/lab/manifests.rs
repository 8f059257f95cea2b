//! The workloads of the stories, and the course's own manifest with its mistakes.

use crate::cluster::Lab;

/// A Deployment of the demo server, all three kinds of probes, spread over the nodes.
pub(crate) fn demo(name: &str, replicas: u32, version: &str) -> String {
    format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 2
      containers:
      - name: demo
        image: timonel.dev/demo:{version}
        ports: [{{containerPort: 8080}}]
        startupProbe:
          httpGet: {{path: /startup, port: 8080}}
          periodSeconds: 1
          failureThreshold: 30
        livenessProbe:
          exec: {{command: [test, -f, /tmp/healthy]}}
          periodSeconds: 1
          failureThreshold: 2
        readinessProbe:
          httpGet: {{path: /ready, port: 8080}}
          periodSeconds: 1
          failureThreshold: 1
"#
    )
}

/// A pod that runs a shell command under busybox; `more` goes into the container, indented by four.
pub(crate) fn busybox(name: &str, command: &str, more: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: busybox:1.35
    command: [sh, -c, {command:?}]
{more}
"#
    )
}

/// The course's manifest, mistakes and all: an underscore in the name, an unknown field, a key twice.
const COURSE: &str = r#"
apiVersion: v1
kind: Pod
metadata:
  name: nginx_pod
spec:
  containers:
  - name: nginx
    image: busybox:1.35
    pullPolicy: IfNotPresent
    volumeMount:
    - {name: a, mountPath: /a}
    volumeMount:
    - {name: a, mountPath: /b}
  volumes:
  - {name: a, emptyDir: {}}
"#;

#[test]
fn the_courses_mistakes_are_named_one_and_all() {
    let lab = Lab::enter("course");
    let said = lab.timonctl.refused(&["apply", "-f", "-"], COURSE);
    assert!(said.contains("spec.containers[0].pullPolicy"), "{said}");
    assert!(
        said.contains("unknown field \"spec.containers[0].pullPolicy\""),
        "{said}"
    );
    assert!(
        said.contains("duplicate field \"spec.containers[0].volumeMount\""),
        "{said}"
    );
    let said = lab.kubectl.refused(&["create", "-f", "-"], COURSE);
    assert!(said.contains("pullPolicy") || said.contains("volumeMount"), "{said}");

    let named = COURSE
        .replace("    pullPolicy: IfNotPresent\n", "")
        .replacen("    volumeMount:\n    - {name: a, mountPath: /a}\n", "", 1)
        .replace("volumeMount:", "volumeMounts:");
    for tool in [&lab.kubectl, &lab.timonctl] {
        let said = tool.refused(&["create", "-f", "-"], &named);
        assert!(
            said.contains(
                "metadata.name: Invalid value: \"nginx_pod\": a lowercase RFC 1123 subdomain must consist of"
            ),
            "{said}"
        );
    }
    assert_eq!(
        lab.kubectl.run(&["get", "pods", "-o", "name"]),
        "",
        "nothing is half-done"
    );
}
