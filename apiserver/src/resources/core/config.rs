//! ConfigMaps and Secrets.

use jiff::Timestamp;
use serde_json::{Value, json};
use timonel_api::{FieldError, Path, names};

use super::super::cells::{age, name};
use super::super::common::{immutable, wrong};
use super::super::strategy::{Column, Context, Strategy};
use super::super::value::{at, default_text, ensure, entries, flag, remove, set, text};

/// The most that the values of one ConfigMap or Secret may hold together.
const MAX_BYTES: usize = 1024 * 1024;

/// Checks the keys of a map, and returns how many bytes its values hold. `other` is a map that may not have the same keys.
fn keys(object: &Value, field: &str, other: &str, errors: &mut Vec<FieldError>) -> usize {
    let mut total = 0;
    for (key, value) in entries(object, field) {
        let path = Path::new(field).key(key);
        wrong(&path, key, names::config_map_key(key), errors);
        if at(object, other).get(key).is_some() {
            let detail = format!("duplicate of key present in {other}");
            errors.push(FieldError::invalid(&path, key, detail));
        }
        total += value.as_str().map_or(0, str::len);
    }
    total
}

/// How many bytes the texts of a map stand for, which are base64.
fn decoded(object: &Value, field: &str) -> usize {
    let padding = |text: &str| text.bytes().rev().take_while(|byte| *byte == b'=').count();
    let texts = entries(object, field).filter_map(|(_, value)| value.as_str());
    texts
        .map(|text| (text.len() / 4 * 3).saturating_sub(padding(text)))
        .sum()
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
        let plain = keys(object, "data", "binaryData", &mut errors);
        keys(object, "binaryData", "", &mut errors);
        if plain + decoded(object, "binaryData") > MAX_BYTES {
            errors.push(FieldError::too_long(&Path::whole(), MAX_BYTES));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        frozen(new, old, &["data", "binaryData"], &mut errors);
        errors.extend(self.validate(new));
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

/// Checks what a type of Secret must hold.
fn held(secret: &Value, errors: &mut Vec<FieldError>) {
    const ACCOUNT: &str = "kubernetes.io/service-account.name";
    let (data, path) = (at(secret, "data"), Path::new("data"));
    let missing = |keys: &[&'static str]| -> Vec<&'static str> {
        keys.iter().copied().filter(|key| data.get(key).is_none()).collect()
    };
    let required = match text(secret, "type") {
        "kubernetes.io/service-account-token" => {
            if text(at(at(secret, "metadata"), "annotations"), ACCOUNT).is_empty() {
                let path = Path::new("metadata").child("annotations").key(ACCOUNT);
                errors.push(FieldError::required(&path, ""));
            }
            Vec::new()
        }
        "kubernetes.io/dockercfg" => json_at(data, ".dockercfg", &path, errors),
        "kubernetes.io/dockerconfigjson" => json_at(data, ".dockerconfigjson", &path, errors),
        // One of the two is enough.
        "kubernetes.io/basic-auth" => Some(missing(&["username", "password"]))
            .filter(|missing| missing.len() == 2)
            .unwrap_or_default(),
        "kubernetes.io/ssh-auth" if text(data, "ssh-privatekey").is_empty() => vec!["ssh-privatekey"],
        "kubernetes.io/tls" => missing(&["tls.crt", "tls.key"]),
        _ => Vec::new(),
    };
    for key in required {
        errors.push(FieldError::required(&path.key(key), ""));
    }
}

/// Checks that a key holds a JSON object; returns it where it is not there.
fn json_at(data: &Value, key: &'static str, path: &Path, errors: &mut Vec<FieldError>) -> Vec<&'static str> {
    if data.get(key).is_none() {
        return vec![key];
    }
    if let Some(detail) = not_an_object(&decode(text(data, key))) {
        errors.push(FieldError::invalid(
            &path.key(key),
            "<secret contents redacted>",
            detail,
        ));
    }
    Vec::new()
}

/// What is wrong with what should be a JSON object, as Go's decoder says the common cases.
fn not_an_object(bytes: &[u8]) -> Option<String> {
    let kind = match serde_json::from_slice(bytes) {
        Ok(Value::Object(_) | Value::Null) => return None,
        Ok(Value::Array(_)) => "array",
        Ok(Value::String(_)) => "string",
        Ok(Value::Number(_)) => "number",
        Ok(Value::Bool(_)) => "bool",
        Err(error) if error.is_eof() => return Some("unexpected end of JSON input".to_owned()),
        Err(error) => {
            let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace()).copied();
            let begins = first.filter(|first| !b"{[\"-tfn".contains(first) && !first.is_ascii_digit());
            return Some(begins.map_or_else(
                || error.to_string(),
                |first| {
                    format!(
                        "invalid character {:?} looking for beginning of value",
                        char::from(first)
                    )
                },
            ));
        }
    };
    Some(format!(
        "json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"
    ))
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
        keys(object, "data", "", &mut errors);
        if decoded(object, "data") > MAX_BYTES {
            errors.push(FieldError::too_long(&Path::new("data"), MAX_BYTES));
        }
        held(object, &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        immutable(new, old, "type", &Path::root(), &mut errors);
        frozen(new, old, &["data"], &mut errors);
        errors.extend(self.validate(new));
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

fn decode(text: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD
        .decode(text)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_of_secret_holds_its_keys() {
        let said = |kind: &str, data: Value| -> Vec<String> {
            let errors = Secrets.validate(&json!({"type": kind, "data": data}));
            errors.iter().map(ToString::to_string).collect()
        };
        let config = |text: &str| json!({".dockerconfigjson": encode(text)});
        let redacted = "data[.dockerconfigjson]: Invalid value: \"<secret contents redacted>\"";
        let cases: Vec<(&str, Value, Vec<String>)> = vec![
            ("Opaque", json!({}), vec![]),
            ("dockerconfigjson", config("{}"), vec![]),
            (
                "dockerconfigjson",
                json!({}),
                vec!["data[.dockerconfigjson]: Required value".to_owned()],
            ),
            (
                "dockerconfigjson",
                config("{"),
                vec![format!("{redacted}: unexpected end of JSON input")],
            ),
            (
                "dockerconfigjson",
                config("x"),
                vec![format!(
                    "{redacted}: invalid character 'x' looking for beginning of value"
                )],
            ),
            (
                "dockerconfigjson",
                config("[]"),
                vec![format!(
                    "{redacted}: json: cannot unmarshal array into Go value of type map[string]interface {{}}"
                )],
            ),
            ("basic-auth", json!({"password": ""}), vec![]),
            (
                "basic-auth",
                json!({}),
                vec![
                    "data[username]: Required value".to_owned(),
                    "data[password]: Required value".to_owned(),
                ],
            ),
            (
                "ssh-auth",
                json!({"ssh-privatekey": ""}),
                vec!["data[ssh-privatekey]: Required value".to_owned()],
            ),
            (
                "tls",
                json!({"tls.crt": ""}),
                vec!["data[tls.key]: Required value".to_owned()],
            ),
            (
                "service-account-token",
                json!({}),
                vec!["metadata.annotations[kubernetes.io/service-account.name]: Required value".to_owned()],
            ),
        ];
        for (kind, data, expected) in cases {
            assert_eq!(said(&format!("kubernetes.io/{kind}"), data), expected, "{kind}");
        }
        let big = encode(&"x".repeat(MAX_BYTES));
        assert_eq!(said("Opaque", json!({"a": &big})), Vec::<String>::new());
        assert_eq!(
            said("Opaque", json!({"a": big, "b": encode("x")})),
            ["data: Too long: may not be more than 1048576 bytes"]
        );
    }

    #[test]
    fn one_key_is_in_one_map() {
        let errors = ConfigMaps.validate(&json!({"data": {"a": "1"}, "binaryData": {"a": "AA=="}}));
        let said: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            ["data[a]: Invalid value: \"a\": duplicate of key present in binaryData"]
        );
    }

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
