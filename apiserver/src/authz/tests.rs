use serde_json::json;

use super::fake::FakeReader;
use super::*;

const ROLES: &str = "roles.rbac.authorization.k8s.io";
const CLUSTER_ROLES: &str = "clusterroles.rbac.authorization.k8s.io";
const BINDINGS: &str = "rolebindings.rbac.authorization.k8s.io";
const CLUSTER_BINDINGS: &str = "clusterrolebindings.rbac.authorization.k8s.io";

fn role(namespace: &str, name: &str, rules: serde_json::Value) -> serde_json::Value {
    json!({"metadata": {"namespace": namespace, "name": name}, "rules": rules})
}

fn binding(namespace: &str, name: &str, role: (&str, &str), subject: serde_json::Value) -> serde_json::Value {
    json!({"metadata": {"namespace": namespace, "name": name},
           "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role.0, "name": role.1}, "subjects": [subject]})
}

fn user(name: &str) -> UserInfo {
    UserInfo::new(name, &[])
}

fn node(name: &str) -> UserInfo {
    UserInfo::new(&format!("system:node:{name}"), &["system:nodes"])
}

fn cluster() -> Arc<FakeReader> {
    let reader = FakeReader::new()
        .with(
            ROLES,
            role(
                "demo",
                "reader",
                json!([
                    {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "pods/log"]},
                    {"verbs": ["get"], "apiGroups": ["apps"], "resources": ["deployments"], "resourceNames": ["web"]},
                    {"verbs": ["patch"], "apiGroups": ["*"], "resources": ["*/scale"]},
                ]),
            ),
        )
        .with(BINDINGS, binding("demo", "b", ("Role", "reader"), json!({"kind": "User", "name": "jane"})))
        .with(
            BINDINGS,
            binding("demo", "c", ("Role", "reader"), json!({"kind": "ServiceAccount", "name": "bot"})),
        )
        .with(
            CLUSTER_ROLES,
            role(
                "",
                "all",
                json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}, {"verbs": ["*"], "nonResourceURLs": ["*"]}]),
            ),
        )
        .with(
            CLUSTER_ROLES,
            role("", "urls", json!([{"verbs": ["get"], "nonResourceURLs": ["/version", "/debug/*"]}])),
        )
        .with(
            CLUSTER_BINDINGS,
            binding("", "admins", ("ClusterRole", "all"), json!({"kind": "Group", "name": "admins"})),
        )
        .with(
            CLUSTER_BINDINGS,
            binding("", "urls", ("ClusterRole", "urls"), json!({"kind": "Group", "name": "system:authenticated"})),
        )
        .with(
            CLUSTER_BINDINGS,
            binding("", "lost", ("ClusterRole", "gone"), json!({"kind": "User", "name": "lost"})),
        );
    Arc::new(reader)
}

fn authorizer() -> Authorizer {
    Authorizer::new(cluster())
}

#[test]
fn rules_match_verbs_groups_resources_subresources_and_names() {
    let (authorizer, jane) = (authorizer(), user("jane"));
    let ask = |verb, group, resource| Attributes::resource(&jane, verb, group, resource).within("demo");
    let table = [
        (true, ask("get", "", "pods")),
        (false, ask("delete", "", "pods")),
        (false, ask("get", "apps", "pods")),
        (true, ask("get", "", "pods").with_subresource("log")),
        (false, ask("get", "", "pods").with_subresource("exec")),
        (true, ask("get", "apps", "deployments").named("web")),
        (false, ask("get", "apps", "deployments").named("other")),
        (false, ask("get", "apps", "deployments")),
        (true, ask("patch", "apps", "deployments").with_subresource("scale")),
        (false, ask("patch", "apps", "deployments")),
        (false, ask("get", "", "pods").within("other")),
        (false, ask("get", "", "pods").within("")),
    ];
    for (allowed, attributes) in table {
        assert_eq!(authorizer.authorize(&attributes).allowed, allowed, "{attributes:?}");
    }
}

