//! Field paths and field errors, in upstream's words (`k8s.io/apimachinery/pkg/util/validation/field`).

use std::fmt;

/// A path to a field, written as upstream writes it: `spec.containers[0].image`, `metadata.labels[app]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(String);

impl Path {
    /// Starts a path at a named field.
    pub fn new(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// The path of the object itself; upstream writes it as `<nil>`.
    pub fn root() -> Self {
        Self(String::new())
    }

    /// The path to nothing in particular, where a rule speaks of the whole object; upstream writes it as `[]`.
    pub fn whole() -> Self {
        Self("[]".to_owned())
    }

    /// Appends a field name.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() {
            Self::new(name)
        } else {
            Self(format!("{}.{name}", self.0))
        }
    }

    /// Appends a list index.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// Appends a map key.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }

    /// The path as text, empty for the root.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "<nil>" } else { &self.0 })
    }
}

/// What is wrong with a field: the variants are upstream's error types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldErrorKind {
    /// `Required value`
    Required,
    /// `Invalid value`
    Invalid,
    /// `Unsupported value`
    NotSupported,
    /// `Duplicate value`
    Duplicate,
    /// `Forbidden`
    Forbidden,
    /// `Not found`
    NotFound,
    /// `Too long`
    TooLong,
    /// `Too many`
    TooMany,
    /// `Internal error`
    Internal,
    /// `Invalid value` whose type is wrong
    TypeInvalid,
}

impl FieldErrorKind {
    /// The `reason` of a `metav1.StatusCause`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Forbidden => "FieldValueForbidden",
            Self::NotFound => "FieldValueNotFound",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::Internal => "InternalError",
            Self::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Required => "Required value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Duplicate => "Duplicate value",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "Not found",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::Internal => "Internal error",
        }
    }
}

/// One thing that is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// What is wrong.
    pub kind: FieldErrorKind,
    /// Where.
    pub path: Path,
    /// The value as upstream prints it: strings quoted, everything else as JSON; `None` where upstream prints none.
    pub value: Option<String>,
    /// The sentence after the value.
    pub detail: String,
}

impl FieldError {
    fn with(kind: FieldErrorKind, path: &Path, value: Option<String>, detail: impl Into<String>) -> Self {
        Self {
            kind,
            path: path.clone(),
            value,
            detail: detail.into(),
        }
    }

    /// `path: Required value: detail`
    pub fn required(path: &Path, detail: impl Into<String>) -> Self {
        Self::with(FieldErrorKind::Required, path, None, detail)
    }

    /// `path: Invalid value: "value": detail`
    pub fn invalid(path: &Path, value: impl Into<serde_json::Value>, detail: impl Into<String>) -> Self {
        let value = match value.into() {
            // As upstream writes what is not there.
            serde_json::Value::Null => "\"null\"".to_owned(),
            value => value.to_string(),
        };
        Self::with(FieldErrorKind::Invalid, path, Some(value), detail)
    }

    /// `path: Unsupported value: "value": supported values: "a", "b"`
    pub fn not_supported(path: &Path, value: impl Into<serde_json::Value>, supported: &[&str]) -> Self {
        let list = supported
            .iter()
            .map(|s| format!("{s:?}"))
            .collect::<Vec<_>>()
            .join(", ");
        Self::with(
            FieldErrorKind::NotSupported,
            path,
            Some(value.into().to_string()),
            if supported.is_empty() {
                String::new()
            } else {
                format!("supported values: {list}")
            },
        )
    }

    /// `path: Duplicate value: "value"`
    pub fn duplicate(path: &Path, value: impl Into<serde_json::Value>) -> Self {
        Self::with(FieldErrorKind::Duplicate, path, Some(value.into().to_string()), "")
    }

    /// `path: Forbidden: detail`
    pub fn forbidden(path: &Path, detail: impl Into<String>) -> Self {
        Self::with(FieldErrorKind::Forbidden, path, None, detail)
    }

    /// `path: Not found: "value"`
    pub fn not_found(path: &Path, value: impl Into<serde_json::Value>) -> Self {
        Self::with(FieldErrorKind::NotFound, path, Some(value.into().to_string()), "")
    }

    /// `path: Too long: may not be more than N bytes`
    pub fn too_long(path: &Path, max: usize) -> Self {
        Self::with(
            FieldErrorKind::TooLong,
            path,
            None,
            format!("may not be more than {max} bytes"),
        )
    }

    /// `path: Too many: N: must have at most M items`
    pub fn too_many(path: &Path, actual: usize, max: usize) -> Self {
        Self::with(
            FieldErrorKind::TooMany,
            path,
            Some(actual.to_string()),
            format!("must have at most {max} items"),
        )
    }

    /// The message of the matching `metav1.StatusCause`: everything but the path.
    pub fn body(&self) -> String {
        let mut text = self.kind.title().to_owned();
        for part in self
            .value
            .iter()
            .chain((!self.detail.is_empty()).then_some(&self.detail))
        {
            text.push_str(": ");
            text.push_str(part);
        }
        text
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.body())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_read_as_upstream_writes_them() {
        let path = Path::new("spec").child("containers").index(0).child("name");
        assert_eq!(
            FieldError::required(&path, "").to_string(),
            "spec.containers[0].name: Required value"
        );
        assert_eq!(
            FieldError::invalid(&path, "a_b", "no underscore").to_string(),
            r#"spec.containers[0].name: Invalid value: "a_b": no underscore"#
        );
        assert_eq!(
            FieldError::not_supported(&path, "x", &["a", "b"]).to_string(),
            r#"spec.containers[0].name: Unsupported value: "x": supported values: "a", "b""#
        );
    }
}
