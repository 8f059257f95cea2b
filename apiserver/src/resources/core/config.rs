//! ConfigMaps and Secrets.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};
use timonel_api::{FieldError, Path, names};

use super::super::cells::{age, name};
use super::super::common::immutable;
use super::super::strategy::{Column, Context, Strategy};
use super::super::value::{at, default_text, ensure, entries, flag, has, remove, set, text};

/// The most that the values of one ConfigMap or Secret may hold together.
const MAX_BYTES: usize = 1024 * 1024;

fn keys(object: &Value, fields: &[&str], errors: &mut Vec<FieldError>) {
    let mut seen = BTreeSet::new();
    let mut total = 0;
    for field in fields {
        for (key, value) in entries(object, field) {
            let path = Path::new(field).key(key);
            errors.extend(
                names::config_map_key(key)
                    .into_iter()
                    .map(|m| FieldError::invalid(&path, key, m)),
            );
            if !seen.insert(key) {
                errors.push(FieldError::invalid(&path, key, "duplicate of key present in data"));
            }
            total += value.as_str().map_or(0, str::len);
        }
    }
    if total > MAX_BYTES {
        errors.push(FieldError::too_long(&Path::root(), MAX_BYTES));
    }
}

fn frozen(new: &Value, old: &Value, fields: &[&str], errors: &mut Vec<FieldError>) {
    if !flag(old, "immutable") {
        return;
    }
    if !flag(new, "immutable") {
        errors.push(FieldError::forbidden(
            &Path::new("immutable"),
            "field is immutable when `immutable` is set",
        ));
    }
    for field in fields {
        if at(new, field) != at(old, field) {
            errors.push(FieldError::forbidden(
                &Path::new(field),
                "field is immutable when `immutable` is set",
            ));
        }
    }
}

fn data_row(object: &Value, fields: &[&str]) -> Value {
    json!(fields.iter().map(|field| entries(object, field).count()).sum::<usize>())
}

/// `configmaps`.
pub(crate) struct ConfigMaps;

impl Strategy for ConfigMaps {
    fn has_status(&self) -> bool {
        false
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        keys(object, &["data", "binaryData"], &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate(new);
        frozen(new, old, &["data", "binaryData"], &mut errors);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[Column::name(), Column::integer("Data"), Column::new("Age")];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            name(object),
            data_row(object, &["data", "binaryData"]),
            age(object, now),
        ]
    }
}

/// `secrets`.
pub(crate) struct Secrets;

/// The keys that a type of Secret must hold.
fn required_keys(kind: &str) -> &'static [&'static str] {
    match kind {
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        _ => &[],
    }
}

impl Strategy for Secrets {
    fn has_status(&self) -> bool {
        false
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        default_text(object, "type", "Opaque");
        if let Some(Value::Object(plain)) = remove(object, "stringData")
            && let Some(data) = ensure(object, "data")
        {
            for (key, value) in plain {
                set(data, &key, encode(value.as_str().unwrap_or("")));
            }
        }
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _context: &Context<'_>) {
        // A Secret that was written without a type keeps the one it has.
        default_text(new, "type", text(old, "type"));
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        keys(object, &["data"], &mut errors);
        for key in required_keys(text(object, "type")) {
            if !has(at(object, "data"), key) {
                errors.push(FieldError::required(&Path::new("data").key(key), ""));
            }
        }
        let annotation = "kubernetes.io/service-account.name";
        if text(object, "type") == "kubernetes.io/service-account-token"
            && text(at(at(object, "metadata"), "annotations"), annotation).is_empty()
        {
            errors.push(FieldError::required(
                &Path::new("metadata").child("annotations").key(annotation),
                "",
            ));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate(new);
        immutable(new, old, "type", &Path::root(), &mut errors);
        frozen(new, old, &["data"], &mut errors);
        errors
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![("type", text(object, "type").to_owned())]
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::name(),
            Column::new("Type"),
            Column::integer("Data"),
            Column::new("Age"),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            name(object),
            json!(text(object, "type")),
            data_row(object, &["data"]),
            age(object, now),
        ]
    }
}

fn encode(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn string_data_becomes_data() {
        let mut secret = json!({"stringData": {"a": "b"}, "data": {"c": "ZA=="}});
        Secrets.default(&mut secret);
        assert_eq!(secret, json!({"type": "Opaque", "data": {"a": "Yg==", "c": "ZA=="}}));
    }

    #[test]
    fn what_is_immutable_stays() {
        let old = json!({"immutable": true, "data": {"a": "1"}});
        let words: Vec<String> = ConfigMaps
            .validate_update(&json!({"data": {"a": "2"}}), &old)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            words,
            [
                "immutable: Forbidden: field is immutable when `immutable` is set",
                "data: Forbidden: field is immutable when `immutable` is set",
            ]
        );
    }
}
