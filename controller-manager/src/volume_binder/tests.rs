use std::sync::Arc;

use expect_test::{Expect, expect};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use serde_json::{Value, json};
use timonel_client::law::settles_within;

use super::plan::{Action, ClaimSeen, VolumeSeen, plan_claim, plan_volume};
use crate::owner;

fn claim(more: Value) -> PersistentVolumeClaim {
    let mut spec = json!({"accessModes": ["ReadWriteOnce"], "storageClassName": "", "resources": {"requests": {"storage": "2Gi"}}});
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    let claim = json!({"metadata": {"name": "data", "namespace": "demo", "uid": "c"}, "spec": spec, "status": {"phase": "Pending"}});
    serde_json::from_value(claim).unwrap()
}

fn volume(name: &str, size: &str, more: Value) -> Arc<PersistentVolume> {
    let mut spec = json!({"accessModes": ["ReadWriteOnce", "ReadOnlyMany"], "capacity": {"storage": size}, "hostPath": {"path": "/tmp/x"},
        "persistentVolumeReclaimPolicy": "Retain"});
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    let phase = if spec["claimRef"]["uid"].is_string() {
        "Bound"
    } else {
        "Available"
    };
    let volume = json!({"metadata": {"name": name, "uid": format!("uid-{name}"), "labels": {"tier": name}}, "spec": spec, "status": {"phase": phase}});
    Arc::new(serde_json::from_value(volume).unwrap())
}

fn class(provisioner: &str, mode: &str) -> Value {
    json!({"metadata": {"name": "fast"}, "provisioner": provisioner, "volumeBindingMode": mode})
}

fn seen(claim: PersistentVolumeClaim, volumes: &[Arc<PersistentVolume>], class: Option<Value>) -> ClaimSeen {
    let class = class.map(|class| Arc::new(serde_json::from_value(class).unwrap()));
    ClaimSeen {
        claim: Arc::new(claim),
        volumes: volumes.to_vec(),
        waiting: Vec::new(),
        class,
        told: None,
    }
}

fn render(action: &Action) -> String {
    match action {
        Action::WriteVolume(volume) => {
            let reference = volume.spec.as_ref().and_then(|spec| spec.claim_ref.clone());
            let reference =
                reference.map(|claim| format!("{}/{}", claim.name.unwrap_or_default(), claim.uid.unwrap_or_default()));
            format!(
                "volume {} names {}",
                owner::name(&volume.metadata),
                reference.unwrap_or_default()
            )
        }
        Action::SetVolumePhase { volume, phase } => format!("volume {} is {phase}", owner::name(&volume.metadata)),
        Action::FailVolume {
            volume,
            reason,
            message,
        } => {
            format!(
                "volume {} is Failed: {reason}: {message}",
                owner::name(&volume.metadata)
            )
        }
        Action::DeleteVolume(volume) => format!("delete volume {}", owner::name(&volume.metadata)),
        Action::WriteClaim(claim) => {
            let volume = claim
                .spec
                .as_ref()
                .and_then(|spec| spec.volume_name.clone())
                .unwrap_or_default();
            let annotations: Vec<&str> = claim
                .metadata
                .annotations
                .iter()
                .flatten()
                .map(|(key, _)| key.as_str())
                .collect();
            format!("claim names {volume:?} {}", annotations.join(" "))
        }
        Action::SetClaimStatus(status) => format!("claim is {}", status.phase.as_deref().unwrap_or_default()),
        Action::Tell(what) => format!("tell {what:?}"),
    }
}

/// Everything that is done until nothing is left to do.
#[track_caller]
fn check(mut seen: ClaimSeen, expected: Expect) {
    let done = std::cell::RefCell::new(Vec::new());
    let apply = |seen: &mut ClaimSeen, action: &Action| {
        done.borrow_mut().push(render(action));
        let replace = |seen: &mut ClaimSeen, new: PersistentVolume| {
            for volume in seen
                .volumes
                .iter_mut()
                .filter(|volume| volume.metadata.uid == new.metadata.uid)
            {
                *volume = Arc::new(new.clone());
            }
        };
        match action {
            Action::WriteVolume(volume) => replace(seen, (**volume).clone()),
            Action::SetVolumePhase { volume, phase } => {
                let mut volume = PersistentVolume::clone(volume);
                volume.status.get_or_insert_default().phase = Some((*phase).to_owned());
                replace(seen, volume);
            }
            Action::FailVolume { volume, .. } => {
                let mut volume = PersistentVolume::clone(volume);
                volume.status.get_or_insert_default().phase = Some("Failed".to_owned());
                replace(seen, volume);
            }
            Action::DeleteVolume(gone) => seen.volumes.retain(|volume| volume.metadata.uid != gone.metadata.uid),
            Action::WriteClaim(claim) => seen.claim = Arc::new((**claim).clone()),
            Action::SetClaimStatus(status) => Arc::make_mut(&mut seen.claim).status = Some((**status).clone()),
            Action::Tell(what) => seen.told = Some(what.clone()),
        }
    };
    settles_within(5, &mut seen, |seen| plan_claim(seen).actions, apply).unwrap();
    expected.assert_eq(&done.into_inner().join("\n"));
}

