use std::sync::Arc;

use expect_test::{Expect, expect};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use proptest::prelude::*;
use serde_json::json;
use timonel_client::law::settles_within;

use super::observe::{Failure, Observed};
use super::plan::{Action, plan};
use crate::owner;

/// A world around one ReplicaSet `web` (uid `rs`), in a few words.
struct World(Observed);

fn set(replicas: i32) -> World {
    let set: ReplicaSet = serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "demo", "uid": "rs", "generation": 1},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}},
        },
    }))
    .unwrap();
    World(Observed {
        set: Arc::new(set),
        pods: Vec::new(),
        related: Vec::new(),
        failure: None,
        counts_terminating: true,
    })
}

#[derive(Clone, Debug)]
struct P {
    name: String,
    app: &'static str,
    owner: Option<&'static str>,
    node: Option<&'static str>,
    ready: bool,
    phase: &'static str,
    leaving: bool,
}

fn pod(name: &str) -> P {
    P {
        name: name.into(),
        app: "web",
        owner: Some("rs"),
        node: Some("n1"),
        ready: true,
        phase: "Running",
        leaving: false,
    }
}

impl P {
    fn orphan(self) -> Self {
        Self { owner: None, ..self }
    }
    fn unready(self) -> Self {
        Self { ready: false, ..self }
    }
    fn pending(self) -> Self {
        Self {
            node: None,
            ready: false,
            phase: "Pending",
            ..self
        }
    }
    fn phase(self, phase: &'static str) -> Self {
        Self { phase, ..self }
    }
    fn leaving(self) -> Self {
        Self { leaving: true, ..self }
    }
    fn app(self, app: &'static str) -> Self {
        Self { app, ..self }
    }
    fn on(self, node: &'static str) -> Self {
        Self {
            node: Some(node),
            ..self
        }
    }
    fn build(&self) -> Arc<Pod> {
        let owners = self.owner.map(|uid| {
            json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": uid, "controller": true}])
        });
        let pod = json!({
            "metadata": {
                "name": self.name, "namespace": "demo", "uid": format!("uid-{}", self.name),
                "labels": {"app": self.app}, "ownerReferences": owners,
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "deletionTimestamp": self.leaving.then_some("2026-01-01T00:00:00Z"),
            },
            "spec": {"containers": [], "nodeName": self.node},
            "status": {"phase": self.phase, "conditions": [{
                "type": "Ready", "status": if self.ready { "True" } else { "False" },
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }]},
        });
        Arc::new(serde_json::from_value(pod).unwrap())
    }
}

impl World {
    fn pods(mut self, pods: &[P]) -> Self {
        self.0.pods = pods.iter().map(P::build).collect();
        self.0.pods.sort_by_key(|pod| pod.metadata.name.clone());
        self
    }
}

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

fn render(action: &Action) -> String {
    let name = |pod: &Pod| owner::name(&pod.metadata).to_owned();
    match action {
        Action::Adopt(pod) => format!("adopt {}", name(pod)),
        Action::Release(pod) => format!("release {}", name(pod)),
        Action::Create(count) => format!("create {count}"),
        Action::Delete(pod) => format!("delete {}", name(pod)),
        Action::SetStatus(status) => {
            let conditions = status.conditions.iter().flatten();
            let conditions: Vec<_> = conditions.map(|one| format!(" {}={}", one.type_, one.status)).collect();
            format!(
                "status replicas={} ready={} available={}{}",
                status.replicas,
                status.ready_replicas.unwrap_or(0),
                status.available_replicas.unwrap_or(0),
                conditions.concat(),
            )
        }
    }
}

#[track_caller]
fn check(world: &World, expected: Expect) {
    let actions: Vec<_> = plan(&world.0, now()).actions.iter().map(render).collect();
    expected.assert_eq(&actions.join("\n"));
}

