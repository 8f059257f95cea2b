//! Label selectors: their requirements, and matching.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;

use crate::field::{FieldError, Path};
use crate::names;

/// How a requirement compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operator {
    /// `key in (a,b)`
    In,
    /// `key notin (a,b)`
    NotIn,
    /// `key=a`
    Equals,
    /// `key==a`
    DoubleEquals,
    /// `key!=a`
    NotEquals,
    /// `key`
    Exists,
    /// `!key`
    DoesNotExist,
    /// `key>1`
    GreaterThan,
    /// `key<1`
    LessThan,
}

/// Why a selector is refused; the text is upstream's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// The text does not follow the grammar.
    #[error("{0}")]
    Syntax(String),
    /// A requirement of the text is wrong.
    #[error("unable to parse requirement: {0}")]
    Requirement(String),
    /// A typed selector has an operator that does not exist.
    #[error("{0:?} is not a valid label selector operator")]
    Operator(String),
    /// A requirement breaks the rules of its fields.
    #[error("{}", aggregate(.0))]
    Invalid(Vec<FieldError>),
}

fn aggregate(errors: &[FieldError]) -> String {
    match errors {
        [one] => one.to_string(),
        many => format!(
            "[{}]",
            many.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        ),
    }
}

/// One condition on a label.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Requirement {
    key: String,
    operator: Operator,
    values: BTreeSet<String>,
}

impl Requirement {
    /// Makes a requirement.
    ///
    /// # Errors
    /// Names the key or the values that break upstream's rules.
    pub fn new(
        key: impl Into<String>,
        operator: Operator,
        values: impl IntoIterator<Item = String>,
    ) -> Result<Self, SelectorError> {
        let this = Self {
            key: key.into(),
            operator,
            values: values.into_iter().collect(),
        };
        let wrong = this.check();
        if wrong.is_empty() {
            Ok(this)
        } else {
            Err(SelectorError::Invalid(wrong))
        }
    }

    fn check(&self) -> Vec<FieldError> {
        let mut wrong = Vec::new();
        let key_errors = names::qualified_name(&self.key);
        if !key_errors.is_empty() {
            wrong.push(FieldError::invalid(
                &Path::new("key"),
                self.key.as_str(),
                key_errors.join("; "),
            ));
        }
        let path = Path::new("values");
        let list = || serde_json::json!(self.values);
        match self.operator {
            Operator::In | Operator::NotIn if self.values.is_empty() => wrong.push(FieldError::invalid(
                &path,
                list(),
                "for 'in', 'notin' operators, values set can't be empty",
            )),
            Operator::Equals | Operator::DoubleEquals | Operator::NotEquals if self.values.len() != 1 => wrong.push(
                FieldError::invalid(&path, list(), "exact-match compatibility requires one single value"),
            ),
            Operator::Exists | Operator::DoesNotExist if !self.values.is_empty() => wrong.push(FieldError::invalid(
                &path,
                list(),
                "values set must be empty for exists and does not exist",
            )),
            Operator::GreaterThan | Operator::LessThan => {
                if self.values.len() != 1 {
                    wrong.push(FieldError::invalid(
                        &path,
                        list(),
                        "for 'Gt', 'Lt' operators, exactly one value is required",
                    ));
                }
                for (at, value) in self.values.iter().enumerate() {
                    if value.parse::<i64>().is_err() {
                        wrong.push(FieldError::invalid(
                            &path.index(at),
                            value.as_str(),
                            "for 'Gt', 'Lt' operators, the value must be an integer",
                        ));
                    }
                }
            }
            _ => {}
        }
        for (at, value) in self.values.iter().enumerate() {
            let errors = names::label_value(value);
            if !errors.is_empty() {
                wrong.push(FieldError::invalid(
                    &path.index(at).key(&self.key),
                    value.as_str(),
                    errors.join("; "),
                ));
            }
        }
        wrong
    }

    /// The label's key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// How it compares.
    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// With what it compares.
    pub fn values(&self) -> &BTreeSet<String> {
        &self.values
    }

    /// Whether a label with this value (`None`: no such label) meets the requirement.
    pub fn matches(&self, value: Option<&str>) -> bool {
        match self.operator {
            Operator::In | Operator::Equals | Operator::DoubleEquals => value.is_some_and(|v| self.values.contains(v)),
            Operator::NotIn | Operator::NotEquals => value.is_none_or(|v| !self.values.contains(v)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan | Operator::LessThan => {
                let number = |text: &str| text.parse::<i64>().ok();
                let (Some(have), Some(want)) = (
                    value.and_then(number),
                    self.values.first().map(String::as_str).and_then(number),
                ) else {
                    return false;
                };
                if self.operator == Operator::GreaterThan {
                    have > want
                } else {
                    have < want
                }
            }
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = || self.values.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        match self.operator {
            Operator::In => write!(f, "{} in ({})", self.key, values()),
            Operator::NotIn => write!(f, "{} notin ({})", self.key, values()),
            Operator::Equals => write!(f, "{}={}", self.key, values()),
            Operator::DoubleEquals => write!(f, "{}=={}", self.key, values()),
            Operator::NotEquals => write!(f, "{}!={}", self.key, values()),
            Operator::Exists => f.write_str(&self.key),
            Operator::DoesNotExist => write!(f, "!{}", self.key),
            Operator::GreaterThan => write!(f, "{}>{}", self.key, values()),
            Operator::LessThan => write!(f, "{}<{}", self.key, values()),
        }
    }
}

/// A conjunction of requirements on labels. No requirement at all selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

impl LabelSelector {
    /// Selects everything.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Selects nothing: what a missing typed selector means.
    pub fn nothing() -> Self {
        Self {
            requirements: Vec::new(),
            nothing: true,
        }
    }

    /// Makes a selector of requirements; they are kept in the order of their keys.
    pub fn new(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Self {
            requirements,
            nothing: false,
        }
    }

    /// Parses the form that `labelSelector=` and `kubectl -l` take.
    ///
    /// # Errors
    /// Says what was found and what was expected, in upstream's words.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        super::parse::parse(text).map(Self::new)
    }

    /// Selects what has exactly these labels (and maybe more): the selector of a Service or of a ReplicationController.
    pub fn from_map(labels: &BTreeMap<String, String>) -> Self {
        Self::new(
            labels
                .iter()
                .map(|(key, value)| Requirement {
                    key: key.clone(),
                    operator: Operator::Equals,
                    values: BTreeSet::from([value.clone()]),
                })
                .collect(),
        )
    }

    /// Takes a typed selector; an empty one selects everything.
    ///
    /// # Errors
    /// Names an unknown operator, or the key or values that break the rules.
    pub fn from_typed(typed: &meta::LabelSelector) -> Result<Self, SelectorError> {
        let mut requirements = Vec::new();
        for (key, value) in typed.match_labels.iter().flatten() {
            requirements.push(Requirement::new(key.clone(), Operator::Equals, [value.clone()])?);
        }
        for expression in typed.match_expressions.iter().flatten() {
            let operator = match expression.operator.as_str() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => return Err(SelectorError::Operator(other.to_owned())),
            };
            let values = expression.values.iter().flatten().cloned();
            requirements.push(Requirement::new(expression.key.clone(), operator, values)?);
        }
        Ok(Self::new(requirements))
    }

