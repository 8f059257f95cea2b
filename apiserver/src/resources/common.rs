//! Validation that several kinds share: labels, selectors, numbers that may not be negative, fields that may not change.

use serde_json::Value;
use timonel_api::{FieldError, Path, names};

use super::value::{at, entries, has, int, list, text};

/// Adds what is wrong with a value, a sentence each.
pub(crate) fn wrong(path: &Path, value: &str, sentences: Vec<String>, errors: &mut Vec<FieldError>) {
    errors.extend(sentences.into_iter().map(|m| FieldError::invalid(path, value, m)));
}

/// Checks that a field names something: it is there, and can stand in a URL.
pub(crate) fn reference(object: &Value, field: &str, path: &Path, errors: &mut Vec<FieldError>) {
    let (value, path) = (text(object, field), path.child(field));
    if value.is_empty() {
        errors.push(FieldError::required(&path, ""));
    } else {
        wrong(&path, value, names::path_segment(value, false), errors);
    }
}

/// Checks an optional field against a list.
pub(crate) fn any_of(object: &Value, field: &str, supported: &[&str], path: &Path, errors: &mut Vec<FieldError>) {
    if has(object, field) {
        let value = text(object, field);
        if !supported.contains(&value) {
            errors.push(FieldError::not_supported(&path.child(field), value, supported));
        }
    }
}

/// Checks a number or a percentage, as `maxSurge` and `minAvailable` take it.
pub(crate) fn int_or_percent(value: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    match value {
        Value::Number(number) if number.as_i64().is_some_and(|n| n < 0) => {
            errors.push(FieldError::invalid(path, value.clone(), NOT_NEGATIVE));
        }
        Value::String(percent) => wrong(path, percent, names::percent(percent), errors),
        _ => {}
    }
}

/// Whether a value is a percentage over 100.
pub(crate) fn over_hundred_percent(value: &Value) -> bool {
    value
        .as_str()
        .and_then(|text| text.strip_suffix('%')?.parse::<i64>().ok())
        .is_some_and(|percent| percent > 100)
}

/// What is said of a percentage over 100.
pub(crate) const OVER_HUNDRED: &str = "must not be greater than 100%";

/// What is said of a negative number.
pub(crate) const NOT_NEGATIVE: &str = "must be greater than or equal to 0";

/// Checks the name of a storage or device driver.
pub(crate) fn driver_name(name: &str, path: &Path, errors: &mut Vec<FieldError>) {
    if name.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    if name.len() > names::LABEL_MAX {
        errors.push(FieldError::too_long(path, names::LABEL_MAX));
    }
    wrong(path, name, names::subdomain(&name.to_lowercase(), false), errors);
}

/// Checks a map of labels.
pub(crate) fn labels(metadata: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (key, value) in entries(metadata, "labels") {
        label(key, value.as_str().unwrap_or(""), path, &mut errors);
    }
    errors
}

/// Checks a map of annotations.
pub(crate) fn annotations(metadata: &Value, path: &Path) -> Vec<FieldError> {
    let all = entries(metadata, "annotations");
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let all = all.map(|(key, value)| (key.to_owned(), text(value))).collect();
    timonel_api::validation::annotations(&all, path)
}

/// Checks one label.
pub(crate) fn label(key: &str, value: &str, path: &Path, errors: &mut Vec<FieldError>) {
    label_key(key, path, errors);
    label_value(value, path, errors);
}

/// Checks a label's key.
pub(crate) fn label_key(key: &str, path: &Path, errors: &mut Vec<FieldError>) {
    errors.extend(
        names::qualified_name(key)
            .into_iter()
            .map(|m| FieldError::invalid(path, key, m)),
    );
}

/// Checks a label's value.
pub(crate) fn label_value(value: &str, path: &Path, errors: &mut Vec<FieldError>) {
    errors.extend(
        names::label_value(value)
            .into_iter()
            .map(|m| FieldError::invalid(path, value, m)),
    );
}

