//! Field selectors: `spec.nodeName=n1,status.phase!=Running` (`k8s.io/apimachinery/pkg/fields`).

use std::fmt;

/// Why a field selector is refused; the text is upstream's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldSelectorError {
    /// A term has no operator.
    #[error("invalid selector: '{selector}'; can't understand '{term}'")]
    Term {
        /// The whole selector.
        selector: String,
        /// The term that has no operator.
        term: String,
    },
    /// A backslash stands before a character that needs none.
    #[error("invalid field selector: invalid escape sequence: {0}")]
    Escape(String),
    /// A character that needs a backslash has none.
    #[error("invalid field selector: unescaped character in value: {0}")]
    Unescaped(char),
}

/// One condition on a field.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FieldRequirement {
    /// The field's path: `metadata.name`.
    pub field: String,
    /// Whether the field must equal the value, or must not.
    pub equals: bool,
    /// The value.
    pub value: String,
}

/// A conjunction of conditions on fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FieldSelector {
    requirements: Vec<FieldRequirement>,
}

impl FieldSelector {
    /// Selects everything.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Makes a selector of one equality.
    pub fn equals(field: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            requirements: vec![FieldRequirement {
                field: field.into(),
                equals: true,
                value: value.into(),
            }],
        }
    }

    /// Parses the form that `fieldSelector=` takes.
    ///
    /// # Errors
    /// Names the term that cannot be understood.
    pub fn parse(text: &str) -> Result<Self, FieldSelectorError> {
        let mut requirements = Vec::new();
        for term in terms(text) {
            if term.is_empty() {
                continue;
            }
            let (field, equals, value) = split(term).ok_or_else(|| FieldSelectorError::Term {
                selector: text.to_owned(),
                term: term.to_owned(),
            })?;
            requirements.push(FieldRequirement {
                field: field.to_owned(),
                equals,
                value: unescape(value)?,
            });
        }
        Ok(Self { requirements })
    }

    /// The conditions, in the order in which they were written.
    pub fn requirements(&self) -> &[FieldRequirement] {
        &self.requirements
    }

    /// Whether every object is selected.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// The value that a field must have, where the selector demands exactly one: how a watch on `metadata.name` finds its key.
    pub fn required_value(&self, field: &str) -> Option<&str> {
        self.requirements
            .iter()
            .find(|r| r.equals && r.field == field)
            .map(|r| r.value.as_str())
    }

    /// Whether the fields that `lookup` finds are selected; a missing field is the empty string.
    pub fn matches_by<'a>(&self, lookup: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements
            .iter()
            .all(|r| (lookup(&r.field).unwrap_or_default() == r.value) == r.equals)
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, r) in self.requirements.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            write!(f, "{comma}{}{}", r.field, if r.equals { "=" } else { "!=" })?;
            for c in r.value.chars() {
                if matches!(c, '\\' | ',' | '=') {
                    f.write_str("\\")?;
                }
                write!(f, "{c}")?;
            }
        }
        Ok(())
    }
}

/// Splits at commas that no backslash escapes.
fn terms(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b',' => {
                found.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    found.push(&text[start..]);
    found
}

/// Splits a term at its first operator.
fn split(term: &str) -> Option<(&str, bool, &str)> {
    for (at, _) in term.char_indices() {
        for (operator, equals) in [("!=", false), ("==", true), ("=", true)] {
            if let Some(value) = term[at..].strip_prefix(operator) {
                return Some((&term[..at], equals, value));
            }
        }
    }
    None
}

fn unescape(value: &str) -> Result<String, FieldSelectorError> {
    let mut plain = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(escaped @ ('\\' | ',' | '=')) => plain.push(escaped),
                Some(other) => return Err(FieldSelectorError::Escape(format!("\\{other}"))),
                None => return Err(FieldSelectorError::Escape("\\".to_owned())),
            },
            ',' | '=' => return Err(FieldSelectorError::Unescaped(c)),
            _ => plain.push(c),
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_selected() {
        let selector = FieldSelector::parse("spec.nodeName=n1,status.phase!=Running,").unwrap();
        let pod = |phase: &'static str| move |field: &str| Some(if field == "spec.nodeName" { "n1" } else { phase });
        assert!(selector.matches_by(pod("Pending")) && !selector.matches_by(pod("Running")));
        assert_eq!(selector.required_value("spec.nodeName"), Some("n1"));
        assert_eq!(selector.to_string(), "spec.nodeName=n1,status.phase!=Running");
        assert_eq!(
            FieldSelector::parse(r"a=b\,c").unwrap().required_value("a"),
            Some("b,c")
        );
        assert!(FieldSelector::parse("spec.nodeName=").unwrap().matches_by(|_| None));
    }

    #[test]
    fn what_cannot_be_understood_is_named() {
        assert_eq!(
            FieldSelector::parse("a=b,c").unwrap_err().to_string(),
            "invalid selector: 'a=b,c'; can't understand 'c'"
        );
        assert!(FieldSelector::parse("a=b=c").is_err() && FieldSelector::parse(r"a=\b").is_err());
    }
}
