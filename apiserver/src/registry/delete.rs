//! Deletion: graceful, held up by finalizers, or at once; of one object or of a collection.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use timonel_store::{Guard, Op, StoreError, Txn};

use super::options::{DeleteOptions, ListOptions, Propagation};
use super::update::is_released;
use super::{Answer, Caller, List, Registry, Target, meta, view};
use crate::cache::Object;
use crate::error::ApiError;
use crate::security::{Act, Operation};

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";
/// How often a deletion tries again when the object changes meanwhile.
const ATTEMPTS: usize = 64;
/// How many objects of a collection are deleted at a time.
const WORKERS: usize = 16;

/// Kinds that answer a deletion with the object instead of a Status.
const RETURN_OBJECT: &[&str] = &[
    "pods",
    "podtemplates",
    "persistentvolumes",
    "persistentvolumeclaims",
    "resourcequotas",
    "services",
    "serviceaccounts",
];

impl Registry {
    /// Deletes an object (DELETE). Answers the object where it lives on for a while, a Status where it is gone.
    pub async fn delete(&self, target: &Target, options: &DeleteOptions, caller: &Caller) -> Result<Answer, ApiError> {
        for _ in 0..ATTEMPTS {
            let current = self.current(target)?;
            if let Some(answer) = self.delete_once(target, options, caller, &current).await? {
                return Ok(answer);
            }
        }
        Err(ApiError::modified(target.group_resource(), target.name.as_str()))
    }

