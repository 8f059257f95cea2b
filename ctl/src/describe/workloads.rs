//! Controllers of pods.

use serde_json::Value;

use super::Related;
use super::page::Page;
use super::pod::template;
use super::values::{
    controller, format_labels, format_selector, list, number, or_none, selector, shown, some, text, time,
};

fn names(page: &mut Page, object: &Value) {
    page.field(0, "Name", text(object, "/metadata/name"));
    page.field(0, "Namespace", text(object, "/metadata/namespace"));
}

fn metadata(page: &mut Page, object: &Value) {
    page.labels("", "Labels", &object["metadata"]["labels"]);
    page.annotations("", &object["metadata"]["annotations"]);
}

/// `2 Running / 1 Waiting / 0 Succeeded / 0 Failed`, of the pods that the object controls.
fn pods_status(object: &Value, related: &Related) -> String {
    let uid = &object["metadata"]["uid"];
    let owned = |pod: &&Value| {
        let owners = list(pod, "/metadata/ownerReferences");
        owners
            .iter()
            .any(|owner| owner["controller"] == true && owner["uid"] == *uid)
    };
    let pods: Vec<&Value> = related.pods.iter().flatten().filter(owned).collect();
    let count = |phase: &str| pods.iter().filter(|pod| pod["status"]["phase"] == phase).count();
    format!(
        "{} Running / {} Waiting / {} Succeeded / {} Failed",
        count("Running"),
        count("Pending"),
        count("Succeeded"),
        count("Failed")
    )
}

fn conditions(page: &mut Page, object: &Value) {
    let conditions = list(object, "/status/conditions");
    if conditions.is_empty() {
        return;
    }
    page.line(0, "Conditions:");
    page.line(1, "Type\tStatus\tReason");
    page.line(1, "----\t------\t------");
    for condition in conditions {
        page.line(
            1,
            format_args!(
                "{} \t{}\t{}",
                text(condition, "/type"),
                text(condition, "/status"),
                text(condition, "/reason")
            ),
        );
    }
}

pub(super) fn deployment(page: &mut Page, object: &Value, related: &Related) {
    names(page, object);
    page.field(0, "CreationTimestamp", time(object, "/metadata/creationTimestamp"));
    metadata(page, object);
    page.field(0, "Selector", selector(&object["spec"]["selector"]));
    page.field(
        0,
        "Replicas",
        format_args!(
            "{} desired | {} updated | {} total | {} available | {} unavailable",
            number(object, "/spec/replicas"),
            number(object, "/status/updatedReplicas"),
            number(object, "/status/replicas"),
            number(object, "/status/availableReplicas"),
            number(object, "/status/unavailableReplicas")
        ),
    );
    page.field(0, "StrategyType", text(object, "/spec/strategy/type"));
    page.field(0, "MinReadySeconds", number(object, "/spec/minReadySeconds"));
    let rolling = &object["spec"]["strategy"]["rollingUpdate"];
    if rolling.is_object() {
        let value = |field: &str| some(rolling, field).unwrap_or_else(|| "<nil>".to_owned());
        page.field(
            0,
            "RollingUpdateStrategy",
            format_args!(
                "{} max unavailable, {} max surge",
                value("/maxUnavailable"),
                value("/maxSurge")
            ),
        );
    }
    template(page, &object["spec"]["template"]);
    conditions(page, object);
    let (new, old) = replica_sets_of(object, &related.replica_sets);
    if new.is_some() || !old.is_empty() {
        page.field(0, "OldReplicaSets", sets(&old));
        page.field(0, "NewReplicaSet", sets(&new.into_iter().collect::<Vec<_>>()));
    }
}

/// The ReplicaSet of the present template, and the others; both only of those that the Deployment owns.
fn replica_sets_of<'a>(deployment: &Value, all: &'a [Value]) -> (Option<&'a Value>, Vec<&'a Value>) {
    let uid = &deployment["metadata"]["uid"];
    let mut owned: Vec<&Value> = all
        .iter()
        .filter(|set| {
            let owners = list(set, "/metadata/ownerReferences");
            owners
                .iter()
                .any(|owner| owner["controller"] == true && owner["uid"] == *uid)
        })
        .collect();
    owned.sort_by_key(|set| {
        (
            text(set, "/metadata/creationTimestamp").to_owned(),
            text(set, "/metadata/name").to_owned(),
        )
    });
    let bare = |template: &Value| {
        let mut template = template.clone();
        if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
            labels.remove("pod-template-hash");
        }
        template
    };
    let wanted = bare(&deployment["spec"]["template"]);
    let new = owned.iter().position(|set| bare(&set["spec"]["template"]) == wanted);
    let new = new.map(|index| owned.remove(index));
    (new, owned)
}

