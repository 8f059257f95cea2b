use serde_json::Value;

use super::*;

fn get(path: &str) -> Value {
    serde_json::from_slice(&serve(path, "").unwrap().body).unwrap()
}

/// Takes the prose out, so that facts can be compared.
fn facts(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map
                .iter()
                .filter(|(key, value)| *key != "description" || !value.is_string());
            // In order whether or not serde_json keeps the order of insertion.
            let sorted: BTreeMap<String, Value> = kept.map(|(key, value)| (key.clone(), facts(value))).collect();
            sorted.into_iter().collect()
        }
        // Which fields are required is a set; upstream lists it in the order of its source code.
        Value::Array(items) if items.iter().all(Value::is_string) => {
            let mut items: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            items.sort_unstable();
            items.into()
        }
        Value::Array(items) => items.iter().map(facts).collect(),
        other => other.clone(),
    }
}

#[test]
fn the_index_points_to_every_document() {
    let index = get("/openapi/v3");
    let paths = index["paths"].as_object().unwrap();
    assert_eq!(paths.len(), GroupVersion::all().len());
    for (path, entry) in paths {
        let url = entry["serverRelativeURL"].as_str().unwrap();
        let (address, hash) = url.split_once("?hash=").unwrap();
        assert_eq!(address, format!("/openapi/v3/{path}"));
        assert_eq!(hash.len(), 128);
        assert!(serve(address, "").is_some(), "{address}");
    }
    assert_eq!(serve("/openapi/v3/apis/nope/v1", ""), None);
    assert_eq!(serve("/openapi/v4", ""), None);
}

#[test]
fn explain_finds_a_container_and_its_words() {
    let document = get("/openapi/v3/api/v1");
    let schemas = &document["components"]["schemas"];
    let pod = &schemas["io.k8s.api.core.v1.Pod"];
    assert_eq!(
        pod["x-kubernetes-group-version-kind"],
        json!([{"group": "", "version": "v1", "kind": "Pod"}])
    );
    let containers = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(
        containers["items"]["$ref"],
        "#/components/schemas/io.k8s.api.core.v1.Container"
    );
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
    assert!(containers["description"].as_str().unwrap().len() > 50);
    assert!(schemas["io.k8s.api.core.v1.Container"]["description"].is_string());
}

#[test]
fn kubectl_learns_that_fields_are_validated_by_the_server() {
    let document = get("/openapi/v3/apis/apps/v1");
    let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    let names: Vec<&str> = patch["parameters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["dryRun", "fieldManager", "fieldValidation", "force"]);
    assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Deployment");
    assert_eq!(patch["operationId"], "patchAppsV1NamespacedDeployment");
}

#[test]
fn every_reference_of_every_document_resolves() {
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
                map.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let mut documents: Vec<Value> = GroupVersion::all().iter().map(group_version_document).collect();
    documents.push(get("/openapi/v2"));
    for document in &documents {
        let mut found = Vec::new();
        references(document, &mut found);
        assert!(found.len() > 20);
        for reference in found {
            assert!(document.pointer(&reference[1..]).is_some(), "{reference}");
        }
    }
}

#[test]
fn protobuf_is_for_those_who_ask_for_it() {
    for accept in [
        "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
        V2_PROTOBUF,
    ] {
        assert_eq!(serve("/openapi/v2", accept).unwrap().content_type, V2_PROTOBUF);
    }
    assert_eq!(
        serve("/openapi/v2", "application/json, */*").unwrap().content_type,
        "application/json"
    );
    let binary = serve("/openapi/v2", V2_PROTOBUF).unwrap().body;
    assert!(binary.starts_with(b"\x0a\x032.0\x12"), "{:?}", &binary[..20]);
}

#[test]
fn every_type_has_a_description() {
    let document = get("/openapi/v3/apis/apps/v1");
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        if !["Patch", "WatchEvent"].iter().any(|known| name.ends_with(known)) {
            assert!(schema["description"].is_string(), "{name}");
        }
    }
}

