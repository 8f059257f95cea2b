use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use serde_json::json;

use super::plan::{CLIENT, KUBELET_CLIENT, KUBELET_SERVING};
use super::request::Requested;
use super::*;

fn now() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

fn observed(signer: &str, usage: &str, conditions: &[&str], requested: Requested) -> Observed {
    let conditions: Vec<_> = conditions
        .iter()
        .map(|kind| json!({"type": kind, "status": "True"}))
        .collect();
    let request: CertificateSigningRequest = serde_json::from_value(json!({
        "metadata": {"name": "a", "creationTimestamp": "2026-01-01T11:59:00Z"},
        "spec": {"request": "", "signerName": signer, "username": "system:node:n1", "usages": ["digital signature", usage]},
        "status": {"conditions": conditions}}))
    .unwrap();
    Observed {
        request: Arc::new(request),
        requested: Ok(requested),
        may_ask: true,
        node_names: BTreeSet::from(["n1".to_owned(), "10.0.0.1".to_owned()]),
        can_sign: true,
        duration: Duration::from_secs(3600),
    }
}

fn node(dns: &[&str], addresses: &[&str]) -> Requested {
    Requested {
        common_name: "system:node:n1".to_owned(),
        organizations: vec!["system:nodes".to_owned()],
        dns_names: dns.iter().map(|&name| name.to_owned()).collect(),
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        other_names: 0,
    }
}

#[track_caller]
fn check(observed: &Observed, expected: &[Because]) {
    assert_eq!(plan(observed, now()).because, expected);
}

#[test]
fn a_bootstrapping_node_is_approved_and_then_signed() {
    check(
        &observed(KUBELET_CLIENT, "client auth", &[], node(&[], &[])),
        &[Because::RequestorMayAsk],
    );
    check(
        &observed(KUBELET_CLIENT, "client auth", &["Approved"], node(&[], &[])),
        &[Because::Approved],
    );
}

#[test]
fn whoever_may_not_ask_waits_for_a_person() {
    let mut asked = observed(KUBELET_CLIENT, "client auth", &[], node(&[], &[]));
    asked.may_ask = false;
    check(&asked, &[]);
    check(&observed(CLIENT, "client auth", &[], node(&[], &[])), &[]);
}

#[test]
fn a_serving_certificate_holds_only_the_nodes_own_names() {
    check(
        &observed(KUBELET_SERVING, "server auth", &[], node(&["n1"], &["10.0.0.1"])),
        &[Because::NamesAreTheNodes],
    );
    check(
        &observed(KUBELET_SERVING, "server auth", &[], node(&["n1"], &["10.0.0.2"])),
        &[],
    );
    check(
        &observed(KUBELET_SERVING, "server auth", &[], node(&["kubernetes"], &[])),
        &[],
    );
}

#[test]
fn what_its_signer_does_not_sign_fails_though_it_was_approved() {
    check(
        &observed(KUBELET_CLIENT, "server auth", &["Approved"], node(&[], &[])),
        &[Because::NotForThisSigner],
    );
    check(
        &observed(KUBELET_CLIENT, "client auth", &["Approved"], node(&["n1"], &[])),
        &[Because::NotForThisSigner],
    );
    let mut admin = node(&[], &[]);
    admin.organizations = vec!["system:masters".to_owned()];
    check(
        &observed(KUBELET_CLIENT, "client auth", &["Approved"], admin),
        &[Because::NotForThisSigner],
    );
}

#[test]
fn decided_requests_go_after_an_hour() {
    let mut denied = observed(KUBELET_CLIENT, "client auth", &["Denied"], node(&[], &[]));
    check(&denied, &[]);
    let request = Arc::make_mut(&mut denied.request);
    request.metadata.creation_timestamp = serde_json::from_value(json!("2026-01-01T10:59:00Z")).unwrap();
    check(&denied, &[Because::Stale]);
}

#[test]
fn a_request_is_read_as_it_was_made_and_its_certificate_says_what_was_asked() {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["n1".to_owned(), "10.0.0.1".to_owned()]).unwrap();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "system:node:n1");
    params
        .distinguished_name
        .push(rcgen::DnType::OrganizationName, "system:nodes");
    let pem = params.serialize_request(&key).unwrap().pem().unwrap();
    assert_eq!(Requested::parse(pem.as_bytes()), Ok(node(&["n1"], &["10.0.0.1"])));
    assert!(Requested::parse(b"nonsense").is_err());
}
