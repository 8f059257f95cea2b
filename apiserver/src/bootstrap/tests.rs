use std::sync::Arc;

use super::*;
use crate::authz::fake::FakeReader;
use crate::authz::{Attributes, Authorizer};
use crate::identity::UserInfo;

fn config() -> BootstrapConfig {
    BootstrapConfig {
        ca_pem: "CA".to_owned(),
        server_url: "https://10.0.0.1:6443".to_owned(),
        service_cidrs: vec!["10.96.0.0/16".to_owned()],
        token: Some("abcdef.0123456789abcdef".parse().unwrap()),
    }
}

fn named<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    objects
        .iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
        .unwrap_or_else(|| panic!("no {kind} {name}"))
}

fn authorizer() -> Authorizer {
    let reader = FakeReader::new();
    for object in objects(&config()) {
        let kind = object["kind"].as_str().unwrap();
        let (group, version) = object["apiVersion"]
            .as_str()
            .unwrap()
            .split_once('/')
            .unwrap_or(("", "v1"));
        let resource = timonel_api::resources::by_kind(group, version, kind).unwrap();
        reader.put(&resource.group_resource(), object.clone());
    }
    Authorizer::new(Arc::new(reader))
}

#[test]
fn every_object_is_of_a_served_kind_and_every_name_is_unique() {
    let mut seen = std::collections::BTreeSet::new();
    for object in objects(&config()) {
        let identity = format!(
            "{} {} {}",
            object["kind"], object["metadata"]["namespace"], object["metadata"]["name"]
        );
        assert!(seen.insert(identity.clone()), "{identity} twice");
    }
}

#[test]
fn every_line_of_the_table_is_understood() {
    let objects = policy::objects();
    let roles = objects.iter().filter(|object| object["rules"].is_array());
    for role in roles {
        assert!(
            !role["rules"].as_array().unwrap().is_empty(),
            "{} has no rules",
            role["metadata"]["name"]
        );
    }
    for binding in objects.iter().filter(|object| object["roleRef"].is_object()) {
        let role = binding["roleRef"]["name"].as_str().unwrap();
        named(&objects, binding["roleRef"]["kind"].as_str().unwrap(), role);
    }
    let lines = include_str!("policy.txt").lines();
    let heads = lines.filter(|line| !line.is_empty() && !line.starts_with([' ', '#']));
    let made: usize = heads
        .map(|line| if line.starts_with("controller ") { 2 } else { 1 })
        .sum();
    assert_eq!(made, objects.len());
}

