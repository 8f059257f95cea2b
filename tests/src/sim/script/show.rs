//! What a scenario tells of objects and events.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use crate::sim::invariants::history::{is_ready, text};

/// What is at a path such as `status.readyReplicas`, as text. `ready` is whether a pod is; a path that ends in `#` counts.
pub(super) fn at(object: &Value, path: &str) -> String {
    if path == "ready" {
        return if is_ready(object) { "ready" } else { "unready" }.to_owned();
    }
    if let Some(ready) = path.strip_suffix("-endpoints") {
        let list = object["endpoints"].as_array().into_iter().flatten();
        let wanted = ready == "ready";
        return list
            .filter(|one| one["conditions"]["ready"] == wanted)
            .count()
            .to_string();
    }
    let (path, counts) = path.strip_suffix('#').map_or((path, false), |path| (path, true));
    let mut value = object;
    for part in path.split('.') {
        // A condition or a container by its type or name: `conditions[Complete]`.
        let (field, chosen) = part
            .strip_suffix(']')
            .and_then(|part| part.split_once('['))
            .unwrap_or((part, ""));
        value = &value[field];
        if !chosen.is_empty() {
            let list = value.as_array().into_iter().flatten();
            let mut named = list.filter(|one| one["type"] == chosen || one["name"] == chosen);
            value = named.next().unwrap_or(&Value::Null);
        }
    }
    match value {
        Value::Array(list) if counts => list.len().to_string(),
        Value::Null => if counts { "0" } else { "-" }.to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A pod's name without what is random in it: its last five letters, if a controller had it generated.
pub(super) fn name_of(object: &Value) -> String {
    let name = text(object, "/metadata/name");
    match object["metadata"]["generateName"].as_str() {
        Some(prefix) if name.starts_with(prefix) => format!("{prefix}*"),
        _ => name.to_owned(),
    }
}

/// A line per object; equal lines are told once, with how many there are.
pub(super) fn table(objects: &[Value], paths: &[&str]) -> String {
    let mut lines: BTreeMap<String, usize> = BTreeMap::new();
    for object in objects {
        let values: Vec<String> = paths
            .iter()
            .map(|path| {
                let short = path.rsplit('.').next().unwrap_or(path).trim_end_matches('#');
                let value = at(object, path);
                if *path == "ready" {
                    value
                } else {
                    format!("{short}={value}")
                }
            })
            .collect();
        *lines
            .entry(format!("{} {}", name_of(object), values.join(" ")))
            .or_default() += 1;
    }
    if lines.is_empty() {
        return "none\n".to_owned();
    }
    told(lines)
}

fn told(lines: BTreeMap<String, usize>) -> String {
    let mut text = String::new();
    for (line, count) in lines {
        let line = line.trim_end();
        let _ = if count == 1 {
            writeln!(text, "{line}")
        } else {
            writeln!(text, "{line} (x{count})")
        };
    }
    text
}

/// Words without what is random in them: the last part of generated names.
fn plain(words: &str) -> String {
    words
        .split(' ')
        .map(|word| {
            let bare = word.trim_end_matches(['"', ',', '.', ':']);
            let is_uid = bare.len() == 36 && bare.bytes().filter(|byte| *byte == b'-').count() == 4;
            match bare.rsplit_once('-') {
                _ if is_uid => "*".to_owned(),
                Some((prefix, suffix)) if is_random(suffix) => format!("{prefix}-*{}", &word[bare.len()..]),
                _ => word.to_owned(),
            }
        })
        .collect::<Vec<String>>()
        .join(" ")
}

/// Whether a name ends as `generateName` lets it end.
pub(super) fn is_random(suffix: &str) -> bool {
    suffix.len() == 5
        && suffix
            .bytes()
            .all(|byte| b"bcdfghjklmnpqrstvwxz2456789".contains(&byte))
}

/// What the controllers and the scheduler said since the last time, a line each: about what, reason, words.
pub(super) fn events(events: &[Value], before: &mut BTreeMap<String, u64>) -> String {
    let mut lines: BTreeMap<String, usize> = BTreeMap::new();
    for event in events {
        let source = text(event, "/source/component");
        if ["kubelet", ""].contains(&source) && text(event, "/reportingComponent") == "kubelet" {
            continue;
        }
        let count = event["count"].as_u64().unwrap_or(1);
        let new = count
            - before
                .insert(text(event, "/metadata/name").to_owned(), count)
                .unwrap_or(0)
                .min(count);
        if new == 0 || ["Scheduled", "RegisteredNode"].contains(&text(event, "/reason")) || source == "kubelet" {
            continue;
        }
        let about = &event["involvedObject"];
        let (kind, name) = (text(about, "/kind"), plain(text(about, "/name")));
        let words = plain(text(event, "/message"));
        let line = format!("{kind}/{name} {}: {words}", text(event, "/reason"));
        *lines.entry(line).or_default() += usize::try_from(new).unwrap_or(1);
    }
    told(lines)
}
