//! sig-auth.

use serde_json::{Value, json};

use crate::client::eventually;
use crate::kind::Kind;
use crate::server::Server;

/// A request for a certificate of a user `e2e`, as `openssl req -new` makes it.
const REQUEST: &str = include_str!("request.csr.base64");

fn signing_requests() -> Kind {
    Kind {
        group: "certificates.k8s.io",
        plural: "certificatesigningrequests",
        kind: "CertificateSigningRequest",
        object: |_| {
            json!({"spec": {
                "request": REQUEST.trim(), "signerName": "example.com/e2e", "usages": ["digital signature", "client auth"],
                "expirationSeconds": 3600,
            }})
        },
        subresources: &["approval"],
        status: Some([
            json!({"conditions": [{"type": "Failed", "status": "True", "reason": "E2E", "message": "patched"}]}),
            json!({"conditions": [{"type": "Failed", "status": "True", "reason": "E2E", "message": "updated"}]}),
        ]),
        ..Kind::default()
    }
}

/// CertificateSigningRequest API
#[test]
fn certificatesigningrequest_api() {
    let server = Server::alone();
    let kind = signing_requests();
    kind.is_discovered(&server);
    kind.supports_every_operation(&server);

    let requests = kind.resource(&server);
    requests.create(kind.sample("approved"));
    let made = requests.get("approved/approval");
    assert_eq!(made["metadata"]["name"], "approved");
    let approval = |message: &str| {
        json!({"metadata": {"annotations": {"by": message}},
            "status": {"conditions": [{"type": "Approved", "status": "True", "reason": "E2E", "message": message}]}})
    };
    let patched = requests.patch("approved/approval", approval("patched"));
    assert_eq!(patched["metadata"]["annotations"]["by"], "patched");
    assert_eq!(patched["status"]["conditions"][0]["type"], "Approved");
    assert_eq!(patched["status"]["conditions"][0]["message"], "patched");
    let updated = requests.edit("approved/approval", |object| {
        object["status"]["conditions"][0]["message"] = "updated".into();
    });
    assert_eq!(updated["status"]["conditions"][0]["message"], "updated");
    assert_eq!(
        requests.get("approved")["status"]["conditions"][0]["message"],
        "updated"
    );
    // Who may not change an approval changes none through the object itself.
    let kept = requests.edit("approved", |object| object["status"]["conditions"] = json!([]));
    assert_eq!(kept["status"]["conditions"][0]["message"], "updated");
}

/// ServiceAccount, create and review token
#[test]
fn serviceaccount_create_and_review_token() {
    let server = Server::alone();
    let accounts = server.at("v1", "serviceaccounts").within("default");
    let account = accounts.create(json!({"metadata": {"name": "e2e"}}));
    let request =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}});
    let token = server.post(&accounts.path_of("e2e/token"), &request).expect(201);
    let token = token["status"]["token"].as_str().expect("a token");
    assert!(!token.is_empty());
    let review = |token: &str| {
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
        server
            .post("/apis/authentication.k8s.io/v1/tokenreviews", &review)
            .expect(201)["status"]
            .clone()
    };
    let status = review(token);
    assert_eq!(status["authenticated"], true, "{status}");
    assert!(status["error"].as_str().unwrap_or_default().is_empty(), "{status}");
    assert_eq!(status["user"]["username"], "system:serviceaccount:default:e2e");
    assert_eq!(status["user"]["uid"], account["metadata"]["uid"]);
    assert_ne!(review("nonsense")["authenticated"], true);
    // A token ends with its account.
    accounts.delete("e2e");
    assert_ne!(review(token)["authenticated"], true);
}

