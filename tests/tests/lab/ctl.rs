//! The verbs, with both command lines against the same lab.

use crate::cluster::Lab;
use crate::manifests::{busybox, demo};

#[test]
fn both_command_lines_show_the_same_tables() {
    let lab = Lab::enter("tables");
    lab.apply(&demo("web", 2, "1.0"));
    lab.until_ready("app=web", 2);
    let calls: [&[&str]; 8] = [
        &["get", "deployments"],
        &["get", "rs"],
        &["get", "pods", "-o", "name"],
        &[
            "get",
            "pods",
            "-l",
            "app=web",
            "-o",
            "jsonpath={.items[*].metadata.name}",
        ],
        &[
            "get",
            "pods",
            "-o",
            "custom-columns=NAME:.metadata.name,NODE:.spec.nodeName",
        ],
        &["get", "nodes", "-o", "name"],
        &["get", "deployment", "web", "-o", "yaml"],
        &["get", "deployment", "web", "-o", "json"],
    ];
    for args in calls {
        let settled = lab.until("both say the same", || {
            let (ours, theirs) = (lab.timonctl.try_run(args)?, lab.kubectl.try_run(args)?);
            let parse = |text: &str| match args.last() {
                Some(&"yaml") => serde_saphyr::from_str(text).map_err(|error| error.to_string()),
                Some(&"json") => serde_json::from_str(text).map_err(|error| error.to_string()),
                _ => Ok(serde_json::Value::String(text.to_owned())),
            };
            let (a, b): (serde_json::Value, serde_json::Value) = (parse(&ours)?, parse(&theirs)?);
            if a == b {
                Ok(ours)
            } else {
                Err(format!("{args:?}\ntimonctl:\n{ours}\nkubectl:\n{theirs}"))
            }
        });
        assert!(!settled.is_empty(), "{args:?}");
    }
}

#[test]
fn logs_follow_and_exec_carries_input_output_and_exit_codes() {
    let lab = Lab::enter("streams");
    lab.apply(&busybox(
        "talker",
        "i=0; while true; do i=$((i+1)); echo line $i; sleep 0.2; done",
        "",
    ));
    lab.until_ready("app=talker", 1);
    for tool in [&lab.kubectl, &lab.timonctl] {
        assert!(
            tool.run(&["logs", "talker", "-c", "main", "--tail=2"])
                .starts_with("line ")
        );
        let mut follow = tool
            .command(&["logs", "-f", "talker", "--tail=1"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(follow.stdout.take().expect("piped")));
        let (first, second) = (
            lines.next().expect("a line").expect("text"),
            lines.next().expect("another").expect("text"),
        );
        let number = |line: &str| line.trim_start_matches("line ").parse::<u32>().expect("a number");
        assert_eq!(number(&second), number(&first) + 1, "no line is lost");
        follow.kill().expect("it ends");
        follow.wait().expect("it ended");

        assert_eq!(tool.run(&["exec", "talker", "--", "echo", "hi"]), "hi\n");
        assert_eq!(
            tool.run_with(&["exec", "-i", "talker", "--", "cat"], "through and back\n"),
            "through and back\n"
        );
        let output = tool.output(&["exec", "talker", "--", "sh", "-c", "echo oops >&2; exit 7"]);
        assert_eq!(output.status.code(), Some(7), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("oops"));
    }
}

#[test]
fn a_drained_node_is_empty_until_it_is_uncordoned() {
    let lab = Lab::enter("drained");
    lab.apply(&demo("web", 3, "1.0"));
    lab.until_ready("app=web", 3);
    lab.timonctl.run(&["cordon", "node-1"]);
    assert!(
        lab.kubectl
            .run(&["get", "node", "node-1"])
            .contains("SchedulingDisabled")
    );
    lab.kubectl.run(&[
        "drain",
        "node-1",
        "--ignore-daemonsets",
        "--delete-emptydir-data",
        "--force",
        "--timeout=60s",
    ]);
    let pods = lab.until_ready("app=web", 3);
    assert!(pods.iter().all(|pod| pod["spec"]["nodeName"] != "node-1"));
    lab.timonctl.run(&["uncordon", "node-1"]);
    lab.kubectl.run(&["uncordon", "node-1"]);
    assert!(
        !lab.kubectl
            .run(&["get", "node", "node-1"])
            .contains("SchedulingDisabled")
    );
}

#[test]
fn applies_from_both_sides_keep_their_owners() {
    let lab = Lab::enter("applies");
    let manifest = demo("web", 1, "1.0");
    assert!(
        lab.timonctl
            .run_with(&["apply", "-f", "-"], &manifest)
            .contains("deployment.apps/web created")
    );
    assert!(
        lab.kubectl
            .run_with(&["apply", "-f", "-"], &manifest)
            .contains("deployment.apps/web unchanged")
    );
    let changed = manifest.replace("replicas: 1", "replicas: 2");
    assert!(
        lab.kubectl
            .run_with(&["apply", "-f", "-"], &changed)
            .contains("deployment.apps/web configured")
    );
    let said = lab.timonctl.refused(
        &["apply", "--server-side", "--field-manager=other", "-f", "-"],
        &manifest,
    );
    assert!(said.contains("conflict") && said.contains(".spec.replicas"), "{said}");
    lab.timonctl.run_with(
        &[
            "apply",
            "--server-side",
            "--field-manager=other",
            "--force-conflicts",
            "-f",
            "-",
        ],
        &manifest,
    );
    assert_eq!(
        lab.kubectl
            .run(&["get", "deployment", "web", "-o", "jsonpath={.spec.replicas}"]),
        "1"
    );
}

#[test]
fn archives_of_images_reach_every_node_from_either_command_line() {
    let lab = Lab::enter("archives");
    let archive = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/images/demo.tar");
    let said = lab.timonctl.run(&["image", "load", archive]);
    for node in ["node-1", "node-2", "node-3"] {
        assert!(said.contains(&format!("loaded on {node}")), "{said}");
    }
    let path = "/api/v1/nodes/node-1/proxy/images/load";
    let said = lab.kubectl.run(&["create", "--raw", path, "-f", archive]);
    assert!(said.contains("timonel.dev/demo:2.0"), "{said}");
    let said = lab
        .timonctl
        .refused(&["image", "load", "/etc/hostname", "--node=node-1"], "");
    assert!(said.contains("/etc/hostname on node-1"), "{said}");
}

#[test]
fn the_cluster_describes_itself() {
    let lab = Lab::enter("described");
    for tool in [&lab.kubectl, &lab.timonctl] {
        assert!(tool.run(&["api-resources"]).contains("deployments"));
        assert!(
            tool.run(&["explain", "pod.spec.containers.livenessProbe"])
                .contains("failureThreshold")
        );
        assert!(tool.run(&["version"]).contains("Server Version: v1.36"));
        assert!(tool.run(&["cluster-info"]).contains("is running at"));
        assert!(tool.run(&["describe", "node", "node-1"]).contains("Allocatable"));
        tool.run(&["label", "namespace", "described", "team=blue", "--overwrite"]);
        tool.run(&["annotate", "namespace", "described", "note=hello", "--overwrite"]);
        assert!(
            tool.run(&["get", "namespace", "described", "--show-labels"])
                .contains("team=blue")
        );
    }
}
