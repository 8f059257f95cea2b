//! Server-side apply: a configuration says what its manager wants, and who owns which field decides what comes of it (KEP-555).
//!
//! ```text
//! applied --typed--> set of fields --+
//! live, applied --merge--> merged ---+--prune--> new object --compare with live--> conflicts, or the new owners
//! live.managedFields --managed-------+
//! ```
//!
//! Every other write goes through [`update_managed_fields`]: who changes a field by other means owns it from then on.

mod compare;
mod conflict;
mod last_applied;
mod managed;
mod merge;
mod set;
mod typed;
mod upgrade;

#[cfg(test)]
mod tests;

use std::collections::HashSet;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::facts::Schema;
use crate::resources;
use compare::{Comparison, compare};
use managed::{Managed, ManagerKey, Owned, same_but_owners, stamp};
use typed::Atom;

pub use conflict::{ApplyError, Conflict};
pub use set::{Element, FieldSet, Node};
pub use upgrade::upgrade_from_client_side;

/// The owner of everything that was there before anybody's ownership was recorded.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// What nobody owns: it identifies the object, or the server keeps it.
const STRIPPED: [&[&str]; 12] = [
    &["apiVersion"],
    &["kind"],
    &["metadata"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "creationTimestamp"],
    &["metadata", "selfLink"],
    &["metadata", "uid"],
    &["metadata", "clusterName"],
    &["metadata", "generation"],
    &["metadata", "managedFields"],
    &["metadata", "resourceVersion"],
];

fn strip(set: &mut FieldSet) {
    let mut stripped = FieldSet::default();
    for path in STRIPPED {
        stripped.insert_fields(path);
    }
    set.subtract(&stripped);
}

/// The top-level fields that a write cannot change: `status` through the main resource, everything else through `status`.
fn ignored<'a>(schema: &'a Schema, subresource: &str) -> Vec<&'a str> {
    let has_status = schema.kinds.iter().any(|kind| {
        resources::by_kind(kind.group, kind.version, kind.kind)
            .is_some_and(|resource| resource.subresources.iter().any(|sub| sub.name == "status"))
    });
    match subresource {
        "" if has_status => vec!["status"],
        "status" => {
            let names = schema.fields.iter().map(|field| field.name);
            names
                .filter(|name| !matches!(*name, "apiVersion" | "kind" | "metadata" | "status"))
                .collect()
        }
        _ => Vec::new(),
    }
}

fn ignore(comparison: &mut Comparison, ignored: &[&str]) {
    for field in ignored {
        comparison.ignore(field);
    }
}

fn empty() -> Value {
    Value::Object(Map::new())
}

/// Applies a configuration to the live object, or to nothing, and records in `managedFields` who owns what.
///
/// The result is not defaulted. It equals the live object, `managedFields` and their times included, where nothing changes.
///
/// # Errors
/// [`ApplyError::Conflicts`] where the configuration would change what others own and `force` is off; [`ApplyError::Invalid`]
/// where it does not fit the facts.
#[expect(
    clippy::too_many_arguments,
    reason = "the contract between the API server and this crate names them so"
)]
pub fn apply(
    schema: &Schema,
    live: Option<&Value>,
    applied: &Value,
    manager: &str,
    force: bool,
    api_version: &str,
    subresource: &str,
    now: Timestamp,
) -> Result<Value, ApplyError> {
    check_applied(applied, api_version)?;
    let atom = Atom::Struct(schema);
    let fields = typed::fields_of_applied(applied, atom).map_err(|wrong| {
        let text = |pointer: &str| applied.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
        let slash = if namespace.is_empty() { "" } else { "/" };
        ApplyError::Invalid(format!(
            "failed to create typed patch object ({namespace}{slash}{name}; {api_version}, Kind={}): {wrong}",
            text("/kind")
        ))
    })?;
    let mut managed = live.map(Managed::of).unwrap_or_default();
    let nothing = empty();
    let old = live.unwrap_or(&nothing);
    let ignored = ignored(schema, subresource);
    if live.is_some() && managed.0.is_empty() {
        let mut set = compare(&nothing, old, atom).into_anew_and_removed().0;
        strip(&mut set);
        let key = ManagerKey::updater(BEFORE_FIRST_APPLY, api_version, "");
        let owned = Owned {
            set,
            api_version: api_version.to_owned(),
            time: Some(stamp(now)),
        };
        managed.0.insert(key, owned);
    }
    let intent = Intent {
        atom,
        applied,
        fields,
        key: ManagerKey::applier(manager, subresource),
        api_version,
        ignored: &ignored,
        now,
    };
    let allowed = || last_applied::allowed_conflicts(manager, live, atom);
    let (mut object, managed) = intent.carry_out(old, managed, force, allowed)?;
    last_applied::sync(manager, &mut object, applied);
    managed.write(&mut object);
    Ok(object)
}

fn check_applied(applied: &Value, api_version: &str) -> Result<(), ApplyError> {
    let version = applied.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    if version != api_version {
        return Err(ApplyError::Invalid(format!(
            "Incorrect version specified in apply patch. Specified patch version: {version}, expected: {api_version}"
        )));
    }
    match applied.pointer("/metadata/managedFields") {
        None | Some(Value::Null) => Ok(()),
        Some(_) => Err(ApplyError::Invalid("metadata.managedFields must be nil".to_owned())),
    }
}

