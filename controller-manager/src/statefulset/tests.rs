use std::collections::BTreeMap;
use std::sync::Arc;

use expect_test::{Expect, expect};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use proptest::prelude::*;
use serde_json::{Value, json};
use timonel_client::law::settles_within;

use super::observe::Observed;
use super::plan::{Action, plan};
use super::{claims, identity};
use crate::history::{self, Step};
use crate::owner;

/// A world around one StatefulSet `db` (uid `sts`), in a few words.
#[derive(Clone)]
struct World(Observed);

fn set(replicas: i32) -> World {
    let set: StatefulSet = serde_json::from_value(json!({
        "metadata": {"name": "db", "namespace": "demo", "uid": "sts", "generation": 1},
        "spec": {
            "replicas": replicas,
            "serviceName": "peers",
            "selector": {"matchLabels": {"app": "db"}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
            "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "db", "image": "v1"}]}},
        },
    }))
    .unwrap();
    let mut world = World(Observed {
        set: Arc::new(set),
        pods: Vec::new(),
        claims: BTreeMap::new(),
        revisions: Vec::new(),
        taken: Vec::new(),
    });
    world.remember();
    world
}

impl World {
    /// Carries out what the planner wants to do to the history and the status, and nothing else.
    fn remember(&mut self) {
        for action in plan(&self.0, now()).actions {
            if let Action::History(_) | Action::SetStatus(_) = action {
                apply(&mut self.0, &action);
            }
        }
    }
    fn spec(mut self, change: impl FnOnce(&mut Value)) -> Self {
        let mut value = serde_json::to_value(&*self.0.set).unwrap();
        change(&mut value["spec"]);
        self.0.set = Arc::new(serde_json::from_value(value).unwrap());
        self
    }
    fn parallel(self) -> Self {
        self.spec(|spec| spec["podManagementPolicy"] = json!("Parallel"))
    }
    fn replicas(self, count: i32) -> Self {
        self.spec(|spec| spec["replicas"] = json!(count))
    }
    fn storage(self, deleted: &str, scaled: &str) -> Self {
        self.spec(|spec| {
            spec["volumeClaimTemplates"] =
                json!([{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}]);
            spec["persistentVolumeClaimRetentionPolicy"] = json!({"whenDeleted": deleted, "whenScaled": scaled});
        })
    }
    fn image(mut self, image: &str) -> Self {
        self = self.spec(|spec| spec["template"]["spec"]["containers"][0]["image"] = json!(image));
        self.remember();
        self
    }
    /// A pod of the revision that is the newest now.
    fn pod(mut self, ordinal: i32, change: impl FnOnce(&mut Value)) -> Self {
        let newest = self
            .0
            .revisions
            .iter()
            .max_by_key(|revision| revision.revision)
            .unwrap();
        let template = history::template_of(newest).unwrap();
        let made = identity::pod(&self.0.set, &template, owner::name(&newest.metadata), ordinal);
        let mut value = serde_json::to_value(made).unwrap();
        value["metadata"]["uid"] = json!(format!("uid-{ordinal}"));
        value["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        value["status"] = status("Running", true);
        change(&mut value);
        self.0.pods.push(Arc::new(serde_json::from_value(value).unwrap()));
        self.0.pods.sort_by_key(|pod| pod.metadata.name.clone());
        self
    }
    fn ready(self, ordinals: impl IntoIterator<Item = i32>) -> Self {
        let mut world = ordinals
            .into_iter()
            .fold(self, |world, ordinal| world.pod(ordinal, |_| {}));
        world.remember();
        world
    }
    fn claim(mut self, name: &str, owners: Value) -> Self {
        let claim = json!({"metadata": {"name": name, "namespace": "demo", "ownerReferences": owners}});
        self.0
            .claims
            .insert(name.into(), Arc::new(serde_json::from_value(claim).unwrap()));
        self
    }
}

fn unready(pod: &mut Value) {
    pod["status"] = status("Running", false);
}

fn leaving(pod: &mut Value) {
    pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:59:59Z");
}

fn status(phase: &str, ready: bool) -> Value {
    let ready = if ready { "True" } else { "False" };
    json!({"phase": phase, "conditions": [
        {"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z"}]})
}

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

fn image(pod: &Pod) -> &str {
    pod.spec.as_ref().unwrap().containers[0].image.as_deref().unwrap_or("")
}

fn render(action: &Action) -> String {
    let name = |pod: &Pod| owner::name(&pod.metadata).to_owned();
    match action {
        Action::History(Step::Create(revision)) => format!("remember revision {}", revision.revision),
        Action::History(Step::Renumber(revision, to)) => format!("renumber revision {} to {to}", revision.revision),
        Action::History(Step::Delete(revision)) => format!("forget revision {}", revision.revision),
        Action::History(other) => format!("{other:?}"),
        Action::Adopt(pod) => format!("adopt {}", name(pod)),
        Action::Release(pod) => format!("release {}", name(pod)),
        Action::Create(new) => {
            let one = |new: &super::plan::NewPod| {
                let claims: Vec<_> = new
                    .claims
                    .iter()
                    .map(|claim| {
                        let owners = claim
                            .metadata
                            .owner_references
                            .iter()
                            .flatten()
                            .map(|one| one.kind.as_str());
                        format!(
                            "+{}({})",
                            owner::name(&claim.metadata),
                            owners.collect::<Vec<_>>().join(",")
                        )
                    })
                    .collect();
                format!("{}@{}{}", name(&new.pod), image(&new.pod), claims.concat())
            };
            format!("create {}", new.iter().map(one).collect::<Vec<_>>().join(" "))
        }
        Action::CreateClaim { pod, claim } => format!("create claim {} for {pod}", owner::name(&claim.metadata)),
        Action::OwnClaim { claim, owners } => {
            let owners: Vec<_> = owners.iter().map(|one| format!("{} {}", one.kind, one.name)).collect();
            format!(
                "claim {} goes with [{}]",
                owner::name(&claim.metadata),
                owners.join(", ")
            )
        }
        Action::Identify { pod, ordinal } => format!("label {} as {ordinal}", name(pod)),
        Action::Delete(pod) => format!("delete {}", name(pod)),
        Action::SetStatus(status) => format!(
            "status replicas={} ready={} available={} current={} updated={}{}",
            status.replicas,
            status.ready_replicas.unwrap_or(0),
            status.available_replicas.unwrap_or(0),
            status.current_replicas.unwrap_or(0),
            status.updated_replicas.unwrap_or(0),
            if status.current_revision == status.update_revision {
                ""
            } else {
                " rolling"
            },
        ),
    }
}

#[track_caller]
fn check(world: &World, expected: Expect) {
    let actions: Vec<_> = plan(&world.0, now()).actions.iter().map(render).collect();
    expected.assert_eq(&actions.join("\n"));
}

#[test]
fn pods_come_one_after_the_other() {
    check(&set(3), expect!["create db-0@v1"]);
    check(&set(3).ready([0]), expect!["create db-1@v1"]);
    check(
        &set(3).pod(0, unready),
        expect!["status replicas=1 ready=0 available=0 current=1 updated=1"],
    );
}

#[test]
fn pods_come_all_at_once_when_managed_in_parallel() {
    check(
        &set(3).parallel().pod(1, unready),
        expect![[r#"
        create db-0@v1 db-2@v1
        status replicas=1 ready=0 available=0 current=1 updated=1"#]],
    );
}

#[test]
fn a_pod_has_a_name_a_number_a_host_and_its_own_storage() {
    let world = set(1).storage("Retain", "Retain").spec(|spec| {
        spec["template"]["spec"]["volumes"] =
            json!([{"name": "data", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}]);
    });
    let pod = identity::pod(&world.0.set, &world.0.set.spec.as_ref().unwrap().template, "db-rev", 7);
    expect![[r#"
        {
          "apiVersion": "v1",
          "kind": "Pod",
          "metadata": {
            "generateName": "db-",
            "labels": {
              "app": "db",
              "apps.kubernetes.io/pod-index": "7",
              "controller-revision-hash": "db-rev",
              "statefulset.kubernetes.io/pod-name": "db-7"
            },
            "name": "db-7",
            "namespace": "demo",
            "ownerReferences": [
              {
                "apiVersion": "apps/v1",
                "blockOwnerDeletion": true,
                "controller": true,
                "kind": "StatefulSet",
                "name": "db",
                "uid": "sts"
              }
            ]
          },
          "spec": {
            "containers": [
              {
                "image": "v1",
                "name": "db"
              }
            ],
            "hostname": "db-7",
            "subdomain": "peers",
            "volumes": [
              {
                "name": "data",
                "persistentVolumeClaim": {
                  "claimName": "data-db-7"
                }
              },
              {
                "emptyDir": {},
                "name": "tmp"
              }
            ]
          }
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&pod).unwrap());
}

#[test]
fn ordinals_may_start_elsewhere() {
    let world = set(2).spec(|spec| spec["ordinals"] = json!({"start": 5}));
    check(&world.clone().ready([5]), expect!["create db-6@v1"]);
    check(&world.ready([0, 5, 6]), expect!["delete db-0"]);
}

#[test]
fn pods_go_from_the_last_to_the_first() {
    check(&set(4).ready(0..4).replicas(1), expect!["delete db-3"]);
    check(
        &set(4).ready(0..3).pod(3, leaving).replicas(1),
        expect!["status replicas=4 ready=4 available=4 current=3 updated=3"],
    );
    // A pod that does not work holds back those before it, unless it is itself the first that does not work.
    check(
        &set(4).ready([0, 1, 3]).pod(2, unready).replicas(1),
        expect![[r#"
        delete db-3
        status replicas=4 ready=3 available=3 current=4 updated=4"#]],
    );
    check(
        &set(4).ready([0, 2, 3]).pod(1, unready).replicas(1),
        expect![[r#"
        delete db-3
        status replicas=4 ready=3 available=3 current=4 updated=4"#]],
    );
    check(
        &set(4).ready([1, 2, 3]).pod(0, unready).replicas(1),
        expect!["status replicas=4 ready=3 available=3 current=4 updated=4"],
    );
    check(
        &set(4).parallel().ready([0, 2, 3]).pod(1, unready).replicas(1),
        expect![[r#"
        delete db-3
        delete db-2
        delete db-1
        status replicas=4 ready=3 available=3 current=4 updated=4"#]],
    );
}

#[test]
fn a_pod_that_ended_is_replaced_under_its_name() {
    let ended = |phase: &'static str| move |pod: &mut Value| pod["status"] = status(phase, false);
    check(&set(2).pod(0, ended("Failed")).ready([1]), expect!["delete db-0"]);
    check(&set(2).pod(0, ended("Succeeded")).ready([1]), expect!["delete db-0"]);
    check(&set(2).ready([1]), expect!["create db-0@v1"]);
}

#[test]
fn an_update_replaces_the_last_pod_first_and_waits_for_it() {
    check(&set(3).ready(0..3).image("v2"), expect!["delete db-2"]);
    check(&set(3).ready(0..2).image("v2"), expect!["create db-2@v2"]);
    check(
        &set(3).ready(0..2).image("v2").pod(2, unready),
        expect!["status replicas=3 ready=2 available=2 current=2 updated=1 rolling"],
    );
    check(&set(3).ready(0..2).image("v2").ready([2]), expect!["delete db-1"]);
    check(&set(2).image("v2").ready(0..2), expect![[""]]);
}

#[test]
fn a_partition_keeps_the_first_pods_at_the_current_revision() {
    let partition =
        |world: World, at: i32| world.spec(|spec| spec["updateStrategy"]["rollingUpdate"]["partition"] = json!(at));
    check(&partition(set(3).ready(0..3), 2).image("v2"), expect!["delete db-2"]);
    // A pod below the partition that is lost comes back as it was.
    check(
        &partition(set(3).ready([0, 2]), 2).image("v2"),
        expect!["create db-1@v1"],
    );
    check(&partition(set(3).ready(0..2), 2).image("v2").ready([2]), expect![[""]]);
}

#[test]
fn several_pods_may_be_missing_during_an_update() {
    let world = |most: Value| set(4).spec(|spec| spec["updateStrategy"]["rollingUpdate"]["maxUnavailable"] = most);
    check(
        &world(json!(2)).ready(0..4).image("v2"),
        expect![[r#"
        delete db-3
        delete db-2"#]],
    );
    check(
        &world(json!("75%")).ready(0..4).image("v2"),
        expect![[r#"
        delete db-3
        delete db-2
        delete db-1"#]],
    );
    check(
        &world(json!(2)).parallel().ready(0..3).image("v2").pod(3, unready),
        expect![[r#"
        delete db-2
        status replicas=4 ready=3 available=3 current=3 updated=1 rolling"#]],
    );
    check(
        &world(json!(1)).parallel().ready(1..4).pod(0, unready).image("v2"),
        expect!["delete db-0"],
    );
}

#[test]
fn on_delete_waits_for_people() {
    let world = set(2).spec(|spec| spec["updateStrategy"] = json!({"type": "OnDelete"}));
    check(&world.clone().ready(0..2).image("v2"), expect![[""]]);
    check(&world.ready([0]).image("v2"), expect!["create db-1@v2"]);
}

#[test]
fn a_rollback_moves_the_old_revision_to_the_end() {
    let world = set(2).ready(0..2).image("v2").spec(|spec| {
        spec["template"]["spec"]["containers"][0]["image"] = json!("v1");
    });
    check(
        &world,
        expect![[r#"
        renumber revision 1 to 3
        status replicas=2 ready=2 available=2 current=2 updated=2"#]],
    );
}

#[test]
fn min_ready_seconds_hold_the_next_pod_back() {
    let world = set(2).spec(|spec| spec["minReadySeconds"] = json!(10)).pod(0, |pod| {
        pod["status"]["conditions"][0]["lastTransitionTime"] = json!("2026-01-01T00:59:57Z");
    });
    check(
        &world,
        expect!["status replicas=1 ready=1 available=0 current=1 updated=1"],
    );
    assert_eq!(plan(&world.0, now()).requeue, Some(std::time::Duration::from_secs(7)));
}

#[test]
fn claims_come_before_their_pod_and_stay_by_default() {
    check(
        &set(2).storage("Retain", "Retain"),
        expect!["create db-0@v1+data-db-0()"],
    );
    check(
        &set(1).storage("Retain", "Retain").claim("data-db-0", Value::Null),
        expect!["create db-0@v1"],
    );
    let pending = |pod: &mut Value| pod["status"] = status("Pending", false);
    check(
        &set(1).storage("Retain", "Retain").pod(0, pending),
        expect![[r#"
        create claim data-db-0 for db-0
        status replicas=1 ready=0 available=0 current=1 updated=1"#]],
    );
}

#[test]
fn claims_go_with_whom_the_policy_says() {
    let grown = |deleted, scaled| {
        let world = set(2).storage(deleted, scaled).ready(0..2);
        world.claim("data-db-0", Value::Null).claim("data-db-1", Value::Null)
    };
    check(
        &set(1).storage("Delete", "Retain"),
        expect!["create db-0@v1+data-db-0(StatefulSet)"],
    );
    check(
        &grown("Delete", "Retain"),
        expect![[r#"
        claim data-db-0 goes with [StatefulSet db]
        claim data-db-1 goes with [StatefulSet db]"#]],
    );
    check(&grown("Retain", "Delete"), expect![[""]]);
    check(
        &grown("Retain", "Delete").replicas(1),
        expect![[r#"
        claim data-db-1 goes with [Pod db-1]
        delete db-1"#]],
    );
    check(
        &grown("Delete", "Delete").replicas(1),
        expect![[r#"
        claim data-db-0 goes with [StatefulSet db]
        claim data-db-1 goes with [Pod db-1]
        delete db-1"#]],
    );
    let foreign = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "x", "controller": true}]);
    check(
        &set(1)
            .storage("Delete", "Delete")
            .ready([0])
            .claim("data-db-0", foreign),
        expect![[""]],
    );
}

#[test]
fn a_claim_that_goes_with_an_earlier_pod_is_waited_for() {
    let owners = json!([{"apiVersion": "v1", "kind": "Pod", "name": "db-0", "uid": "earlier", "controller": true}]);
    check(
        &set(1).storage("Retain", "Delete").claim("data-db-0", owners),
        expect![[""]],
    );
}

#[test]
fn strangers_are_released_and_orphans_adopted() {
    let world = set(2)
        .pod(0, |pod| pod["metadata"]["ownerReferences"] = Value::Null)
        .pod(1, |pod| pod["metadata"]["labels"]["app"] = json!("other"));
    check(
        &world,
        expect![[r#"
        adopt db-0
        release db-1
        create db-1@v1
        status replicas=1 ready=1 available=1 current=1 updated=1"#]],
    );
    let mut named = set(1).ready([0]);
    let mut other = Pod::clone(&named.0.pods[0]);
    other.metadata.name = Some("other-0".into());
    other.metadata.owner_references = None;
    named.0.pods.push(Arc::new(other));
    check(&named, expect![[""]]);
}

#[test]
fn a_pod_without_its_labels_gets_them() {
    let world = set(1).pod(0, |pod| {
        pod["metadata"]["labels"]
            .as_object_mut()
            .unwrap()
            .remove(identity::INDEX_LABEL);
    });
    check(
        &world,
        expect![[r#"
        label db-0 as 0
        status replicas=1 ready=1 available=1 current=1 updated=1"#]],
    );
}

#[test]
fn history_beyond_the_limit_is_forgotten() {
    let world = set(1).spec(|spec| spec["revisionHistoryLimit"] = json!(1)).ready([0]);
    check(&world.image("v2").image("v3").image("v4"), expect!["delete db-0"]);
}

#[test]
fn a_set_that_is_being_deleted_only_counts() {
    let mut world = set(3).ready([0]);
    Arc::make_mut(&mut world.0.set).metadata.deletion_timestamp =
        serde_json::from_value(json!("2026-01-01T00:59:00Z")).unwrap();
    check(&world, expect![[""]]);
}

#[test]
fn names_of_claims_are_recognised() {
    let set = set(1).storage("Retain", "Retain").0.set;
    assert!(claims::is_of(&set, "data-db-0") && claims::is_of(&set, "data-db-12"));
    assert!(
        !claims::is_of(&set, "data-db") && !claims::is_of(&set, "data-other-0") && !claims::is_of(&set, "data-db-x")
    );
}

/// What the API server, the kubelet and the caches make of an action: pods are ready at once, and go at once.
fn apply(seen: &mut Observed, action: &Action) {
    let change = |seen: &mut Observed, name: &Option<String>, change: &dyn Fn(&mut Pod)| {
        for pod in &mut seen.pods {
            if pod.metadata.name == *name {
                change(Arc::make_mut(pod));
            }
        }
    };
    let insert = |seen: &mut Observed, claim: &PersistentVolumeClaim| {
        seen.claims
            .insert(owner::name(&claim.metadata).into(), Arc::new(claim.clone()));
    };
    match action {
        Action::History(Step::Create(revision)) => seen.revisions.push(Arc::new((**revision).clone())),
        Action::History(Step::Renumber(revision, to)) => {
            for other in &mut seen.revisions {
                if other.metadata.name == revision.metadata.name {
                    Arc::make_mut(other).revision = *to;
                }
            }
        }
        Action::History(Step::Delete(gone)) => seen.revisions.retain(|other| other.metadata.name != gone.metadata.name),
        Action::History(other) => panic!("unexpected {other:?}"),
        Action::Adopt(pod) => {
            let owner = owner::controller_reference(&*seen.set);
            change(seen, &pod.metadata.name, &|pod| {
                pod.metadata.owner_references = Some(vec![owner.clone()])
            });
        }
        Action::Release(pod) => change(seen, &pod.metadata.name, &|pod| {
            // Somebody else takes it, or else its name is in the way for ever.
            pod.metadata.name = Some(format!("released-{}", owner::name(&pod.metadata)));
            pod.metadata.owner_references = None;
        }),
        Action::Create(new) => {
            for one in new {
                let mut pod = one.pod.clone();
                pod.metadata.uid = Some(format!("uid-{}", owner::name(&pod.metadata)));
                pod.status = serde_json::from_value(status("Running", true)).unwrap();
                seen.pods.push(Arc::new(pod));
                for claim in &one.claims {
                    insert(seen, claim);
                }
            }
        }
        Action::CreateClaim { claim, .. } => insert(seen, claim),
        Action::OwnClaim { claim, owners } => {
            let mut claim = PersistentVolumeClaim::clone(claim);
            claim.metadata.owner_references = (!owners.is_empty()).then(|| owners.clone());
            insert(seen, &claim);
        }
        Action::Identify { pod, ordinal } => change(seen, &pod.metadata.name, &|pod| {
            let name = owner::name(&pod.metadata).to_owned();
            let labels = pod.metadata.labels.get_or_insert_default();
            labels.insert(identity::NAME_LABEL.into(), name);
            labels.insert(identity::INDEX_LABEL.into(), ordinal.to_string());
        }),
        Action::Delete(gone) => {
            seen.pods.retain(|pod| pod.metadata.name != gone.metadata.name);
            // The garbage collector takes what went with the pod.
            seen.claims.retain(|_, claim| {
                let mut owners = claim.metadata.owner_references.iter().flatten();
                !owners.any(|one| one.kind == "Pod" && Some(&one.name) == gone.metadata.name.as_ref())
            });
        }
        Action::SetStatus(status) => Arc::make_mut(&mut seen.set).status = Some((**status).clone()),
    }
}

proptest! {
    #[test]
    fn whatever_was_there_the_set_ends_as_its_spec_says(
        replicas in 0..5_i32, start in 0..3_i32, parallel in any::<bool>(), most in 1..4_i32,
        deleted in any::<bool>(), scaled in any::<bool>(),
        pods in prop::collection::btree_map(0..8_i32, (any::<bool>(), 0..4_u8, any::<bool>()), 0..8),
    ) {
        let policy = |deletes| if deletes { "Delete" } else { "Retain" };
        let mut world = set(replicas).storage(policy(deleted), policy(scaled)).spec(|spec| {
            spec["ordinals"] = json!({"start": start});
            spec["updateStrategy"]["rollingUpdate"]["maxUnavailable"] = json!(most);
        });
        if parallel {
            world = world.parallel();
        }
        let place = |world: World, old: bool| pods.iter().filter(|(_, pod)| pod.0 == old).fold(world, |world, (ordinal, (_, phase, owned))| {
            world.pod(*ordinal, |value| {
                value["status"] = status(["Pending", "Running", "Failed", "Succeeded"][usize::from(*phase)], *phase == 1);
                if !owned {
                    value["metadata"]["ownerReferences"] = Value::Null;
                }
            })
        });
        world = place(world, true);
        world.remember();
        world = place(world.image("v2"), false);
        let ready = |seen: &mut Observed| for pod in &mut seen.pods {
            if ["Pending", "Running"].contains(&pod.status.as_ref().unwrap().phase.as_deref().unwrap()) {
                Arc::make_mut(pod).status = serde_json::from_value(status("Running", true)).unwrap();
            }
        };
        let rounds = settles_within(60, &mut world.0, |seen| {
            let mut seen = seen.clone();
            ready(&mut seen);
            plan(&seen, now()).actions
        }, apply);
        prop_assert!(rounds.is_ok(), "{}", rounds.unwrap_err());
        let mut names: Vec<_> = world.0.pods.iter().map(|pod| owner::name(&pod.metadata).to_owned()).collect();
        names.sort();
        let wanted: Vec<_> = (start..start + replicas).map(|ordinal| format!("db-{ordinal}")).collect();
        prop_assert_eq!(names, wanted);
        prop_assert!(world.0.pods.iter().all(|pod| image(pod) == "v2"));
        let told = world.0.set.status.clone().unwrap();
        prop_assert_eq!(told.current_revision, told.update_revision);
        prop_assert_eq!(told.ready_replicas.unwrap_or(0), replicas);
    }
}
