use std::sync::Arc;

use expect_test::{Expect, expect};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use serde_json::{Value, json};
use timonel_client::law::settles;

use super::plan::{Action, ClaimSeen, VolumeSeen, plan_claim, plan_volume, with_finalizer};
use crate::owner;

fn merged(mut base: Value, more: &Value) -> Value {
    for (key, value) in more.as_object().unwrap() {
        base[key] = value.clone();
    }
    base
}

fn claim(provisioner: &str, node: Option<&str>, more: &Value) -> PersistentVolumeClaim {
    let mut annotations = json!({"volume.kubernetes.io/storage-provisioner": provisioner});
    if let Some(node) = node {
        annotations["volume.kubernetes.io/selected-node"] = node.into();
    }
    let spec = json!({"accessModes": ["ReadWriteOnce"], "storageClassName": "c", "resources": {"requests": {"storage": "2Gi"}}});
    serde_json::from_value(json!({
        "metadata": {"name": "data", "namespace": "demo", "uid": "u", "annotations": annotations}, "spec": merged(spec, more)}))
    .unwrap()
}

fn seen(claim: PersistentVolumeClaim, class: &Value, node: bool) -> ClaimSeen {
    let base = json!({"metadata": {"name": "c"}, "provisioner": "timonel.dev/local-path", "volumeBindingMode": "WaitForFirstConsumer"});
    let node = json!({"metadata": {"name": "n1", "labels": {"kubernetes.io/hostname": "host-1"}}})
        .as_object()
        .filter(|_| node)
        .cloned();
    ClaimSeen {
        claim: Arc::new(claim),
        class: Some(Arc::new(serde_json::from_value(merged(base, class)).unwrap())),
        node: node.map(|node| Arc::new(serde_json::from_value(Value::Object(node)).unwrap())),
        made: false,
        told: None,
    }
}

fn render(action: &Action) -> String {
    match action {
        Action::Make(volume) => {
            let spec = volume.spec.clone().unwrap();
            let path = spec
                .host_path
                .map(|source| format!("{} ({})", source.path, source.type_.unwrap_or_default()));
            let share = spec.nfs.map(|source| format!("{}:{}", source.server, source.path));
            let term = spec
                .node_affinity
                .map(|affinity| affinity.required.unwrap().node_selector_terms[0].clone());
            let hosts = term.map(|term| term.match_expressions.unwrap()[0].values.clone().unwrap().join(","));
            format!(
                "make {} for {}: {}, {}, class {}, {}, on {}, kept by {}",
                owner::name(&volume.metadata),
                spec.claim_ref.unwrap().uid.unwrap(),
                path.or(share).unwrap(),
                spec.capacity.unwrap()["storage"].0,
                spec.storage_class_name.unwrap(),
                spec.persistent_volume_reclaim_policy.unwrap(),
                hosts.as_deref().unwrap_or("any node"),
                volume
                    .metadata
                    .finalizers
                    .clone()
                    .map_or_else(|| "nobody".to_owned(), |all| all.join(","))
            )
        }
        Action::Tell(why) => format!("tell {why}"),
        Action::WriteVolume(volume) => format!(
            "finalizers {:?}",
            volume.metadata.finalizers.clone().unwrap_or_default()
        ),
        other => format!("{other:?}"),
    }
}

#[track_caller]
fn check(mut seen: ClaimSeen, expected: Expect) {
    let lines: Vec<String> = plan_claim(&seen).actions.iter().map(render).collect();
    expected.assert_eq(&lines.join("\n"));
    let apply = |seen: &mut ClaimSeen, action: &Action| match action {
        Action::Make(_) => seen.made = true,
        Action::Tell(why) => seen.told = Some(why.clone()),
        Action::Reschedule => {
            let claim = Arc::make_mut(&mut seen.claim);
            claim
                .metadata
                .annotations
                .get_or_insert_default()
                .remove("volume.kubernetes.io/selected-node");
        }
        _ => {}
    };
    settles(&mut seen, |seen| plan_claim(seen).actions, apply).unwrap();
}

