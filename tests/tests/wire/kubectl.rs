//! kubectl's verbs that ask more of a server than get and apply: everything that `create` makes, diff, wait, auth, events, debug.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use timonel_tests::eventually;

use crate::server::Server;

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: one, labels: {app: one}}
spec:
  containers: [{name: main, image: "one:1"}]
"#;

/// A server on which pods can be made, although no controller runs that makes service accounts.
fn server_for_pods() -> Server {
    let server = Server::start();
    server.kubectl.run(&["create", "serviceaccount", "default"]);
    server
}

#[test]
fn create_makes_everything_that_it_can_make() {
    let server = Server::start();
    let kubectl = &server.kubectl;
    let made = rcgen::generate_simple_self_signed(vec!["web".to_owned()]).expect("a certificate");
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let cert = format!("--cert={}", file("tls.crt", made.cert.pem()));
    let key = format!("--key={}", file("tls.key", made.signing_key.serialize_pem()));
    // The command, the object that it makes, and a field of it.
    let all: &[(&[&str], &str, &str, Value)] = &[
        (
            &["namespace", "made"],
            "namespace/made",
            "/status/phase",
            "Active".into(),
        ),
        (
            &["configmap", "c", "--from-literal=a=b"],
            "configmap/c",
            "/data/a",
            "b".into(),
        ),
        (
            &["secret", "generic", "s", "--from-literal=a=b"],
            "secret/s",
            "/data/a",
            "Yg==".into(),
        ),
        (
            &[
                "secret",
                "docker-registry",
                "d",
                "--docker-server=r",
                "--docker-username=u",
                "--docker-password=p",
            ],
            "secret/d",
            "/type",
            "kubernetes.io/dockerconfigjson".into(),
        ),
        (
            &["secret", "tls", "t", &cert, &key],
            "secret/t",
            "/type",
            "kubernetes.io/tls".into(),
        ),
        (
            &["deployment", "web", "--image=web:1", "--replicas=2", "--port=80"],
            "deployment/web",
            "/spec/template/spec/containers/0/ports/0/containerPort",
            80.into(),
        ),
        (
            &[
                "cronjob",
                "tick",
                "--image=tick:1",
                "--schedule=*/5 * * * *",
                "--",
                "date",
            ],
            "cronjob/tick",
            "/spec/jobTemplate/spec/template/spec/restartPolicy",
            "OnFailure".into(),
        ),
        (
            &["job", "j", "--image=j:1", "--", "true"],
            "job/j",
            "/spec/backoffLimit",
            6.into(),
        ),
        (
            &["job", "now", "--from=cronjob/tick"],
            "job/now",
            "/metadata/ownerReferences/0/kind",
            "CronJob".into(),
        ),
        (
            &["ingress", "i", "--rule=example.com/path*=web:80,tls=t", "--class=nginx"],
            "ingress/i",
            "/spec/rules/0/http/paths/0/pathType",
            "Prefix".into(),
        ),
        (
            &["poddisruptionbudget", "p", "--selector=app=web", "--min-available=50%"],
            "pdb/p",
            "/spec/minAvailable",
            "50%".into(),
        ),
        (
            &["priorityclass", "high", "--value=1000", "--description=before others"],
            "priorityclass/high",
            "/preemptionPolicy",
            "PreemptLowerPriority".into(),
        ),
        (
            &["quota", "q", "--hard=pods=7", "--scopes=BestEffort"],
            "quota/q",
            "/spec/hard/pods",
            "7".into(),
        ),
        (
            &["role", "r", "--verb=get,list", "--resource=pods,pods/log"],
            "role/r",
            "/rules/0/resources/1",
            "pods/log".into(),
        ),
        (
            &["rolebinding", "b", "--role=r", "--user=u"],
            "rolebinding/b",
            "/subjects/0/name",
            "u".into(),
        ),
        (
            &["clusterrole", "cr", "--verb=get", "--non-resource-url=/metrics"],
            "clusterrole/cr",
            "/rules/0/nonResourceURLs/0",
            "/metrics".into(),
        ),
        (
            &["clusterrole", "sum", "--aggregation-rule=a=b"],
            "clusterrole/sum",
            "/aggregationRule/clusterRoleSelectors/0/matchLabels/a",
            "b".into(),
        ),
        (
            &["clusterrolebinding", "cb", "--clusterrole=cr", "--group=g"],
            "clusterrolebinding/cb",
            "/roleRef/kind",
            "ClusterRole".into(),
        ),
        (
            &["service", "clusterip", "ci", "--tcp=80:8080"],
            "service/ci",
            "/spec/ports/0/targetPort",
            8080.into(),
        ),
        (
            &["service", "nodeport", "np", "--tcp=80", "--node-port=30080"],
            "service/np",
            "/spec/ports/0/nodePort",
            30080.into(),
        ),
        (
            &["service", "externalname", "en", "--external-name=example.com"],
            "service/en",
            "/spec/externalName",
            "example.com".into(),
        ),
        (
            &["service", "loadbalancer", "lb", "--tcp=80"],
            "service/lb",
            "/spec/allocateLoadBalancerNodePorts",
            true.into(),
        ),
        (
            &["serviceaccount", "sa"],
            "serviceaccount/sa",
            "/metadata/name",
            "sa".into(),
        ),
    ];
    for (command, object, pointer, value) in all {
        let dry = [&["create", "--dry-run=server"], *command].concat();
        kubectl.run(&dry);
        kubectl.refused(&["get", object], "");
        kubectl.run(&[&["create"], *command].concat());
        let found = json(&kubectl.run(&["get", object, "-o", "json"]));
        assert_eq!(found.pointer(pointer), Some(value), "{object}: {found:#}");
    }
    // A token that works: its bearer is who it says.
    let token = kubectl.run(&["create", "token", "sa", "--duration=20m", "--audience=timonel-tests"]);
    assert_eq!(token.trim().split('.').count(), 3, "{token}");
    let token = kubectl.run(&["create", "token", "sa"]);
    let review = format!(
        "{{\"apiVersion\":\"authentication.k8s.io/v1\",\"kind\":\"TokenReview\",\"spec\":{{\"token\":\"{}\"}}}}",
        token.trim()
    );
    let reviewed = json(&kubectl.run_with(&["create", "-o", "json", "-f", "-"], &review));
    assert_eq!(
        reviewed["status"]["user"]["username"], "system:serviceaccount:default:sa",
        "{reviewed:#}"
    );
}

