//! metrics.k8s.io on the wire, where there are no nodes yet, and `top` of both command lines.

use serde_json::Value;

use crate::server::Server;

#[test]
fn top_says_in_kubectls_words_that_nothing_is_measured() {
    let server = Server::start();
    let calls: [&[&str]; 5] = [
        &["top", "nodes"],
        &["top", "pods"],
        &["top", "pods", "-A"],
        &["top", "pod", "gone"],
        &["top", "pods", "--sort-by=name"],
    ];
    for args in calls {
        let (ours, theirs) = (server.timonctl.output(args), server.kubectl.output(args));
        let said = |output: &std::process::Output| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            (output.status.success(), text(&output.stdout), text(&output.stderr))
        };
        assert_eq!(said(&ours), said(&theirs), "{args:?}");
    }
}

#[test]
fn metrics_are_discovered_and_listed_as_tables() {
    let server = Server::start();
    let words = server
        .kubectl
        .run(&["api-resources", "--api-group=metrics.k8s.io", "--no-headers"]);
    let kinds: Vec<&str> = words
        .lines()
        .filter_map(|line| line.split_whitespace().last())
        .collect();
    assert_eq!(kinds, ["NodeMetrics", "PodMetrics"], "{words}");
    let raw = server
        .kubectl
        .run(&["get", "--raw", "/apis/metrics.k8s.io/v1beta1/nodes"]);
    let list: Value = serde_json::from_str(&raw).expect("JSON");
    assert_eq!(
        (&list["kind"], &list["items"]),
        (&"NodeMetricsList".into(), &Value::Array(Vec::new()))
    );
    // `pods` alone is core's, whatever else is called so.
    server.kubectl.run(&["get", "pods"]);
    server.timonctl.run(&["get", "pods.metrics.k8s.io"]);
}
