//! JSON patches against an interpreter of RFC 6902 that is written for nothing but to be read.

use proptest::prelude::*;
use serde_json::{Value, json};
use timonel_api::patch::{PatchError, json_patch};

use crate::input::{Choices, bytes, cases};
use crate::values;

fn tokens(pointer: &str) -> Vec<String> {
    pointer
        .split('/')
        .skip(1)
        .map(|token| token.replace("~1", "/").replace("~0", "~"))
        .collect()
}

/// The index that a token is, where the list has `places` places; below zero it counts from their end, as upstream's library does.
fn index(token: &str, places: usize) -> Option<usize> {
    let at: i64 = token.parse().ok()?;
    let at = if at < 0 { at + places as i64 } else { at };
    usize::try_from(at).ok().filter(|at| *at < places)
}

fn get<'a>(value: &'a Value, path: &[String]) -> Option<&'a Value> {
    let [first, rest @ ..] = path else {
        return Some(value);
    };
    match value {
        Value::Object(map) => get(map.get(first)?, rest),
        Value::Array(items) => get(items.get(index(first, items.len())?)?, rest),
        _ => None,
    }
}

/// The document with something done where the path's last token points.
fn at(value: Value, path: &[String], act: &dyn Fn(Value, &str) -> Option<Value>) -> Option<Value> {
    let (first, rest) = path.split_first()?;
    if rest.is_empty() {
        return act(value, first);
    }
    match value {
        Value::Object(mut map) => {
            let inner = at(map.get(first)?.clone(), rest, act)?;
            map.insert(first.clone(), inner);
            Some(Value::Object(map))
        }
        Value::Array(mut items) => {
            let place = index(first, items.len())?;
            items[place] = at(items[place].clone(), rest, act)?;
            Some(Value::Array(items))
        }
        _ => None,
    }
}

fn add(document: Value, path: &[String], new: &Value) -> Option<Value> {
    if path.is_empty() {
        return Some(new.clone());
    }
    at(document, path, &|parent, token| match parent {
        Value::Object(mut map) => {
            map.insert(token.to_owned(), new.clone());
            Some(Value::Object(map))
        }
        Value::Array(mut items) => {
            let place = if token == "-" {
                items.len()
            } else {
                index(token, items.len() + 1)?
            };
            items.insert(place, new.clone());
            Some(Value::Array(items))
        }
        _ => None,
    })
}

fn remove(document: Value, path: &[String]) -> Option<Value> {
    at(document, path, &|parent, token| match parent {
        Value::Object(mut map) => {
            map.remove(token)?;
            Some(Value::Object(map))
        }
        Value::Array(mut items) => {
            items.remove(index(token, items.len())?);
            Some(Value::Array(items))
        }
        _ => None,
    })
}

/// One operation; `None` where it does not apply.
fn step(document: Value, operation: &Value) -> Option<Value> {
    let text = |name: &str| operation[name].as_str().unwrap_or_default();
    let (path, from) = (tokens(text("path")), tokens(text("from")));
    let value = &operation["value"];
    match text("op") {
        "add" => add(document, &path, value),
        "remove" => remove(document, &path),
        "replace" => {
            get(&document, &path)?;
            if path.is_empty() {
                return Some(value.clone());
            }
            at(document, &path, &|mut parent, token| {
                match &mut parent {
                    Value::Array(items) => {
                        let place = index(token, items.len())?;
                        items[place] = value.clone();
                    }
                    other => other[token] = value.clone(),
                }
                Some(parent)
            })
        }
        "move" => {
            let moved = get(&document, &from)?.clone();
            if path.len() > from.len() && path.starts_with(&from) {
                return None;
            }
            if from.is_empty() {
                return None;
            }
            if from == path {
                return Some(document);
            }
            add(remove(document, &from)?, &path, &moved)
        }
        "copy" => {
            let copied = get(&document, &from)?.clone();
            add(document, &path, &copied)
        }
        "test" => {
            // As upstream has it, what is not there is null.
            let parent = path.split_last().map(|(_, parent)| parent);
            let there = get(&document, &path);
            let in_map = |parent| get(&document, parent).is_some_and(|parent| !parent.is_array());
            let implied = there.is_none() && value.is_null() && parent.is_some_and(in_map);
            (there == Some(value) || implied).then_some(document)
        }
        _ => None,
    }
}

fn pointer(from: &mut Choices<'_>, document: &Value) -> String {
    let known = values::pointers(document);
    let mut pointer = known[from.below(known.len())].clone();
    if from.chance(40) {
        pointer.push_str(from.pick(&["/a", "/0", "/-", "/1", "/", "/~0", "/01", "/-1", "/-2", "/x/y"]));
    }
    pointer
}

fn operation(from: &mut Choices<'_>, document: &Value) -> Value {
    let path = pointer(from, document);
    match from.below(7) {
        0 => json!({"op": "add", "path": path, "value": values::any(from, 2)}),
        1 => json!({"op": "remove", "path": path}),
        2 => json!({"op": "replace", "path": path, "value": values::any(from, 2)}),
        3 => json!({"op": "move", "path": path, "from": pointer(from, document)}),
        4 => json!({"op": "copy", "path": path, "from": pointer(from, document)}),
        5 => json!({"op": "test", "path": path, "value": document.pointer(&path)}),
        _ => json!({"op": "test", "path": path, "value": values::any(from, 2)}),
    }
}

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn a_json_patch_does_what_the_rfc_says(bytes in bytes(250)) {
        let mut from = Choices::new(&bytes);
        let target = Value::Object(values::object(&mut from, 4));
        let (mut expected, mut patch) = (Some(target.clone()), Vec::new());
        for _ in 0..from.below(5) {
            let Some(document) = expected else { break };
            let operation = operation(&mut from, &document);
            expected = step(document, &operation);
            patch.push(operation);
        }
        let ours = json_patch(&target, json!(patch).to_string().as_bytes());
        match expected.filter(Value::is_object) {
            Some(expected) => prop_assert_eq!(ours, Ok(expected), "{:?}", patch),
            None => prop_assert!(matches!(&ours, Err(PatchError::Unprocessable(_))), "{:?}: {:?}", patch, ours),
        }
    }

    #[test]
    fn no_patch_does_harm(document in bytes(60), patch in "\\[(\\{\"op\":\"(add|copy|move|x)\",\"(path|from)\":\"[a~/01-]{0,8}\"(,\"path\":\"[a~/]{0,4}\")?\\},?){0,3}\\]?") {
        let target = Value::Object(values::object(&mut Choices::new(&document), 3));
        if let Ok(result) = json_patch(&target, patch.as_bytes()) {
            prop_assert!(values::depth(&result) <= 121);
        }
    }
}
