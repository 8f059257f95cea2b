use serde_json::{Value, json};

use super::*;

fn get(path: &str, accept: &str) -> Value {
    serde_json::from_slice(&serve(path, accept).unwrap().body).unwrap()
}

#[test]
fn kubectl_gets_the_aggregated_form_and_curl_the_plain_one() {
    let kubectl = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
                   application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
    let document = serve("/apis", kubectl).unwrap();
    assert_eq!(document.content_type, AGGREGATED);
    assert!(document.etag.unwrap().len() == 130);
    assert_eq!(get("/apis", "*/*")["kind"], "APIGroupList");
    assert_eq!(get("/apis", "")["kind"], "APIGroupList");
    assert_eq!(get("/api/", kubectl)["items"][0]["versions"][0]["version"], "v1");
    assert_eq!(get("/api", "application/json")["versions"], json!(["v1"]));
    assert_eq!(serve("/apis/apps", kubectl).unwrap().content_type, "application/json");
}

#[test]
fn what_is_not_served_is_not_found() {
    for path in [
        "/apis/nope",
        "/apis/apps/v1beta1",
        "/api/v2",
        "/apis/apps/v1/deployments",
        "/apis//v1",
        "/",
        "",
    ] {
        assert_eq!(serve(path, ""), None, "{path}");
    }
}

#[test]
fn storage_version_hashes_are_upstreams() {
    assert_eq!(documents::storage_version_hash("", "v1", "Pod"), "xPOwRZ+Yhw8=");
    assert_eq!(
        documents::storage_version_hash("apps", "v1", "Deployment"),
        "8aSe+NMegvE="
    );
    let list = get("/apis/apps/v1", "");
    let deployments = list["resources"]
        .as_array()
        .unwrap()
        .iter()
        .find(|r| r["name"] == "deployments")
        .unwrap();
    assert_eq!(
        deployments,
        &json!({
            "name": "deployments", "singularName": "deployment", "namespaced": true, "kind": "Deployment",
            "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
            "shortNames": ["deploy"], "categories": ["all"], "storageVersionHash": "8aSe+NMegvE=",
        })
    );
}

#[test]
fn the_version_says_what_is_compatible() {
    let build = BuildInfo {
        commit: "0123abcd".to_owned(),
        ..BuildInfo::default()
    };
    let version: Value = serde_json::from_slice(&version(&build).body).unwrap();
    assert_eq!((&version["major"], &version["minor"]), (&json!("1"), &json!("36")));
    assert_eq!(version["gitVersion"], "v1.36.0+timonel");
    assert_eq!(version["gitCommit"], "0123abcd");
}

#[test]
fn scale_belongs_to_another_group_than_its_resource() {
    let list = get("/apis/apps/v1", "");
    let scale = list["resources"]
        .as_array()
        .unwrap()
        .iter()
        .find(|r| r["name"] == "deployments/scale")
        .unwrap();
    assert_eq!(
        scale,
        &json!({
            "name": "deployments/scale", "singularName": "", "namespaced": true, "kind": "Scale",
            "group": "autoscaling", "version": "v1", "verbs": ["get", "patch", "update"],
        })
    );
}

