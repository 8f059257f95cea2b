//! Events, in the core group's shape.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::cells::{name, since};
use super::super::strategy::{Column, Strategy};
use super::super::value::{at, has, int, text};

/// `events`.
pub(crate) struct Events;

impl Strategy for Events {
    fn has_status(&self) -> bool {
        false
    }

    fn has_generation(&self) -> bool {
        false
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
