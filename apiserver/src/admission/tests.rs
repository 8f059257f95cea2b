use serde_json::json;
use timonel_api::resources::by_plural;
use timonel_client::{SeededRng, SystemClock};

use super::*;
use crate::authz::fake::FakeReader;

/// One request of a test; the chain completes it and then judges it.
struct Ask {
    operation: Operation,
    resource: (&'static str, &'static str),
    subresource: Option<&'static str>,
    name: &'static str,
    user: UserInfo,
    object: Option<Value>,
    old: Option<Value>,
}

fn create(resource: (&'static str, &'static str), object: Value) -> Ask {
    Ask {
        operation: Operation::Create,
        resource,
        subresource: None,
        name: "",
        user: UserInfo::new("jane", &["system:masters"]),
        object: Some(object),
        old: None,
    }
}

fn update(resource: (&'static str, &'static str), name: &'static str, old: Value, new: Value) -> Ask {
    Ask {
        operation: Operation::Update,
        name,
        old: Some(old),
        ..create(resource, new)
    }
}

fn delete(resource: (&'static str, &'static str), name: &'static str) -> Ask {
    Ask {
        operation: Operation::Delete,
        name,
        object: None,
        ..create(resource, Value::Null)
    }
}

impl Ask {
    fn by(self, user: &str, groups: &[&str]) -> Self {
        Self {
            user: UserInfo::new(user, groups),
            ..self
        }
    }

    fn by_node(self, node: &str) -> Self {
        self.by(&format!("system:node:{node}"), &["system:nodes"])
    }

    fn sub(self, subresource: &'static str) -> Self {
        Self {
            subresource: Some(subresource),
            ..self
        }
    }
}

const PODS: (&str, &str) = ("", "pods");
const NODES: (&str, &str) = ("", "nodes");

fn reader() -> FakeReader {
    FakeReader::new()
        .with(
            "namespaces",
            json!({"metadata": {"name": "demo"}, "status": {"phase": "Active"}}),
        )
        .with(
            "namespaces",
            json!({"metadata": {"name": "dying"}, "status": {"phase": "Terminating"}}),
        )
        .with(
            "serviceaccounts",
            json!({"metadata": {"namespace": "demo", "name": "default"}}),
        )
        .with(
            "serviceaccounts",
            json!({"metadata": {"namespace": "demo", "name": "quiet"}, "automountServiceAccountToken": false,
                   "imagePullSecrets": [{"name": "pull"}]}),
        )
}

fn chain(reader: FakeReader) -> Admission {
    chain_over(Arc::new(reader))
}

fn chain_over(reader: Arc<FakeReader>) -> Admission {
    Admission::new(
        AdmissionConfig::default(),
        reader,
        Arc::new(SystemClock),
        Arc::new(SeededRng::new(1)),
    )
}

async fn admit_with_permit(chain: &Admission, ask: Ask) -> Result<(Value, Permit), ApiError> {
    admit_with_notes(chain, ask, &Notes::default()).await
}

async fn admit_with_notes(chain: &Admission, mut ask: Ask, notes: &Notes) -> Result<(Value, Permit), ApiError> {
    let resource = timonel_api::resources::all()
        .iter()
        .find(|r| (r.group, r.plural) == ask.resource)
        .unwrap();
    let namespace = ask
        .object
        .as_ref()
        .or(ask.old.as_ref())
        .map(|object| text(&object["metadata"]["namespace"]).to_owned());
    let namespace = namespace.unwrap_or_default();
    let mut request = AdmissionRequest {
        operation: ask.operation,
        resource,
        subresource: ask.subresource,
        namespace: if resource.namespaced && namespace.is_empty() {
            "demo"
        } else {
            &namespace
        },
        name: ask.name,
        user: &ask.user,
        object: ask.object.as_mut(),
        old: ask.old.as_ref(),
        dry_run: false,
        now: Timestamp::UNIX_EPOCH,
        notes,
    };
    chain.mutate(&mut request).await?;
    let permit = chain.validate(&request).await?;
    Ok((ask.object.unwrap_or_default(), permit))
}

async fn admit(chain: &Admission, ask: Ask) -> Result<Value, ApiError> {
    admit_with_permit(chain, ask).await.map(|(object, _)| object)
}

async fn refusal(chain: &Admission, ask: Ask) -> String {
    admit(chain, ask).await.unwrap_err().to_string()
}

fn pod(spec: Value) -> Value {
    json!({"metadata": {"name": "p", "namespace": "demo"}, "spec": spec})
}

