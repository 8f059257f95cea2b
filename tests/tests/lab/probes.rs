//! What each probe does when it fails, and what happens when a process ends.

use crate::cluster::{Lab, condition, container, name, restarts};
use crate::manifests::{busybox, demo};

#[test]
fn a_killed_process_is_restarted_in_place() {
    let lab = Lab::enter("killed");
    lab.apply(&busybox(
        "victim",
        "trap 'exit 3' TERM; while true; do sleep 0.1; done",
        "",
    ));
    let before = lab.until_ready("app=victim", 1).remove(0);
    lab.exec("victim", &["sh", "-c", "kill -TERM 1"]).ok();
    let after = lab.until("the container is restarted", || {
        let pod = lab.pod("victim")?;
        let again = restarts(&pod) == 1 && condition(&pod, "Ready") == "True";
        if again {
            Ok(pod)
        } else {
            Err(container(&pod).to_string())
        }
    });
    assert_eq!(
        after["metadata"]["uid"], before["metadata"]["uid"],
        "the pod is the same"
    );
    assert_ne!(container(&after)["containerID"], container(&before)["containerID"]);
    let last = &container(&after)["lastState"]["terminated"];
    assert_eq!(
        (&last["exitCode"], &last["reason"]),
        (&3.into(), &"Error".into()),
        "{last}"
    );
    let shown = lab.timonctl.run(&["get", "pod", "victim", "--no-headers"]);
    assert!(shown.contains("1/1") && shown.contains("1 ("), "{shown}");
}

#[test]
fn a_container_that_keeps_ending_backs_off() {
    let lab = Lab::enter("backoff");
    lab.apply(&busybox("crasher", "echo once more; exit 1", ""));
    lab.until("the pod shows CrashLoopBackOff", || {
        let shown = lab.timonctl.try_run(&["get", "pod", "crasher", "--no-headers"])?;
        if shown.contains("CrashLoopBackOff") {
            Ok(())
        } else {
            Err(shown)
        }
    });
    lab.until("it is restarted again all the same", || {
        let pod = lab.pod("crasher")?;
        if restarts(&pod) >= 2 {
            Ok(())
        } else {
            Err(restarts(&pod).to_string())
        }
    });
    for tool in [&lab.kubectl, &lab.timonctl] {
        assert_eq!(tool.run(&["logs", "--previous", "crasher"]), "once more\n");
    }
    lab.until("an event tells of the back-off", || {
        let events = lab.kubectl.try_run(&[
            "get",
            "events",
            "--field-selector",
            "involvedObject.name=crasher,reason=BackOff",
        ])?;
        if events.contains("Back-off restarting failed container") {
            Ok(())
        } else {
            Err(events)
        }
    });
}

#[test]
fn a_failing_liveness_probe_restarts_the_container() {
    let lab = Lab::enter("liveness");
    lab.apply(&demo("live", 1, "1.0"));
    let pod = name(&lab.until_ready("app=live", 1)[0]);
    lab.exec(&pod, &["rm", "/tmp/healthy"]).expect("exec works");
    lab.until("the container is restarted and ready again", || {
        let pod = lab.pod(&pod)?;
        if restarts(&pod) == 1 && condition(&pod, "Ready") == "True" {
            Ok(())
        } else {
            Err(container(&pod).to_string())
        }
    });
    let events = lab.kubectl.run(&["describe", "pod", &pod]);
    assert!(events.contains("Liveness probe failed"), "{events}");
    assert!(
        events.contains("Container demo failed liveness probe, will be restarted"),
        "{events}"
    );
}

#[test]
fn a_failing_readiness_probe_takes_the_pod_out_and_restarts_nothing() {
    let lab = Lab::enter("readiness");
    lab.apply(&demo("ready", 1, "1.0"));
    let pod = name(&lab.until_ready("app=ready", 1)[0]);
    lab.exec(&pod, &["rm", "/tmp/ready"]).expect("exec works");
    lab.until("the pod is not ready", || {
        let pod = lab.pod(&pod)?;
        if condition(&pod, "Ready") == "False" {
            Ok(())
        } else {
            Err(container(&pod).to_string())
        }
    });
    lab.until("the Deployment counts it out", || {
        let shown = lab.timonctl.try_run(&[
            "get",
            "deployment",
            "ready",
            "-o",
            "jsonpath={.status.unavailableReplicas}",
        ])?;
        if shown == "1" { Ok(()) } else { Err(shown) }
    });
    lab.exec(&pod, &["touch", "/tmp/ready"]).expect("exec works");
    let pod = lab.until_ready("app=ready", 1).remove(0);
    assert_eq!(restarts(&pod), 0);
}

#[test]
fn a_startup_probe_holds_the_others_back_and_restarts_when_it_runs_out() {
    let lab = Lab::enter("startup");
    let probes = "    startupProbe: {exec: {command: [test, -f, /tmp/started]}, periodSeconds: 1, failureThreshold: 8}
    livenessProbe: {exec: {command: [test, -f, /tmp/started]}, periodSeconds: 1, failureThreshold: 1}
    readinessProbe: {exec: {command: [\"true\"]}, periodSeconds: 1}";
    lab.apply(&busybox("slow", "while true; do sleep 0.1; done", probes));
    let held = lab.until("the container runs", || {
        let pod = lab.pod("slow")?;
        if container(&pod)["state"]["running"].is_object() {
            Ok(pod)
        } else {
            Err(container(&pod).to_string())
        }
    });
    assert_eq!((restarts(&held), &container(&held)["started"]), (0, &false.into()));
    assert_eq!(condition(&held, "Ready"), "False", "readiness is held back");
    lab.until("startup runs out and the container is restarted", || {
        let pod = lab.pod("slow")?;
        if restarts(&pod) >= 1 {
            Ok(())
        } else {
            Err(container(&pod).to_string())
        }
    });
    lab.until("it starts at last", || {
        lab.exec("slow", &["touch", "/tmp/started"])?;
        let pod = lab.pod("slow")?;
        if condition(&pod, "Ready") == "True" {
            Ok(())
        } else {
            Err(container(&pod).to_string())
        }
    });
    let events = lab.kubectl.run(&["describe", "pod", "slow"]);
    assert!(events.contains("Startup probe failed"), "{events}");
    assert!(
        !events.contains("Liveness probe failed"),
        "liveness must not run before startup has succeeded: {events}"
    );
}
