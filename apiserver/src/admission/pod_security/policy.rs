//! Which standard a namespace's labels ask for, in which version, for which mode.

use std::fmt;

use serde_json::Value;
use timonel_api::{FieldError, Path};

const PREFIX: &str = "pod-security.kubernetes.io/";
/// The newest version in which a check changed; newer ones are the same.
const NEWEST: u32 = 35;

/// How strict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    #[default]
    Privileged,
    Baseline,
    Restricted,
}

impl Level {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "privileged" => Some(Self::Privileged),
            "baseline" => Some(Self::Baseline),
            "restricted" => Some(Self::Restricted),
            _ => None,
        }
    }
}

/// A level as it was in one version of Kubernetes. It is written `restricted:latest`, `baseline:v1.24`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standard {
    pub(super) level: Level,
    /// The minor version; none means the latest.
    pub(super) minor: Option<u32>,
}

impl Standard {
    /// The minor version whose checks apply.
    pub(super) fn version(self) -> u32 {
        self.minor.map_or(NEWEST, |minor| minor.min(NEWEST))
    }
}

impl fmt::Display for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        })?;
        match self.minor {
            Some(minor) => write!(f, ":v1.{minor}"),
            None => f.write_str(":latest"),
        }
    }
}

/// The standards of a namespace. What its labels do not say is `privileged:latest`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Policy {
    /// What refuses pods.
    pub(super) enforce: Standard,
    /// What is noted in the audit log.
    pub(super) audit: Standard,
    /// What clients are warned of.
    pub(super) warn: Standard,
}

impl Policy {
    /// Whether nothing is asked for.
    pub(super) fn is_open(&self) -> bool {
        [self.enforce, self.audit, self.warn]
            .iter()
            .all(|standard| standard.level == Level::Privileged)
    }

    /// Reads a namespace's labels. What is nonsense enforces the strictest standard, and audits and warns of nothing; the errors say so.
    pub(super) fn of(namespace: &Value) -> (Self, Vec<FieldError>) {
        let labels = &namespace["metadata"]["labels"];
        let (mut policy, mut errors) = (Self::default(), Vec::new());
        let (mut enforces, mut warns, mut warns_of_version) = (false, false, false);
        for (mode, standard, or) in [
            ("enforce", &mut policy.enforce, Level::Restricted),
            ("audit", &mut policy.audit, Level::Privileged),
            ("warn", &mut policy.warn, Level::Privileged),
        ] {
            let path = |key: &str| Path::new("metadata").child("labels").key(key);
            let key = format!("{PREFIX}{mode}");
            if let Some(text) = labels[&key].as_str() {
                enforces |= mode == "enforce";
                warns |= mode == "warn";
                standard.level = Level::parse(text).unwrap_or_else(|| {
                    let detail = "must be one of privileged, baseline, restricted";
                    errors.push(FieldError::invalid(&path(&key), text, detail));
                    or
                });
            }
            let key = format!("{key}-version");
            if let Some(text) = labels[&key].as_str() {
                warns_of_version |= mode == "warn";
                match version(text) {
                    Some(minor) => standard.minor = minor,
                    None => errors.push(FieldError::invalid(&path(&key), text, "must be \"latest\" or \"v1.x\"")),
                }
            }
        }
        // Who enforces and says nothing of warnings is warned by the same standard: templates, whose pods will be refused, warn early.
        if enforces && !warns && policy.enforce.level > policy.warn.level {
            policy.warn.level = policy.enforce.level;
            if !warns_of_version {
                policy.warn.minor = policy.enforce.minor;
            }
        }
        (policy, errors)
    }
}

/// `latest`, or `v1.` and a number without leading zeros.
fn version(text: &str) -> Option<Option<u32>> {
    if text == "latest" {
        return Some(None);
    }
    let digits = text.strip_prefix("v1.")?;
    let plain = digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    plain.then(|| digits.parse().ok()).flatten().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(labels: &[(&str, &str)]) -> (String, Vec<String>) {
        let mut namespace = json!({"metadata": {"labels": {}}});
        for (key, value) in labels {
            namespace["metadata"]["labels"][format!("{PREFIX}{key}")] = json!(value);
        }
        let (policy, errors) = Policy::of(&namespace);
        (
            format!("{} {} {}", policy.enforce, policy.audit, policy.warn),
            errors.iter().map(ToString::to_string).collect(),
        )
    }

    #[test]
    fn warnings_follow_what_is_enforced_unless_told_otherwise() {
        let cases: [(&[(&str, &str)], &str); 5] = [
            (&[], "privileged:latest privileged:latest privileged:latest"),
            (
                &[("enforce", "baseline"), ("enforce-version", "v1.24")],
                "baseline:v1.24 privileged:latest baseline:v1.24",
            ),
            (
                &[("enforce", "restricted"), ("warn", "privileged")],
                "restricted:latest privileged:latest privileged:latest",
            ),
            (
                &[("audit", "baseline"), ("warn", "restricted"), ("warn-version", "v1.30")],
                "privileged:latest baseline:latest restricted:v1.30",
            ),
            (
                &[
                    ("enforce", "restricted"),
                    ("enforce-version", "v1.20"),
                    ("warn-version", "latest"),
                ],
                "restricted:v1.20 privileged:latest restricted:latest",
            ),
        ];
        for (labels, expected) in cases {
            assert_eq!(read(labels), (expected.to_owned(), vec![]), "{labels:?}");
        }
    }

    #[test]
    fn nonsense_is_named_and_enforced_strictly() {
        let (policy, errors) = read(&[("enforce", "paranoid"), ("audit", "x"), ("warn-version", "v1.01")]);
        assert_eq!(policy, "restricted:latest privileged:latest restricted:latest");
        assert_eq!(
            errors,
            [
                "metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"paranoid\": must be one of privileged, baseline, restricted",
                "metadata.labels[pod-security.kubernetes.io/audit]: Invalid value: \"x\": must be one of privileged, baseline, restricted",
                "metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: \"v1.01\": must be \"latest\" or \"v1.x\"",
            ]
        );
    }
}