/// RootCA ConfigMap test
#[test]
fn rootca_configmap_test() {
    const NAME: &str = "kube-root-ca.crt";
    let server = Server::control_plane();
    server.namespace("rooted");
    let maps = server.at("v1", "configmaps").within("rooted");
    let there = |what: &str| {
        eventually(what, || {
            let answer = server.get(&maps.path_of(NAME));
            let object = if answer.status == 200 {
                answer.json()
            } else {
                Value::Null
            };
            let pem = object["data"]["ca.crt"].as_str().unwrap_or_default().to_owned();
            if pem.starts_with("-----BEGIN CERTIFICATE-----") {
                Ok((object, pem))
            } else {
                Err(answer.text)
            }
        })
    };
    let (made, pem) = there("it is created automatically");
    maps.delete(NAME);
    let (again, same) = there("it is made again");
    assert_ne!(made["metadata"]["uid"], again["metadata"]["uid"]);
    assert_eq!(pem, same);
    maps.edit(NAME, |object| object["data"] = json!({"ca.crt": ""}));
    let (restored, same) = there("it is put right");
    assert_eq!(restored["metadata"]["uid"], again["metadata"]["uid"]);
    assert_eq!(pem, same);
}

/// ServiceAccount lifecycle test
#[test]
fn serviceaccount_lifecycle_test() {
    let server = Server::alone();
    let everywhere = server.at("v1", "serviceaccounts");
    let accounts = everywhere.within("default");
    let selector = "labelSelector=test-serviceaccount-static%3Dtrue";
    let mut watch = accounts.watch(&format!("{selector}&resourceVersion={}", accounts.revision()));
    accounts.create(json!({"metadata": {"name": "e2e", "labels": {"test-serviceaccount-static": "true"}}}));
    let added = watch.expect("ADDED", "e2e");
    assert_eq!(added["metadata"]["labels"]["test-serviceaccount-static"], "true");
    let patched = accounts.strategic("e2e", &json!({"automountServiceAccountToken": false}));
    assert_eq!(patched["automountServiceAccountToken"], false);
    let listed = everywhere.items(selector);
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["metadata"]["name"], "e2e");
    assert_eq!(listed[0]["automountServiceAccountToken"], false);
    accounts.delete("e2e");
    watch.until("DELETED", "e2e");
}

/// ServiceAccount, update a ServiceAccount
#[test]
fn serviceaccount_update_a_serviceaccount() {
    let server = Server::alone();
    let accounts = server.at("v1", "serviceaccounts").within("default");
    accounts.create(json!({"metadata": {"name": "e2e"}, "automountServiceAccountToken": false}));
    let updated = accounts.edit("e2e", |account| account["automountServiceAccountToken"] = true.into());
    assert_eq!(updated["automountServiceAccountToken"], true);
    assert_eq!(accounts.get("e2e")["automountServiceAccountToken"], true);
}

/// SubjectReview, API Operations
#[test]
fn subjectreview_api_operations() {
    let server = Server::alone();
    server
        .at("v1", "serviceaccounts")
        .within("default")
        .create(json!({"metadata": {"name": "e2e"}}));
    const USER: &str = "system:serviceaccount:default:e2e";
    let maps = "/api/v1/namespaces/default/configmaps";
    let spec = json!({"user": USER, "groups": ["system:authenticated"],
        "resourceAttributes": {"namespace": "default", "verb": "list", "group": "", "version": "v1", "resource": "configmaps"}});
    let reviews = [
        (
            "SubjectAccessReview",
            "/apis/authorization.k8s.io/v1/subjectaccessreviews",
        ),
        (
            "LocalSubjectAccessReview",
            "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews",
        ),
    ];
    let agree = |expected: bool| {
        let caller = server.impersonate(USER);
        assert_eq!(caller.get(maps).status, if expected { 200 } else { 403 });
        for (kind, path) in reviews {
            let metadata = if kind.starts_with("Local") {
                json!({"namespace": "default"})
            } else {
                json!({})
            };
            let review =
                json!({"apiVersion": "authorization.k8s.io/v1", "kind": kind, "metadata": metadata, "spec": spec});
            let status = server.post(path, &review).expect(201)["status"].clone();
            assert_eq!(status["allowed"], expected, "{kind}: {status}");
        }
    };
    agree(false);
    let rbac = "rbac.authorization.k8s.io/v1";
    server.at(rbac, "roles").within("default").create(json!({
        "metadata": {"name": "reader"}, "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}],
    }));
    server.at(rbac, "rolebindings").within("default").create(json!({
        "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"kind": "ServiceAccount", "name": "e2e", "namespace": "default"}],
    }));
    agree(true);
}
