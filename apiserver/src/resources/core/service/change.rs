//! How an update of a Service is completed: what was allocated is kept where a client left it out, and what its new type has no use for goes.
//!
//! Rules: upstream's `patchAllocatedValues` and `dropTypeDependentFields` (pkg/registry/core/service).

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::super::value::{at, each, ensure, int, list, remove, set, text};
use super::{addresses, externally_accessible, needs_health_check};

fn needs_address(spec: &Value) -> bool {
    text(spec, "type") != "ExternalName"
}

fn needs_node_ports(spec: &Value) -> bool {
    matches!(text(spec, "type"), "NodePort" | "LoadBalancer")
}

fn node_ports(spec: &Value) -> BTreeSet<i64> {
    let ports = list(spec, "ports").iter().filter_map(|port| int(port, "nodePort"));
    ports.filter(|number| *number != 0).collect()
}

/// Completes an update.
pub(super) fn complete(new: &mut Value, old: &Value) {
    if let Some(spec) = ensure(new, "spec") {
        keep_allocated(spec, at(old, "spec"));
        addresses::normalise(spec, Some(at(old, "spec")));
        drop_useless(spec, at(old, "spec"));
    }
    if text(at(new, "spec"), "type") != "LoadBalancer"
        && let Some(status) = ensure(new, "status")
    {
        set(status, "loadBalancer", json!({}));
    }
}

fn keep_allocated(new: &mut Value, old: &Value) {
    if needs_address(old) && needs_address(new) {
        if text(new, "clusterIP").is_empty() && !text(old, "clusterIP").is_empty() {
            set(new, "clusterIP", at(old, "clusterIP").clone());
        }
        if list(new, "clusterIPs").is_empty() && !list(old, "clusterIPs").is_empty() {
            set(new, "clusterIPs", at(old, "clusterIPs").clone());
        }
    }
    if needs_node_ports(old) && needs_node_ports(new) {
        let mut used: BTreeSet<i64> = node_ports(old).intersection(&node_ports(new)).copied().collect();
        each(new, "ports", |port| {
            if int(port, "nodePort").unwrap_or(0) != 0 {
                return;
            }
            let mut named = list(old, "ports")
                .iter()
                .filter(|before| text(before, "name") == text(port, "name"));
            let number = named
                .next_back()
                .and_then(|before| int(before, "nodePort"))
                .unwrap_or(0);
            if number != 0 && used.insert(number) {
                set(port, "nodePort", number);
            }
        });
    }
    if needs_health_check(old) && needs_health_check(new) && int(new, "healthCheckNodePort").unwrap_or(0) == 0 {
        set(new, "healthCheckNodePort", at(old, "healthCheckNodePort").clone());
    }
}

/// Takes away what the type has no use for any more, where the client did not change it as well.
fn drop_useless(new: &mut Value, old: &Value) {
    let same = |new: &Value, field: &str| at(new, field) == at(old, field);
    if needs_address(old) && !needs_address(new) {
        if same(new, "clusterIP") && same(new, "clusterIPs") {
            remove(new, "clusterIP");
            remove(new, "clusterIPs");
        }
        for field in ["ipFamilies", "ipFamilyPolicy"] {
            if same(new, field) {
                remove(new, field);
            }
        }
    }
    if needs_node_ports(old) && !needs_node_ports(new) && node_ports(old).is_superset(&node_ports(new)) {
        each(new, "ports", |port| {
            remove(port, "nodePort");
        });
    }
    if needs_health_check(old) && !needs_health_check(new) && same(new, "healthCheckNodePort") {
        remove(new, "healthCheckNodePort");
    }
    if text(old, "type") == "LoadBalancer" && text(new, "type") != "LoadBalancer" {
        for field in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
            if same(new, field) {
                remove(new, field);
            }
        }
    }
    if externally_accessible(old) && !externally_accessible(new) && same(new, "externalTrafficPolicy") {
        remove(new, "externalTrafficPolicy");
    }
}
