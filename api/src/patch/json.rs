//! JSON patches (RFC 6902), with the limits and the sentences of the library that upstream uses (evanphx/json-patch).

use json_patch::{
    AddOperation, CopyOperation, PatchErrorKind, PatchOperation, RemoveOperation, ReplaceOperation, TestOperation,
    patch_unsafe,
};
use jsonptr::PointerBuf;
use serde::Deserialize;
use serde_json::Value;

use super::{MAX_DEPTH, PatchError, deeper_than};

/// Upstream's limit on operations.
const MAX_OPERATIONS: usize = 10_000;
/// Upstream's limit on what all `copy` operations of a patch may add.
const MAX_COPIED: usize = 3 * 1024 * 1024;

/// How many list items all operations together may shift. Upstream has no such limit; ten thousand removals at the head of a list of
/// a million items would keep a processor busy for a minute.
const MAX_SHIFTED: usize = 10_000_000;

/// An operation as it is on the wire: leniently, so that what is wrong with it is said in upstream's words.
#[derive(Deserialize)]
struct Operation {
    #[serde(default)]
    op: String,
    #[serde(default)]
    path: String,
    #[serde(default)]
    from: String,
    #[serde(default)]
    value: Value,
}

/// What the operations of a patch have cost so far.
#[derive(Default)]
struct Spent {
    copied: usize,
    shifted: usize,
}

impl Spent {
    /// Counts the items of the list that an operation at a place will shift.
    fn shift(&mut self, target: &Value, at: &PointerBuf) -> Result<(), PatchError> {
        let list = at.parent().and_then(|parent| parent.resolve(target).ok());
        self.shifted += list.and_then(Value::as_array).map_or(0, Vec::len);
        if self.shifted > MAX_SHIFTED {
            return Err(PatchError::TooLarge(format!(
                "The operations of a JSON patch may shift {MAX_SHIFTED} list items in all"
            )));
        }
        Ok(())
    }
}

/// Applies a JSON patch to a value; nothing is changed where any operation fails.
///
/// # Errors
/// Malformed patches, too many operations, operations that do not apply, tests that fail.
pub fn json_patch(target: &Value, patch: &[u8]) -> Result<Value, PatchError> {
    let operations: Vec<Operation> =
        serde_json::from_slice(patch).map_err(|error| PatchError::bad(format!("error decoding patch: {error}")))?;
    if operations.len() > MAX_OPERATIONS {
        return Err(PatchError::TooLarge(format!(
            "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            operations.len()
        )));
    }
    let mut result = target.clone();
    let mut spent = Spent::default();
    for operation in operations {
        apply(&mut result, operation, &mut spent)?;
    }
    if !result.is_object() {
        return Err(PatchError::unprocessable("the patched value is not an object"));
    }
    Ok(result)
}

fn pointer(text: &str) -> Result<PointerBuf, PatchError> {
    let pointer =
        PointerBuf::parse(text).map_err(|_| PatchError::unprocessable(format!("invalid JSON pointer: \"{text}\"")))?;
    if pointer.count() > MAX_DEPTH {
        return Err(PatchError::unprocessable(format!(
            "path is deeper than {MAX_DEPTH} levels"
        )));
    }
    Ok(pointer)
}

/// The index that upstream's library takes a token for: `-1` is the last of the places, `+1` and `01` are the second.
fn index(token: &str, places: usize) -> Option<usize> {
    let index: i64 = token.parse().ok()?;
    let places = i64::try_from(places).ok()?;
    let index = if index < 0 { index + places } else { index };
    usize::try_from(index).ok().filter(|_| index < places)
}

/// Reads a pointer, with the indexes that it has in this value. Where something is added, a list has one place more.
fn counted(target: &Value, text: &str, adds: bool) -> Result<PointerBuf, PatchError> {
    let pointer = pointer(text)?;
    let (count, mut tokens, mut here) = (pointer.count(), Vec::new(), Some(target));
    for (at, token) in pointer.tokens().enumerate() {
        let mut token = token.decoded().into_owned();
        if let Some(Value::Array(items)) = here
            && let Some(index) = index(&token, items.len() + usize::from(adds && at + 1 == count))
        {
            token = index.to_string();
        }
        here = match here {
            Some(Value::Array(items)) => token.parse().ok().and_then(|index: usize| items.get(index)),
            Some(Value::Object(map)) => map.get(&token),
            _ => None,
        };
        tokens.push(token);
    }
    Ok(PointerBuf::from_tokens(tokens.iter().map(String::as_str)))
}

