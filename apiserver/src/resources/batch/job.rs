//! Jobs.

use jiff::Timestamp;
use serde_json::{Value, json};
use timonel_api::{FieldError, Path, names};

use super::super::cells::{age, condition, containers_and_images, human_duration, name, selector};
use super::super::common::{any_of, immutable, label_selector, matches, not_negative, one_of, wrong};
use super::super::pod;
use super::super::strategy::{Column, Context, Strategy};
use super::super::value::{
    at, default, default_text, each, ensure, entries, flag, has, int, list, remove, set, text, within,
};
use super::super::warnings::pod_name_prefix;
use super::policy;

/// `jobs.batch`.
pub(crate) struct Jobs;

/// Fills in a Job's spec, also inside a CronJob.
pub(super) fn default_spec(spec: &mut Value) {
    if !has(spec, "completions") && !has(spec, "parallelism") {
        set(spec, "completions", 1);
    }
    default(spec, "parallelism", 1);
    let per_index = has(spec, "backoffLimitPerIndex");
    default(spec, "backoffLimit", if per_index { i64::from(i32::MAX) } else { 6 });
    default_text(spec, "completionMode", "NonIndexed");
    default(spec, "suspend", false);
    default(spec, "manualSelector", false);
    let replacement = if has(spec, "podFailurePolicy") {
        "Failed"
    } else {
        "TerminatingOrFailed"
    };
    default(spec, "podReplacementPolicy", replacement);
    pod::default_template(spec);
}

impl Strategy for Jobs {
    fn default(&self, object: &mut Value) {
        within(object, "spec", default_spec);
    }

    fn prepare_create(&self, object: &mut Value, _context: &Context<'_>) {
        if flag(at(object, "spec"), "manualSelector") {
            return;
        }
        let metadata = at(object, "metadata");
        let (uid, name) = (text(metadata, "uid").to_owned(), text(metadata, "name").to_owned());
        within(object, "spec", |spec| {
            default(spec, "selector", json!({}));
            within(spec, "selector", |selector| {
                if let Some(labels) = ensure(selector, "matchLabels") {
                    set(labels, "batch.kubernetes.io/controller-uid", uid.as_str());
                }
            });
            if let Some(labels) = ensure(spec, "template")
                .and_then(|t| ensure(t, "metadata"))
                .and_then(|m| ensure(m, "labels"))
            {
                for key in ["batch.kubernetes.io/job-name", "job-name"] {
                    set(labels, key, name.as_str());
                }
                for key in ["batch.kubernetes.io/controller-uid", "controller-uid"] {
                    set(labels, key, uid.as_str());
                }
            }
        });
    }

