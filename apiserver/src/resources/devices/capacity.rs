//! Validation of capacities that several claims may share: what a claim may ask of them.

use std::collections::BTreeSet;

use serde_json::Value;
use timonel_api::quantity::Quantity;
use timonel_api::{FieldError, Path};

use super::super::common::NOT_NEGATIVE;
use super::super::value::{at, has, list};
use super::parts::fits;

const OPTIONS: usize = 10;

/// Checks a capacity of a device. Only one that several claims may share has a policy.
pub(super) fn capacity(capacity: &Value, shared: bool, path: &Path, errors: &mut Vec<FieldError>) {
    let (policy, path) = (at(capacity, "requestPolicy"), path.child("requestPolicy"));
    if policy.is_null() {
        return;
    }
    if !shared {
        let detail = "allowMultipleAllocations must be true";
        errors.push(FieldError::forbidden(&path, detail));
        return;
    }
    let (values, range) = (list(policy, "validValues"), has(policy, "validRange"));
    let Some(most) = quantity(at(capacity, "value")) else {
        return;
    };
    let (field, given) = match (values.is_empty(), range) {
        (false, true) => {
            let detail = "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time";
            errors.push(FieldError::forbidden(&path, detail));
            return;
        }
        (true, false) => return,
        (false, false) => ("validValues", at(policy, "validValues")),
        (true, true) => ("validRange", at(policy, "validRange")),
    };
    let Some(default) = quantity(at(policy, "default")) else {
        let detail = format!("required when {field} is defined");
        errors.push(FieldError::required(&path.child("default"), detail));
        return;
    };
    if range {
        self::range(given, &default, &most, &path.child(field), errors);
    } else {
        options(values, &default, &most, &path.child(field), errors);
    }
}

fn quantity(value: &Value) -> Option<Quantity> {
    Quantity::parse(value.as_str()?).ok()
}

fn options(values: &[Value], default: &Quantity, most: &Quantity, path: &Path, errors: &mut Vec<FieldError>) {
    let parsed: Vec<Quantity> = values.iter().filter_map(quantity).collect();
    for (index, pair) in parsed.windows(2).enumerate() {
        if pair[0].nanos() > pair[1].nanos() {
            let detail = "values must be sorted in ascending order";
            errors.push(FieldError::invalid(&path.index(index + 1), pair[1].to_string(), detail));
        }
    }
    if fits(values, OPTIONS, path, errors) {
        let mut seen = BTreeSet::new();
        for (index, option) in parsed.iter().enumerate() {
            let path = path.index(index);
            if option.nanos() > most.nanos() {
                let detail = format!("option is larger than capacity value: {most}");
                errors.push(FieldError::invalid(&path, option.to_string(), detail));
            }
            if !seen.insert(option.value()) {
                errors.push(FieldError::duplicate(&path, option.value().to_string()));
            }
        }
    }
    if values.len() > OPTIONS || !parsed.iter().any(|option| option.nanos() == default.nanos()) {
        let detail = "default value is not valid according to the requestPolicy";
        errors.push(FieldError::invalid(path, default.to_string(), detail));
    }
}