/// What upstream says of a token that is no index of the list that it points into.
fn no_index(token: &str) -> String {
    match token.parse::<i64>() {
        Ok(_) => format!("Unable to access invalid index: {token}: invalid index referenced"),
        Err(_) => format!("strconv.Atoi: parsing {token:?}: invalid syntax"),
    }
}

/// Why nothing can be put at a path.
fn misplaced(op: &str, path: &str, parent_is_there: bool, in_list: bool) -> String {
    let token = path.rsplit('/').next().unwrap_or_default();
    let why = match (parent_is_there, in_list) {
        (false, _) => return format!("{op} operation does not apply: doc is missing path: \"{path}\": missing value"),
        (true, false) => "invalid index referenced".to_owned(),
        (true, true) if token.parse::<i64>().is_err() => {
            format!("value was not a proper array index: '{token}': {}", no_index(token))
        }
        (true, true) => no_index(token),
    };
    format!("error in {op} for path: '{path}': {why}")
}

/// Moves a value: takes it, and puts it where the path then leads. Nothing is copied, so that many moves of much cost little.
fn relocate(target: &mut Value, source: &PointerBuf, from: &str, path: &str) -> Result<(), PatchError> {
    if from.is_empty() || path.starts_with(&format!("{from}/")) {
        return Err(PatchError::unprocessable(format!(
            "error in move for path: '{path}': cannot move the value inside itself"
        )));
    }
    if from == path {
        return Ok(());
    }
    let missing = || {
        PatchError::unprocessable(format!(
            "move operation does not apply: doc is missing from path: {from}: missing value"
        ))
    };
    let value = take(target, source).ok_or_else(missing)?;
    let at = counted(target, path, true)?;
    let Some((parent, token)) = at.split_back() else {
        *target = value;
        return Ok(());
    };
    let token = token.decoded();
    let parent = parent.resolve_mut(target);
    let (is_there, in_list) = match &parent {
        Ok(parent) => (true, parent.is_array()),
        Err(_) => (false, false),
    };
    match parent {
        Ok(Value::Object(map)) => {
            map.insert(token.into_owned(), value);
            return Ok(());
        }
        Ok(Value::Array(items)) => {
            let place = match token.as_ref() {
                "-" => Some(items.len()),
                token => token.parse().ok().filter(|place| *place <= items.len()),
            };
            if let Some(place) = place {
                items.insert(place, value);
                return Ok(());
            }
        }
        _ => {}
    }
    Err(PatchError::unprocessable(misplaced("move", path, is_there, in_list)))
}

/// Takes a value out of where it is.
fn take(target: &mut Value, at: &PointerBuf) -> Option<Value> {
    let (parent, token) = at.split_back()?;
    let token = token.decoded();
    match parent.resolve_mut(target).ok()? {
        Value::Object(map) => map.remove(token.as_ref()),
        Value::Array(items) => {
            let index = token.parse().ok().filter(|index| *index < items.len())?;
            Some(items.remove(index))
        }
        _ => None,
    }
}