#[test]
fn creates_what_is_missing() {
    check(
        &set(3).pods(&[pod("a")]),
        expect![[r#"
            create 2
            status replicas=1 ready=1 available=1"#]],
    );
}

#[test]
fn deletes_unscheduled_then_unready_pods_before_ready_ones() {
    check(
        &set(1).pods(&[pod("a"), pod("b").unready(), pod("c").pending()]),
        expect![[r#"
            delete c
            delete b
            status replicas=3 ready=1 available=1"#]],
    );
}

#[test]
fn deletes_from_the_node_with_the_most_siblings() {
    check(
        &set(2).pods(&[pod("a").on("n1"), pod("b").on("n2"), pod("c").on("n2")]),
        expect![[r#"
            delete b
            status replicas=3 ready=3 available=3"#]],
    );
}

#[test]
fn adopts_orphans_and_releases_strangers() {
    check(
        &set(2).pods(&[pod("a").orphan(), pod("b").app("other"), pod("c")]),
        expect![[r#"
            adopt a
            release b
            status replicas=2 ready=2 available=2"#]],
    );
}

#[test]
fn pods_that_ended_or_leave_do_not_count() {
    check(
        &set(1).pods(&[pod("a").phase("Failed"), pod("b").leaving()]),
        expect![[r#"
            create 1
            status replicas=0 ready=0 available=0"#]],
    );
}

#[test]
fn a_failure_to_create_is_shown() {
    let mut world = set(1);
    world.0.failure = Some(Failure {
        reason: "FailedCreate",
        message: "quota".into(),
    });
    check(
        &world,
        expect![[r#"
            create 1
            status replicas=0 ready=0 available=0 ReplicaFailure=True"#]],
    );
}

/// What the API server and the caches make of an action.
fn apply(seen: &mut Observed, action: &Action) {
    let rename = |pod: &Arc<Pod>, uid: Option<&'static str>| {
        let mut pod = Pod::clone(pod);
        pod.metadata.owner_references = uid.map(|_| vec![owner::controller_reference(&*seen.set)]);
        Arc::new(pod)
    };
    match action {
        Action::Adopt(pod) | Action::Release(pod) => {
            let uid = matches!(action, Action::Adopt(_)).then_some("rs");
            let changed = rename(pod, uid);
            for other in &mut seen.pods {
                if other.metadata.name == pod.metadata.name {
                    *other = Arc::clone(&changed);
                }
            }
        }
        Action::Create(count) => {
            for _ in 0..*count {
                let name = format!("new-{}", seen.pods.len());
                seen.pods.push(pod(&name).pending().build());
            }
        }
        Action::Delete(gone) => seen.pods.retain(|pod| pod.metadata.name != gone.metadata.name),
        Action::SetStatus(status) => Arc::make_mut(&mut seen.set).status = Some((**status).clone()),
    }
}

fn any_pod() -> impl Strategy<Value = P> {
    let owners = prop_oneof![Just(Some("rs")), Just(None), Just(Some("other"))];
    let phases = prop_oneof![Just("Pending"), Just("Running"), Just("Failed"), Just("Succeeded")];
    let apps = prop_oneof![3 => Just("web"), 1 => Just("other")];
    let nodes = prop_oneof![Just(None), Just(Some("n1")), Just(Some("n2"))];
    (owners, phases, apps, nodes, any::<bool>(), any::<bool>()).prop_map(|(owner, phase, app, node, ready, leaving)| {
        P {
            owner,
            phase,
            app,
            node,
            ready,
            leaving,
            ..pod("")
        }
    })
}

proptest! {
    #[test]
    fn the_plan_after_an_applied_plan_is_empty(replicas in 0..6, pods in prop::collection::vec(any_pod(), 0..8)) {
        let pods: Vec<P> = pods.into_iter().enumerate().map(|(at, pod)| P { name: format!("p{at}"), ..pod }).collect();
        let mut observed = set(replicas).pods(&pods).0;
        // The status counts what is there before the pods are created: it follows in a second round, as upstream.
        let rounds = settles_within(2, &mut observed, |seen| plan(seen, now()).actions, apply);
        prop_assert!(rounds.is_ok(), "{}", rounds.unwrap_err());
        prop_assert_eq!(observed.set.status.as_ref().unwrap().replicas, replicas);
    }
}
