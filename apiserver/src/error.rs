//! What can go wrong while serving a request, and the one function that says so as a `metav1.Status`.
//!
//! The variants know nothing of HTTP; [`ApiError::to_status`] alone picks codes, reasons and upstream's words
//! (`k8s.io/apimachinery/pkg/api/errors`).

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use timonel_api::{FieldError, Revision};
use timonel_store::StoreError;

/// A cause within a `metav1.Status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// For example `FieldManagerConflict`; may be empty.
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// The field it is about; may be empty.
    pub field: String,
}

/// Why a request was refused or failed.
///
/// `resource` is a group resource as upstream prints it: `pods`, `deployments.apps`; `kind` likewise: `Pod`, `Deployment.apps`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// The object does not exist.
    #[error("{resource} {name:?} not found")]
    NotFound {
        /// Which resource.
        resource: String,
        /// Which object.
        name: String,
    },
    /// Nothing is served under this path.
    #[error("the server could not find the requested resource")]
    NoSuchPath,
    /// An object of this name exists.
    #[error("{resource} {name:?} already exists")]
    AlreadyExists {
        /// Which resource.
        resource: String,
        /// Which object.
        name: String,
    },
    /// No free name was found for a `generateName`.
    #[error("{resource} {name:?} already exists, the server was not able to generate a unique name for the object")]
    GenerateNameConflict {
        /// Which resource.
        resource: String,
        /// The last name tried.
        name: String,
    },
    /// The object changed meanwhile, or a precondition does not hold.
    #[error("Operation cannot be fulfilled on {resource} {name:?}: {reason}")]
    Conflict {
        /// Which resource.
        resource: String,
        /// Which object.
        name: String,
        /// What does not hold.
        reason: String,
    },
    /// Server-side apply met fields that another manager owns.
    #[error("{message}")]
    ApplyConflict {
        /// `Apply failed with 1 conflict: conflict with "m": .spec.replicas`
        message: String,
        /// One per field.
        causes: Vec<Cause>,
    },
    /// The user may not do this.
    #[error("{}", forbidden_message(resource, name, reason))]
    Forbidden {
        /// Which resource; empty for paths that are no resources.
        resource: String,
        /// Which object; may be empty.
        name: String,
        /// `User "u" cannot list resource ...`
        reason: String,
    },
    /// The user may not do this, and `causes` say more precisely why.
    #[error("{}", forbidden_message(resource, name, reason))]
    ForbiddenBecause {
        /// Which resource.
        resource: String,
        /// Which object; may be empty.
        name: String,
        /// A sentence.
        reason: String,
        /// For example `NamespaceTerminating`.
        causes: Vec<Cause>,
    },
    /// The object is not valid.
    #[error("{kind} {name:?} is invalid: {}", aggregate(errors))]
    Invalid {
        /// Which kind.
        kind: String,
        /// Which object.
        name: String,
        /// Everything that is wrong.
        errors: Vec<FieldError>,
    },
    /// The request cannot be understood.
    #[error("{0}")]
    BadRequest(String),
    /// The request is understood and does not fit the object.
    #[error("{0}")]
    Unprocessable(String),
    /// The credentials are not accepted.
    #[error("Unauthorized")]
    Unauthorized,
    /// The resource does not support the verb.
    #[error("{}", method_message(resource, verb))]
    MethodNotAllowed {
        /// Which resource; empty where the path is none.
        resource: String,
        /// `create`, `list`, ...
        verb: String,
    },
    /// The history asked for is gone (`Expired`): list again.
    #[error("{message}")]
    Expired {
        /// Upstream's words for the case.
        message: String,
        /// With which an inconsistent list may go on.
        continue_token: Option<String>,
    },
    /// What was asked for is gone for good.
    #[error("{0}")]
    Gone(String),
    /// The caller should slow down and try again.
    #[error("{message}")]
    TooManyRequests {
        /// Why.
        message: String,
        /// When to try again.
        retry_after_seconds: u32,
        /// More precisely why; may be empty.
        causes: Vec<Cause>,
    },
    /// The resource version asked for has not happened yet.
    #[error("Timeout: Too large resource version: {asked}, current: {current}")]
    FutureRevision {
        /// What was asked for.
        asked: Revision,
        /// The newest there is.
        current: Revision,
    },
    /// A part of the server failed.
    #[error("Internal error occurred: {0}")]
    Internal(String),
    /// None of the accepted media types can be produced.
    #[error("only the following media types are accepted: {0}")]
    NotAcceptable(String),
    /// The body's media type is not understood.
    #[error("the body of the request was in an unknown format - accepted media types include: {0}")]
    UnsupportedMediaType(String),
    /// It took too long.
    #[error("Timeout: {0}")]
    Timeout(String),
    /// The body is over the limit.
    #[error("Request entity too large: {0}")]
    RequestTooLarge(String),
    /// The server cannot serve this now.
    #[error("{0}")]
    Unavailable(String),
    /// Upstream serves this and this server does not yet.
    #[error("{0} is not implemented by this server")]
    NotImplemented(String),
}

