//! The table of events at a page's end.

use jiff::Timestamp;
use serde_json::Value;

use super::page::Page;
use super::values::{age, number, text};

/// Orders events by when they were last seen.
pub(crate) fn by_time(events: &mut [Value]) {
    events.sort_by_key(|event| last_seen(event).map(str::to_owned));
}

fn last_seen(event: &Value) -> Option<&str> {
    let fields = [
        "/series/lastObservedTime",
        "/lastTimestamp",
        "/eventTime",
        "/metadata/creationTimestamp",
    ];
    fields
        .iter()
        .map(|field| text(event, field))
        .find(|time| !time.is_empty())
}

/// When an event was seen: `20s`, or `3s (x5 over 2m)`.
pub(crate) fn interval(event: &Value, now: Timestamp) -> String {
    let first = if event["eventTime"].is_string() {
        age(event, "/eventTime", now)
    } else {
        age(event, "/firstTimestamp", now)
    };
    if event["series"].is_object() {
        let last = age(event, "/series/lastObservedTime", now);
        format!("{last} (x{} over {first})", number(event, "/series/count"))
    } else if number(event, "/count") > 1 {
        let last = age(event, "/lastTimestamp", now);
        format!("{last} (x{} over {first})", number(event, "/count"))
    } else {
        first
    }
}

/// Adds the table.
pub(super) fn table(page: &mut Page, events: &[Value], now: Timestamp) {
    if events.is_empty() {
        page.line(0, "Events:\t<none>");
        return;
    }
    page.flush();
    page.line(0, "Events:");
    page.line(1, "Type\tReason\tAge\tFrom\tMessage");
    page.line(1, "----\t------\t----\t----\t-------");
    let mut events = events.to_vec();
    by_time(&mut events);
    for event in &events {
        let mut source = text(event, "/source/component");
        if source.is_empty() {
            source = text(event, "/reportingComponent");
        }
        let mut message = text(event, "/message").trim().to_owned();
        let part = text(event, "/involvedObject/fieldPath");
        if !part.is_empty() {
            message = format!("{part}: {message}");
        }
        page.line(
            1,
            format_args!(
                "{}\t{}\t{}\t{source}\t{message}",
                text(event, "/type"),
                text(event, "/reason"),
                interval(event, now)
            ),
        );
    }
}