/// The number of resources of every group version, so that nothing goes missing unnoticed.
#[test]
fn every_group_version_is_there() {
    let found: Vec<String> = std::iter::once(("", vec!["v1"]))
        .chain(documents::groups())
        .flat_map(|(group, versions)| versions.into_iter().map(move |version| (group, version)))
        .map(|(group, version)| {
            let list = documents::resource_list(group, version).unwrap();
            format!("{group}/{version} {}", list["resources"].as_array().unwrap().len())
        })
        .collect();
    expect_test::expect![[r#"
        /v1 39
        apiregistration.k8s.io/v1 2
        apps/v1 12
        events.k8s.io/v1 1
        authentication.k8s.io/v1 2
        authorization.k8s.io/v1 4
        autoscaling/v2 2
        autoscaling/v1 2
        batch/v1 4
        certificates.k8s.io/v1 3
        networking.k8s.io/v1 7
        policy/v1 2
        rbac.authorization.k8s.io/v1 4
        storage.k8s.io/v1 7
        admissionregistration.k8s.io/v1 7
        apiextensions.k8s.io/v1 2
        scheduling.k8s.io/v1 1
        coordination.k8s.io/v1 1
        node.k8s.io/v1 1
        discovery.k8s.io/v1 1
        resource.k8s.io/v1 5
        flowcontrol.apiserver.k8s.io/v1 4
        metrics.k8s.io/v1beta1 2"#]]
    .assert_eq(&found.join("\n"));
}

/// Upstream's own documents lie beside the repository on development machines.
#[test]
fn documents_equal_upstreams_for_what_is_served() {
    let folder =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/reference/kubernetes-1.36/discovery");
    if !folder.exists() {
        return;
    }
    let list = |value: &Value| value["resources"].as_array().unwrap().clone();
    let read = |name: &str| -> Value { serde_json::from_slice(&std::fs::read(folder.join(name)).unwrap()).unwrap() };
    let mut stored_otherwise = Vec::new();
    // Upstream leaves it to metrics-server.
    let not_upstreams = "metrics.k8s.io";
    let groups = documents::groups()
        .into_iter()
        .filter(|(group, _)| *group != not_upstreams);
    for (group, versions) in std::iter::once(("", vec!["v1"])).chain(groups) {
        for version in versions {
            let name = if group.is_empty() {
                "api__v1.json".to_owned()
            } else {
                format!("apis__{group}__{version}.json")
            };
            let mut ours = documents::resource_list(group, version).unwrap();
            let mut theirs = read(&name);
            theirs
                .as_object_mut()
                .unwrap()
                .entry("apiVersion")
                .or_insert("v1".into());
            for (our, their) in ours["resources"].as_array_mut().unwrap().iter_mut().zip(&list(&theirs)) {
                if let Some(hash) = their
                    .get("storageVersionHash")
                    .filter(|hash| **hash != our["storageVersionHash"])
                {
                    stored_otherwise.push(format!("{}.{group}", our["name"].as_str().unwrap()));
                    our["storageVersionHash"] = hash.clone();
                }
                assert_eq!(our, their, "{name}");
            }
            assert_eq!(ours, theirs, "{name}");
        }
    }
    // Upstream still stores these as betas, and its hash says so; we store what is served.
    expect_test::expect!["horizontalpodautoscalers.autoscaling mutatingadmissionpolicies.admissionregistration.k8s.io mutatingadmissionpolicybindings.admissionregistration.k8s.io customresourcedefinitions.apiextensions.k8s.io"].assert_eq(&stored_otherwise.join(" "));
    let served = |group: &Value| documents::groups().iter().any(|(name, _)| group == name);
    let stable = |version: &Value| version["version"] == "v1" || version["version"] == "v2";
    let mut theirs = read("aggregated_v2.json");
    theirs["items"]
        .as_array_mut()
        .unwrap()
        .retain(|item| served(&item["metadata"]["name"]));
    for item in theirs["items"].as_array_mut().unwrap() {
        item["versions"].as_array_mut().unwrap().retain(stable);
    }
    let mut ours = documents::aggregated_groups();
    let items = ours["items"].as_array_mut().unwrap();
    items.retain(|item| item["metadata"]["name"] != not_upstreams);
    assert_eq!(ours["items"], theirs["items"]);
    let mut theirs = read("apis.json");
    theirs["groups"]
        .as_array_mut()
        .unwrap()
        .retain(|group| served(&group["name"]));
    for group in theirs["groups"].as_array_mut().unwrap() {
        group["versions"].as_array_mut().unwrap().retain(stable);
    }
    let mut ours = documents::group_list();
    let groups = ours["groups"].as_array_mut().unwrap();
    groups.retain(|group| group["name"] != not_upstreams);
    assert_eq!(ours["groups"], theirs["groups"]);
}
