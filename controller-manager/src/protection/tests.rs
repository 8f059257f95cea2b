use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use serde_json::{Value, json};
use timonel_client::law::settles;

use super::plan::{Action, Observed, plan};
use super::users;

fn observed(finalizers: &[&str], leaving: bool, user: Option<&str>) -> Observed {
    let meta =
        json!({"name": "x", "finalizers": finalizers, "deletionTimestamp": leaving.then_some("2026-01-01T00:00:00Z")});
    Observed {
        meta: serde_json::from_value(meta).unwrap(),
        finalizer: "f",
        user: user.map(str::to_owned),
    }
}

#[test]
fn an_object_is_let_go_when_it_is_being_deleted_and_nobody_uses_it() {
    for (finalizers, leaving, user, expected) in [
        (&[][..], false, None, Some(Action::Protect)),
        (&["f", "g"], false, None, None),
        (&["f", "g"], true, Some("pod"), None),
        (&["f", "g"], true, None, Some(Action::Unprotect)),
        (&["g"], true, None, None),
    ] {
        let mut seen = observed(finalizers, leaving, user);
        assert_eq!(
            plan(&seen).actions.first().copied(),
            expected,
            "{finalizers:?} {leaving} {user:?}"
        );
        settles(
            &mut seen,
            |seen| plan(seen).actions,
            |seen, action| {
                let finalizers = seen.meta.finalizers.get_or_insert_default();
                match action {
                    Action::Protect => finalizers.push("f".into()),
                    Action::Unprotect => finalizers.retain(|finalizer| finalizer != "f"),
                }
            },
        )
        .unwrap();
    }
}

fn pod(node: Option<&str>, volume: Value) -> Pod {
    let pod = json!({"metadata": {"name": "p", "namespace": "demo", "uid": "pod"}, "spec": {"containers": [], "nodeName": node, "volumes": [volume]}});
    serde_json::from_value(pod).unwrap()
}

#[test]
fn a_claim_is_used_by_pods_that_have_a_node() {
    let claim = |name: &str, controller: &str| -> PersistentVolumeClaim {
        let owners = json!([{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": controller, "controller": true}]);
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": "demo", "ownerReferences": owners}}))
            .unwrap()
    };
    let named = json!({"name": "v", "persistentVolumeClaim": {"claimName": "data"}});
    assert!(users::pod_uses_claim(
        &pod(Some("n1"), named.clone()),
        &claim("data", "x")
    ));
    assert!(!users::pod_uses_claim(
        &pod(Some("n1"), named.clone()),
        &claim("other", "x")
    ));
    assert!(
        !users::pod_uses_claim(&pod(None, named), &claim("data", "x")),
        "no kubelet knows of it"
    );
    let own = json!({"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}});
    assert!(users::pod_uses_claim(
        &pod(Some("n1"), own.clone()),
        &claim("p-v", "pod")
    ));
    assert!(
        !users::pod_uses_claim(&pod(Some("n1"), own), &claim("p-v", "x")),
        "made for another pod of that name"
    );
}

#[test]
fn a_volume_is_used_while_it_is_bound_and_a_class_while_somebody_names_it() {
    let volume = |phase: &str| -> PersistentVolume {
        let spec = json!({"claimRef": {"name": "data"}, "volumeAttributesClassName": "gold"});
        serde_json::from_value(json!({"metadata": {"name": "pv"}, "spec": spec, "status": {"phase": phase}})).unwrap()
    };
    assert_eq!(users::user_of_volume(&volume("Bound")).as_deref(), Some("data"));
    assert_eq!(users::user_of_volume(&volume("Released")), None);
    let claim: PersistentVolumeClaim = serde_json::from_value(json!({"metadata": {"name": "c", "namespace": "demo"},
        "spec": {"volumeAttributesClassName": "silver"}, "status": {"currentVolumeAttributesClassName": "bronze"}}))
    .unwrap();
    let user = |class: &str| users::user_of_class(class, [&claim].into_iter(), [&volume("Bound")].into_iter());
    assert_eq!(user("gold").as_deref(), Some("volume pv"));
    assert_eq!(user("silver").as_deref(), Some("claim demo/c"));
    assert_eq!(user("bronze").as_deref(), Some("claim demo/c"));
    assert_eq!(user("iron"), None);
}
