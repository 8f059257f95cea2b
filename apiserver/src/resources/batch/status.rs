//! What a Job's status may say: its terminal conditions, times and counters must not contradict each other, nor what was said before.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;
use timonel_api::{FieldError, FieldErrorKind, Path};

use super::super::cells::condition;
use super::super::common::not_negative;
use super::super::value::{at, flag, has, int, list, text};
use super::policy;

/// An error about a field whose value says nothing.
fn wrong(path: &Path, detail: impl Into<String>) -> FieldError {
    FieldError {
        kind: FieldErrorKind::Invalid,
        path: path.clone(),
        value: None,
        detail: detail.into(),
    }
}

/// One status of a Job, read.
struct Status<'a> {
    job: &'a Value,
    status: &'a Value,
}

impl<'a> Status<'a> {
    fn of(job: &'a Value) -> Self {
        Self {
            job,
            status: at(job, "status"),
        }
    }

    fn is(&self, kind: &str) -> bool {
        condition(self.job, kind).is_some_and(|condition| text(condition, "status") == "True")
    }

    fn finished(&self) -> bool {
        self.is("Complete") || self.is("Failed")
    }

    fn number(&self, field: &str) -> i64 {
        int(self.status, field).unwrap_or(0)
    }

    fn time(&self, field: &str) -> Option<Timestamp> {
        text(self.status, field).parse().ok()
    }
}

/// Checks an update of a Job's status. Upstream looks at what has changed, so that what was stored before does not stand in the way.
pub(super) fn update(new: &Value, old: &Value) -> Vec<FieldError> {
    let (path, mut errors) = (Path::new("status"), Vec::new());
    let (now, before) = (Status::of(new), Status::of(old));
    counters(&now, &path, &mut errors);
    conditions(&now, &before, &path.child("conditions"), &mut errors);
    times(&now, &before, &path, &mut errors);
    finished(&now, &before, &path, &mut errors);
    indexes(&now, &before, &path, &mut errors);
    decreases(&now, &before, &path, &mut errors);
    errors
}

fn changed(now: &Status<'_>, before: &Status<'_>, field: &str) -> bool {
    at(now.status, field) != at(before.status, field)
}

fn turned(now: &Status<'_>, before: &Status<'_>, kind: &str) -> bool {
    now.is(kind) != before.is(kind)
}

fn counters(now: &Status<'_>, path: &Path, errors: &mut Vec<FieldError>) {
    let fields = ["active", "succeeded", "failed", "ready", "terminating"];
    not_negative(now.status, &fields, path, errors);
    let (uncounted, path) = (
        at(now.status, "uncountedTerminatedPods"),
        path.child("uncountedTerminatedPods"),
    );
    let mut seen = BTreeSet::new();
    for field in ["succeeded", "failed"] {
        for (index, uid) in list(uncounted, field).iter().filter_map(Value::as_str).enumerate() {
            let path = path.child(field).index(index);
            if uid.is_empty() {
                errors.push(FieldError::invalid(&path, uid, "must not be empty"));
            } else if !seen.insert(uid) {
                errors.push(FieldError::duplicate(&path, uid));
            }
        }
    }
}

fn conditions(now: &Status<'_>, before: &Status<'_>, path: &Path, errors: &mut Vec<FieldError>) {
    let turned = |kind| turned(now, before, kind);
    let mut refuse = |applies: bool, detail: &str| {
        if applies {
            errors.push(wrong(path, detail));
        }
    };
    let [complete, failed, target, criteria] =
        ["Complete", "Failed", "FailureTarget", "SuccessCriteriaMet"].map(|kind| now.is(kind));
    refuse(
        (turned("Complete") || turned("Failed")) && complete && failed,
        "cannot set Complete=True and Failed=true conditions",
    );
    refuse(
        (turned("Complete") || turned("FailureTarget")) && complete && target,
        "cannot set Complete=True and FailureTarget=true conditions",
    );
    refuse(
        (turned("Failed") || turned("FailureTarget")) && failed && !target,
        "cannot set Failed=True condition without the FailureTarget=true condition",
    );
    refuse(
        (turned("Complete") || turned("SuccessCriteriaMet")) && complete && !criteria,
        "cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
    );
    refuse(
        criteria && failed,
        "cannot set SuccessCriteriaMet=True and Failed=true conditions",
    );
    refuse(
        criteria && target,
        "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions",
    );
    refuse(
        has(at(now.job, "spec"), "successPolicy") && complete && !criteria,
        "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True",
    );
    for kind in ["Failed", "Complete", "FailureTarget"] {
        let detail = format!("cannot disable the terminal {kind}=True condition");
        refuse(before.is(kind) && !now.is(kind), &detail);
    }
    refuse(
        before.is("SuccessCriteriaMet") && !criteria,
        "cannot disable the SuccessCriteriaMet=True condition",
    );
    refuse(
        before.is("Complete") && !before.is("SuccessCriteriaMet") && criteria,
        "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions",
    );
}

