//! Patches: JSON, merge, strategic merge and server-side apply.

use serde_json::Value;
use timonel_api::decode::Decoded;
use timonel_api::patch::{self, apply};
use timonel_api::{FieldError, Path};

use super::decode::Expected;
use super::options::{PatchKind, WriteOptions};
use super::update::{Change, Managed, target_scope};
use super::{Answer, Caller, Registry, Target, decode, meta, view};
use crate::error::{ApiError, Cause};

impl Registry {
    /// Patches an object (PATCH). `body` is the patch as it came. Answers also whether the object was created, which only apply does.
    pub async fn patch(
        &self,
        target: &Target,
        kind: PatchKind,
        body: &[u8],
        options: &WriteOptions,
        caller: &Caller,
    ) -> Result<(bool, Answer), ApiError> {
        if kind == PatchKind::Apply {
            return self.apply(target, body, options, caller).await;
        }
        let parsed = parse(kind, body)?;
        let change = |old: &Value| -> Result<Change, ApiError> {
            let value = self.patched(target, kind, &parsed, body, old, options, caller)?;
            Ok(Change { value })
        };
        let answer = self
            .modify(target, options, caller, target_scope(target), &change)
            .await?;
        Ok((false, answer))
    }

    /// Server-side apply: creates the object where it does not exist.
    async fn apply(
        &self,
        target: &Target,
        body: &[u8],
        options: &WriteOptions,
        caller: &Caller,
    ) -> Result<(bool, Answer), ApiError> {
        if options.manager.is_empty() {
            let error = FieldError::required(&Path::new("fieldManager"), "is required for apply patch");
            return Err(ApiError::invalid("PatchOptions.meta.k8s.io", "", vec![error]));
        }
        let decoded = timonel_api::decode::yaml(body)
            .map_err(|error| ApiError::bad_request(format!("error decoding YAML: {error}")))?;
        let api_version = target.info.api_version();
        let expected = Expected {
            api_version: &api_version,
            kind: target.info.kind,
            schema: target.info.schema(),
        };
        let Some(schema) = target.slot.info.schema() else {
            return Err(ApiError::not_implemented(format!(
                "apply of {}",
                target.group_resource()
            )));
        };
        if decoded.value["metadata"]["managedFields"]
            .as_array()
            .is_some_and(|fields| !fields.is_empty())
        {
            return Err(ApiError::bad_request("metadata.managedFields must be nil"));
        }
        let mut applied = decode::accept(decoded, expected, options.validation, caller)?;
        meta::check_namespace(target, &mut applied)?;
        let metadata = meta::metadata(&mut applied);
        metadata.entry("name").or_insert_with(|| target.name.as_str().into());
        meta::check_name(target, &mut applied)?;
        let applied = view::inward(target, applied)?;
        let stored_version = target.slot.info.api_version();
        let merge = |live: Option<&Value>| -> Result<Value, ApiError> {
            let mut merged = apply::apply(
                schema,
                live,
                &applied,
                &options.manager,
                options.force,
                &stored_version,
                target.subresource_name().unwrap_or_default(),
                caller.now,
            )?;
            let version = meta::text(&applied, "resourceVersion").to_owned();
            if version.is_empty() {
                meta::metadata(&mut merged).remove("resourceVersion");
            } else {
                meta::metadata(&mut merged).insert("resourceVersion".to_owned(), version.into());
            }
            target.slot.strategy.default(&mut merged);
            Ok(merged)
        };
        let change = |old: &Value| merge(Some(old)).map(|value| Change { value });
        if self.current(target).is_err() {
            if !meta::text(&applied, "uid").is_empty() {
                return Err(ApiError::conflict(
                    target.group_resource(),
                    target.name.as_str(),
                    format!(
                        "uid mismatch: the provided object specified uid {}, and no existing object was found",
                        meta::text(&applied, "uid")
                    ),
                ));
            }
            if target.subresource.is_some() {
                return Err(target.not_found());
            }
            self.require_create(target, caller)?;
            match self.insert(target, merge(None)?, options, caller, &|_| {}).await {
                Ok(answer) => return Ok((true, answer)),
                // Somebody created it just now: then it is an update.
                Err(ApiError::AlreadyExists { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let answer = self
            .modify_managed(target, options, caller, target_scope(target), Managed::Applied, &change)
            .await?;
        Ok((false, answer))
    }

    /// What a patch makes of an object, in stored shape, with defaults. A resourceVersion in it is the patch's own.
    #[expect(clippy::too_many_arguments, reason = "a patch and what it is applied with")]
    pub(super) fn patched(
        &self,
        target: &Target,
        kind: PatchKind,
        parsed: &Value,
        body: &[u8],
        old: &Value,
        options: &WriteOptions,
        caller: &Caller,
    ) -> Result<Value, ApiError> {
        let shown = view::outward_value(target, old);
        let expected = Expected {
            api_version: &target.info.api_version(),
            kind: target.info.kind,
            schema: target.info.schema(),
        };
        let value = apply_patch(kind, parsed, body, &shown, expected)?;
        let revision = meta::text(&value, "resourceVersion").to_owned();
        let decoded = Decoded {
            value,
            duplicates: Vec::new(),
        };
        let mut value = decode::accept(decoded, expected, options.validation, caller)?;
        meta::check_namespace(target, &mut value)?;
        meta::check_name(target, &mut value)?;
        if revision == meta::text(old, "resourceVersion") {
            meta::metadata(&mut value).remove("resourceVersion");
        }
        let mut value = view::inward(target, value)?;
        target.slot.strategy.default(&mut value);
        Ok(value)
    }
}

/// Parses a patch so far as its kind allows without the object.
pub(super) fn parse(kind: PatchKind, body: &[u8]) -> Result<Value, ApiError> {
    if kind == PatchKind::Json {
        return Ok(Value::Null);
    }
    timonel_api::decode::json(body)
        .map(|decoded| decoded.value)
        .map_err(|error| ApiError::bad_request(format!("error decoding patch: {error}")))
}

/// Applies a patch to the shown form of an object.
pub(super) fn apply_patch(
    kind: PatchKind,
    parsed: &Value,
    body: &[u8],
    shown: &Value,
    expected: Expected<'_>,
) -> Result<Value, ApiError> {
    let result = match (kind, expected.schema) {
        (PatchKind::Json, _) => patch::json_patch(shown, body),
        (PatchKind::Strategic, Some(schema)) => patch::strategic_merge(schema, shown, parsed),
        (PatchKind::Strategic, None) => {
            return Err(ApiError::UnsupportedMediaType(
                "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml".to_owned(),
            ));
        }
        _ => patch::merge_patch(shown, parsed),
    };
    result.map_err(ApiError::from)
}

impl From<patch::PatchError> for ApiError {
    fn from(error: patch::PatchError) -> Self {
        match error {
            patch::PatchError::BadRequest(message) => Self::BadRequest(message),
            patch::PatchError::Unprocessable(message) => Self::Unprocessable(message),
            patch::PatchError::TooLarge(message) => Self::RequestTooLarge(message),
        }
    }
}

impl From<apply::ApplyError> for ApiError {
    fn from(error: apply::ApplyError) -> Self {
        let message = error.to_string();
        match error {
            apply::ApplyError::Invalid(message) => Self::BadRequest(message),
            apply::ApplyError::Conflicts(conflicts) => Self::ApplyConflict {
                message,
                causes: conflicts
                    .iter()
                    .map(|conflict| Cause {
                        reason: "FieldManagerConflict".to_owned(),
                        message: conflict.cause(),
                        field: conflict.path.clone(),
                    })
                    .collect(),
            },
        }
    }
}