#[test]
fn diff_shows_what_apply_would_change_and_changes_nothing() {
    let server = server_for_pods();
    let kubectl = &server.kubectl;
    kubectl.run_with(&["apply", "-f", "-"], POD);
    kubectl.run_with(&["diff", "-f", "-"], POD);
    let changed = POD.replace("one:1", "one:2");
    for side in [&["diff"][..], &["diff", "--server-side", "--force-conflicts"]] {
        let mut child = kubectl
            .command(&[side, &["-f", "-"]].concat())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut input = child.stdin.take().expect("piped");
        std::io::Write::write_all(&mut input, changed.as_bytes()).expect("written");
        drop(input);
        let output = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(
            output.status.code(),
            Some(1),
            "{side:?}: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(
            said.contains("-  - image: one:1") && said.contains("+  - image: one:2"),
            "{side:?}: {said}"
        );
    }
    let image = kubectl.run(&["get", "pod", "one", "-o", "jsonpath={.spec.containers[0].image}"]);
    assert_eq!(image, "one:1");
}

#[test]
fn wait_waits_for_conditions_fields_creation_and_deletion() {
    let server = server_for_pods();
    let kubectl = &server.kubectl;
    kubectl.run_with(&["create", "-f", "-"], POD);
    let started = |args: &[&str]| {
        kubectl
            .command(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts")
    };
    let ends = |child: std::process::Child, words: &str| {
        let output = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && said.contains(words),
            "{said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    let ready = started(&["wait", "pod/one", "--for=condition=Ready", "--timeout=20s"]);
    let running = started(&[
        "wait",
        "pod/one",
        "--for=jsonpath={.status.phase}=Running",
        "--timeout=20s",
    ]);
    let status = r#"{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}"#;
    kubectl.run(&["patch", "pod", "one", "--subresource=status", "-p", status]);
    ends(ready, "condition met");
    ends(running, "condition met");
    let created = started(&["wait", "configmap/later", "--for=create", "--timeout=20s"]);
    kubectl.run(&["create", "configmap", "later"]);
    ends(created, "condition met");
    let said = kubectl.refused(&["wait", "configmap/later", "--for=delete", "--timeout=1s"], "");
    assert!(said.contains("timed out waiting"), "{said}");
    // Where the object goes before kubectl first looks, it ends well and says nothing.
    let deleted = started(&["wait", "configmap/later", "--for=delete", "--timeout=20s"]);
    kubectl.run(&["delete", "configmap", "later"]);
    ends(deleted, "");
    let said = kubectl.refused(&["wait", "pod/one", "--for=condition=Unheard", "--timeout=1s"], "");
    assert!(said.contains("timed out waiting"), "{said}");
}

#[test]
fn auth_says_who_one_is_and_what_one_may() {
    let server = Server::start();
    let kubectl = &server.kubectl;
    assert_eq!(kubectl.run(&["auth", "can-i", "delete", "nodes"]).trim(), "yes");
    let said = kubectl.run(&["auth", "whoami", "-o", "jsonpath={.status.userInfo.groups}"]);
    assert!(said.contains("system:masters"), "{said}");
    kubectl.run(&["create", "role", "reader", "--verb=get,list", "--resource=pods"]);
    kubectl.run(&["create", "rolebinding", "reader", "--role=reader", "--user=jane"]);
    assert_eq!(
        kubectl.run(&["auth", "can-i", "list", "pods", "--as=jane"]).trim(),
        "yes"
    );
    let said = kubectl.output(&["auth", "can-i", "delete", "pods", "--as=jane"]);
    assert_eq!(String::from_utf8_lossy(&said.stdout).trim(), "no");
    assert_eq!(said.status.code(), Some(1));
    let said = kubectl.output(&["auth", "can-i", "list", "pods", "--as=jane", "-n", "kube-system"]);
    assert_eq!(String::from_utf8_lossy(&said.stdout).trim(), "no");
    let list = kubectl.run(&["auth", "can-i", "--list", "--as=jane"]);
    assert!(
        list.lines()
            .any(|line| line.starts_with("pods") && line.contains("[get list]")),
        "{list}"
    );
    let whoami = kubectl.run(&["auth", "whoami", "--as=jane", "--as-group=developers"]);
    assert!(whoami.contains("jane") && whoami.contains("developers"), "{whoami}");
    let rules = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: watcher}
rules: [{apiGroups: [''], resources: [pods], verbs: [watch]}]
";
    let said = kubectl.run_with(&["auth", "reconcile", "-f", "-"], rules);
    assert!(said.contains("watcher reconciled"), "{said}");
}

#[test]
fn events_are_listed_by_object_and_watched() {
    let server = server_for_pods();
    let kubectl = &server.kubectl;
    kubectl.run_with(&["create", "-f", "-"], POD);
    let uid = kubectl.run(&["get", "pod", "one", "-o", "jsonpath={.metadata.uid}"]);
    let event = |name: &str, pod: &str| {
        format!(
            r#"{{"apiVersion":"v1","kind":"Event","metadata":{{"name":"{name}","namespace":"default"}},"type":"Warning","reason":"Strange",
                "message":"about {name}","lastTimestamp":"2026-01-01T00:00:00Z",
                "involvedObject":{{"apiVersion":"v1","kind":"Pod","name":"{pod}","namespace":"default","uid":"{uid}"}}}}"#
        )
    };
    kubectl.run_with(&["create", "-f", "-"], &event("first", "one"));
    kubectl.run_with(&["create", "-f", "-"], &event("other", "two"));
    let said = kubectl.run(&["events", "--for=pod/one", "--types=Warning"]);
    assert!(said.contains("about first") && !said.contains("about other"), "{said}");
    let described = kubectl.run(&["describe", "pod", "one"]);
    assert!(described.contains("about first"), "{described}");
    let mut child = kubectl
        .command(&["events", "--for=pod/one", "--watch"])
        .stdout(std::fs::File::create(server.kubeconfig().with_file_name("events")).expect("a file"))
        .spawn()
        .expect("it starts");
    let read = || std::fs::read_to_string(server.kubeconfig().with_file_name("events")).unwrap_or_default();
    let shows = |words: &'static str| move || read().contains(words).then_some(()).ok_or_else(read);
    eventually(
        "the first event is shown",
        Duration::from_secs(20),
        shows("about first"),
        String::new,
    );
    kubectl.run_with(&["create", "-f", "-"], &event("second", "one"));
    eventually(
        "the second event is shown",
        Duration::from_secs(20),
        shows("about second"),
        String::new,
    );
    child.kill().expect("it ends");
    child.wait().expect("it has ended");
}