fn times(now: &Status<'_>, before: &Status<'_>, path: &Path, errors: &mut Vec<FieldError>) {
    let at_end = path.child("completionTime");
    let (end, complete) = (at(now.status, "completionTime"), now.is("Complete"));
    let end_changed = changed(now, before, "completionTime");
    let start_changed = changed(now, before, "startTime");
    if turned(now, before, "Complete") || end_changed {
        if !end.is_null() && !complete {
            let detail = "cannot set completionTime when there is no Complete=True condition";
            errors.push(FieldError::invalid(&at_end, end.clone(), detail));
        }
        if end.is_null() && complete {
            let detail = "completionTime is required for Complete jobs";
            errors.push(FieldError::required(&at_end, detail));
        }
    }
    if (start_changed || end_changed)
        && let (Some(start), Some(ended)) = (now.time("startTime"), now.time("completionTime"))
        && ended < start
    {
        let detail = "completionTime cannot be set before startTime";
        errors.push(FieldError::invalid(&at_end, end.clone(), detail));
    }
    if end_changed && !end.is_null() && has(before.status, "completionTime") {
        let detail = "completionTime cannot be mutated";
        errors.push(FieldError::invalid(&at_end, end.clone(), detail));
    }
    if start_changed && has(before.status, "startTime") && !flag(at(now.job, "spec"), "suspend") {
        let detail = "startTime cannot be removed for unsuspended job";
        errors.push(FieldError::required(&path.child("startTime"), detail));
    }
}

fn finished(now: &Status<'_>, before: &Status<'_>, path: &Path, errors: &mut Vec<FieldError>) {
    let is_finished = now.finished();
    let turned = is_finished != before.finished();
    let looked_at = |field: &str| is_finished && (turned || changed(now, before, field));
    let spec = at(now.job, "spec");
    for field in ["active", "terminating"] {
        if looked_at(field) && now.number(field) > 0 {
            let detail = format!("{field}>0 is invalid for finished job");
            errors.push(FieldError::invalid(&path.child(field), now.number(field), detail));
        }
    }
    let nothing_to_do = flag(spec, "suspend") && int(spec, "completions") == Some(0);
    if looked_at("startTime") && !has(now.status, "startTime") && !nothing_to_do {
        let detail = "startTime is required for finished job";
        errors.push(FieldError::required(&path.child("startTime"), detail));
    }
    let uncounted = at(now.status, "uncountedTerminatedPods");
    let some = ["succeeded", "failed"]
        .iter()
        .any(|field| !list(uncounted, field).is_empty());
    if looked_at("uncountedTerminatedPods") && some {
        let detail = "uncountedTerminatedPods needs to be empty for finished job";
        let path = path.child("uncountedTerminatedPods");
        errors.push(FieldError::invalid(&path, uncounted.clone(), detail));
    }
    let more_ready = int(now.status, "ready").is_some_and(|ready| ready > now.number("active"));
    if (changed(now, before, "ready") || changed(now, before, "active")) && more_ready {
        let detail = "cannot set more ready pods than active";
        errors.push(FieldError::invalid(&path.child("ready"), now.number("ready"), detail));
    }
}

fn indexes(now: &Status<'_>, before: &Status<'_>, path: &Path, errors: &mut Vec<FieldError>) {
    let spec = at(now.job, "spec");
    let (completed, failed) = (text(now.status, "completedIndexes"), text(now.status, "failedIndexes"));
    let (completed_changed, failed_changed) = (
        changed(now, before, "completedIndexes"),
        changed(now, before, "failedIndexes"),
    );
    let mut refuse = |field: &str, value: &str, detail: String| {
        errors.push(FieldError::invalid(&path.child(field), value, detail));
    };
    let limited = has(spec, "backoffLimitPerIndex");
    let completions = int(spec, "completions");
    let parsed = |text: &str| completions.map(|completions| policy::parse_indexes(text, completions));
    if completed_changed && let Some(Err(error)) = parsed(completed) {
        refuse(
            "completedIndexes",
            completed,
            format!("error parsing completedIndexes: {error}"),
        );
    }
    if failed_changed
        && limited
        && let Some(Err(error)) = parsed(failed)
    {
        refuse("failedIndexes", failed, format!("error parsing failedIndexes: {error}"));
    }
    if completed_changed && !completed.is_empty() && text(spec, "completionMode") != "Indexed" {
        let detail = "cannot set non-empty completedIndexes when non-indexed completion mode";
        refuse("completedIndexes", completed, detail.to_owned());
    }
    if failed_changed && !limited && has(now.status, "failedIndexes") {
        let detail = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
        refuse("failedIndexes", failed, detail.to_owned());
    }
    if (completed_changed || failed_changed)
        && let (Some(Ok(completed)), Some(Ok(of_failed))) = (parsed(completed), parsed(failed))
        && let Some(index) = first_overlap(&completed, &of_failed)
    {
        let detail = format!("failedIndexes and completedIndexes overlap at index: {index}");
        refuse("failedIndexes", failed, detail);
    }
}

