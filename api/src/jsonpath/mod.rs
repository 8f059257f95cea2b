//! kubectl's JSONPath dialect: text with `{...}` expressions, `range`/`end`, filters, unions, slices, recursive descent.
//!
//! ```text
//! template --parse--> nodes --eval(object)--> values --print--> text
//! ```
//!
//! It follows `k8s.io/client-go/util/jsonpath` with missing keys allowed, as `kubectl get` uses it: a missing field renders as nothing,
//! the results of one expression are joined by spaces, objects and lists print as JSON. Numbers compare as numbers, where upstream
//! compares an integer of the object with one of the template to no avail.
//! <https://kubernetes.io/docs/reference/kubectl/jsonpath/>

mod eval;
mod parse;
mod print;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde_json::Value;

/// The deepest that ranges may nest.
const MAX_DEPTH: usize = 32;

/// Why a template cannot be parsed or rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonPathError {
    /// An expression is not closed.
    #[error("unclosed action")]
    Unclosed,
    /// A filter, bracket or quote is not closed.
    #[error("unterminated {0}")]
    Unterminated(&'static str),
    /// A filter's parenthesis is not followed by a bracket.
    #[error("unclosed array expect ]")]
    UnclosedFilter,
    /// Something stands where it may not.
    #[error("unrecognized character in action: {0}")]
    Unexpected(String),
    /// A word that is no keyword.
    #[error("unrecognized identifier {0}")]
    Identifier(String),
    /// A bracket holds neither index, slice, union, filter nor name.
    #[error("invalid array index {0}")]
    BadIndex(String),
    /// A number that is none.
    #[error("cannot parse number {0}")]
    BadNumber(String),
    /// A quoted text with a bad escape sequence.
    #[error("unquote string {0} error invalid syntax")]
    BadQuote(String),
    /// `....`
    #[error("invalid multiple recursive descent")]
    RecursiveTwice,
    /// `{end}` without `{range}`.
    #[error("not in range, nothing to end")]
    NotInRange,
    /// A filter with an operator that does not exist.
    #[error("unrecognized filter operator {0}")]
    Operator(String),
    /// An operand of a filter finds more than one value.
    #[error("can only compare one element at a time")]
    ManyOperands,
    /// An index into what is no list.
    #[error("{0} is not array or slice")]
    NotList(&'static str),
    /// An index beyond the list.
    #[error("array index out of bounds: index {index}, length {length}")]
    OutOfBounds {
        /// What was asked for.
        index: i64,
        /// What there is.
        length: usize,
    },
    /// A slice that ends before it starts.
    #[error("starting index {from} is greater than ending index {to}")]
    Backwards {
        /// Where it starts.
        from: i64,
        /// Where it ends.
        to: i64,
    },
    /// A slice that does not move on.
    #[error("step must be > 0")]
    BadStep,
    /// Nested deeper than is allowed.
    #[error("template is nested too deeply")]
    TooDeep,
}

/// One step of an expression: takes values, gives values.
#[derive(Debug, Clone, PartialEq)]
enum Step {
    /// The value itself, whatever there was before.
    Literal(Value),
    Field(String),
    Wildcard,
    Recursive,
    Slice(Slice),
    Union(Vec<Vec<Step>>),
    Filter {
        left: Vec<Step>,
        operator: Option<Comparison>,
        right: Vec<Step>,
    },
}

/// `[from:to:step]`; an index is a slice of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slice {
    from: Option<i64>,
    to: Option<i64>,
    step: Option<i64>,
    /// Whether `to` is no part of the template but one more than `from`.
    single: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
enum Node {
    Text(String),
    Action(Vec<Step>),
    Range { steps: Vec<Step>, body: Vec<Node> },
}

/// A parsed template.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    nodes: Vec<Node>,
}

impl Template {
    /// Parses a template such as `{range .items[*]}{.metadata.name}{"\n"}{end}`.
    ///
    /// # Errors
    /// Says what is wrong with the template, in upstream's words.
    pub fn parse(template: &str) -> Result<Self, JsonPathError> {
        Ok(Self {
            nodes: parse::template(template)?,
        })
    }

    /// Renders the template over an object.
    ///
    /// # Errors
    /// Indices out of bounds, indices into what is no list, filters that cannot compare.
    pub fn render(&self, object: &Value) -> Result<String, JsonPathError> {
        let mut out = String::new();
        for values in eval::results(&self.nodes, object)? {
            for (at, value) in values.iter().enumerate() {
                if at > 0 {
                    out.push(' ');
                }
                print::value(value, &mut out);
            }
        }
        Ok(out)
    }

    /// Returns everything that the template's expressions find in an object, unrendered and without its literals.
    ///
    /// # Errors
    /// As [`Template::render`].
    pub fn find<'a>(&self, object: &'a Value) -> Result<Vec<&'a Value>, JsonPathError> {
        let found = eval::results(&self.nodes, object)?.into_iter().flatten();
        Ok(found
            .filter_map(|value| match value {
                Cow::Borrowed(value) => Some(value),
                Cow::Owned(_) => None,
            })
            .collect())
    }
}