    /// Takes a typed selector that may be missing, which selects nothing; so does one that is invalid.
    pub fn from_optional(typed: Option<&meta::LabelSelector>) -> Self {
        typed.map_or_else(Self::nothing, |typed| {
            Self::from_typed(typed).unwrap_or_else(|_| Self::nothing())
        })
    }

    /// The requirements, in the order of their keys.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Whether every object is selected.
    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    /// Whether these labels are selected.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches_by(|key| labels.get(key).map(String::as_str))
    }

    /// Whether labels that may be missing are selected.
    pub fn matches_optional(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        self.matches_by(|key| labels.and_then(|labels| labels.get(key)).map(String::as_str))
    }

    /// Whether the labels that `lookup` finds are selected.
    pub fn matches_by<'a>(&self, lookup: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing && self.requirements.iter().all(|r| r.matches(lookup(&r.key)))
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, requirement) in self.requirements.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            requirement.fmt(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> BTreeMap<String, String> {
        text.split_terminator(',')
            .filter_map(|pair| pair.split_once('='))
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect()
    }

    #[test]
    fn selectors_match_as_upstreams_do() {
        for (selector, set, expected) in [
            ("", "x=y", true),
            ("x=y", "x=y", true),
            ("x=y,z=w", "x=y,z=w", true),
            ("x!=y,z!=w", "x=z,z=a", true),
            ("notin=in", "notin=in", true),
            ("x", "x=z", true),
            ("!x", "y=z", true),
            ("x>1", "x=2", true),
            ("x<1", "x=0", true),
            ("x<7", "x=8", false),
            ("x>1", "y=2", false),
            ("x=z", "", false),
            ("x=y", "x=z", false),
            ("x=y,z=w", "x=w,z=w", false),
            ("x!=y,z!=w", "x=z,z=w", false),
            ("!x", "x=z", false),
            ("x notin (a,b)", "", true),
            ("x in (a,,c)", "x=", true),
            ("x in ()", "x=", true),
            ("x=", "x=", true),
            (" x = y , z ", "x=y,z=", true),
        ] {
            let parsed = LabelSelector::parse(selector).unwrap();
            assert_eq!(parsed.matches(&labels(set)), expected, "{selector} on {set}");
        }
    }

    #[test]
    fn selectors_print_as_upstreams_do() {
        for (text, printed) in [
            ("z in (b,a), x,!y", "x,!y,z in (a,b)"),
            ("a==b,c!=d", "a==b,c!=d"),
            ("x>1", "x>1"),
        ] {
            assert_eq!(LabelSelector::parse(text).unwrap().to_string(), printed);
        }
    }

    #[test]
    fn what_cannot_be_parsed_is_named_in_upstreams_words() {
        for (text, message) in [
            ("x=a||y=b", "values[0][x]: Invalid value"),
            ("x==a==b", "found '==', expected: ',' or 'end of string'"),
            ("!x=a", "found '=', expected: ',' or 'end of string'"),
            ("x<a", "for 'Gt', 'Lt' operators, the value must be an integer"),
            (",", "found ',', expected: !, identifier, or 'end of string'"),
            ("x,,y", "found ',', expected: identifier after ','"),
            ("x in a", "unable to parse requirement: found 'a' expected: '('"),
            (
                "x y",
                "unable to parse requirement: found 'y', expected: in, notin, =, ==, !=, gt, lt",
            ),
            (
                "a/b/c=d",
                "unable to parse requirement: <nil>: Invalid value: \"a/b/c\": a qualified name",
            ),
            ("x in (a", "found '', expected: ',' or ')'"),
        ] {
            let error = LabelSelector::parse(text).unwrap_err().to_string();
            assert!(error.contains(message), "{text}: {error}");
        }
    }

    #[test]
    fn a_missing_typed_selector_selects_nothing_and_an_empty_one_everything() {
        assert!(!LabelSelector::from_optional(None).matches(&labels("a=b")));
        assert!(LabelSelector::from_optional(Some(&meta::LabelSelector::default())).matches(&labels("a=b")));
    }
}
