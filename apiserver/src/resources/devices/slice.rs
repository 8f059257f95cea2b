//! Validation of slices: the devices that a driver has to offer, and where.

use serde_json::Value;
use timonel_api::{FieldError, Path, names};

use super::super::common::{immutable, wrong};
use super::super::node_selector::node_selector;
use super::super::value::{at, entries, flag, has, int, list, text};
use super::parts::{self, MANY, fits, unique};

const DEVICES: usize = 128;
/// Devices with taints or counters make more work.
const ELABORATE_DEVICES: usize = 64;
const TAINTS: usize = 16;
const COUNTER_SETS: usize = 8;
const CONSUMPTIONS: usize = 2;
const VALUE_MAX: usize = 64;

/// Checks a `ResourceSliceSpec`; `old` is null for a new slice.
pub(super) fn spec(spec: &Value, old: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    parts::driver(text(spec, "driver"), &path.child("driver"), errors);
    let (pool, at_pool) = (at(spec, "pool"), path.child("pool"));
    parts::pool(text(pool, "name"), &at_pool.child("name"), errors);
    let (slices, generation) = (
        int(pool, "resourceSliceCount").unwrap_or(0),
        int(pool, "generation").unwrap_or(0),
    );
    if slices <= 0 {
        let detail = "must be greater than zero";
        errors.push(FieldError::invalid(
            &at_pool.child("resourceSliceCount"),
            slices,
            detail,
        ));
    }
    if generation < 0 {
        let detail = "must be greater than or equal to zero";
        errors.push(FieldError::invalid(&at_pool.child("generation"), generation, detail));
    }
    if !old.is_null() {
        immutable(pool, at(old, "pool"), "name", &at_pool, errors);
        immutable(spec, old, "driver", path, errors);
        immutable(spec, old, "nodeName", path, errors);
    }
    let fields = ["nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection"];
    let set = places(
        spec,
        &fields,
        "must be either unset or set to a non-empty string",
        path,
        errors,
    );
    let terms = list(at(spec, "nodeSelector"), "nodeSelectorTerms");
    if has(spec, "nodeSelector") && terms.len() != 1 {
        let path = path.child("nodeSelector").child("nodeSelectorTerms");
        let detail = "must have exactly one node selector term";
        errors.push(FieldError::invalid(&path, terms.to_vec(), detail));
    }
    const ONE: &str = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    match set.as_slice() {
        [] => errors.push(FieldError::required(path, ONE)),
        [_] => {}
        several => {
            let detail = format!("{ONE}, but multiple fields are set");
            errors.push(FieldError::invalid(path, format!("{{{}}}", several.join(", ")), detail));
        }
    }
    if has(spec, "sharedCounters") && has(spec, "devices") {
        let detail = "only one of `sharedCounters` or `devices` is allowed";
        errors.push(FieldError::invalid(path, "", detail));
    }
    let (all, at_devices) = (list(spec, "devices"), path.child("devices"));
    let elaborate = |device: &Value| {
        ["taints", "consumesCounters"]
            .iter()
            .any(|field| !list(device, field).is_empty())
    };
    let most = if all.iter().any(elaborate) {
        ELABORATE_DEVICES
    } else {
        DEVICES
    };
    if fits(all, most, &at_devices, errors) {
        for (index, one) in all.iter().enumerate() {
            let before = list(old, "devices")
                .iter()
                .find(|other| at(other, "name") == at(one, "name"));
            let each = flag(spec, "perDeviceNodeSelection");
            device(
                one,
                before.unwrap_or(&Value::Null),
                each,
                &at_devices.index(index),
                errors,
            );
        }
        unique(all.iter().map(|one| text(one, "name")), &at_devices, errors);
    }
    let (sets, at_sets) = (list(spec, "sharedCounters"), path.child("sharedCounters"));
    if fits(sets, COUNTER_SETS, &at_sets, errors) {
        for (index, set) in sets.iter().enumerate() {
            counters(set, "name", &at_sets.index(index), errors);
        }
        unique(sets.iter().map(|set| text(set, "name")), &at_sets, errors);
    }
}