#[test]
fn subjects_are_users_groups_and_service_accounts() {
    let authorizer = authorizer();
    let admin = UserInfo::new("ann", &["admins"]);
    let bot = user("system:serviceaccount:demo:bot");
    let stranger = user("system:serviceaccount:other:bot");
    let table = [
        (true, Attributes::resource(&admin, "delete", "", "nodes")),
        (true, Attributes::path(&admin, "post", "/anything")),
        (true, Attributes::resource(&bot, "get", "", "pods").within("demo")),
        (false, Attributes::resource(&stranger, "get", "", "pods").within("demo")),
        (true, Attributes::path(&stranger, "get", "/debug/pprof")),
        (false, Attributes::path(&stranger, "get", "/metrics")),
        (false, Attributes::path(&stranger, "post", "/version")),
    ];
    for (allowed, attributes) in table {
        assert_eq!(authorizer.authorize(&attributes).allowed, allowed, "{attributes:?}");
    }
}

#[test]
fn a_removed_binding_counts_at_once() {
    let reader = cluster();
    let authorizer = Authorizer::new(Arc::clone(&reader) as Arc<dyn ObjectReader>);
    let jane = user("jane");
    let ask = Attributes::resource(&jane, "get", "", "pods").within("demo");
    assert!(authorizer.authorize(&ask).allowed);
    reader.remove(BINDINGS, "demo", "b");
    assert!(!authorizer.authorize(&ask).allowed);
}

#[test]
fn system_masters_may_do_everything_and_anonymous_may_see_health() {
    let authorizer = authorizer();
    let root = UserInfo::new("kubernetes-admin", &["system:masters"]);
    let nobody = UserInfo::anonymous();
    assert!(
        authorizer
            .authorize(&Attributes::resource(&root, "delete", "", "secrets"))
            .allowed
    );
    assert!(
        authorizer
            .authorize(&Attributes::path(&nobody, "get", "/readyz"))
            .allowed
    );
    assert!(
        !authorizer
            .authorize(&Attributes::path(&nobody, "get", "/version"))
            .allowed
    );
}

#[test]
fn refusals_read_as_upstream_writes_them() {
    let authorizer = authorizer();
    let (jane, lost) = (user("jane"), user("lost"));
    let words = |attributes: &Attributes<'_>| authorizer.require(attributes).unwrap_err().to_string();
    assert_eq!(
        words(&Attributes::resource(&jane, "list", "", "secrets").within("demo")),
        r#"secrets is forbidden: User "jane" cannot list resource "secrets" in API group "" in the namespace "demo""#
    );
    assert_eq!(
        words(
            &Attributes::resource(&jane, "update", "apps", "deployments")
                .within("demo")
                .named("web")
                .with_subresource("status")
        ),
        r#"deployments.apps "web" is forbidden: User "jane" cannot update resource "deployments/status" in API group "apps" in the namespace "demo""#
    );
    assert_eq!(
        words(&Attributes::path(&jane, "get", "/metrics")),
        r#"forbidden: User "jane" cannot get path "/metrics""#
    );
    assert_eq!(
        words(&Attributes::resource(&lost, "list", "", "nodes")),
        r#"nodes is forbidden: User "lost" cannot list resource "nodes" in API group "" at the cluster scope: RBAC: clusterrole.rbac.authorization.k8s.io "gone" not found"#
    );
}

fn nodes_and_pods() -> Authorizer {
    let pod = json!({
        "metadata": {"namespace": "demo", "name": "web"},
        "spec": {
            "nodeName": "n1", "serviceAccountName": "web",
            "imagePullSecrets": [{"name": "pull"}],
            "containers": [{"name": "c", "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "env-secret", "key": "k"}}}],
                            "envFrom": [{"configMapRef": {"name": "env-map"}}]}],
            "volumes": [
                {"name": "s", "secret": {"secretName": "vol-secret"}},
                {"name": "p", "projected": {"sources": [{"configMap": {"name": "kube-root-ca.crt"}}]}},
                {"name": "d", "persistentVolumeClaim": {"claimName": "data"}},
                {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {}}},
            ],
        },
    });
    let mut mirror = pod.clone();
    mirror["metadata"] =
        json!({"namespace": "static", "name": "m", "annotations": {"kubernetes.io/config.mirror": "x"}});
    let reader = FakeReader::new()
        .with("pods", pod)
        .with("pods", mirror)
        .with(
            "persistentvolumes",
            json!({"metadata": {"name": "pv"}, "spec": {"claimRef": {"namespace": "demo", "name": "data"}}}),
        )
        .with("persistentvolumes", json!({"metadata": {"name": "free"}, "spec": {}}));
    Authorizer::new(Arc::new(reader))
}

