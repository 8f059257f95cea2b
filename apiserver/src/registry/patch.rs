//! Patches: JSON, merge, strategic merge and server-side apply.

use serde_json::Value;
use timonel_api::decode::Decoded;
use timonel_api::patch;

use super::decode::Expected;
use super::options::{PatchKind, WriteOptions};
use super::update::{Change, Managed, target_scope};
use super::{Answer, Caller, Registry, Target, decode, meta, view};
use crate::error::ApiError;

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
            return Err(ApiError::not_implemented("server-side apply"));
        }
        let parsed = parse(kind, body)?;
        let change = |old: &Value| -> Result<Change, ApiError> {
            let value = self.patched(target, kind, &parsed, body, old, options, caller)?;
            Ok(Change { value })
        };
        let answer = self.modify(target, options, caller, target_scope(target), Managed::Update, &change).await?;
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
        let mut value = view::inward(target, value);
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
        Self::bad_request(error.to_string())
    }
}
