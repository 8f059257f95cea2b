//! What the controllers do with Jobs, on a node that nobody stands behind: the tests say how the pods end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use timonel_client::{Clock as _, SystemClock};

use crate::client::{Api, Resource, eventually};
use crate::hollow::Hollow;
use crate::server::Server;

const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// A Job `work` whose pods never restart by themselves.
fn job(spec: Value) -> Value {
    let pod = json!({"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": "i:1"}]});
    let mut job = json!({"metadata": {"name": "work"}, "spec": {"template": {"spec": pod}}});
    for (key, value) in spec.as_object().expect("fields") {
        job["spec"][key] = value.clone();
    }
    job
}

struct Cluster {
    jobs: Resource,
    pods: Resource,
    _node: Hollow,
    server: Server,
}

impl Cluster {
    fn start() -> Self {
        let server = Server::control_plane();
        Self {
            _node: Hollow::start(&server),
            jobs: server.at("batch/v1", "jobs").within("default"),
            pods: server.at("v1", "pods").within("default"),
            server,
        }
    }

    fn until(&self, what: &str, test: impl Fn(&Value) -> bool) -> Value {
        self.jobs.until(what, "work", test)
    }

    fn ends_with(&self, condition: &str) -> Value {
        self.until(condition, |job| reason(job, condition).is_some())
    }

    fn active_pods(&self, number: usize) -> Vec<Value> {
        eventually("so many pods are active", || {
            let pods = self.pods.items("labelSelector=job-name%3Dwork");
            let active: Vec<Value> = pods.into_iter().filter(is_active).collect();
            if active.len() == number {
                Ok(active)
            } else {
                Err(format!("{active:?}"))
            }
        })
    }
}

fn is_active(pod: &Value) -> bool {
    pod["metadata"]["deletionTimestamp"].is_null()
        && ["Pending", "Running"]
            .map(Value::from)
            .contains(&pod["status"]["phase"])
}

/// Whether a finalizer keeps a pod.
fn is_held(pod: &Value) -> bool {
    pod["metadata"]["finalizers"]
        .as_array()
        .is_some_and(|all| !all.is_empty())
}

/// The reason of a condition that is true.
fn reason(job: &Value, condition: &str) -> Option<String> {
    let conditions = job["status"]["conditions"].as_array()?;
    let found = conditions
        .iter()
        .find(|one| one["type"] == condition && one["status"] == "True")?;
    Some(found["reason"].as_str().unwrap_or_default().to_owned())
}

fn index(pod: &Value) -> u64 {
    let text = pod["metadata"]["annotations"][INDEX].as_str().expect("an index");
    text.parse().expect("a number")
}

