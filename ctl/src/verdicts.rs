//! What the scheduler decided about a pod, node by node, as `plan` and `why` print it.

use serde_json::Value;

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(text).collect()
}

/// Where the pod goes, or why nowhere.
pub(crate) fn outcome(account: &Value) -> String {
    let node = account["node"].as_str();
    node.map_or_else(|| text(&account["message"]), str::to_owned)
}

/// A line for each node that was kept: its score and what that is made of, or who refused it and why.
pub(crate) fn lines(account: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(node) = account["nominatedNode"].as_str() {
        lines.push(format!(
            "would preempt on {node}: {}",
            texts(&account["victims"]).join(", ")
        ));
    }
    lines.extend(account["nodes"].as_array().into_iter().flatten().map(of_node));
    if let Some(left_out @ 1..) = account["leftOut"].as_u64() {
        lines.push(format!("{left_out} more nodes are left out here"));
    }
    lines
}

fn of_node(node: &Value) -> String {
    let name = text(&node["node"]);
    if let Some(plugin) = node["plugin"].as_str() {
        let detail = node["detail"].as_str();
        let detail = detail.map_or(String::new(), |detail| format!(" ({detail})"));
        return format!("{name}: {plugin}: {}{detail}", texts(&node["reasons"]).join(", "));
    }
    let part = |part: &Value| format!("{} {}x{}", text(&part["plugin"]), part["score"], part["weight"]);
    let parts: Vec<String> = node["parts"].as_array().into_iter().flatten().map(part).collect();
    let made_of = if parts.is_empty() {
        String::new()
    } else {
        format!(" = {}", parts.join(" + "))
    };
    format!("{name}: {}{made_of}", node["score"])
}
