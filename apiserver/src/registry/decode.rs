//! From a decoded body to an object of a kind: types checked, unknown and duplicate fields found, the rest pruned.

use serde_json::Value;
use timonel_api::decode::{self, Decoded};
use timonel_api::facts::Schema;
use timonel_api::quantity::Quantity;

use super::Caller;
use super::options::FieldValidation;
use crate::error::ApiError;

/// What a body is decoded as.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected<'a> {
    /// `apps/v1`
    pub(super) api_version: &'a str,
    /// `Deployment`
    pub(super) kind: &'a str,
    /// Its shape; kinds without one are taken as they are.
    pub(super) schema: Option<&'static Schema>,
}

impl Expected<'_> {
    fn refuse(&self, why: &str) -> ApiError {
        let version = self.api_version.rsplit('/').next().unwrap_or_default();
        ApiError::bad_request(format!(
            "{kind} in version {version:?} cannot be handled as a {kind}: {why}",
            kind = self.kind
        ))
    }
}

/// Checks and prunes a decoded body.
pub(super) fn accept(
    body: Decoded,
    expected: Expected<'_>,
    validation: FieldValidation,
    caller: &Caller,
) -> Result<Value, ApiError> {
    let Decoded { mut value, duplicates } = body;
    super::meta::check_type(&mut value, expected.api_version, expected.kind)?;
    let Some(schema) = expected.schema else {
        return Ok(value);
    };
    decode::types(schema, &value).map_err(|error| expected.refuse(&error.to_string()))?;
    if validation != FieldValidation::Ignore {
        let unknown = decode::unknown_fields(schema, &value);
        match validation {
            FieldValidation::Strict => {
                if let Some(error) = decode::strict_error(&unknown, &duplicates) {
                    return Err(expected.refuse(&error));
                }
            }
            _ => decode::strict_messages(&unknown, &duplicates)
                .into_iter()
                .for_each(|warning| caller.warn(warning)),
        }
    }
    let canonical = |text: &str| Quantity::parse(text).ok().map(|quantity| quantity.to_string());
    decode::prune_with(schema, &mut value, &canonical);
    Ok(value)
}