fn sets(sets: &[&Value]) -> String {
    let texts: Vec<String> = sets
        .iter()
        .map(|set| {
            format!(
                "{} ({}/{} replicas created)",
                text(set, "/metadata/name"),
                number(set, "/status/replicas"),
                number(set, "/spec/replicas")
            )
        })
        .collect();
    or_none(&texts.join(", ")).to_owned()
}

fn current_and_desired(page: &mut Page, object: &Value, related: &Related) {
    page.field(
        0,
        "Replicas",
        format_args!(
            "{} current / {} desired",
            number(object, "/status/replicas"),
            number(object, "/spec/replicas")
        ),
    );
    page.field(0, "Pods Status", pods_status(object, related));
    template(page, &object["spec"]["template"]);
    conditions(page, object);
}

pub(super) fn replica_set(page: &mut Page, object: &Value, related: &Related) {
    names(page, object);
    page.field(0, "Selector", format_selector(&object["spec"]["selector"]));
    metadata(page, object);
    if let Some(controller) = controller(object) {
        page.field(0, "Controlled By", controller);
    }
    current_and_desired(page, object, related);
}

pub(super) fn replication_controller(page: &mut Page, object: &Value, related: &Related) {
    names(page, object);
    page.field(0, "Selector", format_labels(&object["spec"]["selector"]));
    metadata(page, object);
    current_and_desired(page, object, related);
}

pub(super) fn daemon_set(page: &mut Page, object: &Value, related: &Related) {
    names(page, object);
    page.field(0, "Selector", selector(&object["spec"]["selector"]));
    let nodes = format_labels(&object["spec"]["template"]["spec"]["nodeSelector"]);
    page.field(0, "Node-Selector", nodes);
    metadata(page, object);
    for (title, field) in [
        ("Desired Number of Nodes Scheduled", "/status/desiredNumberScheduled"),
        ("Current Number of Nodes Scheduled", "/status/currentNumberScheduled"),
        (
            "Number of Nodes Scheduled with Up-to-date Pods",
            "/status/updatedNumberScheduled",
        ),
        (
            "Number of Nodes Scheduled with Available Pods",
            "/status/numberAvailable",
        ),
        ("Number of Nodes Misscheduled", "/status/numberMisscheduled"),
    ] {
        page.line(0, format_args!("{title}: {}", number(object, field)));
    }
    page.field(0, "Pods Status", pods_status(object, related));
    template(page, &object["spec"]["template"]);
}

pub(super) fn stateful_set(page: &mut Page, object: &Value, related: &Related) {
    names(page, object);
    page.field(0, "CreationTimestamp", time(object, "/metadata/creationTimestamp"));
    page.field(0, "Selector", selector(&object["spec"]["selector"]));
    metadata(page, object);
    page.field(0, "Service Name", text(object, "/spec/serviceName"));
    page.field(
        0,
        "Replicas",
        format_args!(
            "{} desired | {} total",
            number(object, "/spec/replicas"),
            number(object, "/status/replicas")
        ),
    );
    page.field(0, "Update Strategy", text(object, "/spec/updateStrategy/type"));
    let rolling = &object["spec"]["updateStrategy"]["rollingUpdate"];
    if let Some(partition) = some(rolling, "/partition") {
        page.field(1, "Partition", partition);
        if let Some(unavailable) = some(rolling, "/maxUnavailable") {
            page.field(1, "MaxUnavailable", unavailable);
        }
    }
    page.field(0, "Pods Status", pods_status(object, related));
    template(page, &object["spec"]["template"]);
    let claims = list(object, "/spec/volumeClaimTemplates");
    if claims.is_empty() {
        page.line(0, "Volume Claims:\t<none>");
        return;
    }
    page.line(0, "Volume Claims:");
    for claim in claims {
        page.field(1, "Name", text(claim, "/metadata/name"));
        page.field(1, "StorageClass", text(claim, "/spec/storageClassName"));
        page.labels("  ", "Labels", &claim["metadata"]["labels"]);
        page.labels("  ", "Annotations", &claim["metadata"]["annotations"]);
        let capacity = some(claim, "/spec/resources/requests/storage");
        page.field(1, "Capacity", capacity.unwrap_or_else(|| "<default>".to_owned()));
        let modes: Vec<String> = list(claim, "/spec/accessModes").iter().map(shown).collect();
        page.field(1, "Access Modes", format_args!("[{}]", modes.join(" ")));
    }
}
