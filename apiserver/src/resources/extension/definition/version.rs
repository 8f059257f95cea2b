//! The versions of a custom resource definition: names, schemas, subresources, columns and selectable fields.
//!
//! Upstream holds what all versions have in common once, at the top, and its errors speak of it there; so do ours.

use std::collections::BTreeSet;

use serde_json::Value;
use timonel_api::{FieldError, Path, names};

use super::super::super::value::{at, entries, flag, has, list, text};
use super::schema;

const WARNING_MAX: usize = 256;
const SELECTABLE_MAX: usize = 8;
const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] = [
    "byte",
    "date",
    "date-time",
    "double",
    "float",
    "int32",
    "int64",
    "password",
];
/// The formats that values are checked against, or that say nothing to check.
const FORMATS: [&str; 30] = [
    "bsonobjectid",
    "byte",
    "cidr",
    "creditcard",
    "date",
    "datetime",
    "double",
    "duration",
    "email",
    "float",
    "hexcolor",
    "hostname",
    "int32",
    "int64",
    "ipv4",
    "ipv6",
    "isbn",
    "isbn10",
    "isbn13",
    "k8slongname",
    "k8sshortname",
    "mac",
    "password",
    "rgbcolor",
    "ssn",
    "uri",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
];

/// A field of all versions: the same for all, or each its own.
pub(super) enum Shared<'a> {
    /// The same for all; null where none has it.
    Same(&'a Value),
    /// One for each version.
    Each(Vec<&'a Value>),
}

impl<'a> Shared<'a> {
    /// The different values.
    pub(super) fn schemas(self) -> Vec<&'a Value> {
        match self {
            Self::Same(value) => vec![value],
            Self::Each(values) => values,
        }
    }
}

/// Reads a field of all versions.
pub(super) fn shared<'a>(spec: &'a Value, field: &str) -> Shared<'a> {
    let values: Vec<&Value> = list(spec, "versions")
        .iter()
        .map(|version| at(version, field))
        .collect();
    match values.as_slice() {
        [first, rest @ ..] if rest.iter().all(|value| value == first) => Shared::Same(first),
        _ => Shared::Each(values),
    }
}

fn status_enabled(version: &Value) -> bool {
    has(at(version, "subresources"), "status")
}

/// Checks the versions, and of each what is its own.
pub(super) fn versions(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (versions, path) = (list(spec, "versions"), path.child("versions"));
    for (index, version) in versions.iter().enumerate() {
        if !has(at(version, "schema"), "openAPIV3Schema") {
            let path = path.index(index).child("schema").child("openAPIV3Schema");
            errors.push(FieldError::required(&path, "schemas are required"));
        }
    }
    let own = |field: &str| matches!(shared(spec, field), Shared::Each(_));
    let (schemas, parts, columns_differ) = (own("schema"), own("subresources"), own("additionalPrinterColumns"));
    let mut seen = BTreeSet::new();
    let mut unique = true;
    for (index, version) in versions.iter().enumerate() {
        let (path, name) = (path.index(index), text(version, "name"));
        unique &= seen.insert(name);
        let wrong = names::label_1035(name, false);
        if !wrong.is_empty() {
            errors.push(FieldError::invalid(&path.child("name"), name, wrong.join(",")));
        }
        deprecation(version, &path.child("deprecationWarning"), errors);
        if schemas {
            let path = path.child("schema");
            schema::validation(at(version, "schema"), status_enabled(version), &path, errors);
        }
        if parts {
            subresources(at(version, "subresources"), &path.child("subresources"), errors);
        }
        if columns_differ {
            columns(version, &path, errors);
        }
        if schemas || own("selectableFields") {
            selectable(version, at(version, "schema"), &path, errors);
        }
    }
    let mut refuse = |detail: &str| errors.push(FieldError::invalid(&path, versions.to_vec(), detail));
    if !unique {
        refuse("must contain unique version names");
    }
    if versions.iter().filter(|version| flag(version, "storage")).count() != 1 {
        refuse("must have exactly one version marked as storage version");
    }
}

/// Checks what all versions have in common.
pub(super) fn hoisted(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let versions = list(spec, "versions");
    let Some(first) = versions.first() else {
        return;
    };
    let same = |field: &str| matches!(shared(spec, field), Shared::Same(_));
    if same("schema") {
        let status = versions.iter().any(status_enabled);
        schema::validation(at(first, "schema"), status, &path.child("validation"), errors);
    }
    if same("subresources") {
        subresources(at(first, "subresources"), &path.child("subresources"), errors);
    }
    if same("additionalPrinterColumns") {
        columns(first, path, errors);
    }
    if same("schema") && same("selectableFields") {
        selectable(first, at(first, "schema"), path, errors);
    }
}

