use expect_test::{Expect, expect};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::policy::Verdict;
use super::*;
use crate::authz::{Attributes, Decision};
use crate::http::{RequestInfo, full};
use crate::identity::UserInfo;

const POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: None, nonResourceURLs: ["/healthz*", "/version"]}
- {level: None, users: ["system:kube-proxy"], verbs: [watch], resources: [{group: "", resources: [endpoints, services]}]}
- level: Metadata
  resources: [{group: "", resources: [secrets, configmaps]}]
- level: Request
  omitManagedFields: true
  omitStages: [ResponseStarted]
  resources: [{group: "", resources: ["pods/status", "*/scale", "nodes/*"]}, {group: apps}]
- {level: RequestResponse, userGroups: [auditors], namespaces: [demo]}
- {level: Metadata, resources: [{group: "", resources: [pods], resourceNames: [web]}]}
- {level: Request, verbs: [delete]}
"#;

fn policy() -> Policy {
    Policy::parse(POLICY.as_bytes()).unwrap()
}

fn decide(method: &str, path: &str, user: &UserInfo) -> Verdict {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let info = RequestInfo::parse(&method.parse().unwrap(), path, query);
    policy().decide(&Attributes::of(&info, user), true)
}

#[test]
fn the_first_rule_that_matches_decides() {
    let (jane, proxy) = (UserInfo::new("jane", &[]), UserInfo::new("system:kube-proxy", &[]));
    let auditor = UserInfo::new("eve", &["auditors"]);
    let level = |method, path, user| decide(method, path, user).level;
    let cases = [
        ("GET", "/healthz/ping", &jane, Level::None),
        ("GET", "/version", &jane, Level::None),
        ("GET", "/version/more", &auditor, Level::None),
        ("GET", "/api/v1/services?watch=1", &proxy, Level::None),
        ("GET", "/api/v1/namespaces/demo/secrets/s", &auditor, Level::Metadata),
        ("PUT", "/api/v1/namespaces/demo/pods/p/status", &jane, Level::Request),
        ("GET", "/api/v1/nodes/n1", &jane, Level::Request),
        ("GET", "/api/v1/nodes/n1/proxy/stats", &jane, Level::Request),
        (
            "GET",
            "/apis/apps/v1/namespaces/a/deployments/d/scale",
            &jane,
            Level::Request,
        ),
        (
            "GET",
            "/api/v1/namespaces/demo/pods/p",
            &auditor,
            Level::RequestResponse,
        ),
        ("GET", "/api/v1/namespaces/other/pods/p", &auditor, Level::None),
        ("GET", "/api/v1/namespaces/other/pods/web", &jane, Level::Metadata),
        ("GET", "/api/v1/namespaces/other/pods/web/log", &jane, Level::None),
        ("DELETE", "/api/v1/namespaces/other/pods/p", &jane, Level::Request),
    ];
    for (method, path, user, expected) in cases {
        assert_eq!(level(method, path, user), expected, "{method} {path} {}", user.username);
    }
    let verdict = decide("GET", "/apis/apps/v1/deployments", &jane);
    assert_eq!(verdict.omit_stages, [Stage::RequestReceived, Stage::ResponseStarted]);
    assert!(verdict.omit_managed_fields);
    assert!(!decide("GET", "/api/v1/secrets", &jane).omit_managed_fields);
}

#[test]
fn rules_about_users_say_nothing_of_strangers() {
    let text =
        b"{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: Metadata, users: [\"\"]}, {level: Request}]}";
    let policy = Policy::parse(text).unwrap();
    let (info, nobody) = (RequestInfo::parse(&http::Method::GET, "/api", ""), UserInfo::default());
    assert_eq!(
        policy.decide(&Attributes::of(&info, &nobody), false).level,
        Level::Request
    );
}

#[track_caller]
fn refused(rules: &str, expected: Expect) {
    let text = format!("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: {rules}\n");
    expected.assert_eq(&Policy::parse(text.as_bytes()).unwrap_err().to_string());
}