fn plain_pod() -> Value {
    pod(json!({"containers": [{"name": "c"}]}))
}

#[tokio::test]
async fn nothing_is_made_where_there_is_no_namespace_or_where_it_goes_away() {
    let chain = chain(reader());
    let map = |namespace: &str| json!({"metadata": {"name": "m", "namespace": namespace}});
    admit(&chain, create(("", "configmaps"), map("demo"))).await.unwrap();
    assert_eq!(
        refusal(&chain, create(("", "configmaps"), map("gone"))).await,
        "namespaces \"gone\" not found"
    );
    let error = admit(&chain, create(("", "configmaps"), map("dying")))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "configmaps \"m\" is forbidden: unable to create new content in namespace dying because it is being terminated"
    );
    assert_eq!(
        error.to_status().body["details"]["causes"][0]["reason"],
        "NamespaceTerminating"
    );
    admit(&chain, update(("", "configmaps"), "m", map("dying"), map("dying")))
        .await
        .unwrap();
}

#[tokio::test]
async fn three_namespaces_never_go() {
    let chain = chain(reader());
    for name in ["default", "kube-system", "kube-public"] {
        assert_eq!(
            refusal(&chain, delete(("", "namespaces"), name)).await,
            format!("namespaces \"{name}\" is forbidden: this namespace may not be deleted")
        );
    }
    admit(&chain, delete(("", "namespaces"), "demo")).await.unwrap();
}