#[test]
fn a_node_reads_what_its_pods_refer_to_and_nothing_else() {
    let authorizer = nodes_and_pods();
    let (mine, other) = (node("n1"), node("n2"));
    let get = |resource, name| {
        Attributes::resource(&mine, "get", "", resource)
            .within("demo")
            .named(name)
    };
    for attributes in [
        get("secrets", "pull"),
        get("secrets", "env-secret"),
        get("secrets", "vol-secret"),
        get("configmaps", "env-map"),
        get("configmaps", "kube-root-ca.crt"),
        get("persistentvolumeclaims", "data"),
        get("persistentvolumeclaims", "web-scratch"),
        get("persistentvolumes", "pv").within(""),
        get("serviceaccounts", "web"),
        get("pods", "web"),
        Attributes {
            verb: "watch",
            ..get("secrets", "pull")
        },
        Attributes {
            verb: "create",
            ..get("serviceaccounts", "web").with_subresource("token")
        },
    ] {
        assert!(authorizer.authorize(&attributes).allowed, "{attributes:?}");
        let foreign = Attributes {
            user: &other,
            ..attributes
        };
        let refusal = authorizer.authorize(&foreign);
        assert!(!refusal.allowed, "{foreign:?}");
        assert_eq!(
            refusal.reason,
            "no relationship found between node 'n2' and this object"
        );
    }
    for attributes in [
        get("secrets", "unrelated"),
        get("secrets", ""),
        get("persistentvolumes", "free").within(""),
        get("secrets", "vol-secret").within("static"),
        Attributes {
            verb: "update",
            ..get("secrets", "pull")
        },
        Attributes {
            verb: "create",
            ..get("serviceaccounts", "default").with_subresource("token")
        },
    ] {
        assert!(!authorizer.authorize(&attributes).allowed, "{attributes:?}");
    }
}

#[test]
fn a_node_acts_on_its_own_objects() {
    let authorizer = nodes_and_pods();
    let me = node("n1");
    let ask = |verb, group, resource| Attributes::resource(&me, verb, group, resource);
    let lease = |verb| ask(verb, "coordination.k8s.io", "leases").within("kube-node-lease");
    let bound = Attributes {
        field_selector: "spec.nodeName=n1",
        ..ask("watch", "", "pods")
    };
    let table = [
        (true, ask("get", "", "nodes").named("n1")),
        (false, ask("get", "", "nodes").named("n2")),
        (false, ask("list", "", "nodes")),
        (true, ask("create", "", "nodes")),
        (true, ask("patch", "", "nodes").named("n1").with_subresource("status")),
        (false, ask("delete", "", "nodes").named("n1")),
        (true, lease("create")),
        (true, lease("update").named("n1")),
        (false, lease("update").named("n2")),
        (false, lease("list").named("n1")),
        (false, lease("update").named("n1").within("kube-system")),
        (true, ask("get", "storage.k8s.io", "csinodes").named("n1")),
        (false, ask("get", "storage.k8s.io", "csinodes").named("n2")),
        (true, bound),
        (
            false,
            Attributes {
                field_selector: "spec.nodeName=n2",
                ..bound
            },
        ),
        (
            false,
            Attributes {
                field_selector: "spec.nodeName!=n1",
                ..bound
            },
        ),
        (false, ask("list", "", "pods")),
        (
            true,
            ask("update", "", "pods")
                .with_subresource("status")
                .within("demo")
                .named("web"),
        ),
        (true, ask("create", "", "events").within("demo")),
        (false, ask("delete", "", "events").within("demo").named("e")),
        (true, ask("list", "", "services")),
        (false, ask("update", "", "services").within("demo").named("s")),
        (true, ask("create", "certificates.k8s.io", "certificatesigningrequests")),
        (true, ask("list", "node.k8s.io", "runtimeclasses")),
    ];
    for (allowed, attributes) in table {
        assert_eq!(authorizer.authorize(&attributes).allowed, allowed, "{attributes:?}");
    }
}

