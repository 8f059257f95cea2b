//! Questions and what is answered.

use std::str::FromStr;
use std::sync::Arc;

use hickory_proto::op::{Message, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use serde_json::{Value, json};

use crate::{Observed, Outcome, Zone, answer, plan};

fn object<T: serde::de::DeserializeOwned>(value: Value) -> Arc<T> {
    Arc::new(serde_json::from_value(value).unwrap())
}

fn zone() -> Zone {
    let observed = Observed {
        namespaces: vec![object(json!({ "metadata": { "name": "demo" } }))],
        services: vec![
            object(json!({
                "metadata": { "namespace": "demo", "name": "hello" },
                "spec": { "clusterIP": "10.96.0.50", "ports": [{ "name": "http", "port": 80 }] },
            })),
            object(json!({
                "metadata": { "namespace": "demo", "name": "db" },
                "spec": { "clusterIP": "None", "ports": [{ "name": "sql", "port": 5432 }] },
            })),
            object(json!({
                "metadata": { "namespace": "demo", "name": "outside" },
                "spec": { "type": "ExternalName", "externalName": "example.org" },
            })),
        ],
        slices: vec![object(json!({
            "metadata": { "namespace": "demo", "name": "db-x", "labels": { "kubernetes.io/service-name": "db" } },
            "addressType": "IPv4",
            "ports": [{ "name": "sql", "port": 5432, "protocol": "TCP" }],
            "endpoints": [
                { "addresses": ["10.244.1.5"], "hostname": "db-0" },
                { "addresses": ["10.244.1.6"], "conditions": { "ready": false } },
            ],
        }))],
    };
    plan(&observed, "cluster.local")
}

/// Asks and renders: the code, then each answer.
fn ask(name: &str, kind: RecordType) -> String {
    let mut request = Message::new(7, hickory_proto::op::MessageType::Query, OpCode::Query);
    request.add_query(Query::query(Name::from_str(name).unwrap(), kind));
    match answer(&zone(), &request) {
        Outcome::Foreign => "foreign".to_owned(),
        Outcome::Answer(message) => {
            // Through the wire and back, as a client reads it.
            let message = Message::from_vec(&message.to_vec().unwrap()).unwrap();
            let answers: Vec<String> = message.answers.iter().map(|r| r.data.to_string()).collect();
            format!("{} {}", message.metadata.response_code, answers.join(", "))
                .trim_end()
                .to_owned()
        }
    }
}

#[test]
fn a_service_has_its_address_and_its_ports() {
    assert_eq!(
        ask("hello.demo.svc.cluster.local.", RecordType::A),
        "No Error 10.96.0.50"
    );
    assert_eq!(
        ask("HELLO.demo.svc.cluster.local.", RecordType::A),
        "No Error 10.96.0.50"
    );
    assert_eq!(
        ask("_http._tcp.hello.demo.svc.cluster.local.", RecordType::SRV),
        "No Error 0 100 80 hello.demo.svc.cluster.local."
    );
    assert_eq!(
        ask("50.0.96.10.in-addr.arpa.", RecordType::PTR),
        "No Error hello.demo.svc.cluster.local."
    );
}

#[test]
fn a_headless_service_has_its_ready_endpoints() {
    assert_eq!(ask("db.demo.svc.cluster.local.", RecordType::A), "No Error 10.244.1.5");
    assert_eq!(
        ask("db-0.db.demo.svc.cluster.local.", RecordType::A),
        "No Error 10.244.1.5"
    );
    assert_eq!(
        ask("5.1.244.10.in-addr.arpa.", RecordType::PTR),
        "No Error db-0.db.demo.svc.cluster.local."
    );
}

#[test]
fn a_name_that_exists_without_such_a_record_is_no_error() {
    assert_eq!(ask("hello.demo.svc.cluster.local.", RecordType::AAAA), "No Error");
    assert_eq!(ask("demo.svc.cluster.local.", RecordType::A), "No Error");
    assert_eq!(
        ask("nobody.demo.svc.cluster.local.", RecordType::A),
        "Non-Existent Domain"
    );
}

#[test]
fn other_names_and_pods_and_the_version() {
    assert_eq!(
        ask("outside.demo.svc.cluster.local.", RecordType::A),
        "No Error example.org."
    );
    assert_eq!(
        ask("10-244-1-5.demo.pod.cluster.local.", RecordType::A),
        "No Error 10.244.1.5"
    );
    assert_eq!(ask("dns-version.cluster.local.", RecordType::TXT), "No Error 1.1.0");
    assert_eq!(ask("example.org.", RecordType::A), "foreign");
}
