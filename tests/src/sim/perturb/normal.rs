//! The end of a life without what differs from life to life: random names, uids, revisions, times, addresses, nodes.

use serde_json::Value;

use crate::sim::invariants::history::text;

/// Kinds that say nothing about the end: heartbeats, what was told on the way, what every cluster has.
const LEFT_OUT: &[&str] = &[
    "Lease",
    "Event",
    "Node",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "IPAddress",
    "ServiceCIDR",
    "PriorityClass",
    "ConfigMap",
    "ServiceAccount",
];

/// Fields that differ, wherever they are.
const RANDOM: &[&str] = &[
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "managedFields",
    "generation",
    "observedGeneration",
    "nodeName",
    "hostIP",
    "hostIPs",
    "podIP",
    "podIPs",
    "containerID",
    "clusterIP",
    "clusterIPs",
    "addresses",
    "ip",
    "selfLink",
    "restartCount",
    "collisionCount",
];

/// A line per object, sorted.
pub fn normalised(objects: &[Value]) -> Vec<String> {
    let mut lines: Vec<String> = objects
        .iter()
        .filter(|object| !LEFT_OUT.contains(&text(object, "/kind")) && !text(object, "/kind").is_empty())
        .map(|object| {
            let mut object = object.clone();
            let prefix = text(&object, "/metadata/generateName").to_owned();
            if !prefix.is_empty() {
                object["metadata"]["name"] = format!("{prefix}*").into();
            }
            plain(&mut object);
            object.to_string()
        })
        .collect();
    lines.sort();
    lines
}

fn plain(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !RANDOM.contains(&name.as_str()));
            fields.values_mut().for_each(plain);
        }
        Value::Array(list) => {
            list.iter_mut().for_each(plain);
            // Endpoints, conditions and volumes come in an order that may follow random names.
            list.sort_by_cached_key(ToString::to_string);
        }
        Value::String(words) => {
            let clean: Vec<String> = words.split(' ').map(word).collect();
            *words = clean.join(" ");
        }
        _ => {}
    }
}

fn word(word: &str) -> String {
    let bare = word.trim_matches(['"', ',', '.', ':']);
    let is_uid = bare.len() == 36 && bare.bytes().filter(|byte| *byte == b'-').count() == 4;
    if is_uid || bare.parse::<jiff::Timestamp>().is_ok() {
        return "*".to_owned();
    }
    match bare.rsplit_once('-') {
        Some((prefix, "*")) => format!("{prefix}-*"),
        Some((prefix, suffix))
            if suffix.len() == 5
                && suffix
                    .bytes()
                    .all(|byte| b"bcdfghjklmnpqrstvwxz2456789".contains(&byte)) =>
        {
            format!("{prefix}-*")
        }
        // A volume of service-account tokens: kube-api-access-x7k2p. Everything else is told as it is.
        _ => word.to_owned(),
    }
}