const LOCAL: &str = "timonel.dev/local-path";

#[test]
fn a_claim_gets_a_folder_on_the_node_of_its_first_consumer() {
    let none = json!({});
    check(
        seen(claim(LOCAL, Some("n1"), &none), &none, true),
        expect![[
            r#"make pvc-u for u: /var/lib/timonel/local-path/pvc-u_demo_data (DirectoryOrCreate), 2Gi, class c, Delete, on host-1, kept by external-provisioner.volume.kubernetes.io/finalizer"#
        ]],
    );
    check(seen(claim(LOCAL, None, &none), &none, false), expect![[""]]);
    check(
        seen(claim("example.com/other", Some("n1"), &none), &none, true),
        expect![[""]],
    );
    let bound = json!({"volumeName": "pv"});
    check(seen(claim(LOCAL, Some("n1"), &bound), &none, true), expect![[""]]);
}

#[test]
fn a_node_that_is_gone_is_taken_back_from_the_claim() {
    let none = json!({});
    check(
        seen(claim(LOCAL, Some("n1"), &none), &none, false),
        expect![[r#"
            tell failed to provision volume with StorageClass "c": failed to get target node: node "n1" not found
            Reschedule"#]],
    );
}

#[test]
fn what_a_folder_cannot_be_is_told_once() {
    let none = json!({});
    for (claim_says, class_says, expected) in [
        (
            json!({"accessModes": ["ReadWriteMany"]}),
            none.clone(),
            expect![[
                r#"tell failed to provision volume with StorageClass "c": only support ReadWriteOnce and ReadWriteOncePod access modes"#
            ]],
        ),
        (
            json!({"volumeMode": "Block"}),
            none.clone(),
            expect![[
                r#"tell failed to provision volume with StorageClass "c": block volumes are not supported, only folders"#
            ]],
        ),
        (
            json!({"selector": {"matchLabels": {"a": "b"}}}),
            none.clone(),
            expect![[r#"tell failed to provision volume with StorageClass "c": claim.Spec.Selector is not supported"#]],
        ),
        (
            none.clone(),
            json!({"parameters": {"nodePath": "/x"}}),
            expect![[
                r#"tell failed to provision volume with StorageClass "c": invalid parameter "nodePath": timonel.dev/local-path takes none"#
            ]],
        ),
    ] {
        check(seen(claim(LOCAL, Some("n1"), &claim_says), &class_says, true), expected);
    }
    check(
        seen(
            claim(LOCAL, None, &none),
            &json!({"volumeBindingMode": "Immediate"}),
            false,
        ),
        expect![[
            r#"tell failed to provision volume with StorageClass "c": configuration error, no node was specified: the class must have volumeBindingMode WaitForFirstConsumer"#
        ]],
    );
}

#[test]
fn a_folder_of_an_nfs_share_needs_a_server_and_a_share() {
    let wish = || claim("timonel.dev/nfs", None, &json!({"accessModes": ["ReadWriteMany"]}));
    let class = |parameters: Value| {
        json!({"provisioner": "timonel.dev/nfs", "volumeBindingMode": "Immediate", "parameters": parameters,
            "reclaimPolicy": "Retain", "mountOptions": ["nfsvers=4.1"]})
    };
    for (parameters, expected) in [
        (
            json!({"server": "10.0.0.1", "share": "/export/"}),
            expect![[r#"make pvc-u for u: 10.0.0.1:/export/pvc-u, 2Gi, class c, Retain, on any node, kept by nobody"#]],
        ),
        (
            json!({"server": "10.0.0.1"}),
            expect![[r#"tell failed to provision volume with StorageClass "c": share is a required parameter"#]],
        ),
        (
            json!({"share": "/export"}),
            expect![[r#"tell failed to provision volume with StorageClass "c": server is a required parameter"#]],
        ),
        (
            json!({"server": "s", "share": "/a/../b"}),
            expect![[
                r#"tell failed to provision volume with StorageClass "c": share "/a/../b" must be an absolute path without '..'"#
            ]],
        ),
        (
            json!({"server": "s", "share": "/a", "onDelete": "delete"}),
            expect![[
                r#"tell failed to provision volume with StorageClass "c": invalid parameter "onDelete" in storage class"#
            ]],
        ),
    ] {
        check(seen(wish(), &class(parameters), false), expected);
    }
}

fn volume(phase: &str, more: &Value) -> VolumeSeen {
    let spec = json!({"persistentVolumeReclaimPolicy": "Delete",
        "hostPath": {"path": "/var/lib/timonel/local-path/pvc-u_demo_data"}});
    let volume = json!({
        "metadata": {"name": "pvc-u", "uid": "v", "finalizers": ["kubernetes.io/pv-protection", "external-provisioner.volume.kubernetes.io/finalizer"],
            "annotations": {"pv.kubernetes.io/provisioned-by": LOCAL, "timonel.dev/node": "n1"}},
        "spec": merged(spec, more), "status": {"phase": phase}});
    VolumeSeen {
        volume: Arc::new(serde_json::from_value(volume).unwrap()),
        node_is_there: true,
        told: None,
    }
}

#[track_caller]
fn check_volume(seen: &VolumeSeen, expected: Expect) {
    let lines: Vec<String> = plan_volume(seen).actions.iter().map(render).collect();
    expected.assert_eq(&lines.join("\n"));
    let mut world = seen.clone();
    let apply = |seen: &mut VolumeSeen, action: &Action| match action {
        Action::Tell(why) => seen.told = Some(why.clone()),
        Action::WriteVolume(volume) => seen.volume = Arc::new((**volume).clone()),
        Action::Delete => {
            let mut gone: PersistentVolume = with_finalizer(&seen.volume, false);
            gone.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
            seen.volume = Arc::new(gone);
        }
        _ => {}
    };
    settles(&mut world, |seen| plan_volume(seen).actions, apply).unwrap();
}

#[test]
fn a_released_volume_goes_after_its_folder() {
    check_volume(&volume("Bound", &json!({})), expect![[""]]);
    check_volume(
        &volume("Released", &json!({})),
        expect![[r#"
            RemoveFolder { node: "n1", folder: "pvc-u_demo_data" }
            Delete"#]],
    );
    let mut alone = volume("Released", &json!({}));
    alone.node_is_there = false;
    check_volume(&alone, expect!["Delete"]);
    check_volume(
        &volume("Released", &json!({"persistentVolumeReclaimPolicy": "Retain"})),
        expect![[r#"finalizers ["kubernetes.io/pv-protection"]"#]],
    );
}

#[test]
fn a_volume_that_was_pointed_elsewhere_removes_nothing() {
    for path in [
        "/etc",
        "/var/lib/timonel/local-path/pvc-other_demo_data",
        "/var/lib/timonel/local-path/pvc-u_demo/../pvc-other_x",
    ] {
        check_volume(
            &volume("Released", &json!({"hostPath": {"path": path}})),
            expect!["tell its path is not that of a folder of this volume; nothing is removed"],
        );
    }
}

#[test]
fn nobody_removes_a_folder_of_a_share() {
    let mut seen = volume(
        "Released",
        &json!({"hostPath": null, "nfs": {"server": "s", "path": "/export/pvc-u"}}),
    );
    let annotations = Arc::make_mut(&mut seen.volume)
        .metadata
        .annotations
        .get_or_insert_default();
    annotations.insert(
        "pv.kubernetes.io/provisioned-by".to_owned(),
        "timonel.dev/nfs".to_owned(),
    );
    check_volume(
        &seen,
        expect![
            "tell the control plane does not mount NFS: remove /export/pvc-u on the server, then delete the PersistentVolume"
        ],
    );
}