const OPERATORS: [&str; 4] = ["DoesNotExist", "Exists", "In", "NotIn"];

/// Checks a `metav1.LabelSelector`.
pub(crate) fn label_selector(selector: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    for (key, value) in entries(selector, "matchLabels") {
        label(key, value.as_str().unwrap_or(""), &path.child("matchLabels"), errors);
    }
    for (index, requirement) in list(selector, "matchExpressions").iter().enumerate() {
        let path = path.child("matchExpressions").index(index);
        let (operator, values) = (text(requirement, "operator"), list(requirement, "values"));
        match operator {
            "In" | "NotIn" if values.is_empty() => errors.push(FieldError::required(
                &path.child("values"),
                "must be specified when `operator` is 'In' or 'NotIn'",
            )),
            "Exists" | "DoesNotExist" if !values.is_empty() => errors.push(FieldError::forbidden(
                &path.child("values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            )),
            operator if OPERATORS.contains(&operator) => {}
            other => errors.push(FieldError::invalid(
                &path.child("operator"),
                other,
                "not a valid selector operator",
            )),
        }
        label_key(text(requirement, "key"), &path.child("key"), errors);
        for (index, value) in values.iter().filter_map(Value::as_str).enumerate() {
            label_value(value, &path.child("values").index(index), errors);
        }
    }
}

/// Checks that whole numbers are not negative.
pub(crate) fn not_negative(object: &Value, fields: &[&str], path: &Path, errors: &mut Vec<FieldError>) {
    for field in fields {
        if let Some(value) = int(object, field)
            && value < 0
        {
            errors.push(FieldError::invalid(&path.child(field), value, NOT_NEGATIVE));
        }
    }
}

/// Checks that a field has one of the supported values; an absent one is required.
pub(crate) fn one_of(object: &Value, field: &str, supported: &[&str], path: &Path, errors: &mut Vec<FieldError>) {
    let value = text(object, field);
    if value.is_empty() {
        errors.push(FieldError::required(&path.child(field), ""));
    } else if !supported.contains(&value) {
        errors.push(FieldError::not_supported(&path.child(field), value, supported));
    }
}

/// Checks that a field did not change.
pub(crate) fn immutable(new: &Value, old: &Value, field: &str, path: &Path, errors: &mut Vec<FieldError>) {
    if at(new, field) != at(old, field) {
        errors.push(FieldError::invalid(
            &path.child(field),
            at(new, field).clone(),
            "field is immutable",
        ));
    }
}

/// Checks the selector of a workload and that its template's labels satisfy it.
pub(crate) fn workload_selector(spec: &Value, noun: &str, path: &Path, errors: &mut Vec<FieldError>) {
    let selector = at(spec, "selector");
    let at_selector = path.child("selector");
    if selector.is_null() {
        errors.push(FieldError::required(&at_selector, ""));
        return;
    }
    label_selector(selector, &at_selector, errors);
    if !has(selector, "matchLabels") && list(selector, "matchExpressions").is_empty() {
        errors.push(FieldError::invalid(
            &at_selector,
            selector.clone(),
            format!("empty selector is invalid for {noun}"),
        ));
        return;
    }
    let template_labels = at(at(at(spec, "template"), "metadata"), "labels");
    if !matches(selector, template_labels) {
        errors.push(FieldError::invalid(
            &path.child("template").child("metadata").child("labels"),
            template_labels.clone(),
            "`selector` does not match template `labels`",
        ));
    }
}

/// Whether a `metav1.LabelSelector` selects what has these labels.
pub(crate) fn matches(selector: &Value, labels: &Value) -> bool {
    let equal = entries(selector, "matchLabels").all(|(key, value)| labels.get(key) == Some(value));
    equal
        && list(selector, "matchExpressions").iter().all(|requirement| {
            let actual = labels.get(text(requirement, "key"));
            let listed = actual.is_some_and(|actual| list(requirement, "values").contains(actual));
            match text(requirement, "operator") {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => actual.is_some(),
                _ => actual.is_none(),
            }
        })
}
