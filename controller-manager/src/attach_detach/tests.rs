use std::sync::Arc;

use expect_test::{Expect, expect};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, PersistentVolume};
use serde_json::{Value, json};
use timonel_client::law::settles;

use super::plan::{Action, Attached, Observed, Say, Wanted, attachment_name, plan, unique_name};
use crate::owner;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_750_000_000 + seconds).unwrap()
}

fn volume() -> Arc<PersistentVolume> {
    let spec = json!({"csi": {"driver": "csi.example.com", "volumeHandle": "h"}, "accessModes": ["ReadWriteOnce"]});
    Arc::new(serde_json::from_value(json!({"metadata": {"name": "pv"}, "spec": spec})).unwrap())
}

fn wanted(elsewhere: bool) -> Wanted {
    let pod = json!({"metadata": {"name": "p", "namespace": "demo", "uid": "u"}});
    Wanted {
        volume: volume(),
        pods: vec![Arc::new(serde_json::from_value(pod).unwrap())],
        elsewhere,
    }
}

fn attached(status: &Value) -> Attached {
    let name = attachment_name(&volume(), "n1");
    let attachment = json!({"metadata": {"name": name, "uid": "va"}, "status": status,
        "spec": {"attacher": "csi.example.com", "nodeName": "n1", "source": {"persistentVolumeName": "pv"}}});
    Attached {
        attachment: Arc::new(serde_json::from_value(attachment).unwrap()),
        unique_name: unique_name(&volume()),
    }
}

fn node(spec: &Value, status: &Value) -> Arc<Node> {
    Arc::new(serde_json::from_value(json!({"metadata": {"name": "n1"}, "spec": spec, "status": status})).unwrap())
}

fn observed(wanted: Vec<Wanted>, attachments: Vec<Attached>, status: &Value) -> Observed {
    Observed {
        name: "n1".to_owned(),
        node: Some(node(&json!({}), status)),
        wanted,
        attachments,
        ..Observed::default()
    }
}

fn render(action: &Action) -> String {
    match action {
        Action::Attach(attachment) => format!("attach {:?}", attachment.spec.source.persistent_volume_name),
        Action::Detach(attachment) => format!("detach {:?}", attachment.spec.source.persistent_volume_name),
        Action::Report(attached) => {
            let names: Vec<&str> = attached.iter().map(|one| one.name.as_str()).collect();
            format!("report {names:?}")
        }
        Action::Tell { pod, what } => format!("tell {} {what:?}", owner::name(&pod.metadata)),
    }
}

#[track_caller]
fn check(mut world: Observed, expected: Expect) {
    let decided = plan(&world, at(0));
    let mut lines: Vec<String> = decided.actions.iter().map(render).collect();
    lines.extend(decided.requeue.map(|wait| format!("look again in {wait:?}")));
    expected.assert_eq(&lines.join("\n"));
    let apply = |world: &mut Observed, action: &Action| match action {
        Action::Attach(attachment) => world.attachments.push(Attached {
            attachment: Arc::new((**attachment).clone()),
            unique_name: unique_name(&volume()),
        }),
        Action::Detach(gone) => world
            .attachments
            .retain(|one| one.attachment.metadata.name != gone.metadata.name),
        Action::Report(attached) => {
            let mut node = Node::clone(world.node.as_ref().unwrap());
            node.status.get_or_insert_default().volumes_attached = Some(attached.clone());
            world.node = Some(Arc::new(node));
        }
        Action::Tell { what, .. } => {
            world.told.insert(what.clone());
        }
    };
    settles(&mut world, |world| plan(world, at(0)).actions, apply).unwrap();
}

#[test]
fn attachments_are_named_as_upstream_names_them() {
    let name = attachment_name(&volume(), "n1").unwrap();
    assert_eq!(name.len(), 68);
    assert_eq!(
        unique_name(&volume()).as_deref(),
        Some("kubernetes.io/csi/csi.example.com^h")
    );
}

#[test]
fn what_a_pod_needs_is_attached_and_reported() {
    check(
        observed(vec![wanted(false)], vec![], &json!({})),
        expect![[r#"attach Some("pv")"#]],
    );
    check(
        observed(vec![wanted(false)], vec![attached(&json!(null))], &json!({})),
        expect![[""]],
    );
    check(
        observed(
            vec![wanted(false)],
            vec![attached(&json!({"attached": true}))],
            &json!({}),
        ),
        expect![[r#"
            tell p Attached { pod: "u", volume: "pv" }
            report ["kubernetes.io/csi/csi.example.com^h"]"#]],
    );
    let failed = json!({"attached": false, "attachError": {"message": "no such disk"}});
    check(
        observed(vec![wanted(false)], vec![attached(&failed)], &json!({})),
        expect![[r#"tell p Failed { pod: "u", volume: "pv", why: "no such disk" }"#]],
    );
}

#[test]
fn what_another_node_has_alone_is_waited_for() {
    check(
        observed(vec![wanted(true)], vec![], &json!({})),
        expect![[r#"tell p MultiAttach { pod: "u", volume: "pv" }"#]],
    );
}

#[test]
fn what_nobody_needs_is_detached_when_it_is_not_mounted() {
    let names = json!(["kubernetes.io/csi/csi.example.com^h"]);
    let reported = json!([{"name": names[0], "devicePath": ""}]);
    let done = || vec![attached(&json!({"attached": true}))];
    check(
        observed(vec![], done(), &json!({"volumesAttached": reported})),
        expect![[r#"
            report []
            detach Some("pv")"#]],
    );
    let in_use = json!({"volumesAttached": reported, "volumesInUse": names});
    check(observed(vec![], done(), &in_use), expect!["look again in 360s"]);
    // Somebody else's is left alone.
    let mut foreign = attached(&json!({"attached": true}));
    Arc::make_mut(&mut foreign.attachment).metadata.name = Some("by-hand".to_owned());
    check(observed(vec![], vec![foreign], &json!({})), expect![[""]]);
}

#[test]
fn a_node_that_does_not_answer_loses_its_volumes_by_force() {
    let names = json!(["kubernetes.io/csi/csi.example.com^h"]);
    let in_use = |ready: &str| json!({"volumesInUse": names, "conditions": [{"type": "Ready", "status": ready}]});
    let after = |seconds: i64, status: &Value, spec: &Value| {
        let mut world = observed(vec![], vec![attached(&json!({"attached": false}))], status);
        let name = attachment_name(&volume(), "n1").unwrap();
        world.idle_since.insert(name, at(-seconds));
        world.node = Some(node(spec, status));
        world
    };
    let none = json!({});
    check(after(359, &in_use("Unknown"), &none), expect!["look again in 1s"]);
    check(after(360, &in_use("Unknown"), &none), expect![[r#"detach Some("pv")"#]]);
    check(after(360, &in_use("True"), &none), expect!["look again in 1s"]);
    let out = json!({"taints": [{"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}]});
    check(after(1, &in_use("Unknown"), &out), expect![[r#"detach Some("pv")"#]]);
}

#[test]
fn a_pod_is_told_once() {
    let mut world = observed(vec![wanted(true)], vec![], &json!({}));
    world.told.insert(Say::MultiAttach {
        pod: "u".to_owned(),
        volume: "pv".to_owned(),
    });
    check(world, expect![[""]]);
}
