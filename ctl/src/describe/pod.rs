//! Pods, and the pod templates of controllers.

use serde_json::Value;

use super::Related;
use super::containers::containers;
use super::page::Page;
use super::values::{age, controller, format_selector, list, number, or_none, some, text, time};
use super::volumes::volumes;

pub(super) fn pod(page: &mut Page, pod: &Value, related: &Related) {
    page.field(0, "Name", text(pod, "/metadata/name"));
    page.field(0, "Namespace", text(pod, "/metadata/namespace"));
    for (title, pointer) in [
        ("Priority", "/spec/priority"),
        ("Priority Class Name", "/spec/priorityClassName"),
        ("Runtime Class Name", "/spec/runtimeClassName"),
        ("Service Account", "/spec/serviceAccountName"),
    ] {
        if let Some(value) = some(pod, pointer).filter(|value| !value.is_empty()) {
            page.field(0, title, value);
        }
    }
    match text(pod, "/spec/nodeName") {
        "" => page.field(0, "Node", "<none>"),
        node => page.field(0, "Node", format_args!("{node}/{}", text(pod, "/status/hostIP"))),
    }
    if pod["status"]["startTime"].is_string() {
        page.field(0, "Start Time", time(pod, "/status/startTime"));
    }
    page.labels("", "Labels", &pod["metadata"]["labels"]);
    page.annotations("", &pod["metadata"]["annotations"]);
    let phase = text(pod, "/status/phase");
    if pod["metadata"]["deletionTimestamp"].is_string() && phase != "Failed" && phase != "Succeeded" {
        let lasts = age(pod, "/metadata/deletionTimestamp", related.now);
        page.field(0, "Status", format_args!("Terminating (lasts {lasts})"));
        let grace = number(pod, "/metadata/deletionGracePeriodSeconds");
        page.field(0, "Termination Grace Period", format_args!("{grace}s"));
    } else {
        page.field(0, "Status", phase);
    }
    for (title, pointer) in [("Reason", "/status/reason"), ("Message", "/status/message")] {
        let value = text(pod, pointer);
        if !value.is_empty() {
            page.field(0, title, value);
        }
    }
    let profile = &pod["spec"]["securityContext"]["seccompProfile"];
    if profile.is_object() {
        page.field(0, "SeccompProfile", text(profile, "/type"));
        if profile["type"] == "Localhost" {
            page.field(0, "LocalhostProfile", text(profile, "/localhostProfile"));
        }
    }
    page.field(0, "IP", text(pod, "/status/podIP"));
    let addresses = list(pod, "/status/podIPs");
    if addresses.is_empty() {
        page.field(0, "IPs", "<none>");
    } else {
        page.line(0, "IPs:");
        for address in addresses {
            page.field(1, "IP", text(address, "/ip"));
        }
    }
    if let Some(controller) = controller(pod) {
        page.field(0, "Controlled By", controller);
    }
    if let Some(node) = some(pod, "/status/nominatedNodeName").filter(|node| !node.is_empty()) {
        page.field(0, "NominatedNodeName", node);
    }
    for (title, spec, status) in [
        (
            "Init Containers",
            "/spec/initContainers",
            "/status/initContainerStatuses",
        ),
        ("Containers", "/spec/containers", "/status/containerStatuses"),
        (
            "Ephemeral Containers",
            "/spec/ephemeralContainers",
            "/status/ephemeralContainerStatuses",
        ),
    ] {
        let all = list(pod, spec);
        if !all.is_empty() || title == "Containers" {
            containers(page, title, all, list(pod, status), "");
        }
    }
    conditions(page, pod);
    volumes(page, list(pod, "/spec/volumes"), "");
    page.field(0, "QoS Class", quality(pod));
    page.labels("", "Node-Selectors", &pod["spec"]["nodeSelector"]);
    tolerations(page, "", list(pod, "/spec/tolerations"));
    spread(page, "", list(pod, "/spec/topologySpreadConstraints"));
}