/// Checks where devices are, and returns which of the fields say so.
fn places(object: &Value, fields: &[&str], empty: &str, path: &Path, errors: &mut Vec<FieldError>) -> Vec<String> {
    let mut set = Vec::new();
    for field in fields.iter().filter(|field| has(object, field)) {
        let (value, path) = (at(object, field), path.child(field));
        let counts = match (*field, value) {
            ("nodeName", value) => {
                let name = value.as_str().unwrap_or_default();
                if name.is_empty() {
                    errors.push(FieldError::invalid(&path, name, empty));
                } else {
                    wrong(&path, name, names::subdomain(name, false), errors);
                }
                !name.is_empty()
            }
            ("nodeSelector", selector) => {
                node_selector(selector, &path, errors);
                true
            }
            (_, value) => {
                let yes = value == true;
                if !yes {
                    let detail = "must be either unset or set to true";
                    errors.push(FieldError::invalid(&path, value.clone(), detail));
                }
                yes
            }
        };
        if counts {
            set.push(format!("`{field}`"));
        }
    }
    set
}

fn device(device: &Value, old: &Value, each: bool, path: &Path, errors: &mut Vec<FieldError>) {
    const PLACES: [&str; 3] = ["nodeName", "nodeSelector", "allNodes"];
    parts::label(device, "name", path, errors);
    let count = entries(device, "attributes").count() + entries(device, "capacity").count();
    if count > MANY {
        let detail = format!("the total number of attributes and capacities must not exceed {MANY}");
        errors.push(FieldError::invalid(path, count, detail));
    }
    let at_attributes = path.child("attributes");
    for (key, value) in entries(device, "attributes") {
        parts::qualified(key, &at_attributes, errors);
        attribute(value, &at_attributes.key(key), errors);
    }
    let at_capacity = path.child("capacity");
    if at(device, "capacity") != at(old, "capacity") {
        let shared = flag(device, "allowMultipleAllocations");
        for (key, value) in entries(device, "capacity") {
            parts::qualified(key, &at_capacity, errors);
            super::capacity::capacity(value, shared, &at_capacity.key(key), errors);
        }
    }
    let (taints, at_taints) = (list(device, "taints"), path.child("taints"));
    if taints != list(old, "taints") && fits(taints, TAINTS, &at_taints, errors) {
        for (index, taint) in taints.iter().enumerate() {
            parts::taint(taint, &at_taints.index(index), errors);
        }
    }
    let (consumed, at_consumed) = (list(device, "consumesCounters"), path.child("consumesCounters"));
    if fits(consumed, CONSUMPTIONS, &at_consumed, errors) {
        for (index, set) in consumed.iter().enumerate() {
            counters(set, "counterSet", &at_consumed.index(index), errors);
        }
        unique(consumed.iter().map(|set| text(set, "counterSet")), &at_consumed, errors);
    }
    if each {
        let set = places(device, &PLACES, "must not be empty", path, errors);
        let detail = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
        match set.as_slice() {
            [] => errors.push(FieldError::required(path, detail)),
            [_] => {}
            several => errors.push(FieldError::invalid(path, format!("{{{}}}", several.join(", ")), detail)),
        }
    } else if PLACES.iter().any(|field| has(device, field)) {
        let detail = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
        errors.push(FieldError::invalid(path, Value::Null, detail));
    }
    parts::binding_conditions(device, path, errors);
}

/// Checks a set of counters, or what a device takes of one.
fn counters(set: &Value, name: &str, path: &Path, errors: &mut Vec<FieldError>) {
    if text(set, name).is_empty() {
        errors.push(FieldError::required(&path.child(name), ""));
    } else {
        parts::label(set, name, path, errors);
    }
    let (count, path) = (entries(set, "counters").count(), path.child("counters"));
    if count == 0 {
        errors.push(FieldError::required(&path, ""));
    } else if count > MANY {
        errors.push(FieldError::too_many(&path, count, MANY));
    } else {
        for (key, _) in entries(set, "counters") {
            wrong(&path, key, names::label(key, false), errors);
        }
    }
}

