//! What can be wrong with a document, in upstream's words.

/// A document that cannot be read at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not JSON.
    #[error("{0}")]
    Json(String),
    /// Not YAML, or YAML that has no JSON equivalent.
    #[error("error converting YAML to JSON: yaml: {0}")]
    Yaml(String),
    /// Not UTF-8.
    #[error("the document is not valid UTF-8")]
    Utf8,
    /// Larger than [`super::MAX_BYTES`].
    #[error("the document is larger than {limit} bytes")]
    TooLarge {
        /// What is allowed.
        limit: usize,
    },
    /// More values than [`super::MAX_VALUES`].
    #[error("the document holds more than {limit} values")]
    TooMany {
        /// What is allowed.
        limit: usize,
    },
    /// Nested deeper than [`super::MAX_DEPTH`].
    #[error("exceeded max depth of {limit}")]
    TooDeep {
        /// What is allowed.
        limit: usize,
    },
}

/// A value of the wrong type, as Go's decoder words it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TypeError {
    /// Something else was wanted in a field of a struct.
    #[error("json: cannot unmarshal {value} into Go struct field {owner}.{path} of type {wanted}")]
    Field {
        /// `string`, `number`, `object`, ...
        value: String,
        /// The innermost struct: `ObjectMeta`.
        owner: &'static str,
        /// The path from the root, without list indexes.
        path: String,
        /// The Go type: `map[string]string`.
        wanted: String,
    },
    /// Something else was wanted where no struct is around it.
    #[error("json: cannot unmarshal {value} into Go value of type {wanted}")]
    Value {
        /// `string`, `number`, `object`, ...
        value: String,
        /// The Go type.
        wanted: String,
    },
    /// A string that its type cannot parse: a time, a quantity, base64.
    #[error("{0}")]
    Format(String),
}

/// Turns findings into upstream's sentences, which Warn sends one by one: `unknown field "spec.foo"`.
pub fn strict_messages(unknown: &[String], duplicates: &[String]) -> Vec<String> {
    let unknown = unknown.iter().map(|path| format!("unknown field {path:?}"));
    unknown
        .chain(duplicates.iter().map(|path| format!("duplicate field {path:?}")))
        .collect()
}

/// Joins all findings into the error that Strict answers: `strict decoding error: unknown field "spec.foo", ...`.
pub fn strict_error(unknown: &[String], duplicates: &[String]) -> Option<String> {
    let messages = strict_messages(unknown, duplicates);
    (!messages.is_empty()).then(|| format!("strict decoding error: {}", messages.join(", ")))
}
