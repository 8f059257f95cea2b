//! The CRI runtime against a real containerd, with sandboxes and containers built from pod specs; and the contract that
//! every `Runtime` keeps, the simulated one too.

mod support;

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use support::Containerd;
use timonel_client::TokioClock;
use timonel_kubelet::runtime::{ContainerRecord, ContainerState, Runtime, SandboxState, labels};
use timonel_kubelet::simulated::SimulatedRuntime;
use timonel_kubelet::spec::container::{Parts, container};
use timonel_kubelet::spec::sandbox::sandbox;
use timonel_kubelet::spec::{NodeSettings, References, env};

const IMAGE: &str = "docker.io/library/busybox:1.35";

fn pod(name: &str, command: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "test", "uid": format!("uid-{name}")},
        "spec": {
            "hostNetwork": true,
            "containers": [{
                "name": "main",
                "image": "busybox:1.35",
                "command": ["sh", "-c", command],
                "env": [{"name": "WHO", "value": "world"}, {"name": "GREETING", "value": "hello $(WHO)"}],
                "securityContext": {"runAsUser": 1000, "capabilities": {"drop": ["ALL"]}},
                "resources": {"limits": {"memory": "32Mi", "cpu": "200m"}},
            }],
        },
    }))
    .expect("a pod")
}

async fn start(logs: &std::path::Path, runtime: &dyn Runtime, pod: &Pod) -> (String, String) {
    let (sandbox_id, id) = create(logs, runtime, pod).await;
    runtime.start_container(&id).await.expect("a start");
    (sandbox_id, id)
}

async fn create(logs: &std::path::Path, runtime: &dyn Runtime, pod: &Pod) -> (String, String) {
    let settings = NodeSettings {
        pod_logs: logs.join("logs"),
        cgroup_root: support::cgroup_root(),
        ..NodeSettings::default()
    };
    let config = sandbox(pod, 0, &settings);
    std::fs::create_dir_all(format!("{}/main", config.log_directory)).expect("a log folder");
    let sandbox_id = runtime.run_sandbox(&config).await.expect("a sandbox");
    let wanted = &pod.spec.as_ref().expect("a spec").containers[0];
    let image = runtime.image(IMAGE).await.expect("an answer").expect("an image");
    let parts = Parts {
        pod,
        container: wanted,
        attempt: 0,
        image: &image.id,
        record: Some(&image),
        env: env::environment(pod, wanted, &References::default(), &settings, &[]).expect("an environment"),
        mounts: Vec::new(),
        memory: 1 << 30,
    };
    let built = container(parts, &settings).expect("a configuration");
    let id = runtime
        .create_container(&sandbox_id, &built, &config)
        .await
        .expect("a container");
    (sandbox_id, id)
}