    fn template(&self) -> &'static [&'static str] {
        &["spec", "template"]
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let (path, spec) = (Path::new("spec"), at(object, "spec"));
        let mut errors = validate_spec(spec, &path);
        let (selector, labels) = (at(spec, "selector"), at(at(at(spec, "template"), "metadata"), "labels"));
        if selector.is_null() {
            errors.push(FieldError::required(&path.child("selector"), ""));
        } else {
            label_selector(selector, &path.child("selector"), &mut errors);
            if !matches(selector, labels) {
                let path = path.child("template").child("metadata").child("labels");
                let detail = "`selector` does not match template `labels`";
                errors.push(FieldError::invalid(&path, labels.clone(), detail));
            }
        }
        errors
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let (spec, mut errors) = (at(object, "spec"), generated_selector(object));
        errors.extend(self.validate(object));
        let own = text(at(object, "metadata"), "name");
        let indexed = text(spec, "completionMode") == "Indexed";
        if let Some(completions) = int(spec, "completions").filter(|number| indexed && *number > 0) {
            // The host name of the pod that comes last.
            let host = format!("{own}-{}", completions - 1);
            if !names::label(&host, false).is_empty() {
                let detail = format!("will not able to create pod with invalid DNS label: {host}");
                errors.push(FieldError::invalid(&Path::new("metadata").child("name"), own, detail));
            }
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let (path, spec, before) = (Path::new("spec"), at(new, "spec"), at(old, "spec"));
        let mut errors = self.validate(new);
        if text(spec, "completionMode") != "Indexed" {
            immutable(spec, before, "completions", &path, &mut errors);
        } else if let Some(completions) = int(spec, "completions")
            && Some(completions) != int(before, "completions")
            && Some(completions) != int(spec, "parallelism")
        {
            let detail = "can only be modified in tandem with spec.parallelism";
            errors.push(FieldError::invalid(&path.child("completions"), completions, detail));
        }
        immutable(spec, before, "selector", &path, &mut errors);
        let mut allowed = at(before, "template").clone();
        if flag(before, "suspend") && !has(at(old, "status"), "startTime") {
            take_over_scheduling(&mut allowed, at(spec, "template"));
        }
        if *at(spec, "template") != allowed {
            let value = at(spec, "template").clone();
            errors.push(FieldError::invalid(
                &path.child("template"),
                value,
                "field is immutable",
            ));
        }
        for field in [
            "completionMode",
            "podFailurePolicy",
            "backoffLimitPerIndex",
            "managedBy",
            "successPolicy",
        ] {
            immutable(spec, before, field, &path, &mut errors);
        }
        errors
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        super::status::update(new, old)
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        let mut warnings = Vec::new();
        pod_name_prefix(object, &mut warnings);
        warnings.extend(spec_warnings(at(object, "spec"), &Path::new("spec")));
        warnings
    }

    fn update_warnings(&self, new: &Value, old: &Value) -> Vec<String> {
        if at(at(new, "metadata"), "generation") == at(at(old, "metadata"), "generation") {
            return Vec::new();
        }
        spec_warnings(at(new, "spec"), &Path::new("spec"))
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![(
            "status.successful",
            int(at(object, "status"), "succeeded").unwrap_or(0).to_string(),
        )]
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::name(),
            Column::new("Status"),
            Column::new("Completions"),
            Column::new("Duration"),
            Column::new("Age"),
            Column::wide("Containers"),
            Column::wide("Images"),
            Column::wide("Selector"),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (at(object, "spec"), at(object, "status"));
        let mut row = vec![
            name(object),
            json!(status_word(object)),
            json!(completions(spec, status)),
            json!(duration(status, now)),
            age(object, now),
        ];
        row.extend(containers_and_images(at(spec, "template")));
        row.push(json!(selector(at(spec, "selector"))));
        row
    }
}

/// Checks that a Job whose selector the server made has the labels that go with it.
fn generated_selector(object: &Value) -> Vec<FieldError> {
    let (spec, metadata, mut errors) = (at(object, "spec"), at(object, "metadata"), Vec::new());
    if flag(spec, "manualSelector") || !has(spec, "selector") {
        return errors;
    }
    let (uid, name) = (text(metadata, "uid"), text(metadata, "name"));
    let labels = at(at(at(spec, "template"), "metadata"), "labels");
    let path = Path::new("spec");
    let wanted = json!({
        "controller-uid": uid, "job-name": name,
        "batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": name,
    });
    for (key, value) in entries(&json!({"all": wanted}), "all") {
        let path = path.child("template").child("metadata").child("labels");
        if !has(labels, key) {
            let detail = format!("must be '{}'", value.as_str().unwrap_or_default());
            errors.push(FieldError::required(&path.key(key), detail));
        } else if at(labels, key) != value {
            let detail = format!("must be '{}'", value.as_str().unwrap_or_default());
            errors.push(FieldError::invalid(&path.key(key), at(labels, key).clone(), detail));
        }
    }
    if !matches(at(spec, "selector"), &wanted) {
        let detail = "`selector` not auto-generated";
        let value = at(spec, "selector").clone();
        errors.push(FieldError::invalid(&path.child("selector"), value, detail));
    }
    errors
}

/// Takes over what may change in the template of a Job that has not begun: where its pods go, and what they ask for.
fn take_over_scheduling(template: &mut Value, from: &Value) {
    let copy = |to: &mut Value, from: &Value, field: &str| match from.get(field) {
        Some(value) => set(to, field, value.clone()),
        None => {
            remove(to, field);
        }
    };
    if let Some(metadata) = ensure(template, "metadata") {
        copy(metadata, at(from, "metadata"), "labels");
        copy(metadata, at(from, "metadata"), "annotations");
    }
    let from = at(from, "spec");
    within(template, "spec", |spec| {
        for field in ["nodeSelector", "tolerations", "schedulingGates"] {
            copy(spec, from, field);
        }
        for field in ["containers", "initContainers"] {
            each(spec, field, |container| {
                let same = list(from, field)
                    .iter()
                    .find(|other| at(other, "name") == at(container, "name"));
                if let Some(same) = same {
                    copy(container, same, "resources");
                }
            });
        }
        if let Some(affinity) = ensure(spec, "affinity") {
            copy(affinity, at(from, "affinity"), "nodeAffinity");
            if !has(from, "affinity") && *affinity == json!({}) {
                remove(spec, "affinity");
            }
        }
    });
    if !has(at(from, "metadata"), "labels") && *at(template, "metadata") == json!({}) {
        remove(template, "metadata");
    }
}

