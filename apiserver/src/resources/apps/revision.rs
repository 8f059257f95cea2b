//! ControllerRevisions.

use jiff::Timestamp;
use serde_json::{Value, json};
use timonel_api::{FieldError, Path};

use super::super::cells::{age, count, name};
use super::super::common::{immutable, not_negative};
use super::super::strategy::{Column, Strategy};
use super::super::value::{at, flag, list, text};

/// `controllerrevisions.apps`.
pub(crate) struct ControllerRevisions;

impl Strategy for ControllerRevisions {
    fn has_status(&self) -> bool {
        false
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if at(object, "data").is_null() {
            errors.push(FieldError::required(&Path::new("data"), "data is mandatory"));
        }
        not_negative(object, &["revision"], &Path::root(), &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate(new);
        immutable(new, old, "data", &Path::root(), &mut errors);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::name(),
            Column::new("Controller"),
            Column::new("Revision"),
            Column::new("Age"),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let owner = list(at(object, "metadata"), "ownerReferences")
            .iter()
            .find(|owner| flag(owner, "controller"));
        let controller = owner.map_or_else(
            || "<none>".to_owned(),
            |owner| {
                let group = text(owner, "apiVersion")
                    .split_once('/')
                    .map_or(String::new(), |(group, _)| format!(".{group}"));
                format!("{}{group}/{}", text(owner, "kind").to_lowercase(), text(owner, "name"))
            },
        );
        vec![
            name(object),
            json!(controller),
            count(object, "revision"),
            age(object, now),
        ]
    }
}