/// A configuration on its way into an object.
struct Intent<'a> {
    atom: Atom<'a>,
    applied: &'a Value,
    fields: FieldSet,
    key: ManagerKey,
    api_version: &'a str,
    ignored: &'a [&'a str],
    now: Timestamp,
}

impl Intent<'_> {
    fn carry_out(
        self,
        live: &Value,
        mut managed: Managed,
        force: bool,
        allowed: impl FnOnce() -> FieldSet,
    ) -> Result<(Value, Managed), ApplyError> {
        let mut new = merge::merge(live, self.applied, self.atom);
        let mut set = self.fields;
        for field in self.ignored {
            set.cut(&Element::field(field));
        }
        let last = managed.0.remove(&self.key);
        managed.0.insert(
            self.key.clone(),
            Owned {
                set,
                api_version: self.api_version.to_owned(),
                time: last.as_ref().and_then(|last| last.time.clone()),
            },
        );
        if let Some(last) = &last {
            merge::prune(&mut new, &last.set, &managed.union(), self.atom);
        }
        let mut comparison = compare(live, &new, self.atom);
        ignore(&mut comparison, self.ignored);
        let (anew, removed) = comparison.into_anew_and_removed();
        let mut conflicts = Vec::new();
        let mut contested = FieldSet::default();
        for (key, owned) in managed.0.iter().filter(|(key, _)| **key != self.key) {
            let both = owned.set.intersection(&anew);
            let manager = key.print();
            conflicts.extend(both.paths().into_iter().map(|path| Conflict {
                manager: manager.clone(),
                path,
            }));
            contested.union_with(both);
        }
        if !force && !conflicts.is_empty() {
            contested.subtract(&allowed());
            let left: HashSet<String> = contested.paths().into_iter().collect();
            conflicts.retain(|conflict| left.contains(&conflict.path));
            if !conflicts.is_empty() {
                conflicts.sort();
                return Err(ApplyError::Conflicts(conflicts));
            }
        }
        for (key, owned) in &mut managed.0 {
            if *key != self.key {
                owned.set.subtract(&anew);
                owned.set.subtract(&removed);
            }
        }
        let changed = !same_but_owners(&new, live);
        if let Some(own) = managed.0.get_mut(&self.key) {
            strip(&mut own.set);
            if changed || last.is_none_or(|last| last.set != own.set) {
                own.time = Some(stamp(self.now));
            }
        }
        managed.drop_empty();
        Ok((new, managed))
    }
}

/// Records who owns what after a write that was no apply: create, update, patch, delete collection's finalizers.
///
/// `new` is the whole object as it is about to be stored, defaults included. Its manager owns what differs from `live`; times change only
/// with ownership. A `managedFields` in the request is honoured, except through a subresource; `[{}]` clears all ownership.
#[expect(
    clippy::too_many_arguments,
    reason = "the contract between the API server and this crate names them so"
)]
pub fn update_managed_fields(
    schema: &Schema,
    live: Option<&Value>,
    new: &mut Value,
    manager: &str,
    operation: &str,
    subresource: &str,
    api_version: &str,
    now: Timestamp,
) {
    let requested = new.pointer("/metadata/managedFields").cloned();
    let stored = live.and_then(|live| live.pointer("/metadata/managedFields"));
    if let Some(metadata) = new.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    let main = subresource.is_empty();
    if main && requested.as_ref().is_some_and(is_reset) {
        return;
    }
    let atom = Atom::Struct(schema);
    let nothing = empty();
    let mut comparison = compare(live.unwrap_or(&nothing), new, atom);
    ignore(&mut comparison, &ignored(schema, subresource));
    let same_owners = !main || requested.is_none() || requested.as_ref() == stored;
    if comparison.is_empty() && same_owners {
        if let (Some(stored), Some(metadata)) = (stored, new.get_mut("metadata").and_then(Value::as_object_mut)) {
            metadata.insert("managedFields".to_owned(), stored.clone());
        }
        return;
    }
    let mut managed = Managed::default();
    if main && let Some(requested) = requested {
        managed = Managed::of(&serde_json::json!({"metadata": {"managedFields": requested}}));
    }
    if managed.0.is_empty() {
        managed = live.map(Managed::of).unwrap_or_default();
        if live.is_some() && managed.0.is_empty() {
            return;
        }
    }
    let (mut own, removed) = comparison.into_anew_and_removed();
    for owned in managed.0.values_mut() {
        owned.set.subtract(&own);
        owned.set.subtract(&removed);
    }
    own.subtract(&removed);
    strip(&mut own);
    if !own.is_empty() {
        let key = if operation == "Apply" {
            ManagerKey::applier(manager, subresource)
        } else {
            ManagerKey::updater(manager, api_version, subresource)
        };
        let entry = managed.0.entry(key).or_insert_with(|| Owned {
            set: FieldSet::default(),
            api_version: String::new(),
            time: None,
        });
        entry.set.union_with(own);
        entry.api_version = api_version.to_owned();
        entry.time = Some(stamp(now));
    }
    managed.drop_empty();
    managed.cap();
    managed.write(new);
}

/// `managedFields: [{}]` clears all ownership.
fn is_reset(requested: &Value) -> bool {
    match requested.as_array().map(Vec::as_slice) {
        Some([Value::Object(entry)]) => entry.values().all(|value| value.is_null() || value == ""),
        _ => false,
    }
}