fn attribute(attribute: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    const VALUES: [&str; 8] = [
        "bool", "int", "string", "version", "bools", "ints", "strings", "versions",
    ];
    let given: Vec<&str> = VALUES.into_iter().filter(|field| has(attribute, field)).collect();
    for field in &given {
        let (value, path) = (at(attribute, field), path.child(field));
        match value {
            Value::Array(values) if values.is_empty() => {
                let detail = "must not be empty if specified";
                errors.push(FieldError::invalid(&path, value.clone(), detail));
            }
            Value::Array(values) => {
                for (index, value) in values.iter().enumerate() {
                    scalar(field, value, &path.index(index), errors);
                }
            }
            value => scalar(field, value, &path, errors),
        }
    }
    let detail = "exactly one value must be specified";
    match given.as_slice() {
        [_] => {}
        [] => errors.push(FieldError::invalid(path, "", detail)),
        _ => errors.push(FieldError::invalid(path, attribute.clone(), detail)),
    }
}

fn scalar(field: &str, value: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let Some(text) = value.as_str() else {
        return;
    };
    if field.starts_with("version") && !is_semver(text) {
        let detail = "must be a string compatible with semver.org spec 2.0.0";
        errors.push(FieldError::invalid(path, text, detail));
    }
    if text.len() > VALUE_MAX {
        errors.push(FieldError::too_long(path, VALUE_MAX));
    }
}

