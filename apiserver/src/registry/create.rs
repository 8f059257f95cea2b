//! Creation.

use serde_json::Value;
use timonel_api::decode::Decoded;
use timonel_store::{Guard, Op, StoreError, Txn};

use super::decode::Expected;
use super::options::WriteOptions;
use super::{Answer, Caller, Registry, Target, decode, fields, meta, view};
use crate::authz::Attributes;
use crate::error::ApiError;
use crate::resources::Context;
use crate::security::{Act, Operation};

/// How many names a `generateName` tries, as upstream.
const NAMES: usize = 8;
/// How much of a generated name is the given prefix at most: 63 less the suffix.
const PREFIX: usize = 58;
const SUFFIX: usize = 5;

impl Registry {
    /// Creates an object (POST).
    pub async fn create(
        &self,
        target: &Target,
        body: Decoded,
        options: &WriteOptions,
        caller: &Caller,
    ) -> Result<Answer, ApiError> {
        let api_version = target.info.api_version();
        let expected = Expected {
            api_version: &api_version,
            kind: target.info.kind,
            schema: target.info.schema(),
        };
        let mut value = decode::accept(body, expected, options.validation, caller)?;
        meta::check_namespace(target, &mut value)?;
        let mut value = view::inward(target, value)?;
        target.slot.strategy.default(&mut value);
        let track = |value: &mut Value| fields::track(target, None, value, &caller.manager(options), caller.now);
        self.insert(target, value, options, caller, &track).await
    }

    /// Who creates an object by an update or an apply must be allowed to create it, too.
    pub(super) fn require_create(&self, target: &Target, caller: &Caller) -> Result<(), ApiError> {
        let asks = Attributes::resource(&caller.user, "create", target.info.group, target.info.plural)
            .within(&target.namespace)
            .named(&target.name);
        self.security.authorizer.require(&asks)
    }

    /// Stores a new object that has been decoded and defaulted. `track` records who manages its fields.
    pub(super) async fn insert(
        &self,
        target: &Target,
        mut value: Value,
        options: &WriteOptions,
        caller: &Caller,
        track: &(dyn Fn(&mut Value) + Send + Sync),
    ) -> Result<Answer, ApiError> {
        if !matches!(meta::text(&value, "resourceVersion"), "" | "0") {
            return Err(ApiError::bad_request(
                "resourceVersion should not be set on objects to be created",
            ));
        }
        let strategy = target.slot.strategy;
        fresh_metadata(&mut value, self, caller);
        if strategy.has_status()
            && !strategy.comes_with_status()
            && let Some(object) = value.as_object_mut()
            && object.remove("status").is_some()
        {
            // Some kinds always show a status, if only an empty one.
            strategy.default(&mut value);
        }
        let context = Context {
            now: caller.now,
            user: &caller.user,
        };
        strategy.prepare_create(&mut value, &context);
        if strategy.has_generation() {
            meta::metadata(&mut value).insert("generation".to_owned(), 1.into());
        }
        track(&mut value);
        let prefix = meta::text(&value, "generateName").to_owned();
        let generated = meta::text(&value, "name").is_empty() && !prefix.is_empty();
        let mut last_name = String::new();
        for _ in 0..NAMES {
            if generated {
                last_name = format!("{}{}", truncated(&prefix), self.rng.suffix(SUFFIX));
                meta::metadata(&mut value).insert("name".to_owned(), last_name.as_str().into());
            }
            let named = target.with_name(meta::text(&value, "name"));
            match self.insert_once(&named, &value, options, caller).await? {
                Inserted::Done(answer) => return Ok(answer),
                Inserted::Taken if generated => {}
                Inserted::Taken => return Err(ApiError::already_exists(target.group_resource(), named.name)),
                Inserted::Again => {}
            }
        }
        if generated {
            return Err(ApiError::GenerateNameConflict {
                resource: target.group_resource(),
                name: last_name,
            });
        }
        Err(ApiError::too_many_requests(
            "the server could not allocate what the object needs; try again",
            1,
        ))
    }

    async fn insert_once(
        &self,
        target: &Target,
        settled: &Value,
        options: &WriteOptions,
        caller: &Caller,
    ) -> Result<Inserted, ApiError> {
        let strategy = target.slot.strategy;
        let mut value = settled.clone();
        let act = Act {
            caller,
            operation: Operation::Create,
            dry_run: options.dry_run,
            old: None,
        };
        self.mutate(target, &act, Some(&mut value)).await?;
        if value != *settled {
            strategy.default(&mut value);
        }
        strategy.settle_create(&mut value);
        let allocation = self.allocate(target, &mut value, None).await?;
        let mut errors = meta::validate(target, &value);
        errors.extend(strategy.validate_create(&value));
        if target.is_view() {
            errors.extend(strategy.validate_view_create(&value));
        }
        if !errors.is_empty() {
            return Err(ApiError::invalid(target.qualified_kind(), target.name.as_str(), errors));
        }
        let named = target.with_name(meta::text(&value, "name"));
        let key = named.key();
        let put = self.put(&named, &key, &value)?;
        if named.slot.cache.get(&key).is_some() {
            return Ok(Inserted::Taken);
        }
        let permit = self.admit(&named, &act, Some(&mut value)).await?;
        strategy
            .warnings(&value)
            .into_iter()
            .for_each(|warning| caller.warn(warning));
        if options.dry_run {
            return Ok(Inserted::Done(Answer::Value(view::outward_value(&named, &value))));
        }
        let mut txn = Txn {
            guards: vec![Guard::Absent(put.store_key.clone())],
            ops: vec![Op::Put(put.store_key.clone(), put.sealed.clone())],
        };
        txn.guards.extend(allocation.guards.iter().cloned());
        txn.ops.extend(allocation.ops.iter().cloned());
        match self.commit_with(txn, permit).await {
            Ok(revision) => {
                let object = Self::written(&named, &key, &put.bytes, revision)?;
                Ok(Inserted::Done(view::outward(&named, object)))
            }
            Err(StoreError::Conflict { key, .. }) if key == put.store_key => {
                self.caches.catch_up().await?;
                Ok(Inserted::Taken)
            }
            Err(StoreError::Conflict { key, .. }) => {
                allocation.refuse_if_fixed(&named, &key)?;
                // What was chosen by is older than what is there.
                self.caches.catch_up().await?;
                Ok(Inserted::Again)
            }
            Err(error) => Err(error.into()),
        }
    }
}

enum Inserted {
    Done(Answer),
    Taken,
    Again,
}

fn truncated(prefix: &str) -> &str {
    let mut end = prefix.len().min(PREFIX);
    while !prefix.is_char_boundary(end) {
        end -= 1;
    }
    &prefix[..end]
}

/// Sets what only the server sets.
fn fresh_metadata(value: &mut Value, registry: &Registry, caller: &Caller) {
    let metadata = meta::metadata(value);
    for field in [
        "resourceVersion",
        "selfLink",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
    ] {
        metadata.remove(field);
    }
    metadata.insert("uid".to_owned(), registry.rng.uuid().to_string().into());
    metadata.insert("creationTimestamp".to_owned(), meta::time(caller.now).into());
}
