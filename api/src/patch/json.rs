//! JSON patches (RFC 6902), with the limits and the sentences of the library that upstream uses (evanphx/json-patch).

use json_patch::{
    AddOperation, CopyOperation, MoveOperation, PatchErrorKind, PatchOperation, RemoveOperation, ReplaceOperation,
    TestOperation, patch_unsafe,
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

fn apply(target: &mut Value, operation: Operation, spent: &mut Spent) -> Result<(), PatchError> {
    let Operation { op, path, from, value } = operation;
    let at = pointer(&path)?;
    let parent_is_there = at.parent().is_none_or(|parent| parent.resolve(&*target).is_ok());
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
        "test" if value.is_null() && parent_is_there && !there => return Ok(()),
        "test" => PatchOperation::Test(TestOperation { path: at, value }),
        "move" | "copy" => {
            let source = pointer(&from)?;
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
                PatchOperation::Move(MoveOperation { path: at, from: source })
            } else {
                spent.copied += value.to_string().len();
                if spent.copied > MAX_COPIED {
                    return Err(PatchError::unprocessable(format!(
                        "Unable to complete the copy, the accumulated size increase of copy is {}, exceeding the limit {MAX_COPIED}",
                        spent.copied
                    )));
                }
                PatchOperation::Copy(CopyOperation { path: at, from: source })
            }
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
        PatchError::unprocessable(match (op.as_str(), error.kind) {
            ("test", PatchErrorKind::TestFailed) => format!("testing value {path} failed: test failed"),
            ("test", _) if parent_is_there => format!("testing value {path} failed: test failed"),
            ("test", _) => format!("test operation does not apply: is missing path: {path}: missing value"),
            ("remove", _) if parent_is_there => {
                let key = path.rsplit('/').next().unwrap_or_default();
                format!("error in remove for path: '{path}': Unable to remove nonexistent key: {key}: missing value")
            }
            ("replace", _) if parent_is_there => {
                format!("replace operation does not apply: doc is missing key: {path}: missing value")
            }
            ("replace", _) => format!("replace operation does not apply: doc is missing path: {path}: missing value"),
            (_, PatchErrorKind::CannotMoveInsideItself) => {
                format!("error in move for path: '{path}': cannot move the value inside itself")
            }
            (_, _) if parent_is_there => format!("error in {op} for path: '{path}': invalid index referenced"),
            (_, _) => format!("{op} operation does not apply: doc is missing path: \"{path}\": missing value"),
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
                "422 error in add for path: '/a/b/7': invalid index referenced",
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