fn range(range: &Value, default: &Quantity, most: &Quantity, path: &Path, errors: &mut Vec<FieldError>) {
    let [min, max, step] = ["min", "max", "step"].map(|field| quantity(at(range, field)));
    let Some(min) = min else {
        let detail = "required when validRange is defined";
        errors.push(FieldError::required(&path.child("min"), detail));
        return;
    };
    let mut refuse = |field: &str, value: &Quantity, detail: String| {
        errors.push(FieldError::invalid(&path.child(field), value.to_string(), detail));
    };
    if min.nanos() > most.nanos() {
        refuse("min", &min, format!("min is larger than capacity value: {most}"));
    }
    if default.nanos() < min.nanos() {
        refuse("default", default, format!("default is less than min: {min}"));
    }
    if let Some(max) = &max {
        if min.nanos() > max.nanos() {
            refuse("max", &min, format!("min is larger than max: {max}"));
        }
        if max.nanos() > most.nanos() {
            refuse("max", max, format!("max is larger than capacity value: {most}"));
        }
        if default.nanos() > max.nanos() {
            refuse("default", default, format!("default is more than max: {max}"));
        }
    }
    let Some(step) = step else {
        return;
    };
    if step.sign() <= 0 {
        refuse("step", &step, "must be greater than zero".to_owned());
        return;
    }
    let added = min.nanos().saturating_add(step.nanos());
    if added > most.nanos() {
        let whole = Quantity::from_units(min.value().saturating_add(step.value()), min.format());
        let detail = format!("one step {whole} is larger than capacity value: {most}");
        refuse("step", &step, detail);
    }
    let bounds = [("default", Some(default)), ("min", Some(&min)), ("max", max.as_ref())];
    let negative: Vec<_> = bounds
        .iter()
        .filter_map(|(field, value)| Some((*field, (*value)?)).filter(|(_, value)| value.sign() < 0))
        .collect();
    for (field, value) in &negative {
        refuse(field, value, NOT_NEGATIVE.to_owned());
    }
    if !negative.is_empty() || step.value() == 0 {
        return;
    }
    for value in [Some(default), max.as_ref()].into_iter().flatten() {
        if (value.value().saturating_sub(min.value())) % step.value() != 0 {
            let detail = format!("value is not a multiple of a given step ({step}) from ({min})");
            refuse("step", value, detail);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(policy: &Value, shared: bool) -> Vec<String> {
        let mut errors = Vec::new();
        let given = json!({"value": "10Gi", "requestPolicy": policy});
        capacity(&given, shared, &Path::new("c"), &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_may_be_asked_of_a_shared_capacity_is_bounded() {
        let fine = json!({"default": "1Gi", "validRange": {"min": "1Gi", "max": "9Gi", "step": "1Gi"}});
        assert_eq!(said(&fine, true), Vec::<String>::new());
        assert_eq!(
            said(&fine, false),
            ["c.requestPolicy: Forbidden: allowMultipleAllocations must be true"]
        );
        assert_eq!(
            said(&json!({"validValues": ["1Gi"]}), true),
            ["c.requestPolicy.default: Required value: required when validValues is defined"]
        );
        assert_eq!(
            said(
                &json!({"default": "3Gi", "validValues": ["2Gi", "1Gi", "1Gi", "11Gi"]}),
                true
            ),
            [
                "c.requestPolicy.validValues[1]: Invalid value: \"1Gi\": values must be sorted in ascending order",
                "c.requestPolicy.validValues[2]: Duplicate value: \"1073741824\"",
                "c.requestPolicy.validValues[3]: Invalid value: \"11Gi\": option is larger than capacity value: 10Gi",
                "c.requestPolicy.validValues: Invalid value: \"3Gi\": default value is not valid according to the requestPolicy",
            ]
        );
        assert_eq!(
            said(
                &json!({"default": "1Gi", "validRange": {"min": "2Gi", "max": "5Gi", "step": "2Gi"}}),
                true
            ),
            [
                "c.requestPolicy.validRange.default: Invalid value: \"1Gi\": default is less than min: 2Gi",
                "c.requestPolicy.validRange.step: Invalid value: \"1Gi\": value is not a multiple of a given step (2Gi) from (2Gi)",
                "c.requestPolicy.validRange.step: Invalid value: \"5Gi\": value is not a multiple of a given step (2Gi) from (2Gi)",
            ]
        );
        assert_eq!(
            said(
                &json!({"default": "-1", "validRange": {"min": "-1", "step": "0"}}),
                true
            ),
            ["c.requestPolicy.validRange.step: Invalid value: \"0\": must be greater than zero"]
        );
        assert_eq!(
            said(
                &json!({"default": "-1", "validRange": {"min": "-1", "step": "1"}}),
                true
            ),
            [
                "c.requestPolicy.validRange.default: Invalid value: \"-1\": must be greater than or equal to 0",
                "c.requestPolicy.validRange.min: Invalid value: \"-1\": must be greater than or equal to 0",
            ]
        );
    }
}
