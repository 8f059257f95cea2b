//! What a request's body is, by its media type.

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde_json::Value;
use timonel_api::decode::{self, Decoded};

use super::protobuf;
use crate::error::ApiError;
use crate::registry::PatchKind;

fn media_type(headers: &HeaderMap) -> &str {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map_or("", str::trim)
}

/// Decodes a body as its media type says.
pub(super) fn decode_body(headers: &HeaderMap, bytes: &[u8]) -> Result<Decoded, ApiError> {
    let result = match media_type(headers) {
        "" | "application/json" => decode::json(bytes),
        "application/yaml" | "text/yaml" | "application/x-yaml" => decode::yaml(bytes),
        "application/vnd.kubernetes.protobuf" => return protobuf::decode(bytes),
        _ => return Err(ApiError::unsupported_media_type()),
    };
    result.map_err(|error| ApiError::bad_request(error.to_string()))
}

/// Decodes the options that a delete may carry; none is null.
pub(super) fn delete_body(headers: &HeaderMap, bytes: &[u8]) -> Result<Value, ApiError> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    Ok(decode_body(headers, bytes)?.value)
}

/// Which of the four patches it is.
pub(super) fn patch_kind(headers: &HeaderMap) -> Result<PatchKind, ApiError> {
    Ok(match media_type(headers) {
        "application/json-patch+json" => PatchKind::Json,
        "application/merge-patch+json" => PatchKind::Merge,
        "application/strategic-merge-patch+json" => PatchKind::Strategic,
        "application/apply-patch+yaml" => PatchKind::Apply,
        _ => {
            return Err(ApiError::UnsupportedMediaType(
                "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml"
                    .to_owned(),
            ));
        }
    })
}
