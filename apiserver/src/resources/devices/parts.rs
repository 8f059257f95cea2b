//! What claims, classes and slices of devices share: names, selectors, tolerations, configurations.

use std::collections::BTreeSet;

use serde_json::Value;
use timonel_api::{FieldError, Path, names};

pub(super) use super::super::common::driver_name as driver;
use super::super::common::{any_of, label_key, label_value, one_of, wrong};
use super::super::value::{at, has, list, text};

/// Upstream's limit of most lists in a claim.
pub(super) const MANY: usize = 32;
/// The longest CEL expression of a selector, and the longest parameters of a driver.
const LONG: usize = 10 * 1024;
const ID_MAX: usize = 32;
const EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "None"];

/// Checks the length of a list. Of one that is too long nothing else is said.
pub(super) fn fits(values: &[Value], max: usize, path: &Path, errors: &mut Vec<FieldError>) -> bool {
    let fits = values.len() <= max;
    if !fits {
        errors.push(FieldError::too_many(path, values.len(), max));
    }
    fits
}

/// Checks that no two entries of a list have the same key.
pub(super) fn unique<'a>(keys: impl Iterator<Item = &'a str>, path: &Path, errors: &mut Vec<FieldError>) {
    let mut seen = BTreeSet::new();
    for (index, key) in keys.enumerate() {
        if !seen.insert(key) {
            errors.push(FieldError::duplicate(&path.index(index), key));
        }
    }
}

/// Checks a DNS label.
pub(super) fn label(object: &Value, field: &str, path: &Path, errors: &mut Vec<FieldError>) {
    let value = text(object, field);
    wrong(&path.child(field), value, names::label(value, false), errors);
}

/// Checks the name of a pool: subdomains with slashes between them.
pub(super) fn pool(name: &str, path: &Path, errors: &mut Vec<FieldError>) {
    if name.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    if name.len() > names::SUBDOMAIN_MAX {
        errors.push(FieldError::too_long(path, names::SUBDOMAIN_MAX));
    }
    for part in name.split('/') {
        wrong(path, part, names::subdomain(part, false), errors);
    }
}

/// Checks the name of an attribute or capacity: an identifier, with or without a domain.
pub(super) fn qualified(name: &str, path: &Path, errors: &mut Vec<FieldError>) {
    let (domain, id) = name.split_once('/').map_or((None, name), |(d, id)| (Some(d), id));
    if id.contains('/') {
        errors.push(FieldError::invalid(path, name, "must not contain more than one slash"));
        return;
    }
    match domain {
        Some("") => errors.push(FieldError::invalid(path, "", "the domain must not be empty")),
        Some(domain) => driver(domain, path, errors),
        None => {}
    }
    if domain.is_some() && id.is_empty() {
        errors.push(FieldError::invalid(path, "", "the name must not be empty"));
        return;
    }
    if id.len() > ID_MAX {
        errors.push(FieldError::too_long(path, ID_MAX));
    }
    wrong(path, id, names::c_identifier(id), errors);
}

/// Checks the name of an attribute that must say its domain.
pub(super) fn fully_qualified(name: &str, path: &Path, errors: &mut Vec<FieldError>) {
    qualified(name, path, errors);
    if !name.contains('/') {
        let detail = "a fully qualified name must be a domain and a name separated by a slash";
        errors.push(FieldError::invalid(path, name, detail));
    }
}

/// Checks selectors of devices. Whether their expressions compile nobody here can tell yet. Those `stored` were accepted before.
pub(super) fn selectors(object: &Value, stored: bool, path: &Path, errors: &mut Vec<FieldError>) {
    let (all, path) = (list(object, "selectors"), path.child("selectors"));
    if !fits(all, MANY, &path, errors) {
        return;
    }
    for (index, selector) in all.iter().enumerate() {
        let path = path.index(index).child("cel");
        if !has(selector, "cel") {
            errors.push(FieldError::required(&path, ""));
        } else if !stored && text(at(selector, "cel"), "expression").len() > LONG {
            errors.push(FieldError::too_long(&path.child("expression"), LONG));
        }
    }
}

/// Checks the configuration of a driver.
pub(super) fn configuration(config: &Value, stored: bool, path: &Path, errors: &mut Vec<FieldError>) {
    let (opaque, path) = (at(config, "opaque"), path.child("opaque"));
    if opaque.is_null() {
        errors.push(FieldError::required(&path, ""));
        return;
    }
    driver(text(opaque, "driver"), &path.child("driver"), errors);
    raw(at(opaque, "parameters"), stored, &path.child("parameters"), errors);
}

/// Checks an object that only a driver understands.
pub(super) fn raw(value: &Value, stored: bool, path: &Path, errors: &mut Vec<FieldError>) {
    if value.is_null() {
        errors.push(FieldError::required(path, ""));
    } else if !stored && value.to_string().len() > LONG {
        errors.push(FieldError::too_long(path, LONG));
    } else if !value.is_object() {
        errors.push(FieldError::invalid(
            path,
            "<value omitted>",
            "must be a valid JSON object",
        ));
    }
}