fn deprecation(version: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    if !has(version, "deprecationWarning") {
        return;
    }
    let warning = text(version, "deprecationWarning");
    let mut refuse = |detail: String| errors.push(FieldError::invalid(path, warning, detail));
    if !flag(version, "deprecated") {
        refuse("can only be set for deprecated versions".to_owned());
        return;
    }
    if warning.len() > WARNING_MAX {
        refuse(format!("must be <= {WARNING_MAX} characters long"));
    }
    if warning.is_empty() {
        refuse("must not be an empty string".to_owned());
    }
    if let Some((index, _)) = warning.char_indices().find(|(_, c)| c.is_control()) {
        refuse(format!(
            "must only contain printable UTF-8 characters; non-printable character found at index {index}"
        ));
    }
}

fn subresources(subresources: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    if !has(subresources, "scale") {
        return;
    }
    let scale = at(subresources, "scale");
    for (field, places, wanted) in [
        (
            "specReplicasPath",
            &[".spec."] as &[&str],
            "should be a json path under .spec",
        ),
        (
            "statusReplicasPath",
            &[".status."],
            "should be a json path under .status",
        ),
        (
            "labelSelectorPath",
            &[".spec.", ".status."],
            "should be a json path under either .spec or .status",
        ),
    ] {
        let (given, path) = (text(scale, field), path.child("scale").child(field));
        let optional = field == "labelSelectorPath";
        if given.is_empty() && !optional {
            errors.push(FieldError::required(&path, ""));
        } else if given.is_empty() {
            continue;
        } else if !given.starts_with('.') {
            let detail = "must be a simple json path starting with .";
            errors.push(FieldError::invalid(&path, given, detail));
        } else if !places.iter().any(|place| given.starts_with(place)) {
            errors.push(FieldError::invalid(&path, given, wanted));
        }
    }
}

fn columns(version: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    for (index, column) in list(version, "additionalPrinterColumns").iter().enumerate() {
        let path = path.child("additionalPrinterColumns").index(index);
        if text(column, "name").is_empty() {
            errors.push(FieldError::required(&path.child("name"), ""));
        }
        let kind = text(column, "type");
        let detail = format!("must be one of {}", COLUMN_TYPES.join(","));
        if kind.is_empty() {
            errors.push(FieldError::required(&path.child("type"), detail));
        } else if !COLUMN_TYPES.contains(&kind) {
            errors.push(FieldError::invalid(&path.child("type"), kind, detail));
        }
        let format = text(column, "format");
        if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
            let detail = format!("must be one of {}", COLUMN_FORMATS.join(","));
            errors.push(FieldError::invalid(&path.child("format"), format, detail));
        }
        let (json_path, path) = (text(column, "jsonPath"), path.child("JSONPath"));
        if json_path.is_empty() {
            errors.push(FieldError::required(&path, ""));
        } else if !json_path.starts_with('.') {
            let detail = "must be a simple json path starting with .";
            errors.push(FieldError::invalid(&path, json_path, detail));
        }
    }
}

fn selectable(version: &Value, schema: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (fields, path) = (list(version, "selectableFields"), path.child("selectableFields"));
    let mut seen = BTreeSet::new();
    for (index, field) in fields.iter().enumerate() {
        let path = path.index(index).child("jsonPath");
        let given = text(field, "jsonPath");
        if given.is_empty() {
            errors.push(FieldError::required(&path, ""));
            continue;
        }
        let found = given.strip_prefix('.').map(|rest| {
            let root = at(schema, "openAPIV3Schema");
            rest.split('.')
                .fold(root, |schema, name| at(at(schema, "properties"), name))
        });
        let mut refuse = |detail: &str| errors.push(FieldError::invalid(&path, given, detail));
        let Some(found) = found.filter(|found| !found.is_null()) else {
            refuse("is an invalid path: does not refer to a valid field");
            continue;
        };
        if given == ".metadata" || given.starts_with(".metadata.") {
            refuse("must not point to fields in metadata");
        }
        if !["string", "boolean", "integer"].contains(&text(found, "type")) {
            refuse(
                "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.",
            );
        }
        if !seen.insert(given) {
            errors.push(FieldError::duplicate(&path, given));
        }
    }
    if seen.len() > SELECTABLE_MAX {
        errors.push(FieldError::too_many(&path, seen.len(), SELECTABLE_MAX));
    }
}

/// Collects the formats of a schema that no value is checked against.
pub(super) fn unknown_formats<'a>(schema: &'a Value, formats: &mut Vec<&'a str>) {
    let format = text(schema, "format");
    if !format.is_empty() && !FORMATS.contains(&format.replace('-', "").as_str()) {
        formats.push(format);
    }
    for junctor in ["allOf", "anyOf", "oneOf"] {
        for each in list(schema, junctor) {
            unknown_formats(each, formats);
        }
    }
    for (_, field) in entries(schema, "properties") {
        unknown_formats(field, formats);
    }
    for below in ["items", "not", "additionalProperties"] {
        if at(schema, below).is_object() {
            unknown_formats(at(schema, below), formats);
        }
    }
}
