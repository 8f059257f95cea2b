//! Each controller acts as its own service account: what its role names suffices, and is needed.

use std::time::Duration;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use serde_json::json;
use timonel_tests::sim::{chaos, invariants, simulate};

/// A namespace with something of many kinds in it is made, used and emptied.
#[test]
fn the_roles_of_all_controllers_suffice_for_a_namespaces_life() {
    simulate(41, async {
        let world = chaos::calm(41).await.expect("calm");
        let namespaces: Api<Namespace> = Api::all(world.user());
        let named = |kind: &str, name: &str| json!({"kind": kind, "metadata": {"name": name}});
        let namespace = serde_json::from_value(named("Namespace", "busy")).expect("a namespace");
        namespaces
            .create(&PostParams::default(), &namespace)
            .await
            .expect("created");
        let template = json!({
            "metadata": {"labels": {"app": "x"}},
            "spec": {"containers": [{"name": "c", "image": "registry/app:1"}]},
        });
        let selector = json!({"matchLabels": {"app": "x"}});
        let objects = [
            (
                "v1",
                "Service",
                json!({"selector": {"app": "x"}, "ports": [{"port": 80}]}),
            ),
            ("v1", "ResourceQuota", json!({"hard": {"pods": "50"}})),
            (
                "v1",
                "ReplicationController",
                json!({"replicas": 1, "selector": {"app": "x"}, "template": template}),
            ),
            (
                "apps/v1",
                "Deployment",
                json!({"replicas": 2, "selector": selector, "template": template}),
            ),
            (
                "apps/v1",
                "DaemonSet",
                json!({"selector": selector, "template": template}),
            ),
            (
                "apps/v1",
                "StatefulSet",
                json!({"replicas": 1, "serviceName": "x", "selector": selector, "template": template}),
            ),
            (
                "policy/v1",
                "PodDisruptionBudget",
                json!({"minAvailable": 1, "selector": selector}),
            ),
            (
                "batch/v1",
                "CronJob",
                json!({"schedule": "* * * * *", "jobTemplate": {"spec": {"ttlSecondsAfterFinished": 1, "template": {
                    "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "registry/job:1"}]},
                }}}}),
            ),
        ];
        for (version, kind, spec) in objects {
            let (group, version) = version.split_once('/').unwrap_or(("", version));
            let kind = kube::core::GroupVersionKind::gvk(group, version, kind);
            let plural = format!("{}s", kind.kind.to_lowercase());
            let resource = kube::core::ApiResource::from_gvk_with_plural(&kind, &plural);
            let api: Api<kube::core::DynamicObject> = Api::namespaced_with(world.user(), "busy", &resource);
            let mut object = kube::core::DynamicObject::new("x", &resource);
            object.data = json!({"spec": spec});
            api.create(&PostParams::default(), &object)
                .await
                .unwrap_or_else(|error| panic!("{}: {error}", kind.kind));
        }
        world.pass(Duration::from_secs(150)).await;
        namespaces
            .delete("busy", &DeleteParams::default())
            .await
            .expect("deleted");
        let gone = tokio::time::timeout(Duration::from_secs(300), async {
            while namespaces.get_opt("busy").await.expect("asked").is_some() {
                world.pass(Duration::from_secs(1)).await;
            }
        });
        gone.await.expect("the namespace goes");
        let refused = world.refused();
        assert!(refused.is_empty(), "{refused:#?}");
    });
}

#[test]
fn a_controller_without_its_role_is_refused_and_the_others_go_on() {
    simulate(42, async {
        let world = chaos::calm(42).await.expect("calm");
        let bindings: Api<ClusterRoleBinding> = Api::all(world.user());
        let binding = "system:controller:replicaset-controller";
        bindings
            .delete(binding, &DeleteParams::default())
            .await
            .expect("deleted");
        chaos::roll(&world, 2).await;
        world.pass(Duration::from_secs(30)).await;
        let sets: Api<ReplicaSet> = Api::default_namespaced(world.user());
        let sets = sets.list(&ListParams::default()).await.expect("listed").items;
        assert_eq!(sets.len(), 2, "the deployment's controller does its part");
        let caught = invariants::roles_suffice(&world).expect_err("it is caught");
        let user = "User \\\"system:serviceaccount:kube-system:replicaset-controller\\\" cannot ";
        assert!(caught.contains(user), "{caught}");
        let accounts: Api<ServiceAccount> = Api::default_namespaced(world.user());
        accounts
            .get("default")
            .await
            .expect("the service account's controller has done its part");
    });
}