    async fn delete_once(
        &self,
        target: &Target,
        options: &DeleteOptions,
        caller: &Caller,
        current: &Arc<Object>,
    ) -> Result<Option<Answer>, ApiError> {
        let old = current.value();
        check_preconditions(target, options, &old, current)?;
        let act = Act {
            caller,
            operation: Operation::Delete,
            dry_run: options.dry_run,
            old: Some(&old),
        };
        self.mutate(target, &act, None).await?;
        let _permit = self.admit(target, &act, None).await?;
        let Decision { object, gone } = decide(target, options, &old, caller);
        if !gone && meta::same(&object, &old) {
            return Ok(Some(view::outward(target, current.clone())));
        }
        if options.dry_run {
            return Ok(Some(if gone {
                self.gone(target, &old)
            } else {
                Answer::Value(object)
            }));
        }
        let put = self.put(target, &current.key, &object)?;
        let mut txn = Txn {
            guards: vec![Guard::At(put.store_key.clone(), current.revision)],
            ops: Vec::new(),
        };
        if gone {
            txn.ops.push(Op::Delete(put.store_key.clone()));
            txn.ops.extend(self.release(target, &old));
        } else {
            txn.ops.push(Op::Put(put.store_key.clone(), put.sealed.clone()));
        }
        match self.commit(txn).await {
            Ok(_) if gone => Ok(Some(self.gone(target, &old))),
            Ok(revision) => {
                let object = Self::written(target, &current.key, &put.bytes, revision)?;
                Ok(Some(view::outward(target, object)))
            }
            Err(StoreError::Conflict { actual, .. }) => {
                match actual {
                    Some(actual) => self.caches.wait_for(actual.mod_revision).await?,
                    None => self.caches.catch_up().await?,
                }
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn gone(&self, target: &Target, old: &Value) -> Answer {
        if RETURN_OBJECT.contains(&target.slot.group_resource.as_str()) {
            return Answer::Value(view::outward_value(target, old));
        }
        let mut details = json!({
            "name": target.name,
            "kind": target.info.plural,
            "uid": meta::text(old, "uid"),
        });
        if !target.info.group.is_empty() {
            details["group"] = target.info.group.into();
        }
        Answer::Value(json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Success",
            "details": details,
        }))
    }

    /// Deletes a collection (DELETE without a name). Answers the objects that were meant.
    pub async fn delete_collection(
        &self,
        target: &Target,
        selection: &ListOptions,
        options: &DeleteOptions,
        caller: &Caller,
    ) -> Result<List, ApiError> {
        use futures::{StreamExt, TryStreamExt, stream};

        let list = self.list(target, selection).await?;
        let mut deletions = Vec::with_capacity(list.items.len());
        for object in &list.items {
            let mut one = target.with_name(&object.key.name);
            one.namespace.clone_from(&object.key.namespace);
            deletions.push(self.delete_one(one, options, caller));
        }
        stream::iter(deletions)
            .buffer_unordered(WORKERS)
            .try_collect::<()>()
            .await?;
        Ok(list)
    }

    async fn delete_one(&self, target: Target, options: &DeleteOptions, caller: &Caller) -> Result<(), ApiError> {
        match self.delete(&target, options, caller).await {
            // Somebody else may have been faster.
            Ok(_) | Err(ApiError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn check_preconditions(
    target: &Target,
    options: &DeleteOptions,
    old: &Value,
    current: &Object,
) -> Result<(), ApiError> {
    let refuse = |what: &str, wanted: &str, actual: &str| {
        Err(ApiError::conflict(
            target.group_resource(),
            target.name.as_str(),
            format!("Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {actual}"),
        ))
    };
    if let Some(uid) = &options.preconditions.uid {
        let actual = meta::text(old, "uid");
        if uid != actual {
            return refuse("UID", uid, actual);
        }
    }
    if let Some(version) = &options.preconditions.resource_version {
        let actual = current.revision.to_string();
        if *version != actual {
            return refuse("ResourceVersion", version, &actual);
        }
    }
    Ok(())
}

/// What a deletion makes of an object.
struct Decision {
    object: Value,
    gone: bool,
}

fn decide(target: &Target, options: &DeleteOptions, old: &Value, caller: &Caller) -> Decision {
    let mut object = old.clone();
    meta::metadata(&mut object).remove("resourceVersion");
    let terminating = meta::is_terminating(old);
    set_propagation(&mut object, options.propagation);
    let grace = grace_period(target, options, old);
    let previous_grace = old["metadata"]["deletionGracePeriodSeconds"].as_i64();
    // A deletion in progress can be shortened, never prolonged.
    let grace = match (terminating, previous_grace) {
        (true, Some(previous)) => grace.min(previous),
        _ => grace,
    };
    if target.slot.group_resource == "namespaces" {
        meta::static_map(&mut object, "status").insert("phase".to_owned(), "Terminating".into());
    }
    let mut probe = object.clone();
    meta::metadata(&mut probe).insert("deletionGracePeriodSeconds".to_owned(), grace.into());
    if is_released(target, &probe) {
        return Decision { object, gone: true };
    }
    if !terminating || Some(grace) != previous_grace {
        let begun = previous_grace
            .zip(old["metadata"]["deletionTimestamp"].as_str())
            .and_then(|(previous, at)| {
                Some(at.parse::<jiff::Timestamp>().ok()? - Duration::from_secs(previous.max(0).unsigned_abs()))
            })
            .unwrap_or(caller.now);
        let at = begun + Duration::from_secs(grace.max(0).unsigned_abs());
        let generation = old["metadata"]["generation"].as_i64();
        let metadata = meta::metadata(&mut object);
        metadata.insert("deletionTimestamp".to_owned(), meta::time(at).into());
        metadata.insert("deletionGracePeriodSeconds".to_owned(), grace.into());
        if let Some(generation) = generation.filter(|generation| *generation > 0) {
            metadata.insert("generation".to_owned(), (generation + 1).into());
        }
    }
    Decision { object, gone: false }
}

/// Pods get time to end: what the request says, else what the pod says; none where no kubelet is concerned.
fn grace_period(target: &Target, options: &DeleteOptions, old: &Value) -> i64 {
    let Some(default) = target.slot.strategy.default_grace_period(old) else {
        return 0;
    };
    let grace = match options.grace.unwrap_or(default) {
        negative if negative < 0 => 1,
        grace => grace,
    };
    let unscheduled = old["spec"]["nodeName"].as_str().unwrap_or_default().is_empty();
    let ended = matches!(old["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if unscheduled || ended { 0 } else { grace }
}

fn set_propagation(object: &mut Value, propagation: Option<Propagation>) {
    let Some(propagation) = propagation else { return };
    let mut finalizers: Vec<String> = meta::finalizers(object)
        .into_iter()
        .filter(|finalizer| !matches!(*finalizer, ORPHAN | FOREGROUND))
        .map(str::to_owned)
        .collect();
    match propagation {
        Propagation::Orphan => finalizers.push(ORPHAN.to_owned()),
        Propagation::Foreground => finalizers.push(FOREGROUND.to_owned()),
        Propagation::Background => {}
    }
    let metadata = meta::metadata(object);
    if finalizers.is_empty() {
        metadata.remove("finalizers");
    } else {
        metadata.insert("finalizers".to_owned(), finalizers.into());
    }
}
