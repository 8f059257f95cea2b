//! Updates: every change of an existing object, whoever asks and through whichever subresource, goes through [`Registry::modify`].

use std::sync::Arc;

use serde_json::Value;
use timonel_api::decode::Decoded;
use timonel_api::{FieldError, FieldErrorKind, Path};
use timonel_store::{Guard, Op, StoreError, Txn};

use super::decode::Expected;
use super::options::WriteOptions;
use super::{Answer, Caller, Registry, Target, decode, fields, meta, view};
use crate::cache::Object;
use crate::error::ApiError;
use crate::resources::Context;
use crate::security::{Act, Operation};
use crate::subresources::narrow;

/// How often a write without a revision of its own tries again when others come first.
const ATTEMPTS: usize = 64;

/// Kinds whose updates must name a resourceVersion.
const CONDITIONAL: &[&str] = &[
    "leases.coordination.k8s.io",
    "poddisruptionbudgets.policy",
    "customresourcedefinitions.apiextensions.k8s.io",
    "apiservices.apiregistration.k8s.io",
    "runtimeclasses.node.k8s.io",
];

/// Kinds that an update creates where they are not there yet.
const CREATED_BY_UPDATES: &[&str] = &[
    "clusterrolebindings.rbac.authorization.k8s.io",
    "clusterroles.rbac.authorization.k8s.io",
    "endpoints",
    "events",
    "leases.coordination.k8s.io",
    "limitranges",
    "rolebindings.rbac.authorization.k8s.io",
    "roles.rbac.authorization.k8s.io",
    "services",
];

/// Which part of an object a change may touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Everything but a status that is a subresource.
    Main,
    /// The status, labels and annotations.
    Status,
    /// That part which the target's subresource is about.
    Part,
    /// What the caller has changed, which it has checked itself. `desired` says that it counts in the generation.
    Custom {
        /// Whether generation goes up.
        desired: bool,
    },
}

/// Who manages the fields of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Managed {
    /// An update: what differs belongs to the manager now.
    Update,
    /// An apply, which has settled the fields already.
    Applied,
}

/// A change that is wanted: the new object, in stored shape.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// The object.
    pub(crate) value: Value,
}