/// The first index that both lists have. Both grow.
fn first_overlap(mut some: &[(i64, i64)], mut others: &[(i64, i64)]) -> Option<i64> {
    while let ([one, more @ ..], [other, more_others @ ..]) = (some, others) {
        if one.0 <= other.1 && other.0 <= one.1 {
            return Some(one.0.max(other.0));
        }
        if one.0 <= other.0 {
            some = more;
        } else {
            others = more_others;
        }
    }
    None
}

fn decreases(now: &Status<'_>, before: &Status<'_>, path: &Path, errors: &mut Vec<FieldError>) {
    let spec = at(now.job, "spec");
    let scalable = text(spec, "completionMode") == "Indexed" && int(spec, "completions") == int(spec, "parallelism");
    for field in ["failed", "succeeded"] {
        let number = now.number(field);
        if number < before.number(field) && !(field == "succeeded" && scalable) {
            let detail = format!("cannot decrease the {field} counter");
            errors.push(FieldError::invalid(&path.child(field), number, detail));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const START: &str = "2026-01-01T00:00:00Z";
    const END: &str = "2026-01-01T00:01:00Z";

    fn job(spec: &Value, status: Value) -> Value {
        json!({"spec": spec, "status": status})
    }

    fn said(spec: &Value, new: Value, old: Value) -> Vec<String> {
        let errors = update(&job(spec, new), &job(spec, old));
        errors.iter().map(ToString::to_string).collect()
    }

    fn is(kinds: &[&str]) -> Value {
        let all = kinds.iter().map(|kind| json!({"type": kind, "status": "True"}));
        all.collect()
    }

    #[test]
    fn a_job_ends_once_and_well() {
        let plain = json!({"completionMode": "NonIndexed", "completions": 1, "parallelism": 1});
        let running = json!({"startTime": START, "active": 1, "ready": 1});
        let done = json!({"startTime": START, "completionTime": END, "succeeded": 1, "conditions": is(&["SuccessCriteriaMet", "Complete"])});
        assert_eq!(said(&plain, done.clone(), running.clone()), Vec::<String>::new());
        assert_eq!(
            said(
                &plain,
                json!({"active": 1, "terminating": 1, "conditions": is(&["Complete"])}),
                running.clone()
            ),
            [
                "status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
                "status.completionTime: Required value: completionTime is required for Complete jobs",
                "status.startTime: Required value: startTime cannot be removed for unsuspended job",
                "status.active: Invalid value: 1: active>0 is invalid for finished job",
                "status.terminating: Invalid value: 1: terminating>0 is invalid for finished job",
                "status.startTime: Required value: startTime is required for finished job",
            ]
        );
        let failed = json!({"startTime": START, "failed": 1, "completionTime": "2025-01-01T00:00:00Z", "conditions": is(&["Failed"])});
        assert_eq!(
            said(&plain, failed, running),
            [
                "status.conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true condition",
                "status.completionTime: Invalid value: \"2025-01-01T00:00:00Z\": cannot set completionTime when there is no Complete=True condition",
                "status.completionTime: Invalid value: \"2025-01-01T00:00:00Z\": completionTime cannot be set before startTime",
            ]
        );
        assert_eq!(
            said(&plain, json!({"startTime": START}), done),
            [
                "status.conditions: Invalid value: cannot disable the terminal Complete=True condition",
                "status.conditions: Invalid value: cannot disable the SuccessCriteriaMet=True condition",
                "status.succeeded: Invalid value: 0: cannot decrease the succeeded counter",
            ]
        );
    }

    #[test]
    fn indexes_end_once() {
        let spec = json!({"completionMode": "Indexed", "completions": 10, "parallelism": 2, "backoffLimitPerIndex": 1});
        let none = json!({});
        assert_eq!(
            said(
                &spec,
                json!({"completedIndexes": "0,2-4", "failedIndexes": "1,5"}),
                none.clone()
            ),
            Vec::<String>::new()
        );
        assert_eq!(
            said(
                &spec,
                json!({"completedIndexes": "0,2-4", "failedIndexes": "3-5", "ready": 1}),
                none.clone()
            ),
            [
                "status.ready: Invalid value: 1: cannot set more ready pods than active",
                "status.failedIndexes: Invalid value: \"3-5\": failedIndexes and completedIndexes overlap at index: 3",
            ]
        );
        let words = said(
            &spec,
            json!({"completedIndexes": "11", "uncountedTerminatedPods": {"succeeded": ["", "a"], "failed": ["a"]}}),
            none,
        );
        assert_eq!(
            words,
            [
                "status.uncountedTerminatedPods.succeeded[0]: Invalid value: \"\": must not be empty",
                "status.uncountedTerminatedPods.failed[0]: Duplicate value: \"a\"",
                "status.completedIndexes: Invalid value: \"11\": error parsing completedIndexes: too large index: \"11\"",
            ]
        );
    }
}