async fn record(runtime: &dyn Runtime, id: &str) -> ContainerRecord {
    let all = runtime.list_containers().await.expect("a list");
    all.into_iter()
        .find(|container| container.id == id)
        .expect("the container")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pods_container_runs_is_found_again_executes_logs_and_stops() {
    let containerd = Containerd::start().await;
    let runtime = containerd.runtime();
    let pod = pod(
        "web",
        "echo $GREETING; id -u; trap 'exit 7' TERM; while true; do sleep 0.1; done",
    );
    let (sandbox_id, id) = start(containerd.dir.path(), &runtime, &pod).await;
    let running = record(&runtime, &id).await;
    assert!(matches!(running.state, ContainerState::Running { .. }), "{running:?}");
    assert_eq!((running.pod_uid.as_str(), running.name.as_str()), ("uid-web", "main"));
    assert!(running.annotations.contains_key(labels::HASH));

    let again = containerd.runtime();
    assert_eq!(
        record(&again, &id).await,
        running,
        "a kubelet that starts anew finds the same"
    );
    let sandboxes = again.list_sandboxes().await.expect("a list");
    assert_eq!(
        (sandboxes[0].uid.as_str(), sandboxes[0].state),
        ("uid-web", SandboxState::Ready)
    );

    let command = |text: &str| ["sh", "-c", text].map(str::to_owned);
    let one = Duration::from_secs(1);
    let result = runtime
        .exec_sync(&id, &command("echo out; echo err >&2; exit 3"), one)
        .await
        .expect("an answer");
    assert_eq!(
        (result.exit_code, result.stdout.as_slice(), result.stderr.as_slice()),
        (3, &b"out\n"[..], &b"err\n"[..])
    );
    let late = runtime.exec_sync(&id, &command("sleep 5"), one).await;
    assert!(
        matches!(late, Err(timonel_kubelet::runtime::RuntimeError::Timeout(_))),
        "{late:?}"
    );

    let log = running.log_path.clone();
    containerd
        .eventually("the container has written its log", async || {
            std::fs::read_to_string(&log)
                .is_ok_and(|text| text.contains(" stdout F hello world\n") && text.contains(" stdout F 1000\n"))
        })
        .await;

    runtime
        .stop_container(&id, Duration::from_secs(5))
        .await
        .expect("a stop");
    let ended = record(&runtime, &id).await;
    assert!(
        matches!(ended.state, ContainerState::Exited { exit_code: 7, .. }),
        "{ended:?}"
    );
    runtime.stop_sandbox(&sandbox_id).await.expect("a stop");
    runtime.remove_sandbox(&sandbox_id).await.expect("a removal");
    assert!(runtime.list_containers().await.expect("a list").is_empty());
    runtime
        .remove_sandbox(&sandbox_id)
        .await
        .expect("removing what is gone succeeds");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_ignores_the_signal_is_killed_after_its_grace_period() {
    let containerd = Containerd::start().await;
    let runtime = containerd.runtime();
    let pod = pod("stubborn", "trap '' TERM; while true; do sleep 0.1; done");
    let (_, id) = start(containerd.dir.path(), &runtime, &pod).await;
    // The trap has to be set before the signal comes.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let began = std::time::Duration::from_secs(1);
    runtime.stop_container(&id, began).await.expect("a stop");
    let ended = record(&runtime, &id).await;
    assert!(
        matches!(ended.state, ContainerState::Exited { exit_code: 137, .. }),
        "{ended:?}"
    );
}

/// What every runtime promises, whatever is behind it.
async fn keeps_the_contract(runtime: &dyn Runtime, logs: &std::path::Path) {
    let conditions = runtime.status().await.expect("a status");
    assert!(
        conditions
            .iter()
            .any(|condition| condition.kind == "RuntimeReady" && condition.status)
    );
    assert!(
        runtime
            .image("docker.io/library/none:1")
            .await
            .expect("an answer")
            .is_none()
    );

    let pod = pod("contract", "trap 'exit 0' TERM; while true; do sleep 0.1; done");
    let (sandbox_id, id) = create(logs, runtime, &pod).await;
    let sandboxes = runtime.list_sandboxes().await.expect("a list");
    let made = sandboxes
        .iter()
        .find(|sandbox| sandbox.id == sandbox_id)
        .expect("the sandbox");
    assert_eq!(
        (made.uid.as_str(), made.attempt, made.state),
        ("uid-contract", 0, SandboxState::Ready)
    );
    assert_eq!(record(runtime, &id).await.state, ContainerState::Created);

    runtime.start_container(&id).await.expect("a start");
    let running = record(runtime, &id).await;
    assert!(matches!(running.state, ContainerState::Running { .. }), "{running:?}");
    assert_eq!(
        running.labels.get(labels::POD_UID).map(String::as_str),
        Some("uid-contract")
    );
    let yes = ["true".to_owned()];
    let result = runtime
        .exec_sync(&id, &yes, Duration::from_secs(5))
        .await
        .expect("an answer");
    assert_eq!(result.exit_code, 0);

    runtime
        .stop_container(&id, Duration::from_secs(5))
        .await
        .expect("a stop");
    assert!(matches!(
        record(runtime, &id).await.state,
        ContainerState::Exited { .. }
    ));
    runtime
        .stop_container(&id, Duration::from_secs(5))
        .await
        .expect("stopping what has ended succeeds");
    assert!(runtime.exec_sync(&id, &yes, Duration::from_secs(5)).await.is_err());

    runtime.stop_sandbox(&sandbox_id).await.expect("a stop");
    runtime
        .stop_sandbox(&sandbox_id)
        .await
        .expect("stopping what has ended succeeds");
    let sandboxes = runtime.list_sandboxes().await.expect("a list");
    let stopped = sandboxes
        .iter()
        .find(|sandbox| sandbox.id == sandbox_id)
        .expect("the sandbox");
    assert_eq!(stopped.state, SandboxState::NotReady);
    runtime.remove_sandbox(&sandbox_id).await.expect("a removal");
    runtime
        .remove_sandbox(&sandbox_id)
        .await
        .expect("removing what is gone succeeds");
    runtime
        .remove_container(&id)
        .await
        .expect("its containers went with it");
    assert!(runtime.list_containers().await.expect("a list").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn containerd_keeps_the_contract() {
    let containerd = Containerd::start().await;
    keeps_the_contract(&containerd.runtime(), containerd.dir.path()).await;
}

#[tokio::test(start_paused = true)]
async fn the_simulated_runtime_keeps_the_contract() {
    let clock = TokioClock::starting_at(jiff::Timestamp::UNIX_EPOCH);
    let runtime = SimulatedRuntime::new(std::sync::Arc::new(clock), "10.244.1");
    runtime.pull_image(IMAGE, None).await.expect("a pull");
    let logs = tempfile::tempdir().expect("a temporary folder");
    keeps_the_contract(&runtime, logs.path()).await;
}
