//! sig-instrumentation: events, in both of their groups.

use serde_json::{Value, json};

use crate::client::Resource;
use crate::server::Server;

fn core_event(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"testevent-set": "true"}},
        "message": "This is a test event", "reason": "Test", "type": "Normal", "count": 1,
        "involvedObject": {"namespace": "default"},
    })
}

fn new_event(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"testevent-set": "true"}},
        "regarding": {"namespace": "default"}, "note": "This is a test event", "reason": "Test", "type": "Normal",
        "eventTime": "2026-01-02T03:04:05.000006Z", "action": "Do",
        "reportingController": "e2e.example.com/test", "reportingInstance": "test-node",
    })
}

fn events(server: &Server, version: &str) -> [Resource; 2] {
    let everywhere = server.at(version, "events");
    [everywhere.within("default"), everywhere]
}

const SERIES: &str = "2026-01-02T03:05:06.000007Z";

/// Event, manage lifecycle of an Event
#[test]
fn event_manage_lifecycle_of_an_event() {
    let server = Server::alone();
    let [events, everywhere] = events(&server, "v1");
    events.create(core_event("event-test"));
    assert_eq!(everywhere.names("labelSelector=testevent-set%3Dtrue"), ["event-test"]);
    events.strategic("event-test", &json!({"message": "This is a test event - patched"}));
    assert_eq!(events.get("event-test")["message"], "This is a test event - patched");
    events.edit("event-test", |event| {
        event["series"] = json!({"count": 100, "lastObservedTime": SERIES});
    });
    let seen = events.get("event-test");
    assert_eq!(seen["series"], json!({"count": 100, "lastObservedTime": SERIES}));
    events.delete("event-test");
    assert!(everywhere.names("labelSelector=testevent-set%3Dtrue").is_empty());
}

/// Event, delete a collection
#[test]
fn event_delete_a_collection() {
    let server = Server::alone();
    let [events, everywhere] = events(&server, "v1");
    for name in ["test-event-1", "test-event-2", "test-event-3"] {
        events.create(core_event(name));
    }
    let mut kept = core_event("other");
    kept["metadata"]["labels"] = json!({});
    events.create(kept);
    assert_eq!(events.names("labelSelector=testevent-set%3Dtrue").len(), 3);
    events.delete_collection("labelSelector=testevent-set%3Dtrue");
    assert!(everywhere.names("labelSelector=testevent-set%3Dtrue").is_empty());
    assert!(events.has("other"));
}

/// New Event resource lifecycle, testing a single event
#[test]
fn new_event_resource_lifecycle_testing_a_single_event() {
    let server = Server::alone();
    let [events, everywhere] = events(&server, "events.k8s.io/v1");
    let made = events.create(new_event("event-test"));
    assert_eq!(made["apiVersion"], "events.k8s.io/v1");
    assert_eq!(everywhere.names("labelSelector=testevent-set%3Dtrue"), ["event-test"]);
    let patched = json!({"count": 2, "lastObservedTime": SERIES});
    events.strategic("event-test", &json!({"series": patched}));
    let seen = events.get("event-test");
    assert_eq!(seen["series"], patched);
    assert_eq!(seen["eventTime"], "2026-01-02T03:04:05.000006Z");
    // The description speaks of a new note; upstream's rules for this group allow nothing but a new series.
    let message = events
        .try_patch("event-test", &json!({"note": "another"}))
        .refused(422, "Invalid");
    assert!(
        message.contains("message: Invalid value: \"another\": field is immutable"),
        "{message}"
    );
    events.edit("event-test", |event| {
        event["series"] = json!({"count": 100, "lastObservedTime": SERIES});
    });
    assert_eq!(
        events.get("event-test")["series"],
        json!({"count": 100, "lastObservedTime": SERIES})
    );
    // The core group shows the same event in its own words.
    let core = server.at("v1", "events").within("default").get("event-test");
    assert_eq!(core["message"], "This is a test event");
    events.delete("event-test");
    assert!(everywhere.names("").iter().all(|name| name != "event-test"));
}

/// New Event resource lifecycle, testing a list of events
#[test]
fn new_event_resource_lifecycle_testing_a_list_of_events() {
    let server = Server::alone();
    let [events, everywhere] = events(&server, "events.k8s.io/v1");
    for name in ["test-event-1", "test-event-2", "test-event-3"] {
        events.create(new_event(name));
    }
    assert_eq!(events.names("labelSelector=testevent-set%3Dtrue").len(), 3);
    events.delete_collection("labelSelector=testevent-set%3Dtrue");
    assert!(everywhere.names("labelSelector=testevent-set%3Dtrue").is_empty());
}
