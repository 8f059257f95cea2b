//! What the server says about itself.

use serde_json::Value;

use crate::server::Server;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Group, version and resource that every conformant server has built in; a few of each corner.
const BUILT_IN: &[(&str, &str, &str)] = &[
    ("", "v1", "namespaces"),
    ("", "v1", "pods"),
    ("", "v1", "services"),
    ("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations"),
    ("apiextensions.k8s.io", "v1", "customresourcedefinitions"),
    ("apiregistration.k8s.io", "v1", "apiservices"),
    ("apps", "v1", "deployments"),
    ("authentication.k8s.io", "v1", "tokenreviews"),
    ("authorization.k8s.io", "v1", "subjectaccessreviews"),
    ("autoscaling", "v2", "horizontalpodautoscalers"),
    ("batch", "v1", "jobs"),
    ("certificates.k8s.io", "v1", "certificatesigningrequests"),
    ("coordination.k8s.io", "v1", "leases"),
    ("discovery.k8s.io", "v1", "endpointslices"),
    ("events.k8s.io", "v1", "events"),
    ("networking.k8s.io", "v1", "ingresses"),
    ("node.k8s.io", "v1", "runtimeclasses"),
    ("policy", "v1", "poddisruptionbudgets"),
    ("rbac.authorization.k8s.io", "v1", "roles"),
    ("scheduling.k8s.io", "v1", "priorityclasses"),
    ("storage.k8s.io", "v1", "storageclasses"),
];

fn array<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    match value[field].as_array() {
        Some(items) => items,
        None => panic!("{field} is no list in {value}"),
    }
}

fn found(list: &Value, group: &str, version: &str, resource: &str) -> bool {
    array(list, "items")
        .iter()
        .filter(|item| item["metadata"]["name"].as_str().unwrap_or_default() == group)
        .flat_map(|item| array(item, "versions"))
        .filter(|item| item["version"] == version)
        .flat_map(|item| array(item, "resources"))
        .any(|item| item["resource"] == resource && !array(item, "verbs").is_empty())
}

fn aggregated(server: &Server) -> [Value; 2] {
    ["/api", "/apis"].map(|path| {
        let answer = server.get_as(path, AGGREGATED);
        let content = answer
            .headers
            .get("content-type")
            .expect("a type")
            .to_str()
            .expect("text");
        assert!(content.contains("as=APIGroupDiscoveryList"), "{content}");
        let list = answer.expect(200);
        assert_eq!(list["kind"], "APIGroupDiscoveryList");
        assert_eq!(list["apiVersion"], "apidiscovery.k8s.io/v2");
        list
    })
}

/// Aggregated Discovery Interface
#[test]
fn aggregated_discovery_interface() {
    let server = Server::alone();
    let [core, groups] = aggregated(&server);
    for (group, version, resource) in BUILT_IN {
        let list = if group.is_empty() { &core } else { &groups };
        assert!(found(list, group, version, resource), "{group}/{version} {resource}");
    }
    // Both forms say the same of every group.
    for group in array(&server.get("/apis").expect(200), "groups") {
        let same = array(&groups, "items")
            .iter()
            .find(|item| item["metadata"]["name"] == group["name"]);
        let same = same.unwrap_or_else(|| panic!("{} is missing", group["name"]));
        let plain: Vec<&Value> = array(group, "versions").iter().map(|v| &v["version"]).collect();
        let nested: Vec<&Value> = array(same, "versions").iter().map(|v| &v["version"]).collect();
        assert_eq!(plain, nested, "{}", group["name"]);
    }
}

/// Aggregated Discovery Endpoint Accept Headers
#[test]
fn aggregated_discovery_endpoint_accept_headers() {
    let server = Server::alone();
    let [core, groups] = aggregated(&server);
    for (group, version, resource) in BUILT_IN {
        let list = if group.is_empty() { &core } else { &groups };
        assert!(found(list, group, version, resource), "{group}/{version} {resource}");
    }
    // What client-go sends: the aggregated form where there is one, else the plain one.
    let falling_back = format!("{AGGREGATED},application/json");
    assert_eq!(
        server.get_as("/apis", &falling_back).expect(200)["kind"],
        "APIGroupDiscoveryList"
    );
    for plain in ["application/json", "*/*"] {
        assert_eq!(server.get_as("/apis", plain).expect(200)["kind"], "APIGroupList");
        assert_eq!(server.get_as("/api", plain).expect(200)["kind"], "APIVersions");
    }
}