#[test]
fn a_policy_that_contradicts_itself_is_refused_with_every_field() {
    refused("[]", expect!["the audit policy has no rules"]);
    refused(
        r#"[{users: [a]}, {level: All, nonResourceURLs: [x, "/a*b"], namespaces: [ns]}, {level: None, omitStages: [Never], resources: [{resourceNames: [nm]}]}]"#,
        expect![[
            r#"the audit policy is invalid: rules[0].level: Required value; rules[1].level: Unsupported value: "All": supported values: "Metadata", "None", "Request", "RequestResponse"; rules[1].nonResourceURLs[0]: Invalid value: "x": non-resource URL rules must begin with a '/' character; rules[1].nonResourceURLs[1]: Invalid value: "/a*b": non-resource URL wildcards '*' must be the final character of the rule; rules[1].nonResourceURLs: Invalid value: "x,/a*b": rules cannot apply to both regular resources and non-resource URLs; rules[2].resources[0].resourceNames: Invalid value: "nm": using resourceNames requires at least one resource; rules[2].omitStages[0]: Invalid value: "Never": allowed stages are RequestReceived,ResponseStarted,ResponseComplete,Panic"#
        ]],
    );
    assert!(matches!(
        Policy::parse(b"{kind: Policy, rules: [{level: None}]}"),
        Err(PolicyError::Kind { .. })
    ));
    let unknown = Policy::parse(b"{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: None, user: [x]}]}");
    assert!(unknown.unwrap_err().to_string().contains("unknown field `user`"));
}

#[derive(Debug)]
struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(1_790_000_000).unwrap()
    }
}

struct World {
    dir: tempfile::TempDir,
    audit: Arc<Audit>,
}

impl World {
    fn new(rules: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let text = format!("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: {rules}\n");
        let config = AuditConfig {
            policy: Policy::parse(text.as_bytes()).unwrap(),
            log: LogConfig {
                path: Some(dir.path().join("audit.log")),
                max_bytes: 1 << 20,
                max_backups: 1,
                max_days: 0,
            },
        };
        let audit = Audit::start(config, Arc::new(Noon)).unwrap();
        Self { dir, audit }
    }

    /// A record of a request that jane makes and may make.
    fn begin(&self, method: &str, path: &str) -> Record {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("user-agent", "kubectl/v1.36")
            .header("x-forwarded-for", "192.0.2.7, 192.0.2.8")
            .header("content-type", "application/json");
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        parts.extensions.insert(PeerAddress("10.0.0.9:555".parse().unwrap()));
        let info = RequestInfo::parse(&parts.method, parts.uri.path(), parts.uri.query().unwrap_or_default());
        let mut record = Record::open(Some(&self.audit), "id-1", &info, &parts);
        record.authenticated(&UserInfo::new("jane", &["dev"]));
        record.decided(&Decision {
            allowed: true,
            reason: "because".to_owned(),
        });
        record
    }

