use std::cell::RefCell;
use std::sync::Arc;

use expect_test::{Expect, expect};
use serde_json::json;
use timonel_client::law::settles_within;

use super::plan::{Action, Observed, plan};

fn observed(wants: &str, has: &str, by: &str) -> Observed {
    let claim = json!({
        "metadata": {"name": "data", "namespace": "demo", "uid": "u", "annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
        "spec": {"volumeName": "pv", "resources": {"requests": {"storage": wants}}},
        "status": {"phase": "Bound", "capacity": {"storage": has}}});
    let volume = json!({"metadata": {"name": "pv", "annotations": {"pv.kubernetes.io/provisioned-by": by}}, "spec": {"capacity": {"storage": has}}});
    Observed {
        claim: Arc::new(serde_json::from_value(claim).unwrap()),
        volume: Some(Arc::new(serde_json::from_value(volume).unwrap())),
        told: false,
    }
}

#[track_caller]
fn check(mut world: Observed, expected: Expect) {
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let done = RefCell::new(Vec::new());
    let apply = |world: &mut Observed, action: &Action| {
        done.borrow_mut().push(match action {
            Action::SetStatus(status) => {
                Arc::make_mut(&mut world.claim).status = Some((**status).clone());
                serde_json::to_string(status).unwrap()
            }
            Action::WriteVolume(volume) => {
                world.volume = Some(Arc::new((**volume).clone()));
                format!(
                    "volume has {:?}",
                    volume.spec.as_ref().unwrap().capacity.as_ref().unwrap()["storage"].0
                )
            }
            Action::Tell(what) => {
                world.told = true;
                format!("tell {what:?}")
            }
        });
    };
    settles_within(4, &mut world, |world| plan(world, now).actions, apply).unwrap();
    expected.assert_eq(&done.into_inner().join("\n"));
}

#[test]
fn a_claim_on_a_folder_grows_in_three_writes() {
    check(
        observed("2Gi", "1Gi", "timonel.dev/local-path"),
        expect![[r#"
            {"allocatedResourceStatuses":{"storage":"ControllerResizeInProgress"},"allocatedResources":{"storage":"2Gi"},"capacity":{"storage":"1Gi"},"conditions":[{"lastTransitionTime":"2026-01-01T00:00:00Z","status":"True","type":"Resizing"}],"phase":"Bound"}
            tell Resizing
            volume has "2Gi"
            {"allocatedResources":{"storage":"2Gi"},"capacity":{"storage":"2Gi"},"phase":"Bound"}
            tell Done"#]],
    );
}

#[test]
fn what_has_enough_is_left_alone_and_what_is_not_ours_is_left_to_others() {
    check(observed("1Gi", "1Gi", "timonel.dev/local-path"), expect![[""]]);
    check(observed("1Gi", "2Gi", "timonel.dev/local-path"), expect![[""]]);
    check(observed("2Gi", "1Gi", "csi.example.com"), expect!["tell SomebodyElse"]);
}
