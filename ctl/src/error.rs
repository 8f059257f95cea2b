//! What can go wrong, in kubectl's words.

use std::fmt;

use serde_json::Value;

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// The server answered a `metav1.Status`; `doing` is what kubectl puts before the message.
    Server {
        /// The Status.
        status: Box<Value>,
        /// For example `error when creating "a.yaml"`.
        doing: Option<String>,
    },
    /// The command line, a file or the connection is at fault; printed after `error: `.
    Usage(String),
    /// Several things failed; each is printed on its own lines.
    Many(Vec<Failure>),
    /// Everything has been said; only the exit code is left.
    Exit(u8),
}

impl Failure {
    /// A failure that is printed after `error: `.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    /// The Status' reason: `NotFound`, `AlreadyExists`, ...
    pub fn reason(&self) -> &str {
        match self {
            Self::Server { status, .. } => status["reason"].as_str().unwrap_or(""),
            _ => "",
        }
    }

    /// The Status' code, 0 for failures that no server answered.
    pub fn code(&self) -> u64 {
        match self {
            Self::Server { status, .. } => status["code"].as_u64().unwrap_or(0),
            _ => 0,
        }
    }

    /// Says what was being done when the server refused.
    #[must_use]
    pub fn doing(self, what: impl Into<String>) -> Self {
        match self {
            Self::Server { status, .. } => Self::Server {
                status,
                doing: Some(what.into()),
            },
            other => other,
        }
    }

    /// One failure for several; `Ok` when there are none.
    pub fn all(mut failures: Vec<Failure>) -> Result<(), Failure> {
        match failures.len() {
            0 => Ok(()),
            1 => Err(failures.remove(0)),
            _ => Err(Self::Many(failures)),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server { status, doing } => {
                let (reason, message) = (self.reason(), status["message"].as_str().unwrap_or("unknown"));
                let details = &status["details"];
                if reason == "Invalid" && !details.is_null() {
                    return invalid(f, details, message);
                }
                match reason {
                    "" => f.write_str("Error from server")?,
                    reason => write!(f, "Error from server ({reason})")?,
                }
                match doing {
                    Some(doing) => write!(f, ": {doing}: {message}"),
                    None => write!(f, ": {message}"),
                }
            }
            Self::Usage(message) => write!(f, "error: {message}"),
            Self::Many(all) => {
                for (index, failure) in all.iter().enumerate() {
                    if index > 0 {
                        writeln!(f)?;
                    }
                    failure.fmt(f)?;
                }
                Ok(())
            }
            Self::Exit(code) => write!(f, "exit status {code}"),
        }
    }
}

/// `The Deployment "web" is invalid: spec.replicas: ...`, a line each where there are several causes.
fn invalid(f: &mut fmt::Formatter<'_>, details: &Value, message: &str) -> fmt::Result {
    let (kind, name) = (
        details["kind"].as_str().unwrap_or(""),
        details["name"].as_str().unwrap_or(""),
    );
    write!(f, "The {kind} {name:?} is invalid")?;
    let causes: Vec<String> = details["causes"].as_array().map_or_else(Vec::new, |causes| {
        let text = |cause: &Value, field: &str| cause[field].as_str().unwrap_or("").to_owned();
        causes
            .iter()
            .map(|cause| format!("{}: {}", text(cause, "field"), text(cause, "message")))
            .collect()
    });
    match causes.as_slice() {
        [] => write!(f, ": {message}"),
        [one] => write!(f, ": {one}"),
        many => {
            f.write_str(": ")?;
            for cause in many {
                write!(f, "\n* {cause}")?;
            }
            Ok(())
        }
    }
}

impl std::error::Error for Failure {}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Server {
                status: Box::new(serde_json::to_value(&status).unwrap_or_default()),
                doing: None,
            },
            error => Self::usage(describe(&error)),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::usage(format!("the server's answer is not readable: {error}"))
    }
}

/// The innermost cause says what happened; the outer ones only where.
fn describe(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn invalid_objects_name_every_field() {
        let status = json!({"reason": "Invalid", "details": {"kind": "Pod", "name": "a_b", "causes": [
            {"field": "metadata.name", "message": "Invalid value: \"a_b\""}, {"field": "spec", "message": "Required value"}]}});
        let failure = Failure::Server {
            status: Box::new(status),
            doing: None,
        };
        assert_eq!(
            failure.to_string(),
            "The Pod \"a_b\" is invalid: \n* metadata.name: Invalid value: \"a_b\"\n* spec: Required value"
        );
    }
}
