//! One object as the cache holds it: serialised once, with the metadata that selectors and lists look at.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Map, Value};
use timonel_api::{ObjectKey, Revision};

/// Why bytes are not an object.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// They are not JSON.
    #[error("stored object is not JSON")]
    Json(#[from] serde_json::Error),
    /// They cannot be decrypted.
    #[error("stored object cannot be decrypted: {0}")]
    Sealed(#[source] crate::encryption::EncryptionError),
    /// They have no metadata where [`encode`] puts it.
    #[error("stored object has no metadata")]
    NoMetadata,
}

const METADATA: &[u8] = b"\"metadata\":{";
const REVISION: &[u8] = b"\"resourceVersion\":\"";

/// An object at one revision.
#[derive(Debug)]
pub struct Object {
    /// Namespace and name.
    pub key: ObjectKey,
    /// Its `resourceVersion`.
    pub revision: Revision,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The fields that field selectors may name, `metadata.name` and `metadata.namespace` included.
    pub fields: Vec<(&'static str, String)>,
    bytes: Bytes,
    metadata_at: usize,
    digits: Range<usize>,
    keep_value: bool,
    value: OnceLock<Arc<Value>>,
}

/// What is looked at without reading an object's JSON again.
#[derive(Debug)]
pub(super) struct Known {
    key: ObjectKey,
    labels: BTreeMap<String, String>,
    fields: Vec<(&'static str, String)>,
    keep_value: bool,
    kept: Option<Value>,
}

impl Known {
    /// Without the value itself.
    pub(super) fn of(value: &Value, shape: &dyn Shape) -> Self {
        let metadata = &value["metadata"];
        let text = |field: &str| metadata[field].as_str().unwrap_or_default().to_owned();
        let key = ObjectKey::new(text("namespace"), text("name"));
        let labels = metadata["labels"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect();
        let mut fields = vec![
            ("metadata.name", key.name.clone()),
            ("metadata.namespace", key.namespace.clone()),
        ];
        fields.extend(shape.fields(value));
        Self {
            key,
            labels,
            fields,
            keep_value: shape.keep_values(),
            kept: None,
        }
    }
}

/// Says how a resource's objects are turned into [`Object`]s.
pub trait Shape: Send + Sync {
    /// The fields that selectors may name besides name and namespace.
    fn fields(&self, value: &Value) -> Vec<(&'static str, String)>;

    /// Whether parsed values are worth their memory (small resources that authorization and admission read).
    fn keep_values(&self) -> bool;
}

/// Serialises an object for the store: apiVersion, kind and metadata first, and no resourceVersion, for the store itself knows it.
pub fn encode(value: &Value) -> Result<Bytes, serde_json::Error> {
    let empty = Map::new();
    let object = value.as_object().unwrap_or(&empty);
    let mut out = Vec::with_capacity(1024);
    out.push(b'{');
    for key in ["apiVersion", "kind"] {
        if let Some(text) = object.get(key) {
            out.extend_from_slice(b"\"");
            out.extend_from_slice(key.as_bytes());
            out.extend_from_slice(b"\":");
            serde_json::to_writer(&mut out, text)?;
            out.push(b',');
        }
    }
    out.extend_from_slice(METADATA);
    let metadata = object.get("metadata").and_then(Value::as_object).unwrap_or(&empty);
    let mut first = true;
    let mut field = |out: &mut Vec<u8>, key: &String, value: &Value| -> Result<(), serde_json::Error> {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        serde_json::to_writer(&mut *out, key)?;
        out.push(b':');
        serde_json::to_writer(out, value)
    };
    for (key, value) in metadata {
        if key != "resourceVersion" {
            field(&mut out, key, value)?;
        }
    }
    out.push(b'}');
    for (key, value) in object {
        if !matches!(key.as_str(), "apiVersion" | "kind" | "metadata") {
            out.push(b',');
            serde_json::to_writer(&mut out, key)?;
            out.push(b':');
            serde_json::to_writer(&mut out, value)?;
        }
    }
    out.push(b'}');
    Ok(out.into())
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

impl Object {
    /// Reads what [`encode`] wrote, and writes the revision into it.
    pub fn from_stored(stored: &[u8], revision: Revision, shape: &dyn Shape) -> Result<Self, ObjectError> {
        let value: Value = serde_json::from_slice(stored)?;
        let mut known = Known::of(&value, shape);
        if shape.keep_values() {
            known.kept = Some(value);
        }
        Self::from_known(stored, revision, known)
    }

    /// Writes the revision into what [`encode`] wrote, of which the rest is known.
    pub(super) fn from_known(stored: &[u8], revision: Revision, known: Known) -> Result<Self, ObjectError> {
        let metadata_at = find(stored, METADATA).ok_or(ObjectError::NoMetadata)?;
        let inner = metadata_at + METADATA.len();
        let text = revision.to_string();
        let mut bytes = BytesMut::with_capacity(stored.len() + REVISION.len() + text.len() + 2);
        bytes.put_slice(&stored[..inner]);
        bytes.put_slice(REVISION);
        let start = bytes.len();
        bytes.put_slice(text.as_bytes());
        let digits = start..bytes.len();
        bytes.put_u8(b'"');
        if stored.get(inner) != Some(&b'}') {
            bytes.put_u8(b',');
        }
        bytes.put_slice(&stored[inner..]);
        let value = OnceLock::new();
        if let Some(mut kept) = known.kept {
            if let Some(metadata) = kept.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.insert("resourceVersion".to_owned(), text.into());
            }
            // A fresh lock is empty, so this cannot fail.
            let _ = value.set(Arc::new(kept));
        }
        Ok(Self {
            key: known.key,
            revision,
            labels: known.labels,
            fields: known.fields,
            bytes: bytes.freeze(),
            metadata_at,
            digits,
            keep_value: known.keep_value,
            value,
        })
    }

    /// The same object under another revision, as deletions are told.
    #[must_use]
    pub fn at_revision(&self, revision: Revision) -> Self {
        let (bytes, digits) = self.respliced(revision);
        Self {
            key: self.key.clone(),
            revision,
            labels: self.labels.clone(),
            fields: self.fields.clone(),
            bytes,
            metadata_at: self.metadata_at,
            digits,
            keep_value: self.keep_value,
            value: OnceLock::new(),
        }
    }

    fn respliced(&self, revision: Revision) -> (Bytes, Range<usize>) {
        let digits = revision.to_string();
        let mut bytes = BytesMut::with_capacity(self.bytes.len() + digits.len());
        bytes.put_slice(&self.bytes[..self.digits.start]);
        bytes.put_slice(digits.as_bytes());
        let range = self.digits.start..bytes.len();
        bytes.put_slice(&self.bytes[self.digits.end..]);
        (bytes.freeze(), range)
    }

    /// The whole object as JSON, with its resourceVersion.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The JSON from `"metadata":{` to the end: what an item of a typed list holds, without its opening brace.
    pub fn bytes_without_type(&self) -> Bytes {
        self.bytes.slice(self.metadata_at..)
    }

    /// The parsed object.
    pub fn value(&self) -> Arc<Value> {
        if let Some(value) = self.value.get() {
            return value.clone();
        }
        // These bytes were parsed once before, when the object was made.
        let value = Arc::new(serde_json::from_slice(&self.bytes).unwrap_or_default());
        if self.keep_value {
            return self.value.get_or_init(|| value).clone();
        }
        value
    }

    /// How much memory it takes, roughly.
    pub fn weight(&self) -> usize {
        self.bytes.len() + 512
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    struct Plain;

    impl Shape for Plain {
        fn fields(&self, value: &Value) -> Vec<(&'static str, String)> {
            vec![(
                "spec.nodeName",
                value["spec"]["nodeName"].as_str().unwrap_or_default().to_owned(),
            )]
        }

        fn keep_values(&self) -> bool {
            false
        }
    }

    #[test]
    fn an_object_carries_the_revision_that_wrote_it() {
        let value = json!({"apiVersion": "v1", "data": {"metadata": {"resourceVersion": "x"}}, "kind": "ConfigMap",
            "metadata": {"name": "a", "namespace": "n", "resourceVersion": "1", "labels": {"l": "v"}}});
        let stored = encode(&value).unwrap();
        let object = Object::from_stored(&stored, Revision(42), &Plain).unwrap();
        let mut expected = value.clone();
        expected["metadata"]["resourceVersion"] = "42".into();
        assert_eq!(*object.value(), expected);
        assert_eq!(object.key, ObjectKey::new("n", "a"));
        assert_eq!(object.labels["l"], "v");
        assert!(
            object
                .bytes_without_type()
                .starts_with(b"\"metadata\":{\"resourceVersion\":\"42\",")
        );
        let later = object.at_revision(Revision(1042));
        assert_eq!(later.value()["metadata"]["resourceVersion"], "1042");
        assert_eq!(
            later.at_revision(Revision(7)).value()["metadata"]["resourceVersion"],
            "7"
        );
    }
}