/// Checks what a request puts up with.
pub(super) fn tolerations(object: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    for (index, toleration) in list(object, "tolerations").iter().enumerate() {
        let path = path.child("tolerations").index(index);
        let (key, value) = (text(toleration, "key"), text(toleration, "value"));
        if !key.is_empty() {
            label_key(key, &path.child("key"), errors);
        }
        match text(toleration, "operator") {
            "Exists" if !value.is_empty() => {
                let detail = "must be empty for operator `Exists`";
                errors.push(FieldError::invalid(&path.child("value"), value, detail));
            }
            "Exists" => {}
            "Equal" => label_value(value, &path.child("value"), errors),
            "" => errors.push(FieldError::required(&path.child("operator"), "")),
            other => errors.push(FieldError::not_supported(
                &path.child("operator"),
                other,
                &["Equal", "Exists"],
            )),
        }
        if !text(toleration, "effect").is_empty() {
            any_of(toleration, "effect", &EFFECTS, &path, errors);
        }
    }
}

/// Checks a taint of a device.
pub(super) fn taint(taint: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    label_key(text(taint, "key"), &path.child("key"), errors);
    let value = text(taint, "value");
    if !value.is_empty() {
        label_value(value, &path.child("value"), errors);
    }
    one_of(taint, "effect", &EFFECTS, path, errors);
}

/// Checks the conditions that must hold, or must not, before a pod with the device is bound.
pub(super) fn binding_conditions(object: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    const MAX: usize = 4;
    const FIELDS: [&str; 2] = ["bindingConditions", "bindingFailureConditions"];
    let [good, bad] = FIELDS.map(|field| list(object, field));
    let [at_good, at_bad] = FIELDS.map(|field| path.child(field));
    for (values, path) in [(good, &at_good), (bad, &at_bad)] {
        if fits(values, MAX, path, errors) {
            for (index, value) in values.iter().filter_map(Value::as_str).enumerate() {
                label_key(value, &path.index(index), errors);
            }
        }
    }
    unique(good.iter().filter_map(Value::as_str), &at_good, errors);
    unique(bad.iter().filter_map(Value::as_str), &at_bad, errors);
    for (index, condition) in bad.iter().enumerate().filter(|(_, condition)| good.contains(condition)) {
        let detail = "bindingFailureConditions must not overlap with bindingConditions";
        errors.push(FieldError::invalid(&at_bad.index(index), condition.clone(), detail));
    }
    if good.is_empty() && !bad.is_empty() {
        let detail = "bindingConditions are required to use bindingFailureConditions";
        errors.push(FieldError::invalid(&at_good, at(object, FIELDS[0]).clone(), detail));
    }
    if bad.is_empty() && !good.is_empty() {
        let detail = "bindingFailureConditions are required to use bindingConditions";
        errors.push(FieldError::invalid(&at_bad, at(object, FIELDS[1]).clone(), detail));
    }
}

/// Checks a UID in the form that RFC 4122 calls normal.
pub(super) fn uid(uid: &str, path: &Path, errors: &mut Vec<FieldError>) {
    let bare = match uid.len() {
        36 => Some(uid),
        38 => uid.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')),
        45 => uid
            .get(..9)
            .filter(|head| head.eq_ignore_ascii_case("urn:uuid:"))
            .and(uid.get(9..)),
        32 => Some(uid),
        other => {
            let detail = format!("error validating uid: invalid UUID length: {other}");
            errors.push(FieldError::invalid(path, uid, detail));
            return;
        }
    };
    let dashes = |text: &str| [8, 13, 18, 23].iter().all(|at| text.as_bytes().get(*at) == Some(&b'-'));
    let well_formed = bare.is_some_and(|text| {
        let digits = text.bytes().filter(u8::is_ascii_hexdigit).count();
        digits == 32 && (text.len() == 32 || dashes(text))
    });
    if !well_formed {
        let detail = "error validating uid: invalid UUID format";
        errors.push(FieldError::invalid(path, uid, detail));
    } else if uid.len() != 36 || uid.bytes().any(|b| b.is_ascii_uppercase()) {
        let detail = "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters";
        errors.push(FieldError::invalid(path, uid, detail));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_attributes_may_have_one_domain() {
        let said = |name: &str| -> Vec<String> {
            let mut errors = Vec::new();
            fully_qualified(name, &Path::new("n"), &mut errors);
            errors.iter().map(ToString::to_string).collect()
        };
        assert_eq!(said("gpu.example.com/model"), Vec::<String>::new());
        assert_eq!(
            said("a/b/c"),
            ["n: Invalid value: \"a/b/c\": must not contain more than one slash"]
        );
        assert_eq!(said("/b"), ["n: Invalid value: \"\": the domain must not be empty"]);
        assert_eq!(said("a/"), ["n: Invalid value: \"\": the name must not be empty"]);
        let bare = said(&"x".repeat(33));
        assert_eq!(bare[0], "n: Too long: may not be more than 32 bytes");
        assert!(bare[1].ends_with("a fully qualified name must be a domain and a name separated by a slash"));
    }

    #[test]
    fn uids_are_normal() {
        let said = |text: &str| -> Vec<String> {
            let mut errors = Vec::new();
            uid(text, &Path::new("u"), &mut errors);
            errors.into_iter().map(|error| error.detail).collect()
        };
        assert_eq!(said("6f1c0b0e-0000-4000-8000-0123456789ab"), Vec::<String>::new());
        assert!(said("6F1C0B0E-0000-4000-8000-0123456789ab")[0].starts_with("uid must be in RFC 4122"));
        assert!(said("{6f1c0b0e-0000-4000-8000-0123456789ab}")[0].starts_with("uid must be in RFC 4122"));
        assert_eq!(
            said("6f1c0b0ex0000-4000-8000-0123456789ab"),
            ["error validating uid: invalid UUID format"]
        );
        assert_eq!(said("6f1"), ["error validating uid: invalid UUID length: 3"]);
    }
}
