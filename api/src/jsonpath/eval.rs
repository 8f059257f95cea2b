//! Nodes to values.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::{Comparison, JsonPathError, Node, Slice, Step};

type Values<'a> = Vec<Cow<'a, Value>>;

/// Evaluates nodes over an object: one list of values for each text and action, ranges unrolled.
pub(super) fn results<'a>(nodes: &[Node], here: &'a Value) -> Result<Vec<Values<'a>>, JsonPathError> {
    let mut found = Vec::new();
    gather(nodes, Cow::Borrowed(here), &mut found)?;
    Ok(found)
}

fn gather<'a>(nodes: &[Node], here: Cow<'a, Value>, found: &mut Vec<Values<'a>>) -> Result<(), JsonPathError> {
    for node in nodes {
        match node {
            Node::Text(text) => found.push(vec![Cow::Owned(Value::String(text.clone()))]),
            Node::Action(steps) => found.push(walk(steps, vec![here.clone()])?),
            Node::Range { steps, body } => {
                for item in walk(steps, vec![here.clone()])? {
                    gather(body, item, found)?;
                }
            }
        }
    }
    Ok(())
}

fn walk<'a>(steps: &[Step], start: Values<'a>) -> Result<Values<'a>, JsonPathError> {
    steps.iter().try_fold(start, |values, step| take(step, values))
}

/// The parts of a value that has parts: a list's items in order, an object's values in the order of their keys.
fn parts<'a>(value: &Cow<'a, Value>) -> Option<Values<'a>> {
    fn sorted(map: &Map<String, Value>) -> Vec<&Value> {
        let mut pairs: Vec<(&String, &Value)> = map.iter().collect();
        pairs.sort_by_key(|(key, _)| *key);
        pairs.into_iter().map(|(_, value)| value).collect()
    }
    match value {
        Cow::Borrowed(Value::Array(items)) => Some(items.iter().map(Cow::Borrowed).collect()),
        Cow::Borrowed(Value::Object(map)) => Some(sorted(map).into_iter().map(Cow::Borrowed).collect()),
        Cow::Owned(Value::Array(items)) => Some(items.iter().cloned().map(Cow::Owned).collect()),
        Cow::Owned(Value::Object(map)) => Some(sorted(map).into_iter().cloned().map(Cow::Owned).collect()),
        _ => None,
    }
}

fn take<'a>(step: &Step, values: Values<'a>) -> Result<Values<'a>, JsonPathError> {
    let mut found = Vec::new();
    match step {
        Step::Literal(literal) => found.extend(values.iter().map(|_| Cow::Owned(literal.clone()))),
        Step::Field(name) => {
            for value in values {
                match value {
                    Cow::Borrowed(value) => found.extend(value.get(name.as_str()).map(Cow::Borrowed)),
                    Cow::Owned(value) => found.extend(value.get(name.as_str()).cloned().map(Cow::Owned)),
                }
            }
        }
        Step::Wildcard => found.extend(values.iter().filter_map(parts).flatten()),
        Step::Recursive => values.into_iter().for_each(|value| descend(value, &mut found)),
        Step::Slice(slice) => {
            for value in values.iter().filter(|value| !value.is_null()) {
                let items = parts(value).filter(|_| value.is_array());
                let items = items.ok_or_else(|| JsonPathError::NotList(kind(value)))?;
                if !cut(*slice, items, &mut found)? {
                    break;
                }
            }
        }
        Step::Union(branches) => {
            for branch in branches {
                found.extend(walk(branch, values.clone())?);
            }
        }
        Step::Filter { left, operator, right } => {
            for value in values {
                for item in parts(&value).unwrap_or_else(|| vec![value]) {
                    if passes(left, *operator, right, item.clone())? {
                        found.push(item);
                    }
                }
            }
        }
    }
    Ok(found)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "map",
    }
}

/// The value itself and everything below it, as far as it has parts.
fn descend<'a>(value: Cow<'a, Value>, found: &mut Values<'a>) {
    let Some(below) = parts(&value).filter(|parts| !parts.is_empty()) else {
        return;
    };
    found.push(value);
    for part in below {
        descend(part, found);
    }
}

/// Takes a slice of a list; `false` where it is empty, which ends the whole step.
fn cut<'a>(slice: Slice, items: Values<'a>, found: &mut Values<'a>) -> Result<bool, JsonPathError> {
    let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let mut from = slice.from.unwrap_or(0);
    let mut to = slice.to.unwrap_or(length);
    if from < 0 {
        from = from.saturating_add(length);
    }
    if to < 0 || (to == 0 && slice.single) {
        to = to.saturating_add(length);
    }
    if from == to {
        return Ok(false);
    }
    let bounds = |index| JsonPathError::OutOfBounds {
        index,
        length: items.len(),
    };
    if !(0..length).contains(&from) {
        return Err(bounds(from));
    }
    if !(0..=length).contains(&to) {
        return Err(bounds(to.saturating_sub(1)));
    }
    if from > to {
        return Err(JsonPathError::Backwards { from, to });
    }
    let step = slice.step.unwrap_or(1);
    if step <= 0 {
        return Err(JsonPathError::BadStep);
    }
    let taken = items
        .into_iter()
        .zip(0i64..)
        .filter(|(_, at)| (from..to).contains(at) && (at - from) % step == 0);
    found.extend(taken.map(|(item, _)| item));
    Ok(true)
}

fn passes(
    left: &[Step],
    operator: Option<Comparison>,
    right: &[Step],
    item: Cow<'_, Value>,
) -> Result<bool, JsonPathError> {
    let one = |steps: &[Step]| -> Result<Option<Value>, JsonPathError> {
        let mut values = walk(steps, vec![item.clone()])?;
        match values.len() {
            0 => Ok(None),
            1 => Ok(values.pop().map(Cow::into_owned)),
            _ => Err(JsonPathError::ManyOperands),
        }
    };
    let Some(left) = one(left)? else { return Ok(false) };
    let Some(operator) = operator else { return Ok(true) };
    let Some(right) = one(right)? else { return Ok(false) };
    Ok(compare(&left, &right).is_some_and(|order| match operator {
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
    }))
}

/// Values of different kinds do not compare at all.
fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Number(a), Value::Number(b)) => a.as_f64()?.partial_cmp(&b.as_f64()?),
        _ => None,
    }
}
