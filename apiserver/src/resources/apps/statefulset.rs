//! StatefulSets.

use jiff::Timestamp;
use serde_json::{Value, json};
use timonel_api::{FieldError, Path};

use super::super::cells::{age, containers_and_images, name};
use super::super::common::{not_negative, one_of, workload_selector};
use super::super::pod;
use super::super::strategy::{Column, Context, Strategy};
use super::super::value::{at, default, default_text, each, ensure, int, list, remove, set, text, within};
use super::super::warnings::pod_name_prefix;
use super::always_running_template;

const FORBIDDEN: &str = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
const MUTABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

/// Warnings for the template and for the claims that come with it.
fn spec_warnings(object: &Value) -> Vec<String> {
    let (path, spec) = (Path::new("spec"), at(object, "spec"));
    let mut warnings = pod::template_warnings(at(spec, "template"), &path.child("template"));
    for (index, claim) in list(spec, "volumeClaimTemplates").iter().enumerate() {
        let path = path.child("volumeClaimTemplates").index(index);
        warnings.extend(pod::claim_warnings(at(claim, "spec"), &path));
    }
    if int(spec, "revisionHistoryLimit").is_some_and(|limit| limit < 0) {
        warnings.push(
            "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended"
                .to_owned(),
        );
    }
    warnings
}

/// `statefulsets.apps`.
pub(crate) struct StatefulSets;

impl Strategy for StatefulSets {
    fn default(&self, object: &mut Value) {
        within(object, "spec", |spec| {
            default_text(spec, "podManagementPolicy", "OrderedReady");
            default(spec, "replicas", 1);
            default(spec, "revisionHistoryLimit", 10);
            if let Some(strategy) = ensure(spec, "updateStrategy") {
                default_text(strategy, "type", "RollingUpdate");
                if text(strategy, "type") == "RollingUpdate"
                    && let Some(rolling) = ensure(strategy, "rollingUpdate")
                {
                    default(rolling, "partition", 0);
                }
            }
            if let Some(policy) = ensure(spec, "persistentVolumeClaimRetentionPolicy") {
                default_text(policy, "whenDeleted", "Retain");
                default_text(policy, "whenScaled", "Retain");
            }
            pod::default_template(spec);
            each(spec, "volumeClaimTemplates", |claim| {
                set(claim, "apiVersion", "v1");
                set(claim, "kind", "PersistentVolumeClaim");
                within(claim, "spec", pod::claim_spec);
                if let Some(status) = ensure(claim, "status") {
                    default_text(status, "phase", "Pending");
                }
            });
        });
    }

    fn prepare_create(&self, object: &mut Value, _context: &Context<'_>) {
        if let Some(status) = ensure(object, "status") {
            default(status, "replicas", 0);
            default(status, "availableReplicas", 0);
        }
    }

    fn template(&self) -> &'static [&'static str] {
        &["spec", "template"]
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        let mut warnings = Vec::new();
        pod_name_prefix(object, &mut warnings);
        warnings.extend(spec_warnings(object));
        warnings
    }

    fn update_warnings(&self, new: &Value, old: &Value) -> Vec<String> {
        if at(at(new, "metadata"), "generation") == at(at(old, "metadata"), "generation") {
            return Vec::new();
        }
        spec_warnings(new)
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let (path, spec, mut errors) = (Path::new("spec"), at(object, "spec"), Vec::new());
        let (management, at_management) = (text(spec, "podManagementPolicy"), path.child("podManagementPolicy"));
        if management.is_empty() {
            errors.push(FieldError::required(&at_management, ""));
        } else if !["OrderedReady", "Parallel"].contains(&management) {
            let detail = "must be 'OrderedReady' or 'Parallel'";
            errors.push(FieldError::invalid(&at_management, management, detail));
        }
        let (strategy, at_strategy) = (at(spec, "updateStrategy"), path.child("updateStrategy"));
        update_strategy(strategy, &at_strategy, &mut errors);
        let retention = path.child("persistentVolumeClaimRetentionPolicy");
        for field in ["whenDeleted", "whenScaled"] {
            let policy = at(spec, "persistentVolumeClaimRetentionPolicy");
            one_of(policy, field, &["Delete", "Retain"], &retention, &mut errors);
        }
        not_negative(
            spec,
            &["replicas", "minReadySeconds", "revisionHistoryLimit"],
            &path,
            &mut errors,
        );
        not_negative(at(spec, "ordinals"), &["start"], &path.child("ordinals"), &mut errors);
        workload_selector(spec, "statefulset", &path, &mut errors);
        always_running_template(&with_claim_volumes(spec), "StatefulSet", &path, &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate(new);
        let fixed = |object: &Value| {
            let mut spec = at(object, "spec").clone();
            for field in MUTABLE {
                remove(&mut spec, field);
            }
            spec
        };
        if fixed(new) != fixed(old) {
            errors.push(FieldError::forbidden(&Path::new("spec"), FORBIDDEN));
        }
        errors
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        status(at(new, "status"), at(old, "status"))
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::name(),
            Column::new("Ready"),
            Column::new("Age"),
            Column::wide("Containers"),
            Column::wide("Images"),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (at(object, "spec"), at(object, "status"));
        let ready = format!(
            "{}/{}",
            int(status, "readyReplicas").unwrap_or(0),
            int(spec, "replicas").unwrap_or(0)
        );
        let mut row = vec![name(object), json!(ready), age(object, now)];
        row.extend(containers_and_images(at(spec, "template")));
        row
    }
}

