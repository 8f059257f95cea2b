//! The rules of `metav1.LabelSelector`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::meta::labels;
use crate::field::{FieldError, Path};
use crate::names;

/// What is let pass for objects that were stored before a rule came.
#[derive(Clone, Copy, Debug, Default)]
pub struct LabelSelectorOptions {
    /// Values that no label can have.
    pub allow_invalid_values: bool,
}

/// Checks a label selector.
pub fn label_selector(selector: &LabelSelector, options: LabelSelectorOptions, path: &Path) -> Vec<FieldError> {
    let mut wrong = Vec::new();
    wrong.extend(
        selector
            .match_labels
            .iter()
            .flat_map(|l| labels(l, &path.child("matchLabels"))),
    );
    for (at, requirement) in selector.match_expressions.iter().flatten().enumerate() {
        let path = path.child("matchExpressions").index(at);
        let values = requirement.values.as_deref().unwrap_or_default();
        let values_path = path.child("values");
        match requirement.operator.as_str() {
            "In" | "NotIn" if values.is_empty() => wrong.push(FieldError::required(
                &values_path,
                "must be specified when `operator` is 'In' or 'NotIn'",
            )),
            "Exists" | "DoesNotExist" if !values.is_empty() => wrong.push(FieldError::forbidden(
                &values_path,
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            )),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => wrong.push(FieldError::invalid(
                &path.child("operator"),
                other,
                "not a valid selector operator",
            )),
        }
        for sentence in names::qualified_name(&requirement.key) {
            wrong.push(FieldError::invalid(
                &path.child("key"),
                requirement.key.as_str(),
                sentence,
            ));
        }
        if !options.allow_invalid_values {
            for (at, value) in values.iter().enumerate() {
                for sentence in names::label_value(value) {
                    wrong.push(FieldError::invalid(&values_path.index(at), value.as_str(), sentence));
                }
            }
        }
    }
    wrong
}