/// So many field errors are told. Upstream tells all; a hundred thousand wrong keys would be answered with forty megabytes.
const MAX_FIELD_ERRORS: usize = 1000;

fn forbidden_message(resource: &str, name: &str, reason: &str) -> String {
    match (resource, name) {
        ("", _) => format!("forbidden: {reason}"),
        (_, "") => format!("{resource} is forbidden: {reason}"),
        _ => format!("{resource} {name:?} is forbidden: {reason}"),
    }
}

fn method_message(resource: &str, verb: &str) -> String {
    if resource.is_empty() {
        "the server does not allow this method on the requested resource".to_owned()
    } else {
        format!("{verb} is not supported on resources of kind {resource:?}")
    }
}

/// Joins errors as upstream's `Aggregate` does: duplicates once, brackets around several.
fn aggregate(errors: &[FieldError]) -> String {
    let mut seen = BTreeSet::new();
    let mut texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    texts.retain(|text| seen.insert(text.clone()));
    match texts.as_slice() {
        [] => "<nil>".to_owned(),
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

/// A `metav1.Status` and the code that goes with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// The HTTP status code; the body has it too.
    pub code: u16,
    /// The object.
    pub body: Value,
}

impl ApiError {
    /// The object does not exist.
    pub fn not_found(resource: impl Into<String>, name: impl Into<String>) -> Self {
        Self::NotFound {
            resource: resource.into(),
            name: name.into(),
        }
    }

    /// An object of this name exists.
    pub fn already_exists(resource: impl Into<String>, name: impl Into<String>) -> Self {
        Self::AlreadyExists {
            resource: resource.into(),
            name: name.into(),
        }
    }

    /// `Operation cannot be fulfilled on RESOURCE "NAME": REASON`
    pub fn conflict(resource: impl Into<String>, name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Conflict {
            resource: resource.into(),
            name: name.into(),
            reason: reason.into(),
        }
    }

    /// The conflict of optimistic concurrency.
    pub fn modified(resource: impl Into<String>, name: impl Into<String>) -> Self {
        Self::conflict(
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// The user may not do this. Empty `resource` for paths that are no resources; `name` may be empty.
    pub fn forbidden(resource: impl Into<String>, name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Forbidden {
            resource: resource.into(),
            name: name.into(),
            reason: reason.into(),
        }
    }

    /// The object is not valid. `kind` is `Pod`, `Deployment.apps`.
    /// Of very many errors the first are told.
    pub fn invalid(kind: impl Into<String>, name: impl Into<String>, mut errors: Vec<FieldError>) -> Self {
        errors.truncate(MAX_FIELD_ERRORS);
        Self::Invalid {
            kind: kind.into(),
            name: name.into(),
            errors,
        }
    }

    /// The request cannot be understood.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::BadRequest(message.into())
    }

    /// The credentials are not accepted.
    pub fn unauthorized() -> Self {
        Self::Unauthorized
    }

    /// The resource does not support the verb.
    pub fn method_not_allowed(resource: impl Into<String>, verb: impl Into<String>) -> Self {
        Self::MethodNotAllowed {
            resource: resource.into(),
            verb: verb.into(),
        }
    }

    /// The history asked for is gone (410, `Expired`).
    pub fn gone(message: impl Into<String>) -> Self {
        Self::Expired {
            message: message.into(),
            continue_token: None,
        }
    }

    /// The caller should slow down and try again.
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        Self::TooManyRequests {
            message: message.into(),
            retry_after_seconds,
            causes: Vec::new(),
        }
    }

    /// A part of the server failed.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::Internal(message.into())
    }

    /// None of the accepted media types can be produced.
    pub fn not_acceptable() -> Self {
        Self::NotAcceptable("application/json, application/yaml".to_owned())
    }

    /// The body's media type is not understood.
    pub fn unsupported_media_type() -> Self {
        Self::UnsupportedMediaType("application/json, application/yaml".to_owned())
    }

    /// It took too long.
    pub fn timeout(message: impl Into<String>) -> Self {
        Self::Timeout(message.into())
    }

    /// The body is over the limit, in bytes.
    pub fn request_too_large(limit: usize) -> Self {
        Self::RequestTooLarge(format!("limit is {limit}"))
    }

    /// Upstream serves this and this server does not yet.
    pub fn not_implemented(what: impl Into<String>) -> Self {
        Self::NotImplemented(what.into())
    }

    /// The HTTP status code that answers this error.
    pub fn code(&self) -> u16 {
        self.code_and_reason().0
    }

    fn code_and_reason(&self) -> (u16, &'static str) {
        match self {
            Self::NotFound { .. } | Self::NoSuchPath => (404, "NotFound"),
            Self::AlreadyExists { .. } | Self::GenerateNameConflict { .. } => (409, "AlreadyExists"),
            Self::Conflict { .. } | Self::ApplyConflict { .. } => (409, "Conflict"),
            Self::Forbidden { .. } | Self::ForbiddenBecause { .. } => (403, "Forbidden"),
            Self::Invalid { .. } | Self::Unprocessable(_) => (422, "Invalid"),
            Self::BadRequest(_) => (400, "BadRequest"),
            Self::Unauthorized => (401, "Unauthorized"),
            Self::MethodNotAllowed { .. } => (405, "MethodNotAllowed"),
            Self::Expired { .. } => (410, "Expired"),
            Self::Gone(_) => (410, "Gone"),
            Self::TooManyRequests { .. } => (429, "TooManyRequests"),
            Self::FutureRevision { .. } | Self::Timeout(_) => (504, "Timeout"),
            Self::Internal(_) => (500, "InternalError"),
            Self::NotAcceptable(_) => (406, "NotAcceptable"),
            Self::UnsupportedMediaType(_) => (415, "UnsupportedMediaType"),
            Self::RequestTooLarge(_) => (413, "RequestEntityTooLarge"),
            Self::Unavailable(_) => (503, "ServiceUnavailable"),
            Self::NotImplemented(_) => (501, "NotImplemented"),
        }
    }

    /// Turns the error into upstream's `metav1.Status`.
    pub fn to_status(&self) -> Status {
        let (code, reason) = self.code_and_reason();
        let mut metadata = Map::new();
        let mut details = Map::new();
        let mut causes: Vec<Cause> = Vec::new();
        let mut subject = |qualified: &str, name: &str| {
            let (kind, group) = qualified.split_once('.').unwrap_or((qualified, ""));
            for (key, value) in [("name", name), ("group", group), ("kind", kind)] {
                if !value.is_empty() {
                    details.insert(key.to_owned(), value.into());
                }
            }
        };
        let mut retry_after = None;
        match self {
            Self::NotFound { resource, name }
            | Self::AlreadyExists { resource, name }
            | Self::Conflict { resource, name, .. }
            | Self::Forbidden { resource, name, .. } => subject(resource, name),
            Self::ForbiddenBecause {
                resource,
                name,
                causes: all,
                ..
            } => {
                subject(resource, name);
                causes = all.clone();
            }
            Self::GenerateNameConflict { resource, name } => {
                subject(resource, name);
                retry_after = Some(1);
            }
            Self::MethodNotAllowed { resource, .. } => subject(resource, ""),
            Self::Invalid { kind, name, errors } => {
                subject(kind, name);
                causes = errors
                    .iter()
                    .map(|error| Cause {
                        reason: error.kind.reason().to_owned(),
                        message: error.body(),
                        field: error.path.to_string(),
                    })
                    .collect();
            }
            Self::ApplyConflict { causes: all, .. } => causes = all.clone(),
            Self::TooManyRequests {
                retry_after_seconds,
                causes: all,
                ..
            } => {
                retry_after = (*retry_after_seconds > 0).then_some(*retry_after_seconds);
                causes = all.clone();
            }
            Self::FutureRevision { .. } => {
                retry_after = Some(1);
                causes.push(Cause {
                    reason: "ResourceVersionTooLarge".to_owned(),
                    message: "Too large resource version".to_owned(),
                    field: String::new(),
                });
            }
            Self::Internal(message) => causes.push(Cause {
                reason: String::new(),
                message: message.clone(),
                field: String::new(),
            }),
            Self::Expired {
                continue_token: Some(token),
                ..
            } => {
                metadata.insert("continue".to_owned(), token.clone().into());
            }
            Self::Unavailable(_) => retry_after = Some(1),
            _ => {}
        }
        if !causes.is_empty() {
            let causes: Vec<Value> = causes.iter().map(cause_json).collect();
            details.insert("causes".to_owned(), causes.into());
        }
        if let Some(seconds) = retry_after {
            details.insert("retryAfterSeconds".to_owned(), seconds.into());
        }
        let mut body = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": metadata,
            "status": "Failure",
            "message": self.to_string(),
            "reason": reason,
            "code": code,
        });
        if !details.is_empty() {
            body["details"] = details.into();
        }
        Status { code, body }
    }
}

