use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use super::*;
use crate::cluster::Cluster;
use crate::decide::{Decision, Turn};
use crate::preempt::Preemption;
use crate::profile::Profile;

/// An extender that gives the answers that it was told, by verb, and remembers what it was asked.
#[derive(Debug, Default)]
struct Told {
    answers: BTreeMap<&'static str, Value>,
    asked: Mutex<Vec<(String, Value)>>,
}

#[async_trait]
impl Caller for Told {
    async fn call(&self, verb: &str, body: Vec<u8>) -> Result<Vec<u8>, ExtenderError> {
        let question = serde_json::from_slice(&body).unwrap();
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.push((verb.to_owned(), question));
        match self.answers.get(verb) {
            Some(answer) => Ok(answer.to_string().into_bytes()),
            None => Err(ExtenderError::Status {
                verb: verb.to_owned(),
                url: format!("http://told/{verb}"),
                code: 500,
            }),
        }
    }
}

fn extender(change: impl FnOnce(&mut Settings), answers: &[(&'static str, Value)]) -> (Extender, Arc<Told>) {
    let told = Arc::new(Told {
        answers: answers.iter().cloned().collect(),
        ..Told::default()
    });
    let mut settings = Settings {
        url_prefix: "http://told".to_owned(),
        weight: 1,
        node_cache_capable: true,
        ..Settings::default()
    };
    change(&mut settings);
    let caller = Arc::clone(&told) as Arc<dyn Caller>;
    (Extender { settings, caller }, told)
}

fn pod(name: &str, spec: Value) -> Arc<PodInfo> {
    let mut spec = spec;
    if spec.get("containers").is_none() {
        spec["containers"] = json!([{"name": "c", "resources": {"requests": {"cpu": "1"}}}]);
    }
    let pod = json!({"metadata": {"name": name, "namespace": "d", "uid": format!("uid-{name}")}, "spec": spec});
    Arc::new(PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap()), None))
}

fn world() -> Cluster {
    let mut cluster = Cluster::default();
    for name in ["n1", "n2", "n3"] {
        let node =
            json!({"metadata": {"name": name}, "status": {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "9"}}});
        cluster.set_node(Arc::new(serde_json::from_value(node).unwrap()));
    }
    cluster
}

async fn ask(extenders: &[Extender], pod: &PodInfo) -> Result<Decision, ExtenderError> {
    let snapshot = world().snapshot();
    decide(extenders, &Profile::default(), pod, &snapshot, Turn::default()).await
}

#[tokio::test]
async fn only_nodes_that_an_extender_leaves_are_chosen_from() {
    let answer = json!({"nodenames": ["n2"], "FailedNodes": {"n1": "no licence"}, "failedAndUnresolvableNodes": {"n3": "no door"}});
    let (one, told) = extender(
        |settings| settings.filter_verb = "filter".to_owned(),
        &[("filter", answer)],
    );
    let decision = ask(&[one], &pod("p", json!({}))).await.unwrap();
    assert_eq!(decision.node.as_deref(), Some("n2"));
    let asked = told.asked.lock().unwrap();
    let (verb, question) = &asked[0];
    assert_eq!(verb, "filter");
    assert_eq!(question["NodeNames"], json!(["n1", "n2", "n3"]));
    assert_eq!(question["Nodes"], Value::Null);
    assert_eq!(question["Pod"]["metadata"]["name"], "p");
}

#[tokio::test]
async fn reasons_of_extenders_stand_in_the_message_and_any_event_may_help() {
    let answer = json!({"NodeNames": [], "FailedNodes": {"n1": "no licence", "n2": "no licence"}, "FailedAndUnresolvableNodes": {"n1": "no door"}});
    let (one, _) = extender(
        |settings| settings.filter_verb = "filter".to_owned(),
        &[("filter", answer)],
    );
    let decision = ask(&[one], &pod("p", json!({}))).await.unwrap();
    assert_eq!(decision.node, None);
    assert_eq!(decision.message(), "0/3 nodes are available: 1 no door, 1 no licence.");
    assert!(decision.rejected_by().contains(NAME));
    let resolvable: Vec<(&str, bool)> = decision
        .rejections()
        .map(|(node, why)| (node, why.resolvable))
        .collect();
    assert_eq!(resolvable, [("n1", false), ("n2", true)]);
}

#[tokio::test]
async fn an_extender_without_a_cache_is_told_whole_nodes() {
    let answer = json!({"Nodes": {"items": [{"metadata": {"name": "n3"}}]}});
    let change = |settings: &mut Settings| {
        settings.filter_verb = "filter".to_owned();
        settings.node_cache_capable = false;
    };
    let (one, told) = extender(change, &[("filter", answer)]);
    let decision = ask(&[one], &pod("p", json!({}))).await.unwrap();
    assert_eq!(decision.node.as_deref(), Some("n3"));
    let asked = told.asked.lock().unwrap();
    assert_eq!(asked[0].1["Nodes"]["items"][2]["metadata"]["name"], "n3");
    assert_eq!(asked[0].1["NodeNames"], Value::Null);
}