fn conditions(page: &mut Page, pod: &Value) {
    let conditions = list(pod, "/status/conditions");
    let gates = list(pod, "/spec/readinessGates");
    if !gates.is_empty() {
        page.line(0, "Readiness Gates:");
        page.line(1, "Type\tStatus");
        for gate in gates {
            let kind = text(gate, "/conditionType");
            let found = conditions.iter().find(|condition| condition["type"] == kind);
            let status = found.map_or("<none>", |condition| text(condition, "/status"));
            page.line(1, format_args!("{kind} \t{status} "));
        }
    }
    if !conditions.is_empty() {
        page.line(0, "Conditions:");
        page.line(1, "Type\tStatus");
        for condition in conditions {
            page.line(
                1,
                format_args!("{} \t{} ", text(condition, "/type"), text(condition, "/status")),
            );
        }
    }
}

/// The class that the status states, or the one that the spec makes.
fn quality(pod: &Value) -> String {
    if let Some(class) = some(pod, "/status/qosClass").filter(|class| !class.is_empty()) {
        return class;
    }
    serde_json::from_value(pod.clone()).map_or_else(
        |_| String::new(),
        |typed| timonel_api::pod::qos_class(&typed).to_owned(),
    )
}

/// The template of a controller's pods.
pub(super) fn template(page: &mut Page, template: &Value) {
    page.line(0, "Pod Template:");
    if template.is_null() {
        page.put("  <unset>");
        return;
    }
    page.labels("  ", "Labels", &template["metadata"]["labels"]);
    if template["metadata"]["annotations"]
        .as_object()
        .is_some_and(|map| !map.is_empty())
    {
        page.annotations("  ", &template["metadata"]["annotations"]);
    }
    let account = text(template, "/spec/serviceAccountName");
    if !account.is_empty() {
        page.field(1, "Service Account", account);
    }
    let init = list(template, "/spec/initContainers");
    if !init.is_empty() {
        containers(page, "Init Containers", init, &[], "  ");
    }
    containers(page, "Containers", list(template, "/spec/containers"), &[], "  ");
    volumes(page, list(template, "/spec/volumes"), "  ");
    spread(page, "  ", list(template, "/spec/topologySpreadConstraints"));
    let class = text(template, "/spec/priorityClassName");
    if !class.is_empty() {
        page.field(1, "Priority Class Name", class);
    }
    page.labels("  ", "Node-Selectors", &template["spec"]["nodeSelector"]);
    tolerations(page, "  ", list(template, "/spec/tolerations"));
}

fn tolerations(page: &mut Page, indent: &str, tolerations: &[Value]) {
    let mut sorted: Vec<&Value> = tolerations.iter().collect();
    sorted.sort_by_key(|toleration| text(toleration, "/key"));
    let lines: Vec<String> = sorted
        .into_iter()
        .map(|toleration| {
            let (key, value, effect) = (
                text(toleration, "/key"),
                text(toleration, "/value"),
                text(toleration, "/effect"),
            );
            let mut line = key.to_owned();
            if !value.is_empty() {
                line += &format!("={value}");
            }
            if !effect.is_empty() {
                line += &format!(":{effect}");
            }
            if toleration["operator"] == "Exists" && value.is_empty() {
                line += if line.is_empty() { "op=Exists" } else { " op=Exists" };
            }
            if let Some(seconds) = some(toleration, "/tolerationSeconds") {
                line += &format!(" for {seconds}s");
            }
            line
        })
        .collect();
    page.several(indent, "Tolerations", &lines);
}

fn spread(page: &mut Page, indent: &str, constraints: &[Value]) {
    if constraints.is_empty() {
        return;
    }
    let mut sorted: Vec<&Value> = constraints.iter().collect();
    sorted.sort_by_key(|constraint| text(constraint, "/topologyKey"));
    let lines: Vec<String> = sorted
        .into_iter()
        .map(|constraint| {
            let mut line = format!(
                "{}:{} when max skew {} is exceeded",
                text(constraint, "/topologyKey"),
                or_none(text(constraint, "/whenUnsatisfiable")),
                number(constraint, "/maxSkew")
            );
            if constraint["labelSelector"].is_object() {
                line += &format!(" for selector {}", format_selector(&constraint["labelSelector"]));
            }
            line
        })
        .collect();
    page.several(indent, "Topology Spread Constraints", &lines);
}