#[test]
fn a_node_name_without_the_nodes_group_is_no_node() {
    let authorizer = nodes_and_pods();
    let fake = user("system:node:n1");
    assert!(
        !authorizer
            .authorize(&Attributes::resource(&fake, "get", "", "nodes").named("n1"))
            .allowed
    );
}

#[test]
fn nobody_grants_what_they_do_not_hold() {
    let reader = cluster();
    reader.put(
        ROLES,
        role(
            "demo",
            "writer",
            json!([{"verbs": ["create"], "apiGroups": [""], "resources": ["pods"]}]),
        ),
    );
    let authorizer = Authorizer::new(reader);
    let jane = user("jane");
    let held = role(
        "demo",
        "new",
        json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]),
    );
    let more = role(
        "demo",
        "new",
        json!([{"verbs": ["get", "create", "delete"], "apiGroups": [""], "resources": ["pods"]}]),
    );
    let check = |user: &UserInfo, object, old| authorizer.check_escalation(user, "roles", "demo", object, old);
    check(&jane, &held, None).unwrap();
    check(&jane, &more, Some(&more)).unwrap();
    check(&UserInfo::new("ann", &["admins"]), &more, None).unwrap();
    assert_eq!(
        check(&jane, &more, Some(&held)).unwrap_err().to_string(),
        "roles.rbac.authorization.k8s.io \"new\" is forbidden: user \"jane\" (groups=[\"system:authenticated\"]) is attempting to grant \
         RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"create\" \"delete\"]}"
    );

    let bind = |user: &UserInfo, role: &str| {
        let object = binding("demo", "x", ("Role", role), json!({"kind": "User", "name": "joe"}));
        authorizer.check_escalation(user, "rolebindings", "demo", &object, None)
    };
    bind(&jane, "reader").unwrap();
    assert!(bind(&jane, "writer").is_err());
    assert!(bind(&jane, "no-such-role").is_err());
    bind(&UserInfo::new("ann", &["admins"]), "writer").unwrap();
}

#[test]
fn reviews_answer_for_others_and_for_oneself() {
    let authorizer = authorizer();
    let jane = user("jane");
    let ask =
        |resource: &str, spec: serde_json::Value| review(&authorizer, resource, "demo", &jane, json!({"spec": spec}));
    let pods = json!({"namespace": "demo", "verb": "get", "resource": "pods"});
    let own = ask("selfsubjectaccessreviews", json!({"resourceAttributes": pods})).unwrap();
    assert_eq!(
        own["status"],
        json!({"allowed": true, "reason": r#"RBAC: allowed by RoleBinding "b/demo" of Role "reader" to User "jane""#})
    );
    let other = ask(
        "subjectaccessreviews",
        json!({"resourceAttributes": pods, "user": "joe"}),
    )
    .unwrap();
    assert_eq!(other["status"], json!({"allowed": false}));
    assert!(ask("subjectaccessreviews", json!({"resourceAttributes": pods})).is_err());
    assert!(ask("selfsubjectaccessreviews", json!({})).is_err());
    assert!(
        ask(
            "localsubjectaccessreviews",
            json!({"resourceAttributes": {"namespace": "x"}, "user": "joe"})
        )
        .is_err()
    );
    let rules = ask("selfsubjectrulesreviews", json!({"namespace": "demo"})).unwrap();
    assert_eq!(
        rules["status"]["resourceRules"][0]["resources"],
        json!(["pods", "pods/log"])
    );
    assert_eq!(
        rules["status"]["nonResourceRules"][0]["nonResourceURLs"],
        json!(["/version", "/debug/*"])
    );
    assert_eq!(rules["status"]["incomplete"], false);
}