#[tokio::test]
async fn a_node_that_was_not_asked_about_is_an_error() {
    let (one, _) = extender(
        |settings| settings.filter_verb = "filter".to_owned(),
        &[("filter", json!({"NodeNames": ["n9"]}))],
    );
    let error = ask(&[one], &pod("p", json!({}))).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "extender \"http://told\" claims a filtered node \"n9\" which is not found in the input node list"
    );
}

#[tokio::test]
async fn scheduling_fails_with_an_extender_unless_it_may_be_left_out() {
    let filter = |settings: &mut Settings| settings.filter_verb = "filter".to_owned();
    let (strict, _) = extender(filter, &[]);
    let error = ask(&[strict], &pod("p", json!({}))).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "failed filter with extender at URL http://told/filter, code 500"
    );
    let ignorable = |settings: &mut Settings| {
        filter(settings);
        settings.ignorable = true;
    };
    let (lax, told) = extender(ignorable, &[("filter", json!({"Error": "tired"}))]);
    assert!(ask(&[lax], &pod("p", json!({}))).await.unwrap().node.is_some());
    assert_eq!(told.asked.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn scores_of_extenders_are_brought_to_the_scale_of_plugins_and_weighed() {
    let scores = json!([{"Host": "n2", "Score": 7}, {"host": "n3", "score": 1}, {"Host": "elsewhere", "Score": 9}]);
    let change = |settings: &mut Settings| {
        settings.prioritize_verb = "prioritize".to_owned();
        settings.weight = 3;
    };
    let (one, _) = extender(change, &[("prioritize", scores)]);
    // One that fails has no opinion, whether or not it may be left out.
    let (broken, _) = extender(change, &[]);
    let with = ask(&[broken, one], &pod("p", json!({}))).await.unwrap();
    let without = ask(&[], &pod("p", json!({}))).await.unwrap();
    assert_eq!(with.node.as_deref(), Some("n2"));
    let more: Vec<i64> = with
        .totals()
        .zip(without.totals())
        .map(|((_, with), (_, without))| with - without)
        .collect();
    assert_eq!(more, [0, 7 * 3 * 10, 3 * 10]);
}

#[tokio::test]
async fn only_pods_that_ask_for_its_resources_concern_an_extender() {
    let change = |settings: &mut Settings| {
        settings.filter_verb = "filter".to_owned();
        settings.managed_resources.insert("example.com/gpu".to_owned());
    };
    let (one, told) = extender(change, &[("filter", json!({"NodeNames": []}))]);
    assert!(
        ask(std::slice::from_ref(&one), &pod("p", json!({})))
            .await
            .unwrap()
            .node
            .is_some()
    );
    assert!(told.asked.lock().unwrap().is_empty());
    let gpu = json!({"containers": [{"name": "c", "resources": {"limits": {"example.com/gpu": "0"}}}]});
    assert_eq!(ask(&[one], &pod("p", gpu)).await.unwrap().node, None);
}

#[tokio::test]
async fn a_pod_is_bound_by_the_extender_whose_task_that_is() {
    let change = |settings: &mut Settings| settings.bind_verb = "bind".to_owned();
    let (binder, told) = extender(change, &[("bind", json!({"Error": ""}))]);
    let pod = pod("p", json!({}));
    assert!(bind(&[binder], &pod, "n1").await.unwrap());
    let question = json!({"PodName": "p", "PodNamespace": "d", "PodUID": "uid-p", "Node": "n1"});
    assert_eq!(told.asked.lock().unwrap()[0].1, question);
    let (refuses, _) = extender(change, &[("bind", json!({"Error": "not this one"}))]);
    assert_eq!(
        bind(&[refuses], &pod, "n1").await.unwrap_err().to_string(),
        "not this one"
    );
    let ignorable = |settings: &mut Settings| {
        change(settings);
        settings.ignorable = true;
    };
    let (lax, _) = extender(ignorable, &[]);
    assert!(
        !bind(&[lax], &pod, "n1").await.unwrap(),
        "the scheduler binds it itself"
    );
}

/// Asks who has to leave for an important pod, of nodes that are full of unimportant ones.
async fn room(extenders: &[Extender]) -> Preemption {
    let mut cluster = world();
    for node in ["n1", "n2", "n3"] {
        let low = json!({"priority": 1, "containers": [{"name": "c", "resources": {"requests": {"cpu": "2"}}}]});
        cluster.assume(pod(&format!("low-{node}"), low), node);
    }
    let important = pod("p", json!({"priority": 10}));
    let (profile, snapshot) = (Profile::default(), cluster.snapshot());
    let decision = decide(extenders, &profile, &important, &snapshot, Turn::default()).await;
    preempt(extenders, &profile, &important, &snapshot, &decision.unwrap(), &[], 0).await
}

#[tokio::test]
async fn an_extender_has_a_say_in_who_leaves() {
    let change = |settings: &mut Settings| settings.preempt_verb = "preempt".to_owned();
    let victims = json!({"nodeNameToMetaVictims": {"n2": {"Pods": [{"UID": "uid-low-n2"}], "NumPDBViolations": 0}}});
    let (one, told) = extender(change, &[("preempt", victims)]);
    let Preemption::Evict { node, victims, .. } = room(&[one]).await else {
        panic!("expected an eviction")
    };
    assert_eq!((node.as_str(), victims[0].key.name.as_str()), ("n2", "low-n2"));
    let question = told.asked.lock().unwrap()[0].1.clone();
    assert_eq!(question["NodeNameToVictims"], Value::Null);
    let meta = json!({"Pods": [{"UID": "uid-low-n1"}], "NumPDBViolations": 0});
    assert_eq!(question["NodeNameToMetaVictims"]["n1"], meta);

    let failed = |answer: Value| async move {
        let (one, _) = extender(change, &[("preempt", answer)]);
        match room(&[one]).await {
            Preemption::Failed(why) => why,
            other => panic!("expected a failure, not {other:?}"),
        }
    };
    let nobody = json!({"NodeNameToMetaVictims": {"n1": {"Pods": []}}});
    assert_eq!(
        failed(nobody).await,
        "preemption: expected at least one victim pod on node \"n1\""
    );
    let stranger = json!({"NodeNameToMetaVictims": {"n1": {"Pods": [{"UID": "x"}]}}});
    assert_eq!(
        failed(stranger).await,
        "preemption: extender: http://told claims to preempt pod (UID: &{x}) on node: n1, but the pod is not found on that node"
    );
    assert_eq!(failed(json!({})).await, "preemption: no candidate node for preemption");
}

mod over_http {
    use std::time::Duration;

    use http_body_util::{BodyExt, Full};
    use hyper::body::{Bytes, Incoming};
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use tokio::net::TcpListener;

    use super::*;

    /// Serves an extender on a port of its own; the answer to `slow` never comes.
    async fn serve() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = service_fn(answer);
                let io = TokioIo::new(stream);
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
            }
        });
        format!("http://{address}/scheduler/")
    }

    async fn answer(request: hyper::Request<Incoming>) -> Result<hyper::Response<Full<Bytes>>, hyper::Error> {
        let path = request.uri().path().to_owned();
        let body = request.into_body().collect().await?.to_bytes();
        let question: Value = serde_json::from_slice(&body).unwrap();
        if path == "/scheduler/slow" {
            std::future::pending::<()>().await;
        }
        let last = question["NodeNames"].as_array().and_then(|names| names.last().cloned());
        let answer = json!({"NodeNames": [last]}).to_string();
        let status = if path == "/scheduler/filter" { 200 } else { 404 };
        let response = hyper::Response::builder().status(status);
        Ok(response.body(Full::from(answer)).unwrap())
    }

    async fn call(verb: &str) -> Result<Decision, ExtenderError> {
        let extender = connect(Settings {
            url_prefix: serve().await,
            filter_verb: verb.to_owned(),
            timeout: Duration::from_millis(500),
            node_cache_capable: true,
            ..Settings::default()
        });
        ask(&[extender.unwrap()], &pod("p", json!({}))).await
    }

    #[tokio::test]
    async fn an_extender_is_asked_at_its_prefix_and_verb() {
        assert_eq!(call("filter").await.unwrap().node.as_deref(), Some("n3"));
    }

    #[tokio::test]
    async fn what_is_no_success_or_comes_too_late_is_an_error() {
        let error = call("elsewhere").await.unwrap_err().to_string();
        assert!(
            error.starts_with("failed elsewhere with extender at URL http://"),
            "{error}"
        );
        assert!(error.ends_with("/scheduler/elsewhere, code 404"), "{error}");
        assert!(matches!(call("slow").await, Err(ExtenderError::Timeout { .. })));
    }

    #[test]
    fn certificates_and_keys_that_do_not_fit_together_are_refused() {
        let tls = Tls {
            cert: Pem {
                data: Some(b"x".to_vec()),
                file: None,
            },
            ..Tls::default()
        };
        let settings = Settings {
            url_prefix: "https://extender.example".to_owned(),
            tls,
            ..Settings::default()
        };
        let error = connect(settings).unwrap_err().to_string();
        assert!(
            error.ends_with("keyFile or keyData must be specified with a certificate"),
            "{error}"
        );
    }
}
