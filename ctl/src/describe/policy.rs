//! Disruption budgets, priority classes, network policies, signing requests.

use serde_json::Value;

use super::page::Page;
use super::values::{
    format_labels, format_selector, human_duration, is_true, joined, list, number, or_none, some, text, time, timestamp,
};

pub(super) fn disruption_budget(page: &mut Page, budget: &Value) {
    page.field(0, "Name", text(budget, "/metadata/name"));
    page.field(0, "Namespace", text(budget, "/metadata/namespace"));
    if let Some(least) = some(budget, "/spec/minAvailable") {
        page.field(0, "Min available", least);
    } else if let Some(most) = some(budget, "/spec/maxUnavailable") {
        page.field(0, "Max unavailable", most);
    }
    let selects = budget["spec"]["selector"]
        .is_object()
        .then(|| format_selector(&budget["spec"]["selector"]));
    page.field(0, "Selector", selects.as_deref().unwrap_or("<unset>"));
    page.line(0, "Status:");
    for (title, pointer) in [
        ("Allowed disruptions", "/status/disruptionsAllowed"),
        ("Current", "/status/currentHealthy"),
        ("Desired", "/status/desiredHealthy"),
        ("Total", "/status/expectedPods"),
    ] {
        page.field(2, title, number(budget, pointer));
    }
}

pub(super) fn priority_class(page: &mut Page, class: &Value) {
    page.field(0, "Name", text(class, "/metadata/name"));
    page.field(0, "Value", number(class, "/value"));
    page.field(0, "GlobalDefault", is_true(class, "/globalDefault"));
    page.field(0, "PreemptionPolicy", text(class, "/preemptionPolicy"));
    page.field(0, "Description", text(class, "/description"));
    page.field(0, "Annotations", format_labels(&class["metadata"]["annotations"]));
}

pub(super) fn network_policy(page: &mut Page, policy: &Value) {
    page.field(0, "Name", text(policy, "/metadata/name"));
    page.field(0, "Namespace", text(policy, "/metadata/namespace"));
    let created = timestamp(policy, "/metadata/creationTimestamp").map(|time| {
        time.to_zoned(jiff::tz::TimeZone::system())
            .strftime("%Y-%m-%d %H:%M:%S %z %Z")
            .to_string()
    });
    page.field(0, "Created on", created.as_deref().unwrap_or("<unknown>"));
    page.labels("", "Labels", &policy["metadata"]["labels"]);
    page.annotations("", &policy["metadata"]["annotations"]);
    page.line(0, "Spec:");
    let selects = match format_selector(&policy["spec"]["podSelector"]).as_str() {
        "<none>" => "<none> (Allowing the specific traffic to all pods in this namespace)".to_owned(),
        selector => selector.to_owned(),
    };
    page.line(1, format_args!("PodSelector:     {selects}"));
    let types = list(policy, "/spec/policyTypes");
    for (kind, word, peer, rules) in [
        ("Ingress", "ingress", "From", list(policy, "/spec/ingress")),
        ("Egress", "egress", "To", list(policy, "/spec/egress")),
    ] {
        if types.iter().any(|one| one == kind) {
            page.line(1, format_args!("Allowing {word} traffic:"));
            traffic(page, word, peer, rules);
        } else {
            page.line(1, format_args!("Not affecting {word} traffic"));
        }
    }
    page.line(1, format_args!("Policy Types: {}", or_none(&joined(types, ", "))));
}

fn traffic(page: &mut Page, word: &str, peer: &str, rules: &[Value]) {
    if rules.is_empty() {
        page.line(
            2,
            format_args!("<none> (Selected pods are isolated for {word} connectivity)"),
        );
    }
    for (index, rule) in rules.iter().enumerate() {
        let ports = list(rule, "/ports");
        if ports.is_empty() {
            page.line(2, "To Port: <any> (traffic allowed to all ports)");
        }
        for port in ports {
            let protocol = port["protocol"].as_str().unwrap_or("TCP");
            let first = some(port, "/port").unwrap_or_else(|| "<nil>".to_owned());
            match some(port, "/endPort") {
                None => page.line(2, format_args!("To Port: {first}/{protocol}")),
                Some(last) => page.line(2, format_args!("To Port Range: {first}-{last}/{protocol}")),
            }
        }
        let peers = list(rule, if peer == "From" { "/from" } else { "/to" });
        if peers.is_empty() {
            let place = if peer == "From" { "source" } else { "destination" };
            page.line(2, format_args!("{peer}: <any> (traffic not restricted by {place})"));
        }
        for one in peers {
            page.line(2, format_args!("{peer}:"));
            for (title, field) in [
                ("NamespaceSelector", "namespaceSelector"),
                ("PodSelector", "podSelector"),
            ] {
                if one[field].is_object() {
                    page.line(3, format_args!("{title}: {}", format_selector(&one[field])));
                }
            }
            if one["ipBlock"].is_object() {
                page.line(3, "IPBlock:");
                page.line(4, format_args!("CIDR: {}", text(one, "/ipBlock/cidr")));
                page.line(
                    4,
                    format_args!("Except: {}", joined(list(one, "/ipBlock/except"), ", ")),
                );
            }
        }
        if index + 1 < rules.len() {
            page.line(2, "----------");
        }
    }
}

pub(super) fn signing_request(page: &mut Page, request: &Value) {
    page.field(0, "Name", text(request, "/metadata/name"));
    page.field(0, "Labels", format_labels(&request["metadata"]["labels"]));
    page.field(0, "Annotations", format_labels(&request["metadata"]["annotations"]));
    page.field(0, "CreationTimestamp", time(request, "/metadata/creationTimestamp"));
    page.field(0, "Requesting User", text(request, "/spec/username"));
    page.field(0, "Signer", text(request, "/spec/signerName"));
    if request["spec"]["expirationSeconds"].is_number() {
        let seconds = number(request, "/spec/expirationSeconds");
        page.field(0, "Requested Duration", human_duration(seconds));
    }
    let has = |kind: &str| list(request, "/status/conditions").iter().any(|c| c["type"] == kind);
    let mut status = if has("Denied") {
        "Denied"
    } else if has("Approved") {
        "Approved"
    } else {
        "Pending"
    }
    .to_owned();
    if has("Failed") {
        status += ",Failed";
    }
    if !text(request, "/status/certificate").is_empty() {
        status += ",Issued";
    }
    page.field(0, "Status", status);
}