fn cause_json(cause: &Cause) -> Value {
    let mut map = Map::new();
    for (key, value) in [
        ("reason", &cause.reason),
        ("message", &cause.message),
        ("field", &cause.field),
    ] {
        if !value.is_empty() {
            map.insert(key.to_owned(), value.as_str().into());
        }
    }
    map.into()
}

impl From<StoreError> for ApiError {
    /// Guards that do not hold are the registry's business: it knows which object they were about.
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Compacted { asked, oldest } => {
                Self::gone(format!("too old resource version: {asked} ({oldest})"))
            }
            StoreError::Future { asked, current } => Self::FutureRevision { asked, current },
            StoreError::NoSpace | StoreError::Closed => Self::Unavailable(error.to_string()),
            other => Self::internal(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use timonel_api::Path;

    #[test]
    fn statuses_read_as_upstream_writes_them() {
        let status = ApiError::not_found("deployments.apps", "web").to_status();
        assert_eq!(
            status.body,
            json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "deployments.apps \"web\" not found", "reason": "NotFound", "code": 404,
                "details": {"name": "web", "group": "apps", "kind": "deployments"},
            })
        );
        assert_eq!(
            ApiError::modified("deployments.apps", "x").to_string(),
            "Operation cannot be fulfilled on deployments.apps \"x\": the object has been modified; please apply your changes to the latest version and try again"
        );
        assert_eq!(
            ApiError::forbidden("pods", "", "User \"u\" cannot list resource \"pods\"").to_string(),
            "pods is forbidden: User \"u\" cannot list resource \"pods\""
        );
    }

    #[test]
    fn several_field_errors_are_bracketed_and_each_is_a_cause() {
        let path = Path::new("spec");
        let one = ApiError::invalid("Pod", "p", vec![FieldError::required(&path, "")]);
        assert_eq!(one.to_string(), "Pod \"p\" is invalid: spec: Required value");
        let two = ApiError::invalid(
            "Deployment.apps",
            "d",
            vec![FieldError::required(&path, ""), FieldError::forbidden(&path, "no")],
        );
        assert_eq!(
            two.to_string(),
            "Deployment.apps \"d\" is invalid: [spec: Required value, spec: Forbidden: no]"
        );
        assert_eq!(
            two.to_status().body["details"]["causes"][1]["reason"],
            "FieldValueForbidden"
        );
    }
}
