use std::path::Path;

use serde_json::json;

use super::*;

/// Writes a field that holds bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2, u8::try_from(bytes.len()).unwrap()];
    out.extend_from_slice(bytes);
    out
}

fn body(api_version: &str, kind: &str, message: &[u8]) -> Vec<u8> {
    let meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
    [
        MAGIC.to_vec(),
        field(1, &meta),
        field(2, message),
        field(3, b""),
        field(4, b""),
    ]
    .concat()
}

#[test]
fn a_namespace_is_read_as_kubectl_writes_it() {
    // Empty name parts, an empty creationTimestamp, an empty spec and status, as Go writes what is no pointer.
    let metadata = [field(1, b"demo"), field(2, b""), field(8, b"")].concat();
    let message = [field(1, &metadata), field(2, b""), field(3, &field(1, b""))].concat();
    let decoded = decode(&body("v1", "Namespace", &message)).unwrap();
    assert_eq!(
        decoded.value,
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "demo"}})
    );
}

#[test]
fn broken_bodies_are_refused_and_never_panic() {
    let whole = body("v1", "Namespace", &field(1, &field(1, b"demo")));
    assert!(decode(b"{}").is_err());
    assert!(decode(&body("v9", "Nothing", b"")).is_err());
    for end in 0..whole.len() {
        let _ = decode(&whole[..end]);
    }
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 0xff;
        let _ = decode(&changed);
    }
}

/// Upstream's own fixtures: every field of every type filled in. They lie beside the repository, so this runs where they are.
#[test]
fn fully_populated_objects_become_their_json() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/reference/kubernetes-1.36/api-fixtures");
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut wrong = Vec::new();
    let mut right = 0;
    for entry in entries {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "pb") {
            continue;
        }
        let expected: Value = serde_json::from_slice(&std::fs::read(path.with_extension("json")).unwrap()).unwrap();
        let Some(api_version) = expected["apiVersion"].as_str() else {
            continue;
        };
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let kind = expected["kind"].as_str().unwrap();
        if facts::schema_for(group, version, kind).is_none() {
            continue;
        }
        match decode(&std::fs::read(&path).unwrap()) {
            Ok(decoded) if decoded.value == expected => right += 1,
            Ok(decoded) => {
                let difference = json_patch::diff(&decoded.value, &expected);
                wrong.push(format!("{api_version} {kind}: {difference}"));
            }
            Err(error) => wrong.push(format!("{api_version} {kind}: {error}")),
        }
    }
    wrong.sort();
    assert!(
        wrong.is_empty(),
        "{right} right, {} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