#[test]
fn debug_adds_a_container_to_a_pod_and_copies_one() {
    let server = server_for_pods();
    let kubectl = &server.kubectl;
    kubectl.run_with(&["create", "-f", "-"], POD);
    kubectl.run(&[
        "debug",
        "one",
        "--image=tools:1",
        "--target=main",
        "--container=look",
        "--profile=general",
        "--",
        "sleep",
        "1",
    ]);
    let pod = json(&kubectl.run(&["get", "pod", "one", "-o", "json"]));
    let added = &pod["spec"]["ephemeralContainers"][0];
    assert_eq!(
        (&added["name"], &added["targetContainerName"]),
        (&"look".into(), &"main".into()),
        "{pod:#}"
    );
    kubectl.run(&[
        "debug",
        "one",
        "--copy-to=copy",
        "--set-image=main=one:debug",
        "--profile=general",
    ]);
    let copy = json(&kubectl.run(&["get", "pod", "copy", "-o", "json"]));
    assert_eq!(copy["spec"]["containers"][0]["image"], "one:debug");
}

#[test]
fn explain_knows_every_kind() {
    let server = Server::start();
    let kinds = server.kubectl.run(&["api-resources", "-o", "name"]);
    for kind in kinds.lines().filter_map(|name| name.split('.').next()) {
        // The description stands below the header, and is never missing.
        let said = server.kubectl.run(&["explain", kind]);
        assert!(said.contains("KIND:") && !said.contains("<empty>"), "{kind}: {said}");
    }
}