#[tokio::test]
async fn a_pod_runs_as_the_default_account_and_finds_its_token() {
    let chain = chain(reader());
    let made = admit(&chain, create(PODS, plain_pod())).await.unwrap();
    let spec = &made["spec"];
    assert_eq!(spec["serviceAccountName"], "default");
    let volume = &spec["volumes"][0];
    assert!(text(&volume["name"]).starts_with("kube-api-access-"), "{volume}");
    assert_eq!(
        volume["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"],
        3607
    );
    assert_eq!(
        spec["containers"][0]["volumeMounts"],
        json!([{"name": volume["name"], "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}])
    );
}

#[tokio::test]
async fn a_pod_or_its_account_may_decline_the_token() {
    let chain = chain(reader());
    let quiet = pod(json!({"serviceAccountName": "quiet", "containers": [{"name": "c"}]}));
    let made = admit(&chain, create(PODS, quiet)).await.unwrap();
    assert!(made["spec"]["volumes"].is_null());
    assert_eq!(made["spec"]["imagePullSecrets"], json!([{"name": "pull"}]));
    let declines = pod(json!({"automountServiceAccountToken": false, "containers": [{"name": "c"}]}));
    assert!(admit(&chain, create(PODS, declines)).await.unwrap()["spec"]["volumes"].is_null());
    let own = pod(json!({"containers": [{"name": "c", "volumeMounts": [
        {"name": "mine", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]}]}));
    assert!(admit(&chain, create(PODS, own)).await.unwrap()["spec"]["volumes"].is_null());
}

#[tokio::test]
async fn a_pod_whose_account_does_not_exist_is_refused() {
    let lost = pod(json!({"serviceAccountName": "lost", "containers": []}));
    assert_eq!(
        refusal(&chain(reader()), create(PODS, lost)).await,
        "pods \"p\" is forbidden: error looking up service account demo/lost: serviceaccount \"lost\" not found"
    );
}

#[tokio::test]
async fn a_priority_class_becomes_a_number() {
    let classes = "priorityclasses.scheduling.k8s.io";
    let with_high = || {
        reader().with(
            classes,
            json!({"metadata": {"name": "high"}, "value": 1000, "preemptionPolicy": "Never"}),
        )
    };
    let chain_one = chain(with_high());
    let named = |class: &str| pod(json!({"priorityClassName": class, "containers": []}));
    let made = admit(&chain_one, create(PODS, named("high"))).await.unwrap();
    assert_eq!(
        (&made["spec"]["priority"], &made["spec"]["preemptionPolicy"]),
        (&json!(1000), &json!("Never"))
    );
    let made = admit(&chain_one, create(PODS, plain_pod())).await.unwrap();
    assert_eq!(made["spec"]["priority"], 0);
    assert_eq!(
        refusal(&chain_one, create(PODS, named("none"))).await,
        "pods \"p\" is forbidden: no PriorityClass with name none was found"
    );
    let by_hand = pod(json!({"priority": 7, "containers": []}));
    assert!(
        refusal(&chain_one, create(PODS, by_hand))
            .await
            .contains("must not be provided in pod spec")
    );

    let with_default = with_high().with(
        classes,
        json!({"metadata": {"name": "usual"}, "value": 5, "globalDefault": true}),
    );
    let chain_two = chain(with_default);
    let made = admit(&chain_two, create(PODS, plain_pod())).await.unwrap();
    assert_eq!(
        (&made["spec"]["priority"], &made["spec"]["priorityClassName"]),
        (&json!(5), &json!("usual"))
    );
    let second = json!({"metadata": {"name": "other"}, "value": 6, "globalDefault": true});
    assert!(
        refusal(&chain_two, create(("scheduling.k8s.io", "priorityclasses"), second))
            .await
            .contains("PriorityClass usual is already marked as default")
    );
    let kept = admit(&chain_two, update(PODS, "p", made.clone(), plain_pod()))
        .await
        .unwrap();
    assert_eq!(kept["spec"]["priority"], 5);
}

#[tokio::test]
async fn pods_tolerate_a_lost_node_for_a_while_unless_they_say_otherwise() {
    let chain = chain(reader());
    let made = admit(&chain, create(PODS, plain_pod())).await.unwrap();
    assert_eq!(
        made["spec"]["tolerations"],
        json!([
            {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
            {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
        ])
    );
    let stubborn = pod(json!({"containers": [], "tolerations": [{"operator": "Exists"}]}));
    let made = admit(&chain, create(PODS, stubborn)).await.unwrap();
    assert_eq!(made["spec"]["tolerations"], json!([{"operator": "Exists"}]));
}

#[tokio::test]
async fn a_new_node_is_tainted_once() {
    let chain = chain(reader());
    let taint = json!({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"});
    let made = admit(&chain, create(NODES, json!({"metadata": {"name": "n1"}, "spec": {}})))
        .await
        .unwrap();
    assert_eq!(made["spec"]["taints"], json!([taint]));
    let again = json!({"metadata": {"name": "n1"}, "spec": {"taints": [taint]}});
    assert_eq!(
        admit(&chain, create(NODES, again)).await.unwrap()["spec"]["taints"],
        json!([taint])
    );
}

#[tokio::test]
async fn a_node_writes_its_own_node_and_only_its_own_labels() {
    let chain = chain(reader());
    let node = |labels: Value| json!({"metadata": {"name": "n1", "labels": labels}, "spec": {}});
    let plain = json!({"kubernetes.io/hostname": "n1", "node.kubernetes.io/x": "y", "team": "a"});
    admit(&chain, create(NODES, node(plain.clone())).by_node("n1"))
        .await
        .unwrap();
    assert!(
        refusal(&chain, create(NODES, node(plain.clone())).by_node("n2"))
            .await
            .contains("node \"n2\" is not allowed to modify node \"n1\"")
    );
    for label in [
        "node-role.kubernetes.io/control-plane",
        "x.node-restriction.kubernetes.io/a",
        "k8s.io/b",
    ] {
        let words = refusal(&chain, create(NODES, node(json!({label: ""}))).by_node("n1")).await;
        assert!(
            words.contains(&format!("is not allowed to set the following labels: {label}")),
            "{words}"
        );
    }
    let tainted = json!({"metadata": {"name": "n1"}, "spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}});
    let bare = json!({"metadata": {"name": "n1"}, "spec": {}});
    let words = refusal(&chain, update(NODES, "n1", tainted, bare.clone()).by_node("n1")).await;
    assert!(words.contains("is not allowed to modify taints"), "{words}");
    admit(
        &chain,
        update(NODES, "n1", bare.clone(), bare).sub("status").by_node("n1"),
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn a_node_touches_only_pods_that_are_bound_to_it() {
    let bound = json!({"metadata": {"name": "p", "namespace": "demo", "uid": "u"}, "spec": {"nodeName": "n1"}});
    let chain = chain(reader().with("pods", bound.clone()));
    let status = |user| {
        update(PODS, "p", bound.clone(), bound.clone())
            .sub("status")
            .by_node(user)
    };
    admit(&chain, status("n1")).await.unwrap();
    assert!(admit(&chain, status("n2")).await.is_err());
    let remove = |user| Ask {
        old: Some(bound.clone()),
        ..delete(PODS, "p").by_node(user)
    };
    admit(&chain, remove("n1")).await.unwrap();
    assert!(
        refusal(&chain, remove("n2"))
            .await
            .contains("can only delete pods with spec.nodeName set to itself")
    );
    assert!(
        refusal(&chain, create(PODS, plain_pod()).by_node("n1"))
            .await
            .contains("node \"n1\" can only create mirror pods")
    );
}

#[tokio::test]
async fn a_node_makes_mirror_pods_that_refer_to_nothing() {
    let chain = chain(reader());
    let mirror = |extra: Value| {
        let mut pod = json!({
            "metadata": {"name": "m", "namespace": "demo", "annotations": {"kubernetes.io/config.mirror": "x"},
                         "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "u", "controller": true}]},
            "spec": {"nodeName": "n1", "containers": [{"name": "c"}]},
        });
        for (key, value) in extra.as_object().unwrap() {
            pod["spec"][key] = value.clone();
        }
        create(PODS, pod)
    };
    admit(&chain, mirror(json!({})).by_node("n1")).await.unwrap();
    for extra in [
        json!({"nodeName": "n2"}),
        json!({"serviceAccountName": "default"}),
        json!({"volumes": [{"name": "v", "secret": {"secretName": "s"}}]}),
        json!({"volumes": [{"name": "v", "configMap": {"name": "s"}}]}),
        json!({"imagePullSecrets": [{"name": "s"}]}),
    ] {
        assert!(
            admit(&chain, mirror(extra.clone()).by_node("n1")).await.is_err(),
            "{extra}"
        );
    }
}

#[tokio::test]
async fn a_node_asks_for_tokens_of_its_pods_only() {
    let bound = json!({"metadata": {"name": "p", "namespace": "demo", "uid": "u"}, "spec": {"nodeName": "n1"}});
    let chain = chain(reader().with("pods", bound));
    let ask = |reference: Value, node| {
        let request = json!({"metadata": {"namespace": "demo"}, "spec": {"boundObjectRef": reference}});
        Ask {
            name: "default",
            ..create(("", "serviceaccounts"), request).sub("token").by_node(node)
        }
    };
    let good = json!({"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": "u"});
    admit(&chain, ask(good.clone(), "n1")).await.unwrap();
    assert!(admit(&chain, ask(good, "n2")).await.is_err());
    assert!(admit(&chain, ask(Value::Null, "n1")).await.is_err());
    let stale = json!({"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": "v"});
    assert!(admit(&chain, ask(stale, "n1")).await.is_err());
}

#[tokio::test]
async fn leases_and_csinodes_carry_their_nodes_name() {
    let chain = chain(reader().with("namespaces", json!({"metadata": {"name": "kube-node-lease"}})));
    let lease = |name: &str| {
        create(
            ("coordination.k8s.io", "leases"),
            json!({"metadata": {"name": name, "namespace": "kube-node-lease"}}),
        )
    };
    admit(&chain, lease("n1").by_node("n1")).await.unwrap();
    assert!(admit(&chain, lease("n1").by_node("n2")).await.is_err());
}

#[tokio::test]
async fn no_signing_request_makes_an_administrator() {
    use base64::Engine;
    let request = |organization: &str| {
        let mut params = rcgen::CertificateParams::default();
        params
            .distinguished_name
            .push(rcgen::DnType::OrganizationName, organization);
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = params.serialize_request(&key).unwrap().pem().unwrap();
        let body = base64::engine::general_purpose::STANDARD.encode(pem);
        create(
            ("certificates.k8s.io", "certificatesigningrequests"),
            json!({"metadata": {"name": "c"}, "spec": {"signerName": "kubernetes.io/kube-apiserver-client", "request": body}}),
        )
    };
    let chain = chain(reader());
    admit(&chain, request("dev")).await.unwrap();
    assert!(
        refusal(&chain, request("system:masters"))
            .await
            .contains("use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed")
    );
}

#[tokio::test]
async fn approving_and_signing_need_their_verbs_on_the_signer() {
    let rbac = reader()
        .with(
            "clusterroles.rbac.authorization.k8s.io",
            json!({"metadata": {"name": "approver"}, "rules": [{"verbs": ["approve"], "apiGroups": ["certificates.k8s.io"],
                   "resources": ["signers"], "resourceNames": ["example.com/*"]}]}),
        )
        .with(
            "clusterrolebindings.rbac.authorization.k8s.io",
            json!({"metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": "approver"},
                   "subjects": [{"kind": "User", "name": "ann"}]}),
        );
    let chain = chain(rbac);
    let csr = |status: Value| json!({"metadata": {"name": "c"}, "spec": {"signerName": "example.com/mine"}, "status": status});
    let ask = |user: &str, subresource, status| {
        update(
            ("certificates.k8s.io", "certificatesigningrequests"),
            "c",
            csr(Value::Null),
            csr(status),
        )
        .sub(subresource)
        .by(user, &[])
    };
    admit(&chain, ask("ann", "approval", json!({}))).await.unwrap();
    assert!(admit(&chain, ask("joe", "approval", json!({}))).await.is_err());
    assert!(
        admit(&chain, ask("ann", "status", json!({"certificate": "x"})))
            .await
            .is_err()
    );
    admit(&chain, ask("ann", "status", Value::Null)).await.unwrap();
}

#[tokio::test]
async fn claims_and_ingresses_get_the_default_class_and_claims_their_finalizer() {
    let yes = json!({"storageclass.kubernetes.io/is-default-class": "true"});
    let classes = reader()
        .with(
            "storageclasses.storage.k8s.io",
            json!({"metadata": {"name": "old", "creationTimestamp": "2020-01-01T00:00:00Z", "annotations": yes}}),
        )
        .with(
            "storageclasses.storage.k8s.io",
            json!({"metadata": {"name": "new", "creationTimestamp": "2021-01-01T00:00:00Z", "annotations": yes}}),
        )
        .with(
            "ingressclasses.networking.k8s.io",
            json!({"metadata": {"name": "web", "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}}}),
        );
    let chain = chain(classes);
    let claim = |spec: Value| {
        create(
            ("", "persistentvolumeclaims"),
            json!({"metadata": {"name": "c"}, "spec": spec}),
        )
    };
    let made = admit(&chain, claim(json!({}))).await.unwrap();
    assert_eq!(made["spec"]["storageClassName"], "new");
    assert_eq!(made["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
    let made = admit(&chain, claim(json!({"storageClassName": ""}))).await.unwrap();
    assert_eq!(made["spec"]["storageClassName"], "", "an empty class is a choice");
    let ingress = |spec| {
        create(
            ("networking.k8s.io", "ingresses"),
            json!({"metadata": {"name": "i"}, "spec": spec}),
        )
    };
    let made = admit(&chain, ingress(json!({}))).await.unwrap();
    assert_eq!(made["spec"]["ingressClassName"], "web");
    let made = admit(&chain, ingress(json!({"ingressClassName": "mine"})))
        .await
        .unwrap();
    assert_eq!(made["spec"]["ingressClassName"], "mine");
}

#[tokio::test]
async fn a_runtime_class_adds_overhead_and_must_exist() {
    let chain = chain(reader().with(
        "runtimeclasses.node.k8s.io",
        json!({"metadata": {"name": "vm"}, "overhead": {"podFixed": {"cpu": "250m"}},
               "scheduling": {"nodeSelector": {"vm": "yes"}, "tolerations": [{"key": "vm", "operator": "Exists"}]}}),
    ));
    let with = |spec: Value| create(PODS, pod(spec));
    let made = admit(&chain, with(json!({"runtimeClassName": "vm", "containers": []})))
        .await
        .unwrap();
    assert_eq!(made["spec"]["overhead"], json!({"cpu": "250m"}));
    assert_eq!(made["spec"]["nodeSelector"], json!({"vm": "yes"}));
    assert!(
        refusal(&chain, with(json!({"runtimeClassName": "none", "containers": []})))
            .await
            .contains("RuntimeClass \"none\" not found")
    );
    assert!(
        admit(&chain, with(json!({"overhead": {"cpu": "1"}, "containers": []})))
            .await
            .is_err()
    );
    let clash = json!({"runtimeClassName": "vm", "nodeSelector": {"vm": "no"}, "containers": []});
    assert!(admit(&chain, with(clash)).await.is_err());
}

#[tokio::test]
async fn limit_ranges_fill_in_and_hold() {
    let chain = chain(reader().with(
        "limitranges",
        json!({"metadata": {"name": "l", "namespace": "demo"}, "spec": {"limits": [
            {"type": "Container", "default": {"cpu": "500m"}, "defaultRequest": {"cpu": "100m"}, "max": {"cpu": "1"}, "min": {"cpu": "50m"}},
            {"type": "Pod", "max": {"cpu": "1500m"}},
        ]}}),
    ));
    let with = |limits: &[&str]| {
        let containers: Vec<Value> = limits
            .iter()
            .map(|cpu| match *cpu {
                "" => json!({"name": "c"}),
                cpu => json!({"name": "c", "resources": {"requests": {"cpu": cpu}, "limits": {"cpu": cpu}}}),
            })
            .collect();
        create(PODS, pod(json!({"containers": containers})))
    };
    let made = admit(&chain, with(&[""])).await.unwrap();
    assert_eq!(
        made["spec"]["containers"][0]["resources"],
        json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "500m"}})
    );
    assert_eq!(
        made["metadata"]["annotations"]["kubernetes.io/limit-ranger"],
        "LimitRanger plugin set: cpu request for container c; cpu limit for container c"
    );
    admit(&chain, with(&["1", "500m"])).await.unwrap();
    let words = refusal(&chain, with(&["2"])).await;
    assert!(
        words.contains("maximum cpu usage per Container is 1, but limit is 2"),
        "{words}"
    );
    let words = refusal(&chain, with(&["10m"])).await;
    assert!(
        words.contains("minimum cpu usage per Container is 50m, but request is 10m"),
        "{words}"
    );
    let words = refusal(&chain, with(&["1", "1"])).await;
    assert!(
        words.contains("maximum cpu usage per Pod is 1500m, but limit is 2"),
        "{words}"
    );
}

fn quota(hard: Value, scopes: Value) -> Value {
    json!({"metadata": {"name": "q", "namespace": "demo"}, "spec": {"hard": hard, "scopes": scopes}})
}

#[tokio::test]
async fn a_quota_refuses_what_would_exceed_it() {
    let present = json!({"metadata": {"name": "one", "namespace": "demo"},
                         "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "300m"}}}]}});
    let chain = chain(
        reader()
            .with(
                "resourcequotas",
                quota(json!({"pods": "2", "requests.cpu": "500m"}), Value::Null),
            )
            .with("pods", present),
    );
    let asks = |cpu: &str| {
        create(
            PODS,
            pod(json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]})),
        )
    };
    admit(&chain, asks("200m")).await.unwrap();
    assert_eq!(
        refusal(&chain, asks("201m")).await,
        "pods \"p\" is forbidden: exceeded quota: q, requested: requests.cpu=201m, used: requests.cpu=300m, limited: requests.cpu=500m"
    );
    assert_eq!(
        refusal(&chain, create(PODS, plain_pod())).await,
        "pods \"p\" is forbidden: failed quota: q: must specify requests.cpu for: c"
    );
}

#[tokio::test]
async fn a_quota_is_exact_when_many_ask_at_once() {
    let reader = Arc::new(reader().with("resourcequotas", quota(json!({"count/configmaps": "3"}), Value::Null)));
    let chain = Arc::new(chain_over(Arc::clone(&reader)));
    let writes = (0..20).map(|number| {
        let (chain, reader) = (Arc::clone(&chain), Arc::clone(&reader));
        tokio::spawn(async move {
            let object = json!({"metadata": {"name": format!("m{number}"), "namespace": "demo"}});
            let (object, permit) = admit_with_permit(&chain, create(("", "configmaps"), object)).await?;
            tokio::task::yield_now().await;
            reader.put("configmaps", object);
            drop(permit);
            Ok::<(), ApiError>(())
        })
    });
    let answers = futures::future::join_all(writes).await;
    assert_eq!(
        answers
            .into_iter()
            .filter(|answer| answer.as_ref().unwrap().is_ok())
            .count(),
        3
    );
}

#[tokio::test]
async fn a_quota_about_classes_counts_only_their_pods_and_claims() {
    let select = |name: &str, scope: &str, values: Value, hard: Value| {
        json!({"metadata": {"name": name, "namespace": "demo"}, "spec": {"hard": hard, "scopeSelector": {"matchExpressions": [
            {"scopeName": scope, "operator": "In", "values": values}]}}})
    };
    let high = select("high", "PriorityClass", json!(["high"]), json!({"pods": "0"}));
    let fast = json!({"persistentvolumeclaims": "0"});
    let fast = select("fast", "VolumeAttributesClass", json!(["fast"]), fast);
    let chain = chain(reader().with("resourcequotas", high).with("resourcequotas", fast).with(
        "priorityclasses.scheduling.k8s.io",
        json!({"metadata": {"name": "high"}, "value": 5}),
    ));
    admit(&chain, create(PODS, plain_pod())).await.unwrap();
    let mut high = plain_pod();
    high["spec"]["priorityClassName"] = json!("high");
    let words = refusal(&chain, create(PODS, high)).await;
    assert!(words.contains("exceeded quota: high, requested: pods=1"), "{words}");
    let claim = |class: Value| {
        let spec = json!({"volumeAttributesClassName": class, "resources": {"requests": {"storage": "1Gi"}}});
        create(
            ("", "persistentvolumeclaims"),
            json!({"metadata": {"name": "c", "namespace": "demo"}, "spec": spec}),
        )
    };
    admit(&chain, claim(Value::Null)).await.unwrap();
    let words = refusal(&chain, claim(json!("fast"))).await;
    assert!(words.contains("exceeded quota: fast"), "{words}");
}

#[tokio::test]
async fn a_quota_with_scopes_counts_only_what_is_in_scope() {
    let chain = chain(reader().with("resourcequotas", quota(json!({"pods": "0"}), json!(["BestEffort"]))));
    assert!(admit(&chain, create(PODS, plain_pod())).await.is_err());
    let burstable = pod(json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]}));
    admit(&chain, create(PODS, burstable)).await.unwrap();
}

#[tokio::test]
async fn a_namespace_that_enforces_a_standard_takes_only_pods_that_keep_to_it() {
    let labelled = |name: &str, level: &str| json!({"metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": level}}});
    let account = |namespace: &str| json!({"metadata": {"namespace": namespace, "name": "default"}});
    let chain = chain(
        reader()
            .with("namespaces", labelled("strict", "restricted"))
            .with("namespaces", labelled("base", "baseline"))
            .with("serviceaccounts", account("strict"))
            .with("serviceaccounts", account("base")),
    );
    let pod = |namespace: &str, spec: Value| {
        create(
            PODS,
            json!({"metadata": {"name": "p", "namespace": namespace}, "spec": spec}),
        )
    };
    let plain = || json!({"containers": [{"name": "c"}]});
    admit(&chain, pod("demo", json!({"hostPID": true, "containers": []})))
        .await
        .unwrap();
    admit(&chain, pod("base", plain())).await.unwrap();
    assert_eq!(
        refusal(&chain, pod("strict", plain())).await,
        "pods \"p\" is forbidden: violates PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false \
         (container \"c\" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container \"c\" must \
         set securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod or container \"c\" must set \
         securityContext.runAsNonRoot=true), seccompProfile (pod or container \"c\" must set \
         securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
    );
    let good = json!({
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "c", "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
    });
    admit(&chain, pod("strict", good)).await.unwrap();
    for (spec, words) in [
        (
            json!({"hostNetwork": true, "containers": []}),
            "host namespaces (hostNetwork=true)",
        ),
        (
            json!({"containers": [{"name": "c", "securityContext": {"privileged": true}}]}),
            "privileged (container \"c\" must not set securityContext.privileged=true)",
        ),
        (
            json!({"containers": [{"name": "c", "securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}]}),
            "non-default capabilities",
        ),
        (
            json!({"containers": [], "volumes": [{"name": "v", "hostPath": {"path": "/"}}]}),
            "hostPath volumes (volume \"v\")",
        ),
        (
            json!({"containers": [{"name": "c", "ports": [{"hostPort": 80}]}]}),
            "hostPort",
        ),
        (
            json!({"containers": [], "securityContext": {"sysctls": [{"name": "kernel.msgmax"}]}}),
            "forbidden sysctls (kernel.msgmax)",
        ),
    ] {
        let refused = refusal(&chain, pod("base", spec)).await;
        assert!(refused.contains(words), "{refused}");
    }
    let nonsense = refusal(&chain, create(("", "namespaces"), labelled("n", "paranoid"))).await;
    assert!(
        nonsense.contains("must be one of privileged, baseline, restricted"),
        "{nonsense}"
    );
}

#[tokio::test]
async fn templates_are_warned_of_and_audited_but_never_refused() {
    let labels = json!({
        "pod-security.kubernetes.io/enforce": "baseline",
        "pod-security.kubernetes.io/audit": "restricted",
        "pod-security.kubernetes.io/audit-version": "v1.20",
    });
    let chain = chain(
        reader()
            .with("namespaces", json!({"metadata": {"name": "base", "labels": labels}}))
            .with(
                "serviceaccounts",
                json!({"metadata": {"namespace": "base", "name": "default"}}),
            ),
    );
    let spec = json!({"hostPID": true, "containers": [{"name": "c"}]});
    let deployment = json!({"metadata": {"name": "d", "namespace": "base"}, "spec": {"template": {"spec": spec}}});
    let notes = Notes::default();
    drop(
        admit_with_notes(&chain, create(("apps", "deployments"), deployment), &notes)
            .await
            .unwrap(),
    );
    assert_eq!(
        notes.take_warnings(),
        ["would violate PodSecurity \"baseline:latest\": host namespaces (hostPID=true)"]
    );
    let audited = notes.annotations();
    assert!(
        audited["pod-security.kubernetes.io/audit-violations"].starts_with(
            "would violate PodSecurity \"restricted:v1.20\": host namespaces (hostPID=true), allowPrivilege"
        ),
        "{audited:?}"
    );
    let notes = Notes::default();
    let pod = create(
        PODS,
        json!({"metadata": {"name": "p", "namespace": "base"}, "spec": spec}),
    );
    admit_with_notes(&chain, pod, &notes).await.unwrap_err();
    assert_eq!(notes.take_warnings(), Vec::<String>::new(), "a refusal says it all");
    assert_eq!(
        notes.annotations()["pod-security.kubernetes.io/enforce-policy"],
        "baseline:latest"
    );
}

#[tokio::test]
async fn a_stricter_label_warns_of_the_pods_that_are_there() {
    let there = |name: &str, spec: Value| json!({"metadata": {"name": name, "namespace": "demo"}, "spec": spec});
    let chain = chain(
        reader()
            .with("pods", there("b", json!({"hostPID": true})))
            .with("pods", there("a", json!({"hostPID": true})))
            .with(
                "pods",
                there(
                    "c",
                    json!({"hostNetwork": true, "containers": [{"ports": [{"hostPort": 1}]}]}),
                ),
            )
            .with("pods", there("fine", json!({}))),
    );
    let namespace =
        |level: &str| json!({"metadata": {"name": "demo", "labels": {"pod-security.kubernetes.io/enforce": level}}});
    let warned = async |old: Value, new: Value| {
        let notes = Notes::default();
        let ask = update(("", "namespaces"), "demo", old, new);
        drop(admit_with_notes(&chain, ask, &notes).await.unwrap());
        notes.take_warnings()
    };
    let plain = json!({"metadata": {"name": "demo"}});
    assert_eq!(
        warned(plain.clone(), namespace("baseline")).await,
        [
            "existing pods in namespace \"demo\" violate the new PodSecurity enforce level \"baseline:latest\"",
            "a (and 1 other pod): host namespaces",
            "c: host namespaces, hostPort",
        ]
    );
    assert!(warned(namespace("restricted"), namespace("baseline")).await.is_empty());
    assert!(warned(namespace("baseline"), plain).await.is_empty());
    assert!(
        warned(namespace("paranoid"), namespace("paranoid")).await.is_empty(),
        "it already was nonsense"
    );
}

#[tokio::test]
async fn roles_grant_only_what_their_writer_holds() {
    let chain = chain(reader());
    let role = || {
        create(
            ("rbac.authorization.k8s.io", "roles"),
            json!({"metadata": {"name": "r", "namespace": "demo"}, "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]}),
        )
    };
    admit(&chain, role()).await.unwrap();
    let words = refusal(&chain, role().by("joe", &[])).await;
    assert!(
        words.contains("is attempting to grant RBAC permissions not currently held"),
        "{words}"
    );
}

#[test]
fn every_resource_that_a_plugin_names_exists() {
    for (group, version, plural) in [
        ("", "v1", "pods"),
        ("storage.k8s.io", "v1", "volumeattributesclasses"),
        ("scheduling.k8s.io", "v1", "priorityclasses"),
        ("certificates.k8s.io", "v1", "certificatesigningrequests"),
        ("coordination.k8s.io", "v1", "leases"),
    ] {
        assert!(by_plural(group, version, plural).is_some(), "{plural}");
    }
}

#[tokio::test]
async fn a_claim_grows_when_it_is_bound_and_its_class_allows_it() {
    let classes = reader()
        .with(
            "storageclasses.storage.k8s.io",
            json!({"metadata": {"name": "grows"}, "allowVolumeExpansion": true}),
        )
        .with("storageclasses.storage.k8s.io", json!({"metadata": {"name": "stays"}}));
    let chain = chain(classes);
    let claim = |class: &str, size: &str, phase: &str| {
        json!({"metadata": {"name": "c", "namespace": "demo"}, "status": {"phase": phase},
            "spec": {"storageClassName": class, "resources": {"requests": {"storage": size}}}})
    };
    let ask = |class: &str, phase: &str, size: &str| {
        update(
            ("", "persistentvolumeclaims"),
            "c",
            claim(class, "1Gi", phase),
            claim(class, size, phase),
        )
    };
    admit(&chain, ask("grows", "Bound", "2Gi")).await.unwrap();
    admit(&chain, ask("stays", "Bound", "1024Mi")).await.unwrap();
    let refused = refusal(&chain, ask("grows", "Pending", "2Gi")).await;
    assert!(
        refused.ends_with("Only bound persistent volume claims can be expanded"),
        "{refused}"
    );
    let refused = refusal(&chain, ask("stays", "Bound", "2Gi")).await;
    assert!(
        refused.ends_with("the storageclass that provisions the pvc must support resize"),
        "{refused}"
    );
}