fn update_strategy(strategy: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (rolling, at_rolling) = (at(strategy, "rollingUpdate"), path.child("rollingUpdate"));
    match text(strategy, "type") {
        "" => errors.push(FieldError::required(path, "")),
        "OnDelete" if !rolling.is_null() => {
            let detail = "only allowed for updateStrategy 'RollingUpdate'";
            errors.push(FieldError::invalid(&at_rolling, rolling.clone(), detail));
        }
        "OnDelete" => {}
        "RollingUpdate" => {
            not_negative(rolling, &["partition"], &at_rolling, errors);
            let (most, path) = (at(rolling, "maxUnavailable"), at_rolling.child("maxUnavailable"));
            if !most.is_null() {
                super::int_or_percent(most, &path, errors);
                if super::is_zero(most) {
                    errors.push(FieldError::invalid(&path, most.clone(), "cannot be 0"));
                }
                if super::over_hundred_percent(most) {
                    errors.push(FieldError::invalid(&path, most.clone(), super::OVER_HUNDRED));
                }
            }
        }
        _ => {
            let detail = "must be 'RollingUpdate' or 'OnDelete'";
            errors.push(FieldError::invalid(path, strategy.clone(), detail));
        }
    }
}

/// Checks the counters of a status against each other, and that collisions are not forgotten.
fn status(status: &Value, before: &Value) -> Vec<FieldError> {
    let (path, mut errors) = (Path::new("status"), Vec::new());
    let fields = [
        "replicas",
        "readyReplicas",
        "currentReplicas",
        "updatedReplicas",
        "availableReplicas",
        "observedGeneration",
        "collisionCount",
    ];
    not_negative(status, &fields, &path, &mut errors);
    let counted = [
        "readyReplicas",
        "currentReplicas",
        "updatedReplicas",
        "availableReplicas",
    ];
    super::within_replicas(status, &counted, "status.readyReplicas", &path, &mut errors);
    super::not_decremented(status, before, "collisionCount", &path, &mut errors);
    errors
}

/// The spec with a volume for each claim template, which containers may mount though the template does not name it.
fn with_claim_volumes(spec: &Value) -> Value {
    let mut spec = spec.clone();
    let claims: Vec<String> = super::super::value::list(&spec, "volumeClaimTemplates")
        .iter()
        .map(|claim| text(at(claim, "metadata"), "name").to_owned())
        .collect();
    within(&mut spec, "template", |template| {
        within(template, "spec", |pod| {
            default(pod, "volumes", json!([]));
            if let Some(volumes) = pod.get_mut("volumes").and_then(Value::as_array_mut) {
                volumes.retain(|volume| !claims.iter().any(|claim| claim == text(volume, "name")));
                volumes.extend(
                    claims
                        .iter()
                        .map(|claim| json!({"name": claim, "persistentVolumeClaim": {"claimName": claim}})),
                );
            }
        });
    });
    spec
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(errors: &[FieldError]) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn updates_roll_or_wait_for_deletion() {
        let of = |strategy: Value| {
            let mut errors = Vec::new();
            update_strategy(&strategy, &Path::new("u"), &mut errors);
            said(&errors)
        };
        assert_eq!(
            of(json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 1}})),
            Vec::<String>::new()
        );
        assert_eq!(of(json!({})), ["u: Required value"]);
        assert_eq!(
            of(json!({"type": "Never"})),
            ["u: Invalid value: {\"type\":\"Never\"}: must be 'RollingUpdate' or 'OnDelete'"]
        );
        assert_eq!(
            of(json!({"type": "OnDelete", "rollingUpdate": {}})),
            ["u.rollingUpdate: Invalid value: {}: only allowed for updateStrategy 'RollingUpdate'"]
        );
        assert_eq!(
            of(json!({"type": "RollingUpdate", "rollingUpdate": {"partition": -1, "maxUnavailable": "0%"}})),
            [
                "u.rollingUpdate.partition: Invalid value: -1: must be greater than or equal to 0",
                "u.rollingUpdate.maxUnavailable: Invalid value: \"0%\": cannot be 0",
            ]
        );
    }

    #[test]
    fn counters_of_a_status_agree() {
        assert_eq!(
            said(&status(
                &json!({"replicas": 1, "readyReplicas": 1, "availableReplicas": 2}),
                &json!({"collisionCount": 1})
            )),
            [
                "status.availableReplicas: Invalid value: 2: cannot be greater than status.replicas",
                "status.availableReplicas: Invalid value: 2: cannot be greater than status.readyReplicas",
                "status.collisionCount: Invalid value: 0: cannot be decremented",
            ]
        );
    }
}
