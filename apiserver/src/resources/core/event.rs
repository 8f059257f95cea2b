//! Events, in the core group's shape. Those of `events.k8s.io/v1` are stored in it too, and obey stricter rules.

use jiff::Timestamp;
use serde_json::{Value, json};
use timonel_api::{FieldError, Path, names};

use super::super::cells::{name, since};
use super::super::common::immutable;
use super::super::strategy::{Column, Strategy};
use super::super::value::{at, has, int, text};

/// Longest texts, in bytes.
const WORD_MAX: usize = 128;
const NOTE_MAX: usize = 1024;

/// `events`.
pub(crate) struct Events;

impl Strategy for Events {
    fn has_status(&self) -> bool {
        false
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn validate(&self, event: &Value) -> Vec<FieldError> {
        legacy(event)
    }

    fn validate_view_create(&self, event: &Value) -> Vec<FieldError> {
        let mut errors = series(event);
        if !has(event, "eventTime") {
            errors.push(FieldError::required(&Path::new("eventTime"), ""));
        }
        let kind = text(event, "type");
        if !["Normal", "Warning"].contains(&kind) {
            let detail = format!("has invalid value: {kind}");
            errors.push(FieldError::invalid(&Path::new("type"), "", detail));
        }
        let source = at(event, "source");
        for (field, set) in [
            ("firstTimestamp", has(event, "firstTimestamp")),
            ("lastTimestamp", has(event, "lastTimestamp")),
            ("count", int(event, "count").unwrap_or(0) != 0),
            (
                "source",
                ["component", "host"].iter().any(|part| !text(source, part).is_empty()),
            ),
        ] {
            if set {
                errors.push(FieldError::invalid(&Path::new(field), "", "needs to be unset"));
            }
        }
        errors
    }

    fn validate_view_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if at(new, "series") != at(old, "series") {
            errors.extend(series(new));
        }
        for field in [
            "involvedObject",
            "reason",
            "message",
            "source",
            "firstTimestamp",
            "lastTimestamp",
            "count",
            "type",
            "eventTime",
            "action",
            "related",
            "reportingInstance",
        ] {
            immutable(new, old, field, &Path::root(), &mut errors);
        }
        let (now, before) = (at(new, "reportingComponent"), at(old, "reportingComponent"));
        if now != before {
            let path = Path::new("reportingController");
            errors.push(FieldError::invalid(&path, now.clone(), "field is immutable"));
        }
        errors
    }

    fn selectable_fields(&self, event: &Value) -> Vec<(&'static str, String)> {
        let involved = at(event, "involvedObject");
        let source = text(at(event, "source"), "component");
        let reporter = text(event, "reportingComponent");
        vec![
            ("involvedObject.kind", text(involved, "kind").to_owned()),
            ("involvedObject.namespace", text(involved, "namespace").to_owned()),
            ("involvedObject.name", text(involved, "name").to_owned()),
            ("involvedObject.uid", text(involved, "uid").to_owned()),
            ("involvedObject.apiVersion", text(involved, "apiVersion").to_owned()),
            (
                "involvedObject.resourceVersion",
                text(involved, "resourceVersion").to_owned(),
            ),
            ("involvedObject.fieldPath", text(involved, "fieldPath").to_owned()),
            ("reason", text(event, "reason").to_owned()),
            ("reportingComponent", reporter.to_owned()),
            ("source", if source.is_empty() { reporter } else { source }.to_owned()),
            ("type", text(event, "type").to_owned()),
        ]
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::new("Last Seen"),
            Column::new("Type"),
            Column::new("Reason"),
            Column::new("Object"),
            Column::wide("Subobject"),
            Column::wide("Source"),
            Column::new("Message"),
            Column::wide("First Seen"),
            Column::wide("Count"),
            Column {
                name: "Name",
                kind: "string",
                format: "name",
                priority: 1,
            },
        ];
        COLUMNS
    }

    fn row(&self, event: &Value, now: Timestamp) -> Vec<Value> {
        let involved = at(event, "involvedObject");
        let first_time = if has(event, "firstTimestamp") {
            at(event, "firstTimestamp")
        } else {
            at(event, "eventTime")
        };
        let first = since(first_time, now);
        let series = at(event, "series");
        let last = if has(event, "series") {
            since(at(series, "lastObservedTime"), now)
        } else if has(event, "lastTimestamp") {
            since(at(event, "lastTimestamp"), now)
        } else {
            first.clone()
        };
        let count = if has(event, "series") {
            int(series, "count")
        } else {
            int(event, "count")
        }
        .unwrap_or(0);
        let source = at(event, "source");
        let (component, host) = (text(source, "component"), text(source, "host"));
        let reporter = if component.is_empty() {
            text(event, "reportingComponent")
        } else {
            component
        };
        let source = if host.is_empty() {
            reporter.to_owned()
        } else {
            format!("{reporter}, {host}")
        };
        let kind = text(involved, "kind").to_lowercase();
        let subject = text(involved, "name");
        vec![
            json!(last),
            json!(text(event, "type")),
            json!(text(event, "reason")),
            json!(if kind.is_empty() {
                subject.to_owned()
            } else {
                format!("{kind}/{subject}")
            }),
            json!(text(involved, "fieldPath")),
            json!(source),
            json!(text(event, "message").trim()),
            json!(first),
            json!(if count == 0 { 1 } else { count }),
            name(event),
        ]
    }
}

