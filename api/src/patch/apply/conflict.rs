//! Why an apply is refused.

use std::collections::BTreeMap;
use std::fmt;

/// A field that the configuration would change and another manager owns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conflict {
    /// Who owns it: `"kubectl-client-side-apply" using apps/v1`.
    pub manager: String,
    /// The field: `.spec.replicas`. The `field` of the status cause.
    pub path: String,
}

impl Conflict {
    /// The `message` of the status cause, whose `reason` is `FieldManagerConflict`.
    pub fn cause(&self) -> String {
        format!("conflict with {}", self.manager)
    }
}

/// Why an apply is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApplyError {
    /// 409: others own what would change. Sorted by manager and path.
    Conflicts(Vec<Conflict>),
    /// 400: the configuration is not one of this kind.
    Invalid(String),
}

impl std::error::Error for ApplyError {}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let conflicts = match self {
            Self::Invalid(text) => return f.write_str(text),
            Self::Conflicts(conflicts) => conflicts,
        };
        if let [one] = conflicts.as_slice() {
            return write!(f, "Apply failed with 1 conflict: {}: {}", one.cause(), one.path);
        }
        let mut by_manager: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for conflict in conflicts {
            by_manager.entry(&conflict.manager).or_default().push(&conflict.path);
        }
        write!(f, "Apply failed with {} conflicts: ", conflicts.len())?;
        for (at, (manager, paths)) in by_manager.into_iter().enumerate() {
            let line = if at > 0 { "\n" } else { "" };
            write!(f, "{line}conflicts with {manager}:")?;
            for path in paths {
                write!(f, "\n- {path}")?;
            }
        }
        Ok(())
    }
}