fn is_semver(version: &str) -> bool {
    let (rest, build) = version.split_once('+').map_or((version, None), |(v, b)| (v, Some(b)));
    let (core, pre) = rest.split_once('-').map_or((rest, None), |(v, p)| (v, Some(p)));
    let numeric = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) && (part == "0" || !part.starts_with('0'))
    };
    let word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    core.split('.').count() == 3
        && core.split('.').all(numeric)
        && pre.is_none_or(|pre| {
            pre.split('.')
                .all(|part| word(part) && (!all_digits(part) || numeric(part)))
        })
        && build.is_none_or(|build| build.split('.').all(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(given: &Value, old: &Value) -> Vec<String> {
        let mut errors = Vec::new();
        spec(given, old, &Path::new("spec"), &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    fn slice(rest: &Value) -> Value {
        let pool = json!({"name": "p", "generation": 1, "resourceSliceCount": 1});
        let mut spec = json!({"driver": "d.io", "pool": pool, "nodeName": "n"});
        for (field, value) in rest.as_object().unwrap() {
            spec[field] = value.clone();
        }
        spec
    }

    #[test]
    fn a_slice_says_where_its_devices_are() {
        let fine = slice(
            &json!({"devices": [{"name": "a", "attributes": {"model": {"string": "x"}}, "capacity": {"m": {"value": "1"}}}]}),
        );
        assert_eq!(said(&fine, &Value::Null), Vec::<String>::new());
        let bad = json!({"driver": "D_", "pool": {"name": "a//b", "generation": -1}, "nodeName": "", "allNodes": false,
            "devices": [], "sharedCounters": [{}, {"name": "s", "counters": {"c": {"value": "1"}}}, {"name": "s", "counters": {"c": {"value": "1"}}}]});
        let words = said(&bad, &Value::Null);
        assert!(words[0].starts_with("spec.driver: Invalid value: \"D_\": a lowercase RFC 1123 subdomain"));
        assert!(words[1].starts_with("spec.pool.name: Invalid value: \"\": a lowercase RFC 1123 subdomain"));
        assert_eq!(
            words[2..],
            [
                "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero",
                "spec.pool.generation: Invalid value: -1: must be greater than or equal to zero",
                "spec.nodeName: Invalid value: \"\": must be either unset or set to a non-empty string",
                "spec.allNodes: Invalid value: false: must be either unset or set to true",
                "spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required",
                "spec: Invalid value: \"\": only one of `sharedCounters` or `devices` is allowed",
                "spec.sharedCounters[0].name: Required value",
                "spec.sharedCounters[0].counters: Required value",
                "spec.sharedCounters[2]: Duplicate value: \"s\"",
            ]
        );
        let both = slice(&json!({"nodeSelector": {"nodeSelectorTerms": [{}, {}]}}));
        assert_eq!(
            said(&both, &Value::Null),
            [
                "spec.nodeSelector.nodeSelectorTerms: Invalid value: [{},{}]: must have exactly one node selector term",
                "spec: Invalid value: \"{`nodeName`, `nodeSelector`}\": exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required, but multiple fields are set",
            ]
        );
        let moved = slice(&json!({"nodeName": "m", "driver": "e.io"}));
        assert_eq!(
            said(&moved, &slice(&json!({}))),
            [
                "spec.driver: Invalid value: \"e.io\": field is immutable",
                "spec.nodeName: Invalid value: \"m\": field is immutable",
            ]
        );
    }

    #[test]
    fn a_device_has_one_value_per_attribute() {
        let device = json!({
            "name": "a", "nodeName": "n",
            "attributes": {"a": {"int": 1, "bool": true}, "b": {}, "c": {"version": "1.2"}, "d": {"string": "x".repeat(65)}},
            "capacity": {"m": {"value": "1", "requestPolicy": {}}},
            "taints": [{"key": "k", "effect": "Explode"}, {"key": "k"}],
            "consumesCounters": [{"counterSet": "s"}],
            "bindingConditions": ["a"], "bindingFailureConditions": ["a", "a"],
        });
        let given = slice(&json!({"devices": [device, device]}));
        let words = said(&given, &Value::Null);
        let at = "spec.devices[0]";
        assert_eq!(
            words[..12],
            [
                format!(
                    "{at}.attributes[a]: Invalid value: {{\"bool\":true,\"int\":1}}: exactly one value must be specified"
                ),
                format!("{at}.attributes[b]: Invalid value: \"\": exactly one value must be specified"),
                format!(
                    "{at}.attributes[c].version: Invalid value: \"1.2\": must be a string compatible with semver.org spec 2.0.0"
                ),
                format!("{at}.attributes[d].string: Too long: may not be more than 64 bytes"),
                format!("{at}.capacity[m].requestPolicy: Forbidden: allowMultipleAllocations must be true"),
                format!(
                    "{at}.taints[0].effect: Unsupported value: \"Explode\": supported values: \"NoExecute\", \"NoSchedule\", \"None\""
                ),
                format!("{at}.taints[1].effect: Required value"),
                format!("{at}.consumesCounters[0].counters: Required value"),
                format!(
                    "{at}: Invalid value: \"null\": `nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec"
                ),
                format!("{at}.bindingFailureConditions[1]: Duplicate value: \"a\""),
                format!(
                    "{at}.bindingFailureConditions[0]: Invalid value: \"a\": bindingFailureConditions must not overlap with bindingConditions"
                ),
                format!(
                    "{at}.bindingFailureConditions[1]: Invalid value: \"a\": bindingFailureConditions must not overlap with bindingConditions"
                ),
            ]
        );
        assert_eq!(
            words.last().map(String::as_str),
            Some("spec.devices[1]: Duplicate value: \"a\"")
        );
        let many = vec![json!({"name": "x", "taints": [{}]}); 65];
        assert_eq!(
            said(&slice(&json!({"devices": many})), &Value::Null),
            ["spec.devices: Too many: 65: must have at most 64 items"]
        );
    }

    #[test]
    fn versions_are_semantic() {
        for fine in ["1.2.3", "0.0.0-alpha.1", "1.0.0+build.01", "1.0.0--"] {
            assert!(is_semver(fine), "{fine}");
        }
        for bad in ["1.2", "01.0.0", "1.0.0-", "1.0.0-01", "1.0.0+", "v1.0.0"] {
            assert!(!is_semver(bad), "{bad}");
        }
    }
}