/// Ends running pods as a kubelet would report it: with the exit code that the test names, if it names one.
struct Fates {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Fates {
    fn start(api: &Api, exit_code: impl Fn(&Value) -> Option<i32> + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (pods, stopped) = (api.at("v1", "pods").within("default"), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                for pod in pods.items("labelSelector=job-name%3Dwork") {
                    if pod["status"]["phase"] == "Running"
                        && let Some(code) = exit_code(&pod)
                    {
                        end(&pods, &pod, code);
                    }
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Fates {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Says that a pod's container has exited. The pod may be gone by then.
fn end(pods: &Resource, pod: &Value, code: i32) {
    let name = pod["metadata"]["name"].as_str().expect("a name");
    let terminated =
        json!({"exitCode": code, "finishedAt": SystemClock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()});
    let status = json!({"metadata": {"uid": pod["metadata"]["uid"]}, "status": {
        "phase": if code == 0 { "Succeeded" } else { "Failed" },
        "containerStatuses": [{"name": "c", "image": "i:1", "imageID": "", "ready": false, "restartCount": 0, "state": {"terminated": terminated}}],
    }});
    pods.try_patch(&format!("{name}/status"), &status);
}

/// Jobs, completion after task failure
#[test]
fn jobs_completion_after_task_failure() {
    let cluster = Cluster::start();
    let mut work = job(json!({"parallelism": 2, "completions": 4}));
    work["spec"]["template"]["spec"]["restartPolicy"] = "OnFailure".into();
    // Each task fails once where it is, is restarted there, and then succeeds.
    let _fates = Fates::start(&cluster.server, |_| Some(0));
    cluster.jobs.create(work);
    let done = cluster.ends_with("Complete");
    assert_eq!(done["status"]["succeeded"], 4);
    assert_eq!(reason(&done, "Complete").as_deref(), Some("CompletionsReached"));
    assert!(done["status"]["completionTime"].is_string() && done["status"]["startTime"].is_string());
    assert!(done["status"]["active"].is_null() && done["status"]["failed"].is_null());
    for pod in cluster.pods.items("labelSelector=job-name%3Dwork") {
        assert!(!is_held(&pod), "what was counted is let go: {pod}");
    }
}

/// Ensure Pods of an Indexed Job get a unique index.
#[test]
fn ensure_pods_of_an_indexed_job_get_a_unique_index() {
    let cluster = Cluster::start();
    let _fates = Fates::start(&cluster.server, |_| Some(0));
    cluster.jobs.create(job(
        json!({"parallelism": 2, "completions": 4, "completionMode": "Indexed"}),
    ));
    let done = cluster.ends_with("Complete");
    assert_eq!(done["status"]["completedIndexes"], "0-3");
    let pods = cluster.pods.items("labelSelector=job-name%3Dwork");
    let mut indexes: Vec<u64> = pods.iter().map(index).collect();
    indexes.sort_unstable();
    assert_eq!(indexes, [0, 1, 2, 3]);
    for pod in &pods {
        let number = index(pod);
        assert_eq!(pod["metadata"]["labels"][INDEX], number.to_string());
        assert_eq!(pod["spec"]["hostname"], format!("work-{number}"));
        let variable = &pod["spec"]["containers"][0]["env"][0];
        assert_eq!(variable["name"], "JOB_COMPLETION_INDEX");
        assert_eq!(
            variable["valueFrom"]["fieldRef"]["fieldPath"],
            format!("metadata.labels['{INDEX}']")
        );
    }
}

/// Jobs, active pods, graceful termination
#[test]
fn jobs_active_pods_graceful_termination() {
    let cluster = Cluster::start();
    cluster.jobs.create(job(json!({"parallelism": 2, "completions": 4})));
    cluster.active_pods(2);
    cluster.until("the status shows what runs", |job| {
        job["status"]["active"] == 2 && job["status"]["ready"] == 2
    });
    cluster
        .jobs
        .delete_with("work", &json!({"propagationPolicy": "Foreground"}));
    cluster.jobs.until_absent("work");
    cluster.active_pods(0);
}

/// Jobs, orphan pods, re-adoption
#[test]
fn jobs_orphan_pods_re_adoption() {
    let cluster = Cluster::start();
    let made = cluster.jobs.create(job(json!({"parallelism": 2, "completions": 2})));
    let pods = cluster.active_pods(2);
    let name = pods[0]["metadata"]["name"].as_str().expect("a name");
    let owned = |pod: &Value| pod["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"];
    cluster.pods.patch(name, json!({"metadata": {"ownerReferences": null}}));
    let adopted = cluster.pods.until("the pod is adopted again", name, owned);
    assert_eq!(adopted["metadata"]["ownerReferences"][0]["controller"], true);
    cluster.pods.patch(name, json!({"metadata": {"labels": null}}));
    let released = cluster.pods.until("the pod is released", name, |pod| !owned(pod));
    assert!(!is_held(&released), "nobody waits to count it: {released}");
    eventually("another pod comes in its place", || {
        let active = cluster
            .pods
            .items("labelSelector=job-name%3Dwork")
            .into_iter()
            .filter(is_active)
            .count();
        if active == 2 { Ok(()) } else { Err(active.to_string()) }
    });
}

/// Verify Pod Failure policy allows to fail job early on exit code.
#[test]
fn verify_pod_failure_policy_allows_to_fail_job_early_on_exit_code() {
    let cluster = Cluster::start();
    let rules = json!({"rules": [{"action": "FailJob", "onExitCodes": {"containerName": "c", "operator": "In", "values": [42]}}]});
    let _fates = Fates::start(&cluster.server, |pod| (index(pod) == 0).then_some(42));
    cluster.jobs.create(job(
        json!({"parallelism": 2, "completions": 2, "completionMode": "Indexed", "podFailurePolicy": rules}),
    ));
    let failed = cluster.ends_with("Failed");
    assert_eq!(reason(&failed, "Failed").as_deref(), Some("PodFailurePolicy"));
    assert_eq!(reason(&failed, "FailureTarget").as_deref(), Some("PodFailurePolicy"));
    cluster.active_pods(0);
}

/// Ensure pod failure policy allows to ignore failure matching on the DisruptionTarget condition
#[test]
fn ensure_pod_failure_policy_allows_to_ignore_failure_matching_on_the_disruptiontarget_condition() {
    let cluster = Cluster::start();
    let rules =
        json!({"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]});
    let spec = json!({"parallelism": 2, "completions": 2, "completionMode": "Indexed", "backoffLimit": 0, "podFailurePolicy": rules});
    cluster.jobs.create(job(spec));
    let first = cluster.active_pods(2);
    cluster.until("both run", |job| job["status"]["ready"] == 2);
    for pod in &first {
        let name = pod["metadata"]["name"].as_str().expect("a name");
        let eviction =
            json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": "default"}});
        let path = format!("{}/eviction", cluster.pods.path_of(name));
        cluster.server.post(&path, &eviction).expect(201);
        let evicted = cluster.pods.get(name);
        let disrupted = evicted["status"]["conditions"].as_array().expect("conditions").iter();
        assert!(
            disrupted
                .clone()
                .any(|one| one["type"] == "DisruptionTarget" && one["status"] == "True"),
            "{evicted}"
        );
        // What the kubelet says when the container was told to go.
        end(&cluster.pods, pod, 143);
        cluster.pods.until_absent(name);
    }
    let uids: Vec<Value> = first.iter().map(|pod| pod["metadata"]["uid"].clone()).collect();
    let _fates = Fates::start(&cluster.server, move |pod| {
        (!uids.contains(&pod["metadata"]["uid"])).then_some(0)
    });
    let done = cluster.ends_with("Complete");
    assert_eq!(done["status"]["succeeded"], 2);
    assert!(done["status"]["failed"].is_null(), "evictions do not count: {done}");
}

/// Ensure that all indexes are executed for an indexed job with backoffLimitPerIndex despite some failing
#[test]
fn ensure_that_all_indexes_are_executed_for_an_indexed_job_with_backofflimitperindex_despite_some_failing() {
    let cluster = Cluster::start();
    let _fates = Fates::start(&cluster.server, |pod| Some(i32::from(index(pod) % 2 == 1)));
    cluster.jobs.create(job(
        json!({"parallelism": 4, "completions": 4, "completionMode": "Indexed", "backoffLimitPerIndex": 1}),
    ));
    cluster.until("the even ones succeed", |job| {
        job["status"]["completedIndexes"] == "0,2"
    });
    // A pause of ten seconds comes before the second try.
    cluster.until("the odd ones fail for good", |job| {
        job["status"]["failedIndexes"] == "1,3"
    });
    let failed = cluster.ends_with("Failed");
    assert_eq!(reason(&failed, "Failed").as_deref(), Some("FailedIndexes"));
    assert_eq!(
        (&failed["status"]["failed"], &failed["status"]["succeeded"]),
        (&json!(4), &json!(2))
    );
}

/// Mark indexes as failed when the FailIndex action is matched in podFailurePolicy
#[test]
fn mark_indexes_as_failed_when_the_failindex_action_is_matched_in_podfailurepolicy() {
    let cluster = Cluster::start();
    let rules = json!({"rules": [{"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [42]}}]});
    let _fates = Fates::start(&cluster.server, |pod| Some(if index(pod) == 1 { 42 } else { 0 }));
    let spec = json!({"parallelism": 2, "completions": 2, "completionMode": "Indexed", "backoffLimitPerIndex": 1, "podFailurePolicy": rules});
    cluster.jobs.create(job(spec));
    let failed = cluster.ends_with("Failed");
    assert_eq!(failed["status"]["failedIndexes"], "1");
    assert_eq!(failed["status"]["completedIndexes"], "0");
    assert_eq!(failed["status"]["failed"], 1, "it is not tried again");
}

/// Terminate job execution when the maxFailedIndexes is exceeded
#[test]
fn terminate_job_execution_when_the_maxfailedindexes_is_exceeded() {
    let cluster = Cluster::start();
    let _fates = Fates::start(&cluster.server, |pod| (index(pod) == 0).then_some(1));
    let spec = json!({"parallelism": 2, "completions": 3, "completionMode": "Indexed", "backoffLimitPerIndex": 0, "maxFailedIndexes": 0});
    cluster.jobs.create(job(spec));
    let failed = cluster.ends_with("Failed");
    assert_eq!(reason(&failed, "Failed").as_deref(), Some("MaxFailedIndexesExceeded"));
    assert_eq!(failed["status"]["failedIndexes"], "0");
    cluster.active_pods(0);
}

fn meets_success_policy(rule: Value, winners: &'static [u64], completed: &str) {
    let cluster = Cluster::start();
    let _fates = Fates::start(&cluster.server, |pod| winners.contains(&index(pod)).then_some(0));
    let policy = json!({"rules": [rule]});
    cluster.jobs.create(job(
        json!({"parallelism": 3, "completions": 3, "completionMode": "Indexed", "successPolicy": policy}),
    ));
    let done = cluster.ends_with("Complete");
    assert_eq!(reason(&done, "SuccessCriteriaMet").as_deref(), Some("SuccessPolicy"));
    assert_eq!(reason(&done, "Complete").as_deref(), Some("SuccessPolicy"));
    assert_eq!(done["status"]["completedIndexes"], completed);
    cluster.active_pods(0);
}

/// Ensure that job with successPolicy succeeded when all indexes succeeded
#[test]
fn ensure_that_job_with_successpolicy_succeeded_when_all_indexes_succeeded() {
    meets_success_policy(json!({"succeededIndexes": "0-2"}), &[0, 1, 2], "0-2");
}

/// Ensure that job with successPolicy succeededCount rule succeeded even when some indexes remain pending
#[test]
fn ensure_that_job_with_successpolicy_succeededcount_rule_succeeded_even_when_some_indexes_remain_pending() {
    meets_success_policy(json!({"succeededCount": 1}), &[1], "1");
}

/// Ensure that job with successPolicy succeededIndexes rule succeeded even when some indexes remain pending
#[test]
fn ensure_that_job_with_successpolicy_succeededindexes_rule_succeeded_even_when_some_indexes_remain_pending() {
    meets_success_policy(json!({"succeededIndexes": "2"}), &[2], "2");
}