#[test]
fn the_smallest_volume_that_fits_is_bound_in_four_steps() {
    let volumes = [
        volume("large", "9Gi", json!({})),
        volume("small", "1Gi", json!({})),
        volume("right", "3Gi", json!({})),
    ];
    check(
        seen(claim(json!({})), &volumes, None),
        expect![[r#"
        volume right names data/c
        volume right is Bound
        claim names "right" pv.kubernetes.io/bind-completed pv.kubernetes.io/bound-by-controller
        claim is Bound"#]],
    );
}

#[test]
fn class_mode_access_and_labels_must_agree() {
    for more in [
        json!({"storageClassName": "other"}),
        json!({"volumeMode": "Block"}),
        json!({"accessModes": ["ReadOnlyMany"]}),
        json!({"claimRef": {"namespace": "demo", "name": "somebody", "uid": "s"}}),
    ] {
        check(
            seen(claim(json!({})), &[volume("pv", "2Gi", more)], None),
            expect![[r#"tell NothingFits"#]],
        );
    }
    let wish = claim(json!({"selector": {"matchLabels": {"tier": "gold"}}}));
    check(
        seen(
            wish,
            &[volume("iron", "2Gi", json!({})), volume("gold", "9Gi", json!({}))],
            None,
        ),
        expect![[r#"
            volume gold names data/c
            volume gold is Bound
            claim names "gold" pv.kubernetes.io/bind-completed pv.kubernetes.io/bound-by-controller
            claim is Bound"#]],
    );
}

#[test]
fn a_volume_that_was_promised_to_the_claim_comes_first() {
    let promised = volume(
        "promised",
        "9Gi",
        json!({"claimRef": {"namespace": "demo", "name": "data"}}),
    );
    check(
        seen(claim(json!({})), &[volume("small", "2Gi", json!({})), promised], None),
        expect![[r#"
            volume promised names data/c
            volume promised is Bound
            claim names "promised" pv.kubernetes.io/bind-completed pv.kubernetes.io/bound-by-controller
            claim is Bound"#]],
    );
}

#[test]
fn a_claim_may_name_its_volume() {
    check(
        seen(
            claim(json!({"volumeName": "pv"})),
            &[volume("pv", "2Gi", json!({}))],
            None,
        ),
        expect![[r#"
            volume pv names data/c
            volume pv is Bound
            claim names "pv" pv.kubernetes.io/bind-completed
            claim is Bound"#]],
    );
    check(
        seen(
            claim(json!({"volumeName": "pv"})),
            &[volume("pv", "1Gi", json!({}))],
            None,
        ),
        expect![[r#"tell Mismatch { volume: "pv", why: "requested PV is too small" }"#]],
    );
    check(seen(claim(json!({"volumeName": "pv"})), &[], None), expect![[""]]);
}

#[test]
fn a_late_binding_waits_for_the_scheduler() {
    let wish = claim(json!({"storageClassName": "fast"}));
    let late = class("kubernetes.io/no-provisioner", "WaitForFirstConsumer");
    let free = volume("free", "2Gi", json!({"storageClassName": "fast"}));
    check(
        seen(wish.clone(), &[free], Some(late.clone())),
        expect!["tell WaitsForConsumer"],
    );
    let chosen = volume(
        "chosen",
        "2Gi",
        json!({"storageClassName": "fast", "claimRef": {"namespace": "demo", "name": "data", "uid": "c"}}),
    );
    check(
        seen(wish, &[chosen], Some(late)),
        expect![[r#"
        claim names "chosen" pv.kubernetes.io/bind-completed pv.kubernetes.io/bound-by-controller
        claim is Bound"#]],
    );
}

#[test]
fn somebody_else_provisions() {
    let wish = claim(json!({"storageClassName": "fast"}));
    check(
        seen(wish, &[], Some(class("example.com/disks", "Immediate"))),
        expect![[r#"
            claim names "" volume.beta.kubernetes.io/storage-provisioner volume.kubernetes.io/storage-provisioner
            tell WaitsForProvisioner { name: "example.com/disks" }"#]],
    );
}

#[test]
fn a_claim_whose_volume_is_gone_is_lost() {
    let mut bound = claim(json!({"volumeName": "pv"}));
    bound.metadata.annotations = Some([("pv.kubernetes.io/bind-completed".to_owned(), "yes".to_owned())].into());
    check(
        seen(bound, &[], None),
        expect![[r#"
        claim is Lost
        tell Lost { reason: "ClaimLost", message: "Bound claim has lost its PersistentVolume. Data on the volume is lost!" }"#]],
    );
}

#[test]
fn a_volume_follows_its_claim() {
    let of_data = |policy: &str| {
        volume(
            "pv",
            "2Gi",
            json!({"claimRef": {"namespace": "demo", "name": "data", "uid": "c"}, "persistentVolumeReclaimPolicy": policy}),
        )
    };
    let check = |volume: &Arc<PersistentVolume>, claim: Option<PersistentVolumeClaim>, expected: Expect| {
        let seen = VolumeSeen {
            volume: Arc::clone(volume),
            claim: claim.map(Arc::new),
        };
        let lines: Vec<String> = plan_volume(&seen).actions.iter().map(render).collect();
        expected.assert_eq(&lines.join("\n"));
    };
    check(
        &of_data("Retain"),
        Some(claim(json!({"volumeName": "pv"}))),
        expect![[""]],
    );
    check(&of_data("Retain"), None, expect!["volume pv is Released"]);
    let mut released = of_data("Delete");
    check(&released, None, expect!["volume pv is Released"]);
    Arc::make_mut(&mut released).status.get_or_insert_default().phase = Some("Released".to_owned());
    check(&released, None, expect!["delete volume pv"]);
    check(
        &of_data("Retain"),
        Some(claim(json!({"volumeName": "other"}))),
        expect!["volume pv names data/"],
    );
    check(&volume("new", "1Gi", json!({})), None, expect![[""]]);
}

#[test]
fn a_late_claim_tells_which_pods_it_waits_for() {
    let wish = claim(json!({"storageClassName": "fast"}));
    let late = class("timonel.dev/local-path", "WaitForFirstConsumer");
    let mut world = seen(wish, &[], Some(late));
    world.waiting = vec!["db-0".to_owned()];
    check(world, expect![[r#"tell WaitsForPods { names: ["db-0"] }"#]]);
}

#[test]
fn who_made_a_volume_ends_it_and_what_nobody_ends_has_failed() {
    let of_data = |policy: &str, source: &str, by: Option<&str>| {
        let mut volume = volume(
            "pv",
            "2Gi",
            json!({"claimRef": {"namespace": "demo", "name": "data", "uid": "c"}, "persistentVolumeReclaimPolicy": policy,
                "hostPath": null, source: {"path": "/x", "server": "s", "driver": "d", "volumeHandle": "h"}}),
        );
        let changed = Arc::make_mut(&mut volume);
        changed.status.get_or_insert_default().phase = Some("Released".to_owned());
        let by = by.map(|by| [("pv.kubernetes.io/provisioned-by".to_owned(), by.to_owned())].into());
        changed.metadata.annotations = by;
        VolumeSeen { volume, claim: None }
    };
    let lines = |seen: VolumeSeen| {
        plan_volume(&seen)
            .actions
            .iter()
            .map(render)
            .collect::<Vec<_>>()
            .join("\n")
    };
    expect![[""]].assert_eq(&lines(of_data("Delete", "hostPath", Some("timonel.dev/local-path"))));
    expect![[""]].assert_eq(&lines(of_data("Delete", "csi", Some("csi.example.com"))));
    expect!["delete volume pv"].assert_eq(&lines(of_data("Delete", "local", None)));
    expect![[r#"volume pv is Failed: VolumeFailedDelete: error getting deleter volume plugin for volume "pv": no volume plugin matched"#]]
        .assert_eq(&lines(of_data("Delete", "csi", None)));
    expect!["volume pv is Failed: VolumeFailedRecycle: No recycler plugin found for the volume!"]
        .assert_eq(&lines(of_data("Recycle", "nfs", None)));
}