fn apply(target: &mut Value, operation: Operation, spent: &mut Spent) -> Result<(), PatchError> {
    let Operation { op, path, from, value } = operation;
    let at = counted(target, &path, matches!(op.as_str(), "add" | "copy"))?;
    let parent = at.parent().map_or(Ok(&*target), |parent| parent.resolve(&*target));
    let (parent_is_there, in_list) = (parent.is_ok(), parent.is_ok_and(Value::is_array));
    let there = at.resolve(&*target).is_ok();
    let depth = at.count();
    // What goes to the end of a list shifts nothing.
    if !path.ends_with("/-") && matches!(op.as_str(), "add" | "remove" | "move" | "copy") {
        spent.shift(target, &at)?;
    }
    let single = match op.as_str() {
        "add" => PatchOperation::Add(AddOperation { path: at, value }),
        "remove" => PatchOperation::Remove(RemoveOperation { path: at }),
        "replace" => PatchOperation::Replace(ReplaceOperation { path: at, value }),
        "test" if value.is_null() && parent_is_there && !in_list && !there => return Ok(()),
        "test" => PatchOperation::Test(TestOperation { path: at, value }),
        "move" | "copy" => {
            let source = counted(target, &from, false)?;
            let Ok(value) = source.resolve(&*target) else {
                return Err(PatchError::unprocessable(format!(
                    "{op} operation does not apply: doc is missing from path: {from}: missing value"
                )));
            };
            if deeper_than(value, MAX_DEPTH.saturating_sub(depth)) {
                return Err(PatchError::unprocessable(format!(
                    "{op} operation would nest deeper than {MAX_DEPTH} levels"
                )));
            }
            if op == "move" {
                spent.shift(target, &source)?;
                return relocate(target, &source, &from, &path);
            }
            spent.copied += value.to_string().len();
            if spent.copied > MAX_COPIED {
                return Err(PatchError::unprocessable(format!(
                    "Unable to complete the copy, the accumulated size increase of copy is {}, exceeding the limit {MAX_COPIED}",
                    spent.copied
                )));
            }
            PatchOperation::Copy(CopyOperation { path: at, from: source })
        }
        other => return Err(PatchError::unprocessable(format!("Unexpected kind: {other}"))),
    };
    if let PatchOperation::Add(AddOperation { value, .. }) | PatchOperation::Replace(ReplaceOperation { value, .. }) =
        &single
        && deeper_than(value, MAX_DEPTH.saturating_sub(depth))
    {
        return Err(PatchError::unprocessable(format!(
            "{op} operation would nest deeper than {MAX_DEPTH} levels"
        )));
    }
    patch_unsafe(target, std::slice::from_ref(&single)).map_err(|error| {
        let token = path.rsplit('/').next().unwrap_or_default();
        PatchError::unprocessable(match (op.as_str(), error.kind) {
            ("add" | "copy", _) => misplaced(&op, &path, parent_is_there, in_list),
            ("remove", _) if in_list => format!("error in remove for path: '{path}': {}", no_index(token)),
            ("test", kind) if in_list && !matches!(kind, PatchErrorKind::TestFailed) => {
                format!("error in test for path: '{path}': {}", no_index(token))
            }
            ("test", PatchErrorKind::TestFailed) => format!("testing value {path} failed: test failed"),
            ("test", _) if parent_is_there => format!("testing value {path} failed: test failed"),
            ("test", _) => format!("test operation does not apply: is missing path: {path}: missing value"),
            ("remove", _) if parent_is_there => {
                format!("error in remove for path: '{path}': Unable to remove nonexistent key: {token}: missing value")
            }
            ("replace", _) if parent_is_there => {
                format!("replace operation does not apply: doc is missing key: {path}: missing value")
            }
            ("replace", _) => format!("replace operation does not apply: doc is missing path: {path}: missing value"),
            (_, _) => misplaced(&op, &path, parent_is_there, in_list),
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(target: Value, patch: Value) -> Result<Value, String> {
        json_patch(&target, patch.to_string().as_bytes()).map_err(|error| format!("{} {error}", error.code()))
    }

    #[test]
    fn operations_do_what_the_rfc_says() {
        let target = json!({"a": {"b": [1, 2]}, "c": 1});
        for (patch, expected) in [
            (
                json!([{"op": "add", "path": "/a/b/-", "value": 3}]),
                json!({"a": {"b": [1, 2, 3]}, "c": 1}),
            ),
            (
                json!([{"op": "add", "path": "/a/b/0", "value": 0}]),
                json!({"a": {"b": [0, 1, 2]}, "c": 1}),
            ),
            (
                json!([{"op": "remove", "path": "/a/b/0"}]),
                json!({"a": {"b": [2]}, "c": 1}),
            ),
            (
                json!([{"op": "replace", "path": "/c", "value": null}]),
                json!({"a": {"b": [1, 2]}, "c": null}),
            ),
            (
                json!([{"op": "move", "from": "/a/b", "path": "/d"}]),
                json!({"a": {}, "c": 1, "d": [1, 2]}),
            ),
            (
                json!([{"op": "copy", "from": "/c", "path": "/a/b/1"}]),
                json!({"a": {"b": [1, 1, 2]}, "c": 1}),
            ),
            (
                json!([{"op": "test", "path": "/c", "value": 1}, {"op": "test", "path": "/x", "value": null}]),
                target.clone(),
            ),
        ] {
            assert_eq!(run(target.clone(), patch.clone()), Ok(expected), "{patch}");
        }
    }

    #[test]
    fn indexes_count_from_the_end_as_upstreams_library_has_it() {
        let target = json!({"a": [{"n": 1}, {"n": 2}, {"n": 3}]});
        for (patch, expected) in [
            (
                json!({"op": "add", "path": "/a/-1", "value": 4}),
                json!([{"n": 1}, {"n": 2}, {"n": 3}, 4]),
            ),
            (
                json!({"op": "add", "path": "/a/-4", "value": 4}),
                json!([4, {"n": 1}, {"n": 2}, {"n": 3}]),
            ),
            (json!({"op": "remove", "path": "/a/-1"}), json!([{"n": 1}, {"n": 2}])),
            (
                json!({"op": "replace", "path": "/a/-3", "value": 4}),
                json!([4, {"n": 2}, {"n": 3}]),
            ),
            (
                json!({"op": "replace", "path": "/a/-1/n", "value": 4}),
                json!([{"n": 1}, {"n": 2}, {"n": 4}]),
            ),
            (
                json!({"op": "replace", "path": "/a/01", "value": 4}),
                json!([{"n": 1}, 4, {"n": 3}]),
            ),
            (
                json!({"op": "move", "from": "/a/0", "path": "/a/-1"}),
                json!([{"n": 2}, {"n": 3}, {"n": 1}]),
            ),
            (
                json!({"op": "copy", "from": "/a/-1", "path": "/a/0"}),
                json!([{"n": 3}, {"n": 1}, {"n": 2}, {"n": 3}]),
            ),
            (
                json!({"op": "test", "path": "/a/-2/n", "value": 2}),
                target["a"].clone(),
            ),
        ] {
            assert_eq!(
                run(target.clone(), json!([patch])),
                Ok(json!({"a": expected})),
                "{patch}"
            );
        }
    }

    #[test]
    fn what_does_not_apply_is_said_in_upstreams_words() {
        let target = json!({"a": {"b": [1]}});
        for (patch, message) in [
            (json!({"op": "add"}), "400 error decoding patch: "),
            (
                json!([{"op": "test", "path": "/a/b", "value": 2}]),
                "422 testing value /a/b failed: test failed",
            ),
            (
                json!([{"op": "remove", "path": "/x"}]),
                "422 error in remove for path: '/x': Unable to remove nonexistent key: x: missing value",
            ),
            (
                json!([{"op": "replace", "path": "/x", "value": 1}]),
                "422 replace operation does not apply: doc is missing key: /x: missing value",
            ),
            (
                json!([{"op": "replace", "path": "/x/y", "value": 1}]),
                "422 replace operation does not apply: doc is missing path: /x/y: missing value",
            ),
            (
                json!([{"op": "add", "path": "/x/y", "value": 1}]),
                "422 add operation does not apply: doc is missing path: \"/x/y\": missing value",
            ),
            (
                json!([{"op": "add", "path": "/a/b/7", "value": 1}]),
                "422 error in add for path: '/a/b/7': Unable to access invalid index: 7: invalid index referenced",
            ),
            (
                json!([{"op": "add", "path": "/a/b/-3", "value": 1}]),
                "422 error in add for path: '/a/b/-3': Unable to access invalid index: -3: invalid index referenced",
            ),
            (
                json!([{"op": "add", "path": "/a/b/x", "value": 1}]),
                "422 error in add for path: '/a/b/x': value was not a proper array index: 'x': strconv.Atoi: parsing \"x\": invalid syntax",
            ),
            (
                json!([{"op": "remove", "path": "/a/b/1"}]),
                "422 error in remove for path: '/a/b/1': Unable to access invalid index: 1: invalid index referenced",
            ),
            (
                json!([{"op": "test", "path": "/a/b/1", "value": null}]),
                "422 error in test for path: '/a/b/1': Unable to access invalid index: 1: invalid index referenced",
            ),
            (
                json!([{"op": "move", "path": "/x", "from": "/y"}]),
                "422 move operation does not apply: doc is missing from path: /y: missing value",
            ),
            (json!([{"op": "dance", "path": "/x"}]), "422 Unexpected kind: dance"),
            (
                json!([{"op": "replace", "path": "", "value": 1}]),
                "422 the patched value is not an object",
            ),
        ] {
            let error = run(target.clone(), patch.clone()).unwrap_err();
            assert!(error.starts_with(message), "{patch}: {error}");
        }
    }

    #[test]
    fn abuse_is_bounded() {
        let many = vec![json!({"op": "test", "path": "", "value": {}}); MAX_OPERATIONS + 1];
        assert!(
            run(json!({}), json!(many))
                .unwrap_err()
                .starts_with("413 The allowed maximum operations")
        );
        let doubling: Vec<Value> = (0..30)
            .map(|at| json!({"op": "copy", "from": "/a", "path": format!("/a/{at}")}))
            .collect();
        assert!(
            run(json!({"a": {"x": "0123456789"}}), json!(doubling))
                .unwrap_err()
                .contains("accumulated size")
        );
        let mut shifting = vec![json!({"op": "add", "path": "/a", "value": vec![0; 200_000]})];
        shifting.resize(9_999, json!({"op": "remove", "path": "/a/0"}));
        assert!(run(json!({}), json!(shifting)).unwrap_err().contains("may shift"));
        let nesting: Vec<Value> = (0..200)
            .map(|at| json!({"op": "add", "path": "/a".repeat(at + 1), "value": {}}))
            .collect();
        assert!(run(json!({}), json!(nesting)).unwrap_err().contains("deeper than"));
    }
}
