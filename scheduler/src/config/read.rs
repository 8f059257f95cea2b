//! Reads a document field by field: every field is known or named as unknown, every value has the right type or is named as
//! wrong. All errors are gathered.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use timonel_api::field::{FieldError, Path};

/// What is wrong with a document, gathered.
#[derive(Debug, Default)]
pub(super) struct Errors(pub(super) Vec<String>);

impl Errors {
    /// Notes what is wrong with a value.
    pub(super) fn wrong(&mut self, error: FieldError) {
        self.0.push(error.to_string());
    }

    fn kind(&mut self, path: &Path, found: &Value, wanted: &str) {
        self.wrong(FieldError::invalid(path, found.clone(), format!("must be {wanted}")));
    }
}

/// An object whose fields are taken one by one.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) path: Path,
    fields: Map<String, Value>,
}

impl Object {
    /// Reads an object; anything else is noted and read as an empty one.
    pub(super) fn new(path: Path, value: Value, errors: &mut Errors) -> Self {
        let fields = match value {
            Value::Object(fields) => fields,
            Value::Null => Map::new(),
            other => {
                errors.kind(&path, &other, "an object");
                Map::new()
            }
        };
        Self { path, fields }
    }

    /// Where a field of it is.
    pub(super) fn at(&self, name: &str) -> Path {
        self.path.child(name)
    }

    /// Takes a field that is there and not null.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.fields.remove(name).filter(|value| !value.is_null())
    }

    /// Takes a text.
    pub(super) fn text(&mut self, name: &str, errors: &mut Errors) -> Option<String> {
        self.typed(name, "a string", errors)
    }

    /// Takes a whole number.
    pub(super) fn number(&mut self, name: &str, errors: &mut Errors) -> Option<i64> {
        self.typed(name, "an integer", errors)
    }

    /// Takes a truth value.
    pub(super) fn flag(&mut self, name: &str, errors: &mut Errors) -> Option<bool> {
        self.typed(name, "a boolean", errors)
    }

    /// Takes a value of any type that can be read.
    pub(super) fn typed<T: DeserializeOwned>(&mut self, name: &str, wanted: &str, errors: &mut Errors) -> Option<T> {
        let value = self.take(name)?;
        match serde_json::from_value(value.clone()) {
            Ok(read) => Some(read),
            Err(_) => {
                errors.kind(&self.at(name), &value, wanted);
                None
            }
        }
    }

    /// Takes an object.
    pub(super) fn object(&mut self, name: &str, errors: &mut Errors) -> Option<Self> {
        let path = self.at(name);
        self.take(name).map(|value| Self::new(path, value, errors))
    }

    /// Takes a list of objects.
    pub(super) fn objects(&mut self, name: &str, errors: &mut Errors) -> Vec<Self> {
        let path = self.at(name);
        match self.take(name) {
            None => Vec::new(),
            Some(Value::Array(items)) => items
                .into_iter()
                .enumerate()
                .map(|(at, item)| Self::new(path.index(at), item, errors))
                .collect(),
            Some(other) => {
                errors.kind(&path, &other, "a list");
                Vec::new()
            }
        }
    }

    /// Refuses a field that upstream knows and this scheduler does not act on.
    pub(super) fn refuse(&mut self, name: &str, why: &str, errors: &mut Errors) {
        if self.take(name).is_some() {
            errors.wrong(FieldError::forbidden(&self.at(name), why));
        }
    }

    /// Names every field that nobody took.
    pub(super) fn finish(self, errors: &mut Errors) {
        for name in self.fields.keys() {
            let path = self.path.child(name);
            errors.0.push(format!("unknown field {:?}", path.as_str()));
        }
    }
}
