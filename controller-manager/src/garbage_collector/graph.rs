//! Who depends on whom, kept up to date change by change.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use timonel_api::ObjectKey;

use crate::owner;

/// Dependents by their owner's uid, and objects by their own.
#[derive(Debug, Default)]
pub(super) struct Graph {
    dependents: BTreeMap<String, BTreeSet<ObjectKey>>,
    leaving: BTreeMap<String, ObjectKey>,
}

fn owners(meta: &ObjectMeta) -> BTreeSet<&str> {
    meta.owner_references
        .iter()
        .flatten()
        .map(|owner| owner.uid.as_str())
        .collect()
}

impl Graph {
    /// Takes in a change; tells whether it can matter to anything.
    pub(super) fn change(&mut self, key: &ObjectKey, old: Option<&ObjectMeta>, new: Option<&ObjectMeta>) -> bool {
        let before = old.map(owners).unwrap_or_default();
        let after = new.map(owners).unwrap_or_default();
        for uid in before.difference(&after) {
            if let Some(keys) = self.dependents.get_mut(*uid) {
                keys.remove(key);
                if keys.is_empty() {
                    self.dependents.remove(*uid);
                }
            }
        }
        for uid in &after {
            self.dependents
                .entry((*uid).to_owned())
                .or_default()
                .insert(key.clone());
        }
        let is_leaving = |meta: &ObjectMeta| meta.deletion_timestamp.is_some();
        match new {
            Some(new) if is_leaving(new) => {
                self.leaving.insert(owner::uid(new).to_owned(), key.clone());
            }
            Some(_) => {}
            None => {
                if let Some(old) = old {
                    self.leaving.remove(owner::uid(old));
                }
            }
        }
        let Some(new) = new else { return true };
        let Some(old) = old else {
            return !after.is_empty() || is_leaving(new);
        };
        before != after
            || old.uid != new.uid
            || is_leaving(old) != is_leaving(new)
            || old.finalizers != new.finalizers
            || old.owner_references != new.owner_references
    }

    /// Returns the keys to look at when an object has changed: itself, what depends on it, and owners that wait for it.
    pub(super) fn concerned(&self, key: &ObjectKey, meta: &ObjectMeta) -> Vec<ObjectKey> {
        let mut keys = Vec::new();
        if meta.owner_references.is_some() || meta.deletion_timestamp.is_some() {
            keys.push(key.clone());
        }
        keys.extend(self.dependents(owner::uid(meta)));
        keys.extend(
            owners(meta)
                .into_iter()
                .filter_map(|uid| self.leaving.get(uid).cloned()),
        );
        keys
    }

    /// Returns what depends on an object.
    pub(super) fn dependents(&self, uid: &str) -> Vec<ObjectKey> {
        self.dependents.get(uid).into_iter().flatten().cloned().collect()
    }
}