    async fn events(&self) -> Vec<Value> {
        self.audit.drain().await;
        let text = std::fs::read_to_string(self.dir.path().join("audit.log")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn answer(code: u16, body: &Value) -> Response<crate::http::Body> {
    let mut response = Response::new(full(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
        .headers_mut()
        .insert("content-type", "application/json".parse().unwrap());
    response
}

fn stages(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["stage"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn an_event_reads_as_upstreams() {
    let world = World::new("[{level: RequestResponse, omitManagedFields: true}]");
    let record = world.begin("POST", "/api/v1/namespaces/demo/pods?dryRun=All");
    let sent = json!({"kind": "Pod", "metadata": {"name": "p", "managedFields": [1]}});
    record.tap(full(sent.to_string())).collect().await.unwrap();
    let response = record
        .close(answer(201, &json!({"kind": "Pod", "metadata": {"uid": "u"}})))
        .await;
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        r#"{"kind":"Pod","metadata":{"uid":"u"}}"#
    );
    let events = world.events().await;
    assert_eq!(stages(&events), ["RequestReceived", "ResponseComplete"]);
    let expected = json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "RequestResponse", "auditID": "id-1",
        "stage": "ResponseComplete", "requestURI": "/api/v1/namespaces/demo/pods?dryRun=All", "verb": "create",
        "user": {"username": "jane", "groups": ["dev", "system:authenticated"]},
        "sourceIPs": ["192.0.2.7", "192.0.2.8", "10.0.0.9"], "userAgent": "kubectl/v1.36",
        "objectRef": {"resource": "pods", "namespace": "demo", "name": "p", "apiVersion": "v1"},
        "responseStatus": {"metadata": {}, "code": 201},
        "requestObject": {"kind": "Pod", "metadata": {"name": "p"}},
        "responseObject": {"kind": "Pod", "metadata": {"uid": "u"}},
        "requestReceivedTimestamp": "2026-09-21T14:13:20.000000Z", "stageTimestamp": "2026-09-21T14:13:20.000000Z",
        "annotations": {"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": "because"},
    });
    assert_eq!(events[1], expected);
    assert_eq!(world.audit.counts().events, 2);
}

#[tokio::test]
async fn a_refusal_is_told_with_its_message_and_without_objects_at_metadata() {
    let world = World::new("[{level: Metadata, omitStages: [RequestReceived]}]");
    let record = world.begin("DELETE", "/api/v1/namespaces/demo/pods/p");
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "message": "gone", "code": 404});
    drop(record.close(answer(404, &status)).await);
    let events = world.events().await;
    assert_eq!(stages(&events), ["ResponseComplete"]);
    assert_eq!(
        events[0]["responseStatus"],
        json!({"metadata": {}, "status": "Failure", "reason": "NotFound", "message": "gone", "code": 404})
    );
    assert!(events[0].get("responseObject").is_none() && events[0].get("requestObject").is_none());
}

#[tokio::test]
async fn a_watch_is_told_when_it_starts_and_when_it_ends() {
    let world = World::new("[{level: Request}]");
    let record = world.begin("GET", "/api/v1/pods?watch=1");
    let response = record.close(answer(200, &json!({"type": "ADDED"}))).await;
    assert_eq!(stages(&world.events().await), ["RequestReceived", "ResponseStarted"]);
    drop(response);
    assert_eq!(
        stages(&world.events().await),
        ["RequestReceived", "ResponseStarted", "ResponseComplete"]
    );
}

#[tokio::test]
async fn a_tunnel_is_told_when_it_opens_and_when_both_its_ends_are_gone() {
    let world = World::new("[{level: Metadata, omitStages: [RequestReceived]}]");
    let record = world.begin("GET", "/api/v1/namespaces/demo/pods/p/exec?command=id");
    let (mut response, tunnel) = (answer(101, &json!({})), Tunnel::default());
    response.extensions_mut().insert(tunnel.clone());
    drop(record.close(response).await);
    let events = world.events().await;
    assert_eq!(stages(&events), ["ResponseStarted"]);
    assert_eq!(events[0]["responseStatus"], json!({"metadata": {}, "code": 101}));
    drop(tunnel);
    assert_eq!(stages(&world.events().await), ["ResponseStarted", "ResponseComplete"]);
}

#[tokio::test]
async fn what_admission_notes_stands_beside_what_authorization_decided() {
    let world = World::new("[{level: Metadata, omitStages: [RequestReceived]}]");
    let mut record = world.begin("POST", "/api/v1/namespaces/demo/pods");
    let note = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    record.annotate(BTreeMap::from([
        note("pod-security.kubernetes.io/enforce-policy", "baseline:latest"),
        note("authorization.k8s.io/decision", "forged"),
    ]));
    drop(record.close(answer(201, &json!({}))).await);
    let expected = json!({
        "authorization.k8s.io/decision": "allow",
        "authorization.k8s.io/reason": "because",
        "pod-security.kubernetes.io/enforce-policy": "baseline:latest",
    });
    assert_eq!(world.events().await[0]["annotations"], expected);
}

#[tokio::test]
async fn nobody_gets_away_by_hanging_up_or_by_a_panic() {
    let world = World::new("[{level: Metadata}]");
    drop(world.begin("GET", "/api/v1/pods"));
    let mut record = world.begin("GET", "/api/v1/nodes");
    record.panicked();
    drop(record.close(answer(500, &json!({}))).await);
    let events = world.events().await;
    assert_eq!(
        stages(&events),
        ["RequestReceived", "ResponseComplete", "RequestReceived", "Panic"]
    );
    assert_eq!(events[1]["responseStatus"]["message"], "Connection closed early");
    assert_eq!(events[3]["responseStatus"]["code"], 500);
}

#[tokio::test]
async fn what_the_policy_leaves_out_is_not_logged_and_strangers_are() {
    let world = World::new("[{level: None, users: [jane]}, {level: Metadata}]");
    drop(world.begin("GET", "/api/v1/pods").close(answer(200, &json!({}))).await);
    let (parts, ()) = Request::builder()
        .uri("/api/v1/pods")
        .header("authorization", "Bearer x")
        .body(())
        .unwrap()
        .into_parts();
    let info = RequestInfo::parse(&parts.method, "/api/v1/pods", "");
    let mut record = Record::open(Some(&world.audit), "id-2", &info, &parts);
    record.refused(&parts.headers);
    drop(record.close(answer(401, &json!({}))).await);
    let events = world.events().await;
    assert_eq!(stages(&events), ["ResponseStarted"]);
    assert_eq!(
        events[0]["responseStatus"],
        json!({"metadata": {}, "message": "Authentication failed, attempted: bearer", "code": 401})
    );
    assert_eq!(
        (&events[0]["user"], &events[0]["auditID"]),
        (&json!({}), &json!("id-2"))
    );
}