/// What both groups ask of an Event. Only those with an `eventTime` were made by somebody who knows the newer fields.
fn legacy(event: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let namespace = text(at(event, "metadata"), "namespace");
    let involved = text(at(event, "involvedObject"), "namespace");
    let new = has(event, "eventTime");
    let fits = match (involved, namespace) {
        ("", "" | "default") => true,
        ("", "kube-system") => new,
        ("", _) => false,
        (involved, namespace) => new || involved == namespace,
    };
    if !fits {
        let path = Path::new("involvedObject").child("namespace");
        errors.push(FieldError::invalid(&path, involved, "does not match event.namespace"));
    }
    if new {
        let controller = text(event, "reportingComponent");
        let path = Path::new("reportingController");
        if controller.is_empty() {
            errors.push(FieldError::required(&path, ""));
        }
        super::super::common::wrong(&path, controller, names::qualified_name(controller), &mut errors);
        for field in ["reportingInstance", "action", "reason"] {
            let (value, path) = (text(event, field), Path::new(field));
            if value.is_empty() {
                errors.push(FieldError::required(&path, ""));
            }
            long(value, WORD_MAX, &path, &mut errors);
        }
        long(text(event, "message"), NOTE_MAX, &Path::new("message"), &mut errors);
    }
    errors
}

fn long(value: &str, max: usize, path: &Path, errors: &mut Vec<FieldError>) {
    if value.len() > max {
        let detail = format!("can have at most {max} characters");
        errors.push(FieldError::invalid(path, "", detail));
    }
}

fn series(event: &Value) -> Vec<FieldError> {
    let (series, mut errors) = (at(event, "series"), Vec::new());
    if series.is_null() {
        return errors;
    }
    let path = Path::new("series");
    if int(series, "count").unwrap_or(0) < 2 {
        errors.push(FieldError::invalid(&path.child("count"), "", "should be at least 2"));
    }
    if !has(series, "lastObservedTime") {
        errors.push(FieldError::required(&path.child("lastObservedTime"), ""));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(errors: &[FieldError]) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    fn event(namespace: &str, rest: &Value) -> Value {
        let mut event = json!({"metadata": {"namespace": namespace}, "involvedObject": {}});
        for (field, value) in rest.as_object().unwrap() {
            event[field] = value.clone();
        }
        event
    }

    #[test]
    fn an_event_is_in_the_namespace_of_what_it_tells_of() {
        let mismatch = "involvedObject.namespace: Invalid value: \"\": does not match event.namespace";
        let none = json!({});
        for (namespace, wanted) in [("default", 0), ("kube-system", 1), ("other", 1)] {
            assert_eq!(Events.validate(&event(namespace, &none)).len(), wanted);
        }
        assert_eq!(said(&Events.validate(&event("other", &none))), [mismatch]);
        let involved = json!({"involvedObject": {"namespace": "a"}});
        assert_eq!(Events.validate(&event("a", &involved)), []);
        assert_eq!(Events.validate(&event("b", &involved)).len(), 1);
        let new = json!({"eventTime": "2026-01-01T00:00:00.000000Z", "reason": "x".repeat(129)});
        let words = said(&Events.validate(&event("kube-system", &new)));
        assert_eq!(words[0], "reportingController: Required value");
        assert_eq!(
            words[words.len() - 3..],
            [
                "reportingInstance: Required value",
                "action: Required value",
                "reason: Invalid value: \"\": can have at most 128 characters",
            ]
        );
    }

    #[test]
    fn the_newer_group_asks_for_more() {
        let old = event(
            "default",
            &json!({"series": {"count": 1}, "count": 2, "type": "Loud", "source": {"host": "n"}, "lastTimestamp": "2026-01-01T00:00:00Z"}),
        );
        assert_eq!(
            said(&Events.validate_view_create(&old)),
            [
                "series.count: Invalid value: \"\": should be at least 2",
                "series.lastObservedTime: Required value",
                "eventTime: Required value",
                "type: Invalid value: \"\": has invalid value: Loud",
                "lastTimestamp: Invalid value: \"\": needs to be unset",
                "count: Invalid value: \"\": needs to be unset",
                "source: Invalid value: \"\": needs to be unset",
            ]
        );
        let mut new = old.clone();
        new["type"] = json!("Normal");
        assert_eq!(
            said(&Events.validate_view_update(&new, &old)),
            ["type: Invalid value: \"Normal\": field is immutable"]
        );
    }
}