#[test]
fn admin_edit_and_view_hold_what_they_aggregate() {
    let objects = policy::objects();
    let rules = |name| named(&objects, "ClusterRole", name)["rules"].as_array().unwrap().len();
    assert!(rules("admin") > rules("edit") && rules("edit") > rules("view") && rules("view") > 0);
    assert_eq!(
        named(&objects, "ClusterRole", "view")["aggregationRule"],
        json!({"clusterRoleSelectors": [{"matchLabels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}}]})
    );
}

#[test]
fn each_identity_may_do_its_work_and_no_more() {
    let authorizer = authorizer();
    let scheduler = UserInfo::new("system:kube-scheduler", &[]);
    let controllers = UserInfo::new("system:kube-controller-manager", &[]);
    let deployments = UserInfo::service_account("kube-system", "deployment-controller");
    let collector = UserInfo::service_account("kube-system", "generic-garbage-collector");
    let certificates = UserInfo::service_account("kube-system", "certificate-controller");
    let proxy = UserInfo::new("system:kube-proxy", &[]);
    let joining = UserInfo::new("system:bootstrap:abcdef", &["system:bootstrappers"]);
    let node = UserInfo::new("system:node:n1", &["system:nodes"]);
    let nobody = UserInfo::anonymous();
    let jane = UserInfo::new("jane", &[]);
    let on = |user, verb, group, resource| Attributes::resource(user, verb, group, resource);
    let table = [
        (
            true,
            on(&scheduler, "create", "", "pods")
                .with_subresource("binding")
                .within("demo"),
        ),
        (true, on(&scheduler, "watch", "", "nodes")),
        (false, on(&scheduler, "create", "", "pods").within("demo")),
        (false, on(&scheduler, "get", "", "secrets").within("demo")),
        // The manager itself only looks, and makes its controllers' accounts; each of them has a role of its own.
        (true, on(&controllers, "watch", "example.com", "things")),
        (
            true,
            on(&controllers, "create", "", "serviceaccounts").within("kube-system"),
        ),
        (
            true,
            on(&controllers, "create", "", "serviceaccounts")
                .with_subresource("token")
                .within("kube-system"),
        ),
        (false, on(&controllers, "create", "apps", "replicasets").within("demo")),
        (
            false,
            on(&controllers, "delete", "example.com", "things").within("demo"),
        ),
        (true, on(&deployments, "create", "apps", "replicasets").within("demo")),
        (
            true,
            on(&deployments, "update", "apps", "deployments")
                .with_subresource("status")
                .within("demo"),
        ),
        (false, on(&deployments, "create", "", "pods").within("demo")),
        (false, on(&deployments, "get", "", "secrets").within("demo")),
        // Without this no node serves logs, exec and metrics.
        (
            true,
            on(&certificates, "approve", "certificates.k8s.io", "signers").named("kubernetes.io/kubelet-serving"),
        ),
        (true, on(&collector, "delete", "example.com", "things").within("demo")),
        (false, on(&collector, "create", "example.com", "things").within("demo")),
        (
            false,
            on(
                &controllers,
                "create",
                "rbac.authorization.k8s.io",
                "clusterrolebindings",
            ),
        ),
        (false, on(&controllers, "impersonate", "", "users")),
        (true, on(&proxy, "watch", "discovery.k8s.io", "endpointslices")),
        (false, on(&proxy, "list", "", "secrets")),
        (
            true,
            on(&joining, "create", "certificates.k8s.io", "certificatesigningrequests"),
        ),
        (true, on(&joining, "get", "", "nodes").named("n1")),
        (false, on(&joining, "list", "", "pods")),
        (
            true,
            on(&node, "create", "certificates.k8s.io", "certificatesigningrequests").with_subresource("selfnodeclient"),
        ),
        (true, on(&node, "watch", "", "services")),
        (false, on(&node, "list", "", "secrets")),
        (
            true,
            on(&nobody, "get", "", "configmaps")
                .named("cluster-info")
                .within("kube-public"),
        ),
        (
            false,
            on(&nobody, "get", "", "configmaps")
                .named("other")
                .within("kube-public"),
        ),
        (true, Attributes::path(&nobody, "get", "/version")),
        (false, Attributes::path(&nobody, "get", "/api")),
        (true, Attributes::path(&jane, "get", "/apis/apps/v1")),
        (
            true,
            on(&jane, "create", "authorization.k8s.io", "selfsubjectaccessreviews"),
        ),
        (false, on(&jane, "list", "", "pods").within("demo")),
    ];
    for (allowed, attributes) in table {
        let decision = authorizer.authorize(&attributes);
        assert_eq!(decision.allowed, allowed, "{attributes:?} {decision:?}");
    }
}

#[test]
fn rbac_objects_regain_what_they_lack_unless_told_not_to() {
    let wanted = json!({"kind": "ClusterRole", "metadata": {"name": "r"}, "rules": [{"verbs": ["get"]}]});
    let extra = json!({"kind": "ClusterRole", "metadata": {"name": "r"}, "rules": [{"verbs": ["list"]}]});
    let next = reconcile(&extra, &wanted).unwrap();
    assert_eq!(next["rules"], json!([{"verbs": ["list"]}, {"verbs": ["get"]}]));
    assert_eq!(reconcile(&next, &wanted), None, "once is enough");
    let mut stays = extra;
    stays["metadata"]["annotations"] = json!({"rbac.authorization.kubernetes.io/autoupdate": "false"});
    assert_eq!(reconcile(&stays, &wanted), None);
    let namespace = json!({"kind": "Namespace", "metadata": {"name": "n", "labels": {"a": "b"}}});
    assert_eq!(
        reconcile(&namespace, &json!({"kind": "Namespace", "metadata": {"name": "n"}})),
        None
    );
}

#[test]
fn cluster_info_is_signed_with_the_token() {
    let info = cluster_info(&config());
    let signed = info["data"]["jws-kubeconfig-abcdef"].as_str().unwrap();
    let (header, signature) = signed.split_once("..").unwrap();
    let payload = URL_SAFE_NO_PAD.encode(info["data"]["kubeconfig"].as_str().unwrap());
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"abcdef.0123456789abcdef");
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    hmac::verify(&key, format!("{header}.{payload}").as_bytes(), &signature).unwrap();
    assert!("abc.def".parse::<BootstrapToken>().is_err());
}