impl Registry {
    /// Replaces an object (PUT), and says whether it was created by that.
    pub async fn update(
        &self,
        target: &Target,
        body: Decoded,
        options: &WriteOptions,
        caller: &Caller,
    ) -> Result<(bool, Answer), ApiError> {
        let api_version = target.info.api_version();
        let expected = Expected {
            api_version: &api_version,
            kind: target.info.kind,
            schema: target.info.schema(),
        };
        let mut value = decode::accept(body, expected, options.validation, caller)?;
        meta::check_namespace(target, &mut value)?;
        meta::check_name(target, &mut value)?;
        let mut value = view::inward(target, value)?;
        target.slot.strategy.default(&mut value);
        let creates = target.subresource.is_none() && CREATED_BY_UPDATES.contains(&target.slot.group_resource.as_str());
        if creates && self.current(target).is_err() {
            self.require_create(target, caller)?;
            let mut new = value.clone();
            meta::metadata(&mut new).remove("resourceVersion");
            let track = |value: &mut Value| fields::track(target, None, value, &caller.manager(options), caller.now);
            match self.insert(target, new, options, caller, &track).await {
                Ok(answer) => return Ok((true, answer)),
                // Somebody created it just now: then it is an update.
                Err(ApiError::AlreadyExists { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let unconditional = meta::text(&value, "resourceVersion").is_empty();
        if unconditional && CONDITIONAL.contains(&target.slot.group_resource.as_str()) {
            let path = Path::new("metadata").child("resourceVersion");
            return Err(ApiError::invalid(
                target.qualified_kind(),
                target.name.as_str(),
                vec![FieldError::invalid(&path, 0, "must be specified for an update")],
            ));
        }
        let change = |_: &Value| Ok(Change { value: value.clone() });
        let answer = self
            .modify(target, options, caller, target_scope(target), &change)
            .await?;
        Ok((false, answer))
    }

    /// Changes an object: reads it, asks `change` for what it shall become, and commits that, again if somebody else came first.
    pub(crate) async fn modify(
        &self,
        target: &Target,
        options: &WriteOptions,
        caller: &Caller,
        scope: Scope,
        change: &(dyn Fn(&Value) -> Result<Change, ApiError> + Send + Sync),
    ) -> Result<Answer, ApiError> {
        self.modify_managed(target, options, caller, scope, Managed::Update, change)
            .await
    }

    /// As [`Registry::modify`], and says who manages the fields of the result.
    pub(super) async fn modify_managed(
        &self,
        target: &Target,
        options: &WriteOptions,
        caller: &Caller,
        scope: Scope,
        managed: Managed,
        change: &(dyn Fn(&Value) -> Result<Change, ApiError> + Send + Sync),
    ) -> Result<Answer, ApiError> {
        for _ in 0..ATTEMPTS {
            let current = self.current(target)?;
            let old = current.value();
            let wanted = change(&old)?.value;
            let answer = self
                .modify_once(target, options, caller, scope, managed, &current, &old, wanted)
                .await?;
            if let Some(answer) = answer {
                return Ok(answer);
            }
        }
        Err(ApiError::modified(target.group_resource(), target.name.as_str()))
    }

    /// Returns `None` when somebody else came first; the caches show their write by then.
    #[expect(
        clippy::too_many_arguments,
        reason = "the steps of one attempt, called from one place"
    )]
    async fn modify_once(
        &self,
        target: &Target,
        options: &WriteOptions,
        caller: &Caller,
        scope: Scope,
        managed: Managed,
        current: &Arc<Object>,
        old: &Value,
        wanted: Value,
    ) -> Result<Option<Answer>, ApiError> {
        let (resource, name) = (target.group_resource(), target.name.as_str());
        let given = meta::text(&wanted, "resourceVersion");
        if !matches!(given, "" | "0") && given != current.revision.to_string() {
            return Err(ApiError::modified(resource, name));
        }
        let given = meta::text(&wanted, "uid");
        if !given.is_empty() && given != meta::text(old, "uid") {
            return Err(ApiError::conflict(
                resource,
                name,
                format!(
                    "Precondition failed: UID in precondition: {given}, UID in object meta: {}",
                    meta::text(old, "uid")
                ),
            ));
        }
        let mut new = wanted;
        let context = Context {
            now: caller.now,
            user: &caller.user,
        };
        let strategy = target.slot.strategy;
        keep_system_fields(&mut new, old);
        match scope {
            Scope::Main => {
                if strategy.has_status() {
                    meta::copy(old, &mut new, "status");
                }
                strategy.prepare_update(&mut new, old, &context);
            }
            Scope::Status => {
                new = with_status(old, &new);
                strategy.prepare_status(&mut new, old, &context);
            }
            Scope::Part => {
                if let Some(narrowed) = narrow(target, old, &new) {
                    new = narrowed;
                    strategy.prepare_status(&mut new, old, &context);
                }
            }
            Scope::Custom { .. } => {}
        }
        let desired = matches!(scope, Scope::Main | Scope::Part | Scope::Custom { desired: true });
        if desired && strategy.has_generation() && meta::desired_differs(&new, old) {
            let generation = old["metadata"]["generation"].as_i64().unwrap_or_default() + 1;
            new["metadata"]["generation"] = generation.into();
        }
        let unchanged = meta::same(&new, old);
        match managed {
            Managed::Update if unchanged => meta::copy(&old["metadata"], &mut new["metadata"], "managedFields"),
            Managed::Update => fields::track(target, Some(old), &mut new, &caller.manager(options), caller.now),
            Managed::Applied => {}
        }
        let settled = new.clone();
        let act = Act {
            caller,
            operation: Operation::Update,
            dry_run: options.dry_run,
            old: Some(old),
        };
        self.mutate(target, &act, Some(&mut new)).await?;
        if new != settled {
            strategy.default(&mut new);
        }
        let allocation = self.allocate(target, &mut new, Some(old)).await?;
        let mut errors = meta::validate_update(&new, old);
        errors.extend(match scope {
            Scope::Main => strategy.validate_update(&new, old),
            Scope::Status => strategy.validate_status_update(&new, old),
            Scope::Part => strategy.validate_part_update(target.subresource_name().unwrap_or_default(), &new, old),
            Scope::Custom { .. } => Vec::new(),
        });
        if scope == Scope::Main && target.is_view() {
            errors.extend(strategy.validate_view_update(&new, old));
        }
        if !errors.is_empty() {
            return Err(ApiError::invalid(target.qualified_kind(), name, errors));
        }
        let permit = self.admit(target, &act, Some(&mut new)).await?;
        if scope == Scope::Main {
            strategy
                .update_warnings(&new, old)
                .into_iter()
                .for_each(|warning| caller.warn(warning));
        }
        let finished = meta::is_terminating(&new) && is_released(target, &new);
        if !finished
            && (meta::same(&new, old) && new["metadata"]["managedFields"] == old["metadata"]["managedFields"])
            && !self.caches.is_stale(&target.slot, &current.key)
        {
            return Ok(Some(view::outward(target, current.clone())));
        }
        if options.dry_run {
            new["metadata"]["resourceVersion"] = current.revision.to_string().into();
            return Ok(Some(Answer::Value(view::outward_value(target, &new))));
        }
        let key = current.key.clone();
        let put = self.put(target, &key, &new)?;
        let mut txn = Txn {
            guards: vec![Guard::At(put.store_key.clone(), current.revision)],
            ops: Vec::new(),
        };
        if finished {
            txn.ops.push(Op::Delete(put.store_key.clone()));
            txn.ops.extend(self.release(target, old));
        } else {
            txn.ops.push(Op::Put(put.store_key.clone(), put.sealed.clone()));
            txn.guards.extend(allocation.guards.iter().cloned());
            txn.ops.extend(allocation.ops.iter().cloned());
        }
        match self.commit_with(txn, permit).await {
            Ok(revision) => {
                let object = Self::written(target, &key, &put.bytes, revision)?;
                Ok(Some(view::outward(target, object)))
            }
            Err(StoreError::Conflict { key, actual }) => {
                if key != put.store_key {
                    allocation.refuse_if_fixed(target, &key)?;
                }
                if let Some(actual) = actual {
                    self.caches.wait_for(actual.mod_revision).await?;
                } else {
                    self.caches.catch_up().await?;
                }
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// The scope of a PUT or PATCH of the target.
pub(super) fn target_scope(target: &Target) -> Scope {
    match target.subresource_name() {
        Some("status") => Scope::Status,
        Some(_) => Scope::Part,
        None => Scope::Main,
    }
}

/// What a client cannot change: taken over where it left it out; where it differs, validation says so.
fn keep_system_fields(new: &mut Value, old: &Value) {
    let old = &old["metadata"];
    let metadata = meta::metadata(new);
    metadata.remove("selfLink");
    for field in ["uid", "creationTimestamp"] {
        if metadata
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .is_empty()
            && let Some(value) = old.get(field)
        {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "generation"] {
        match old.get(field) {
            Some(value) => metadata.insert(field.to_owned(), value.clone()),
            None => metadata.remove(field),
        };
    }
    if let Some(revision) = old.get("resourceVersion") {
        metadata.insert("resourceVersion".to_owned(), revision.clone());
    }
}

/// The old object with the new one's status, labels, annotations and finalizers.
fn with_status(old: &Value, new: &Value) -> Value {
    let mut result = old.clone();
    meta::copy(new, &mut result, "status");
    for field in ["labels", "annotations", "finalizers", "managedFields"] {
        meta::copy(&new["metadata"], &mut result["metadata"], field);
    }
    result
}

/// Whether nothing holds a terminating object any longer.
pub(super) fn is_released(target: &Target, object: &Value) -> bool {
    let held_by_namespace = target.slot.group_resource == "namespaces"
        && object["spec"]["finalizers"]
            .as_array()
            .is_some_and(|finalizers| !finalizers.is_empty());
    let grace = object["metadata"]["deletionGracePeriodSeconds"]
        .as_i64()
        .unwrap_or_default();
    meta::finalizers(object).is_empty() && grace == 0 && !held_by_namespace
}

/// An error about one field.
pub(super) fn invalid_field(target: &Target, kind: FieldErrorKind, path: &str, value: Value, detail: &str) -> ApiError {
    let error = FieldError {
        kind,
        path: Path::new(path),
        value: Some(value.to_string()),
        detail: detail.to_owned(),
    };
    ApiError::invalid(target.qualified_kind(), target.name.as_str(), vec![error])
}
