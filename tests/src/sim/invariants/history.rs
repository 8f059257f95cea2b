//! The history of the store as the invariants read it: one write after the other, with what was there before and who wrote.

use std::collections::BTreeMap;

use serde_json::Value;
use timonel_api::Revision;

use super::Violation;
use crate::sim::world::Write;

/// One write, and what it replaced.
pub struct Moment<'a> {
    /// The revision that the store gave it.
    pub revision: Revision,
    /// Group and resource: `apps/replicasets`.
    pub resource: &'a str,
    /// The store's key.
    pub key: &'a str,
    /// What is there now; none after a deletion.
    pub now: Option<&'a Value>,
    /// What was there before.
    pub before: Option<&'a Value>,
    /// Who asked for the deletion, if this is one.
    pub deleter: Option<&'static str>,
}

/// Text at a path within an object, empty where there is none.
pub fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// A number at a path within an object.
pub fn number(object: &Value, path: &str) -> Option<usize> {
    object
        .pointer(path)
        .and_then(Value::as_u64)
        .and_then(|number| usize::try_from(number).ok())
}

/// The uid and name of an object's controller.
pub fn controller(object: &Value) -> Option<(&str, &str)> {
    let owners = object.pointer("/metadata/ownerReferences")?.as_array()?;
    let owner = owners.iter().find(|owner| owner["controller"] == true)?;
    Some((owner["uid"].as_str()?, owner["name"].as_str()?))
}

/// Whether a pod counts: neither ended nor being deleted.
pub fn is_live(pod: &Value) -> bool {
    pod["metadata"]["deletionTimestamp"].is_null() && !["Succeeded", "Failed"].contains(&text(pod, "/status/phase"))
}

/// Whether a pod is ready.
pub fn is_ready(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

impl Moment<'_> {
    /// Who wrote: the manager whose fields this write changed, or who deleted.
    pub fn writer(&self) -> &str {
        if self.begins_deletion() {
            return self.deleter.unwrap_or("a user");
        }
        let managers = |object: Option<&Value>| -> Vec<Value> {
            let list = object.and_then(|object| object["metadata"]["managedFields"].as_array().cloned());
            list.unwrap_or_default()
        };
        let before = managers(self.before);
        let fields = self.now.and_then(|now| now["metadata"]["managedFields"].as_array());
        fields
            .into_iter()
            .flatten()
            .find(|manager| !before.contains(manager))
            .and_then(|manager| manager["manager"].as_str())
            .unwrap_or("somebody")
    }

    /// Whether this write made the object.
    pub fn is_creation(&self) -> bool {
        match (self.before, self.now) {
            (None, Some(_)) => true,
            (Some(before), Some(now)) => text(before, "/metadata/uid") != text(now, "/metadata/uid"),
            _ => false,
        }
    }

    /// Whether this write began the deletion of the object, or was all of it.
    pub fn begins_deletion(&self) -> bool {
        let going = |object: &Value| !object["metadata"]["deletionTimestamp"].is_null();
        self.before
            .is_some_and(|before| !going(before) && self.now.is_none_or(going))
    }
}

/// What must hold at every revision. It is shown every write in its order and keeps what it needs.
pub trait Invariant {
    /// What it says, as a sentence.
    fn says(&self) -> &'static str;

    /// Looks at a write and at everything that is there after it, by key.
    ///
    /// # Errors
    /// What is wrong, in words that name the objects.
    fn look(&mut self, moment: &Moment<'_>, there: &BTreeMap<String, Value>) -> Result<(), Violation>;
}

/// Shows a history to invariants.
///
/// # Errors
/// The first violation: what it breaks, at which revision, and who wrote that.
pub fn read(writes: &[Write], invariants: &mut [Box<dyn Invariant>]) -> Result<(), Violation> {
    let mut there: BTreeMap<String, Value> = BTreeMap::new();
    for write in writes {
        let resource = resource_of(&write.key);
        if resource == "coordination.k8s.io/leases" || resource == "core/events" {
            continue;
        }
        let before = there.remove(&write.key);
        // Secrets are sealed in the store, and nothing is said of them.
        let now = write
            .value
            .as_deref()
            .and_then(|value| serde_json::from_str::<Value>(value).ok());
        if let Some(now) = &now {
            there.insert(write.key.clone(), now.clone());
        }
        let moment = Moment {
            revision: write.revision,
            resource,
            key: &write.key,
            now: now.as_ref(),
            before: before.as_ref(),
            deleter: write.deleter,
        };
        for invariant in &mut *invariants {
            invariant.look(&moment, &there).map_err(|violation| {
                format!(
                    "{}: at revision {}, written by {}: {violation}",
                    invariant.says(),
                    write.revision,
                    moment.writer()
                )
            })?;
        }
    }
    Ok(())
}

fn resource_of(key: &str) -> &str {
    let rest = key.strip_prefix("/registry/").unwrap_or_default();
    let second = rest.match_indices('/').nth(1).map_or(rest.len(), |(at, _)| at);
    &rest[..second]
}

/// All objects of a resource.
pub fn of<'a>(there: &'a BTreeMap<String, Value>, resource: &str) -> impl Iterator<Item = (&'a str, &'a Value)> {
    let prefix = format!("/registry/{resource}/");
    let range = there.range(prefix.clone()..);
    range
        .take_while(move |(key, _)| key.starts_with(&prefix))
        .map(|(key, value)| (key.as_str(), value))
}