/// Custom Resource Definition, discovery
#[test]
fn custom_resource_definition_discovery() {
    let server = Server::alone();
    let groups = server.get("/apis").expect(200);
    let group = array(&groups, "groups")
        .iter()
        .find(|group| group["name"] == "apiextensions.k8s.io");
    let says_v1 = |group: &Value| {
        array(group, "versions")
            .iter()
            .any(|version| version["groupVersion"] == "apiextensions.k8s.io/v1" && version["version"] == "v1")
    };
    assert!(says_v1(group.expect("the group is in /apis")));
    assert!(says_v1(&server.get("/apis/apiextensions.k8s.io").expect(200)));
    let resources = server.get("/apis/apiextensions.k8s.io/v1").expect(200);
    let mut resources = array(&resources, "resources").iter();
    assert!(resources.any(|r| r["name"] == "customresourcedefinitions" && r["kind"] == "CustomResourceDefinition"));
}

/// Discovery, confirm the groupVerion and a resourcefrom each apiGroup
#[test]
fn discovery_confirm_the_groupversion_and_a_resource_from_each_apigroup() {
    let server = Server::alone();
    let groups = server.get("/apis").expect(200);
    let groups = array(&groups, "groups");
    assert!(groups.len() > 15, "{}", groups.len());
    for version in groups.iter().flat_map(|group| array(group, "versions")) {
        let version = version["groupVersion"].as_str().expect("text");
        let list = server.get(&format!("/apis/{version}")).expect(200);
        assert_eq!(list["kind"], "APIResourceList");
        assert_eq!(list["groupVersion"], version);
        let valid = |r: &Value| {
            ["name", "kind"]
                .iter()
                .all(|field| r[field].as_str().is_some_and(|text| !text.is_empty()))
                && r["namespaced"].is_boolean()
                && !array(r, "verbs").is_empty()
        };
        let resources = array(&list, "resources");
        assert!(!resources.is_empty() && resources.iter().all(valid), "{list}");
    }
    let core = server.get("/api/v1").expect(200);
    assert_eq!(core["groupVersion"], "v1");
    assert!(array(&core, "resources").iter().any(|r| r["name"] == "pods"));
}

/// Discovery, confirm the PreferredVersion for each api group
#[test]
fn discovery_confirm_the_preferredversion_for_each_api_group() {
    let server = Server::alone();
    for listed in array(&server.get("/apis").expect(200), "groups") {
        let name = listed["name"].as_str().expect("a name");
        let group = server.get(&format!("/apis/{name}")).expect(200);
        assert_eq!(group["kind"], "APIGroup");
        let preferred = &group["preferredVersion"];
        assert_eq!(preferred, &listed["preferredVersion"], "{name}");
        assert!(array(&group, "versions").contains(preferred), "{group}");
        let version = preferred["version"].as_str().expect("a version");
        assert_eq!(preferred["groupVersion"], format!("{name}/{version}"));
    }
}

/// Confirm a server version
#[test]
fn confirm_a_server_version() {
    let server = Server::alone();
    let version = server.get("/version").expect(200);
    for field in ["major", "minor"] {
        let text = version[field].as_str().expect("text");
        assert!(text.parse::<u32>().is_ok(), "{field} is {text:?}");
    }
    assert_eq!((&version["major"], &version["minor"]), (&"1".into(), &"36".into()));
}

/// API metadata HTTP return
#[test]
fn api_metadata_http_return() {
    let server = Server::alone();
    let review = serde_json::json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"namespace": "default", "verb": "get", "resource": "pods"}},
    });
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    server.post(path, &review).expect(201);
    server
        .with_header("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
        .post(path, &review)
        .refused(406, "NotAcceptable");
    // Where there are tables, the same header is understood.
    let table = server.get_as("/api/v1/namespaces", "application/json;as=Table;v=v1;g=meta.k8s.io");
    assert_eq!(table.expect(200)["kind"], "Table");
}