/// Warnings for a Job's spec, also inside a CronJob.
pub(super) fn spec_warnings(spec: &Value, path: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    let above = |field: &str, limit: i64| int(spec, field).is_some_and(|number| number > limit);
    let indexed = text(spec, "completionMode") == "Indexed";
    if indexed && above("completions", 100_000) && above("parallelism", 10_000) {
        let words = "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail";
        warnings.push(words.to_owned());
    }
    warnings.extend(pod::template_warnings(at(spec, "template"), &path.child("template")));
    warnings
}

/// Checks a Job's spec, also inside a CronJob.
pub(super) fn validate_spec(spec: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let numbers = [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ];
    not_negative(spec, &numbers, path, &mut errors);
    one_of(spec, "completionMode", &["Indexed", "NonIndexed"], path, &mut errors);
    if text(spec, "completionMode") == "Indexed" && !has(spec, "completions") {
        errors.push(FieldError::required(
            &path.child("completions"),
            "when completion mode is Indexed",
        ));
    }
    if has(spec, "maxFailedIndexes") && !has(spec, "backoffLimitPerIndex") {
        let detail = "when maxFailedIndexes is specified";
        errors.push(FieldError::required(&path.child("backoffLimitPerIndex"), detail));
    }
    if has(spec, "managedBy") {
        let (manager, path) = (text(spec, "managedBy"), path.child("managedBy"));
        wrong(&path, manager, names::domain_prefixed_path(manager), &mut errors);
        if manager.len() > names::LABEL_MAX {
            errors.push(FieldError::too_long(&path, names::LABEL_MAX));
        }
    }
    policy::indexes(spec, path, &mut errors);
    policy::failure(spec, path, &mut errors);
    if has(spec, "successPolicy") {
        policy::success(spec, path, &mut errors);
    }
    let with_policy = has(spec, "podFailurePolicy");
    let replacements: &[&str] = if with_policy {
        &["Failed"]
    } else {
        &["Failed", "TerminatingOrFailed"]
    };
    any_of(spec, "podReplacementPolicy", replacements, path, &mut errors);
    let template = path.child("template");
    errors.extend(pod::validate_template(at(spec, "template"), &template));
    let restart = text(at(at(spec, "template"), "spec"), "restartPolicy");
    if !["OnFailure", "Never"].contains(&restart) {
        let path = template.child("spec").child("restartPolicy");
        errors.push(FieldError::required(&path, "valid values: \"OnFailure\", \"Never\""));
    } else if with_policy && restart != "Never" {
        let path = template.child("spec").child("restartPolicy");
        let detail = "only \"Never\" is supported when podFailurePolicy is specified";
        errors.push(FieldError::invalid(&path, restart, detail));
    }
    errors
}

fn status_word(job: &Value) -> &'static str {
    let is = |kind: &str| condition(job, kind).is_some_and(|c| text(c, "status") == "True");
    if is("Complete") {
        "Complete"
    } else if is("Failed") {
        "Failed"
    } else if has(at(job, "metadata"), "deletionTimestamp") {
        "Terminating"
    } else if is("Suspended") {
        "Suspended"
    } else if is("FailureTarget") {
        "FailureTarget"
    } else if is("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

fn completions(spec: &Value, status: &Value) -> String {
    let succeeded = int(status, "succeeded").unwrap_or(0);
    match (int(spec, "completions"), int(spec, "parallelism").unwrap_or(0)) {
        (Some(completions), _) => format!("{succeeded}/{completions}"),
        (None, parallelism) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        _ => format!("{succeeded}/1"),
    }
}

fn duration(status: &Value, now: Timestamp) -> String {
    let time = |field: &str| text(status, field).parse::<Timestamp>().ok();
    match (time("startTime"), time("completionTime")) {
        (None, _) => String::new(),
        (Some(start), end) => human_duration(end.unwrap_or(now).as_second() - start.as_second()),
    }
}
