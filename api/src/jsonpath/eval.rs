//! Nodes to text.

use serde_json::Value;

use super::{Comparison, JsonPathError, MAX_DEPTH, Node, Operand, Step};

/// Renders nodes; `here` is what `@` and relative paths mean.
pub(super) fn render(nodes: &[Node], here: &Value, root: &Value, out: &mut String) -> Result<(), JsonPathError> {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Path { from_root, steps } => {
                let start = if *from_root { root } else { here };
                let found = walk(steps, vec![start], root, 0)?;
                let texts: Vec<String> = found.into_iter().map(text).collect();
                out.push_str(&texts.join(" "));
            }
            Node::Range { from_root, steps, body } => {
                let start = if *from_root { root } else { here };
                for item in walk(steps, vec![start], root, 0)? {
                    // A range over a path that ends at a list goes over the list's items.
                    match item {
                        Value::Array(items) if !ends_in_items(steps) => {
                            for item in items {
                                render(body, item, root, out)?;
                            }
                        }
                        item => render(body, item, root, out)?,
                    }
                }
            }
        }
    }
    Ok(())
}

fn ends_in_items(steps: &[Step]) -> bool {
    !matches!(steps.last(), None | Some(Step::Field(_)))
}

/// How a found value is written: texts bare, everything else as JSON.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// Follows steps from every starting value.
pub(super) fn walk<'a>(
    steps: &[Step],
    start: Vec<&'a Value>,
    root: &'a Value,
    depth: usize,
) -> Result<Vec<&'a Value>, JsonPathError> {
    let mut current = start;
    for step in steps {
        let mut next = Vec::new();
        for value in current {
            take(step, value, root, depth, &mut next)?;
        }
        current = next;
    }
    Ok(current)
}

fn take<'a>(
    step: &Step,
    value: &'a Value,
    root: &'a Value,
    depth: usize,
    found: &mut Vec<&'a Value>,
) -> Result<(), JsonPathError> {
    match step {
        Step::Field(name) => found.extend(value.get(name.as_str())),
        Step::Wildcard => match value {
            Value::Array(items) => found.extend(items),
            Value::Object(map) => found.extend(map.values()),
            _ => {}
        },
        Step::Recursive => descend(value, found),
        Step::Index(index) => {
            if let Value::Array(items) = value {
                let length = items.len();
                let at = if *index < 0 { index + as_i64(length) } else { *index };
                let item = usize::try_from(at).ok().and_then(|at| items.get(at));
                found.push(item.ok_or(JsonPathError::OutOfBounds { index: *index, length })?);
            }
        }
        Step::Slice { from, to, step } => {
            if let Value::Array(items) = value {
                let length = as_i64(items.len());
                let place = |index: i64| {
                    if index < 0 {
                        (index + length).max(0)
                    } else {
                        index.min(length)
                    }
                };
                let (from, to) = (place(from.unwrap_or(0)), place(to.unwrap_or(length)));
                let taken = items
                    .iter()
                    .zip(0_i64..)
                    .filter(|(_, at)| (from..to).contains(at) && (at - from) % step == 0);
                found.extend(taken.map(|(item, _)| item));
            }
        }
        Step::Union(parts) => {
            for part in parts {
                take(part, value, root, depth, found)?;
            }
        }
        Step::Filter { left, test } => {
            if depth >= MAX_DEPTH {
                return Err(JsonPathError::TooDeep);
            }
            if let Value::Array(items) = value {
                for item in items {
                    if passes(left, test.as_ref(), item, root, depth + 1)? {
                        found.push(item);
                    }
                }
            }
        }
    }
    Ok(())
}

fn as_i64(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

/// The value itself and everything below it that has parts.
fn descend<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
    found.push(value);
    match value {
        Value::Array(items) => items.iter().for_each(|item| descend(item, found)),
        Value::Object(map) => map.values().for_each(|item| descend(item, found)),
        _ => {}
    }
}

fn passes(
    left: &Operand,
    test: Option<&(Comparison, Operand)>,
    item: &Value,
    root: &Value,
    depth: usize,
) -> Result<bool, JsonPathError> {
    let Some(left) = operand(left, item, root, depth)? else {
        return Ok(false);
    };
    let Some((comparison, right)) = test else {
        return Ok(true);
    };
    let Some(right) = operand(right, item, root, depth)? else {
        return Ok(false);
    };
    let order = match (left.as_f64(), right.as_f64()) {
        (Some(a), Some(b)) => a.partial_cmp(&b),
        _ => Some(text(&left).cmp(&text(&right))),
    };
    Ok(order.is_some_and(|order| match comparison {
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
    }))
}

fn operand(operand: &Operand, item: &Value, root: &Value, depth: usize) -> Result<Option<Value>, JsonPathError> {
    match operand {
        Operand::Literal(value) => Ok(Some(value.clone())),
        Operand::Path { from_root, steps } => {
            let start = if *from_root { root } else { item };
            Ok(walk(steps, vec![start], root, depth)?
                .first()
                .map(|value| (*value).clone()))
        }
    }
}