/// Digests of what [`documents_state_upstreams_facts`] has found to be equal to upstream's documents.
#[test]
fn documents_state_what_was_checked_against_upstream() {
    let versions = GroupVersion::all();
    let lines = versions.iter().map(|version| {
        let document = facts(&group_version_document(version));
        let count = |pointer: &str| document.pointer(pointer).and_then(Value::as_object).unwrap().len();
        let digest = hex(&Sha512::digest(document.to_string()));
        format!(
            "{} {} {} {}",
            version.path(),
            count("/components/schemas"),
            count("/paths"),
            &digest[..12]
        )
    });
    expect_test::expect![[r#"
        api/v1 251 113 EE8D5545098D
        apis/apiregistration.k8s.io/v1 23 6 23619F672E4D
        apis/apps/v1 163 38 8F62F3793A79
        apis/events.k8s.io/v1 23 7 EDD91F2C1AF3
        apis/authentication.k8s.io/v1 13 3 DE5820F6822D
        apis/authorization.k8s.io/v1 24 5 2CA22D7F98E4
        apis/autoscaling/v2 44 8 D33CCFCD066D
        apis/autoscaling/v1 22 8 4D15944F6678
        apis/batch/v1 144 15 7D157993B279
        apis/certificates.k8s.io/v1 22 7 3626B5F2BD29
        apis/networking.k8s.io/v1 56 27 0AD87CB1CCCE
        apis/policy/v1 25 8 8C7A452495FF
        apis/rbac.authorization.k8s.io/v1 31 21 45B8CCA736C2
        apis/storage.k8s.io/v1 72 28 610F1DE33109
        apis/admissionregistration.k8s.io/v1 55 26 03ADC8303C4F
        apis/apiextensions.k8s.io/v1 41 6 F6DEE4777D0A
        apis/scheduling.k8s.io/v1 19 5 B37E93A55BBE
        apis/coordination.k8s.io/v1 21 7 C018660BD302
        apis/node.k8s.io/v1 23 5 C972E90D5121
        apis/discovery.k8s.io/v1 26 7 0C272B265BB0
        apis/resource.k8s.io/v1 65 22 F85503210102
        apis/flowcontrol.apiserver.k8s.io/v1 40 11 142D1D5BF7A0"#]]
    .assert_eq(&lines.collect::<Vec<_>>().join("\n"));
}

/// Upstream's own documents lie beside the repository on development machines; elsewhere the digests above stand for them.
#[test]
fn documents_state_upstreams_facts() {
    let folder =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/reference/kubernetes-1.36/openapi-v3");
    if !folder.exists() {
        return;
    }
    let mut differences = Vec::new();
    for version in GroupVersion::all() {
        let name = format!("{}_openapi.json", version.path().replace('/', "__"));
        let theirs: Value = serde_json::from_slice(&std::fs::read(folder.join(&name)).unwrap()).unwrap();
        let ours = group_version_document(&version);
        for part in ["/components/schemas", "/paths"] {
            let (ours, theirs) = (facts(ours.pointer(part).unwrap()), facts(theirs.pointer(part).unwrap()));
            let (ours, theirs) = (ours.as_object().unwrap(), theirs.as_object().unwrap());
            for (key, value) in theirs {
                match ours.get(key) {
                    None => differences.push(format!("{name} lacks {key}")),
                    Some(our) if our != value => {
                        differences.push(format!("{name} {key}\n  ours   {our}\n  theirs {value}"))
                    }
                    _ => {}
                }
            }
            differences.extend(
                ours.keys()
                    .filter(|key| !theirs.contains_key(*key))
                    .map(|key| format!("{name} has {key}")),
            );
        }
    }
    assert!(
        differences.is_empty(),
        "{} differences:\n{}",
        differences.len(),
        differences[..differences.len().min(40)].join("\n")
    );
}
