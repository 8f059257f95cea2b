//! Horizontal pod autoscalers, v2.

use serde_json::Value;

use super::page::Page;
use super::values::{list, number, or_unset, some, text, time};

pub(super) fn autoscaler(page: &mut Page, object: &Value) {
    page.field(0, "Name", text(object, "/metadata/name"));
    page.field(0, "Namespace", text(object, "/metadata/namespace"));
    page.labels("", "Labels", &object["metadata"]["labels"]);
    page.annotations("", &object["metadata"]["annotations"]);
    page.field(0, "CreationTimestamp", time(object, "/metadata/creationTimestamp"));
    let (kind, name) = (
        text(object, "/spec/scaleTargetRef/kind"),
        text(object, "/spec/scaleTargetRef/name"),
    );
    page.field(0, "Reference", format_args!("{kind}/{name}"));
    page.line(0, "Metrics:\t( current / target )");
    let current = list(object, "/status/currentMetrics");
    for (index, metric) in list(object, "/spec/metrics").iter().enumerate() {
        page.line(1, line(metric, current.get(index).unwrap_or(&Value::Null)));
    }
    page.field(0, "Min replicas", or_unset(object, "/spec/minReplicas"));
    page.field(0, "Max replicas", number(object, "/spec/maxReplicas"));
    let behavior = &object["spec"]["behavior"];
    if behavior.is_object() {
        page.line(0, "Behavior:");
        direction(page, "Scale Up", &behavior["scaleUp"]);
        direction(page, "Scale Down", &behavior["scaleDown"]);
    }
    page.field(
        0,
        &format!("{kind} pods"),
        format_args!(
            "{} current / {} desired",
            number(object, "/status/currentReplicas"),
            number(object, "/status/desiredReplicas")
        ),
    );
    let conditions = list(object, "/status/conditions");
    if !conditions.is_empty() {
        page.line(0, "Conditions:");
        page.line(1, "Type\tStatus\tReason\tMessage");
        page.line(1, "----\t------\t------\t-------");
        for condition in conditions {
            let cells = ["/type", "/status", "/reason", "/message"].map(|field| text(condition, field));
            page.line(1, cells.join("\t"));
        }
    }
}

/// One metric: what it is, how it stands, where it is to be.
fn line(metric: &Value, now: &Value) -> String {
    const UNKNOWN: &str = "<unknown>";
    let value = |at: &Value, pointer: &str| some(at, pointer).unwrap_or_else(|| UNKNOWN.to_owned());
    let target_value = |source: &str, now: &str| {
        if metric.pointer(&format!("{source}/target/averageValue")).is_some() {
            (
                "average value",
                format!("{source}/target/averageValue"),
                format!("{now}/current/averageValue"),
            )
        } else {
            (
                "value",
                format!("{source}/target/value"),
                format!("{now}/current/value"),
            )
        }
    };
    let resource = |field: &str, subject: String| {
        let source = &metric[field];
        if source["target"]["averageValue"].is_string() {
            let current = value(now, &format!("/{field}/current/averageValue"));
            return format!("{subject}:\t{current} / {}", value(source, "/target/averageValue"));
        }
        let used = some(now, &format!("/{field}/current/averageUtilization"));
        let current = used.map_or_else(
            || UNKNOWN.to_owned(),
            |used| format!("{used}% ({})", value(now, &format!("/{field}/current/averageValue"))),
        );
        let target =
            some(source, "/target/averageUtilization").map_or_else(|| "<auto>".to_owned(), |t| format!("{t}%"));
        format!("{subject}  (as a percentage of request):\t{current} / {target}")
    };
    match text(metric, "/type") {
        "Resource" => resource(
            "resource",
            format!("resource {} on pods", text(metric, "/resource/name")),
        ),
        "ContainerResource" => resource(
            "containerResource",
            format!(
                "resource {} of container {:?} on pods",
                text(metric, "/containerResource/name"),
                text(metric, "/containerResource/container")
            ),
        ),
        "Pods" => format!(
            "{:?} on pods:\t{} / {}",
            text(metric, "/pods/metric/name"),
            value(now, "/pods/current/averageValue"),
            value(metric, "/pods/target/averageValue")
        ),
        "Object" => {
            let (what, target, current) = target_value("/object", "/object");
            format!(
                "{:?} on {}/{} (target {what}):\t{} / {}",
                text(metric, "/object/metric/name"),
                text(metric, "/object/describedObject/kind"),
                text(metric, "/object/describedObject/name"),
                value(now, &current),
                value(metric, &target)
            )
        }
        "External" => {
            let (what, target, current) = target_value("/external", "/external");
            format!(
                "{:?} (target {what}):\t{} / {}",
                text(metric, "/external/metric/name"),
                value(now, &current),
                value(metric, &target)
            )
        }
        other => format!("<unknown metric type {other:?}>"),
    }
}

fn direction(page: &mut Page, title: &str, rules: &Value) {
    if !rules.is_object() {
        return;
    }
    page.line(1, format_args!("{title}:"));
    if let Some(seconds) = some(rules, "/stabilizationWindowSeconds") {
        page.line(2, format_args!("Stabilization Window: {seconds} seconds"));
    }
    let policies = list(rules, "/policies");
    if policies.is_empty() {
        return;
    }
    let select = some(rules, "/selectPolicy");
    page.line(2, format_args!("Select Policy: {}", select.as_deref().unwrap_or("Max")));
    page.line(2, "Policies:");
    for policy in policies {
        page.line(
            3,
            format_args!(
                "- Type: {}\tValue: {}\tPeriod: {} seconds",
                text(policy, "/type"),
                number(policy, "/value"),
                number(policy, "/periodSeconds")
            ),
        );
    }
}
