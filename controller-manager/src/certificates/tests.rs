use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};
use serde_json::json;
use timonel_client::SeededRng;

use super::plan::{Action, Observed, plan};
use super::{parse, sign};
use crate::SigningCa;

fn request_pem(common_name: &str, names: &[&str]) -> String {
    let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
    params
        .serialize_request(&KeyPair::generate().unwrap())
        .unwrap()
        .pem()
        .unwrap()
}

fn observed(signer: &str, user: &str, group: &str, usage: &str, names: &[&str], approved: bool) -> Observed {
    use base64::Engine as _;
    let pem = request_pem("system:node:node-1", names);
    let conditions = if approved {
        json!([{"type": "Approved", "status": "True"}])
    } else {
        json!([])
    };
    let request = json!({
        "metadata": {"name": "csr"},
        "spec": {
            "signerName": signer, "username": user, "groups": [group], "usages": ["digital signature", usage],
            "request": base64::engine::general_purpose::STANDARD.encode(&pem),
        },
        "status": {"conditions": conditions},
    });
    let node: Node = serde_json::from_value(json!({"metadata": {"name": "node-1"}, "status": {"addresses": [
        {"type": "InternalIP", "address": "10.10.0.11"}, {"type": "Hostname", "address": "node-1"},
    ]}}))
    .unwrap();
    Observed {
        request: Arc::new(serde_json::from_value(request).unwrap()),
        contents: parse::parse(pem.as_bytes()),
        node: Some(Arc::new(node)),
        can_sign: true,
        longest: Duration::from_secs(3600),
    }
}

const CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const SERVING: &str = "kubernetes.io/kubelet-serving";

#[test]
fn a_bootstrapping_node_is_approved_and_a_stranger_is_not() {
    let plan_for = |user, group| plan(&observed(CLIENT, user, group, "client auth", &[], false)).actions;
    assert!(matches!(
        plan_for("system:bootstrap:abc", "system:bootstrappers")[..],
        [Action::Approve { .. }]
    ));
    assert!(matches!(
        plan_for("system:node:node-1", "system:nodes")[..],
        [Action::Approve { .. }]
    ));
    assert!(plan_for("system:node:node-2", "system:nodes").is_empty());
    assert!(plan_for("mallory", "system:authenticated").is_empty());
}

#[test]
fn a_serving_certificate_is_for_the_nodes_own_names_only() {
    let plan_for = |names| {
        plan(&observed(
            SERVING,
            "system:node:node-1",
            "system:nodes",
            "server auth",
            names,
            false,
        ))
        .actions
    };
    assert!(matches!(
        plan_for(&["node-1", "10.10.0.11"])[..],
        [Action::Approve { .. }]
    ));
    assert!(plan_for(&["node-1", "10.10.0.1"]).is_empty());
    assert!(plan_for(&["kubernetes.default"]).is_empty());
}

#[test]
fn an_approved_request_is_signed_as_asked() {
    let observed = observed(
        SERVING,
        "system:node:node-1",
        "system:nodes",
        "server auth",
        &["node-1", "10.10.0.11"],
        true,
    );
    let actions = plan(&observed).actions;
    let [Action::Sign { usages, duration }] = &actions[..] else {
        panic!("{actions:?}")
    };
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = SigningCa {
        cert_pem: params.self_signed(&key).unwrap().pem(),
        key_pem: key.serialize_pem(),
    };
    let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
    let pem = sign::sign(
        &ca,
        &observed.request.spec.request.0,
        usages,
        *duration,
        now,
        &SeededRng::new(1),
    )
    .unwrap();
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
    let certificate = pem.parse_x509().unwrap();
    assert_eq!(
        certificate.subject().to_string(),
        "CN=system:node:node-1, O=system:nodes"
    );
    assert_eq!(certificate.validity().not_after.timestamp(), now.as_second() + 3600);
    assert!(certificate.extended_key_usage().unwrap().unwrap().value.server_auth);
    assert_eq!(
        certificate
            .subject_alternative_name()
            .unwrap()
            .unwrap()
            .value
            .general_names
            .len(),
        2
    );
    assert!(!certificate.is_ca());
}
