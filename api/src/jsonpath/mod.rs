//! kubectl's JSONPath dialect: text with `{...}` expressions, `range`/`end`, filters, unions, slices, recursive descent.
//!
//! ```text
//! template --parse--> nodes --render(object)--> text
//! ```
//!
//! It follows `k8s.io/client-go/util/jsonpath`: a missing field renders as nothing, results of one expression are joined by spaces.
//! <https://kubernetes.io/docs/reference/kubectl/jsonpath/>

mod eval;
mod parse;
#[cfg(test)]
mod tests;

use serde_json::Value;

/// The deepest that filters and ranges may nest.
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
    /// Something stands where it may not.
    #[error("unrecognized character in action: {0}")]
    Unexpected(String),
    /// A bracket holds neither index, slice, union, filter nor name.
    #[error("invalid array index {0}")]
    BadIndex(String),
    /// `{end}` without `{range}`, or the other way round.
    #[error("not in range, nothing to end")]
    NotInRange,
    /// An index beyond the list.
    #[error("array index out of bounds: index {index}, length {length}")]
    OutOfBounds {
        /// What was asked for.
        index: i64,
        /// What there is.
        length: usize,
    },
    /// Nested deeper than is allowed.
    #[error("template is nested too deeply")]
    TooDeep,
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(String),
    Wildcard,
    Recursive,
    Index(i64),
    Slice {
        from: Option<i64>,
        to: Option<i64>,
        step: i64,
    },
    Union(Vec<Step>),
    Filter {
        left: Operand,
        test: Option<(Comparison, Operand)>,
    },
}

#[derive(Debug, Clone, PartialEq)]
enum Operand {
    Path { from_root: bool, steps: Vec<Step> },
    Literal(Value),
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

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Text(String),
    Path {
        from_root: bool,
        steps: Vec<Step>,
    },
    Range {
        from_root: bool,
        steps: Vec<Step>,
        body: Vec<Node>,
    },
}

/// A parsed template.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    nodes: Vec<Node>,
}

impl Template {
    /// Parses a template such as `{range .items[*]}{.metadata.name}{"\n"}{end}`.
    pub fn parse(template: &str) -> Result<Self, JsonPathError> {
        Ok(Self {
            nodes: parse::template(template)?,
        })
    }

    /// Renders the template over an object.
    pub fn render(&self, object: &Value) -> Result<String, JsonPathError> {
        let mut out = String::new();
        eval::render(&self.nodes, object, object, &mut out)?;
        Ok(out)
    }

    /// Returns everything that the template's paths find, unrendered.
    pub fn find<'a>(&self, object: &'a Value) -> Result<Vec<&'a Value>, JsonPathError> {
        let mut found = Vec::new();
        for node in &self.nodes {
            if let Node::Path { steps, .. } = node {
                found.extend(eval::walk(steps, vec![object], object, 0)?);
            }
        }
        Ok(found)
    }
}
