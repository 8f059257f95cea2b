//! Each discovery document as a JSON value.

use base64::Engine as _;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use timonel_api::resources::{self, ResourceInfo, SubresourceInfo};

use crate::config::BuildInfo;

/// The version of Kubernetes whose API is served.
const MINOR: &str = "36";

/// `/version`
pub fn version(build: &BuildInfo) -> Value {
    json!({
        "major": "1",
        "minor": MINOR,
        "emulationMajor": "1",
        "emulationMinor": MINOR,
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": MINOR,
        "gitVersion": format!("v1.{MINOR}.0+timonel"),
        "gitCommit": build.commit,
        "gitTreeState": build.tree_state,
        "buildDate": build.date,
        // There is no Go in it; clients only show the field.
        "goVersion": "",
        "compiler": build.compiler,
        "platform": format!("linux/{}", match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        }),
    })
}

/// `/api`. Where the server is reached is left open: clients know, they have just reached it.
pub fn api_versions() -> Value {
    json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
}

/// `/apis`
pub fn group_list() -> Value {
    let groups: Vec<Value> = groups()
        .into_iter()
        .map(|(name, versions)| group_body(name, &versions))
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/G`
pub fn group(name: &str) -> Option<Value> {
    let (name, versions) = groups().into_iter().find(|(group, _)| *group == name)?;
    let mut body = group_body(name, &versions);
    body["kind"] = "APIGroup".into();
    body["apiVersion"] = "v1".into();
    Some(body)
}

/// `/api/v1`, `/apis/G/V`
pub fn resource_list(group: &str, version: &str) -> Option<Value> {
    let of_version = |r: &&ResourceInfo| r.group == group && r.version == version;
    let mut listed = Vec::new();
    for resource in resources::served().filter(of_version) {
        listed.push(resource_body(resource));
        listed.extend(resource.subresources.iter().map(|sub| subresource_body(resource, sub)));
    }
    let first = resources::served().find(of_version)?;
    Some(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": first.api_version(),
        "resources": listed,
    }))
}

/// `/api` in the aggregated form.
pub fn aggregated_core() -> Value {
    aggregated(vec![
        json!({"metadata": {}, "versions": [aggregated_version("", "v1")]}),
    ])
}

/// `/apis` in the aggregated form.
pub fn aggregated_groups() -> Value {
    let items = groups().into_iter().map(|(name, versions)| {
        let versions: Vec<Value> = versions
            .iter()
            .map(|version| aggregated_version(name, version))
            .collect();
        json!({"metadata": {"name": name}, "versions": versions})
    });
    aggregated(items.collect())
}

/// The named groups in the table's order, each with its versions, most preferred first.
pub fn groups() -> Vec<(&'static str, Vec<&'static str>)> {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for resource in resources::served().filter(|r| !r.group.is_empty()) {
        match groups.iter_mut().find(|(name, _)| *name == resource.group) {
            Some((_, versions)) if versions.contains(&resource.version) => {}
            Some((_, versions)) => versions.push(resource.version),
            None => groups.push((resource.group, vec![resource.version])),
        }
    }
    groups
}

/// Names the stored form of a resource, so that clients notice when it changes: as upstream, eight bytes of a hash.
pub fn storage_version_hash(group: &str, version: &str, kind: &str) -> String {
    let digest = Sha256::digest(format!("{group}/{version}/{kind}"));
    base64::engine::general_purpose::STANDARD.encode(&digest[..8])
}

fn group_body(name: &str, versions: &[&str]) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .map(|version| json!({"groupVersion": format!("{name}/{version}"), "version": version}))
        .collect();
    json!({"name": name, "preferredVersion": versions.first(), "versions": versions})
}

fn resource_body(resource: &ResourceInfo) -> Value {
    let mut body = json!({
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": resource.verbs,
    });
    if !resource.short_names.is_empty() {
        body["shortNames"] = resource.short_names.into();
    }
    if !resource.categories.is_empty() {
        body["categories"] = resource.categories.into();
    }
    if resource.storage {
        // Events are stored once, as the core group's, whichever group they are addressed in.
        let group = if resource.kind == "Event" { "" } else { resource.group };
        body["storageVersionHash"] = storage_version_hash(group, resource.version, resource.kind).into();
    }
    body
}

fn subresource_body(resource: &ResourceInfo, sub: &SubresourceInfo) -> Value {
    let mut body = json!({
        "name": format!("{}/{}", resource.plural, sub.name),
        "singularName": "",
        "namespaced": resource.namespaced,
        "kind": sub.kind,
        "verbs": sub.verbs,
    });
    if (sub.group, sub.version) != (resource.group, resource.version) {
        body["group"] = sub.group.into();
        body["version"] = sub.version.into();
    }
    body
}

fn aggregated(items: Vec<Value>) -> Value {
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
}

fn aggregated_version(group: &str, version: &str) -> Value {
    let resources: Vec<Value> = resources::served()
        .filter(|r| r.group == group && r.version == version)
        .map(aggregated_resource)
        .collect();
    json!({"version": version, "freshness": "Current", "resources": resources})
}

fn aggregated_resource(resource: &ResourceInfo) -> Value {
    let mut body = Map::new();
    body.insert("resource".to_owned(), resource.plural.into());
    body.insert(
        "responseKind".to_owned(),
        json!({"group": "", "version": "", "kind": resource.kind}),
    );
    let scope = if resource.namespaced { "Namespaced" } else { "Cluster" };
    body.insert("scope".to_owned(), scope.into());
    body.insert("singularResource".to_owned(), resource.singular.into());
    body.insert("verbs".to_owned(), resource.verbs.into());
    if !resource.short_names.is_empty() {
        body.insert("shortNames".to_owned(), resource.short_names.into());
    }
    if !resource.categories.is_empty() {
        body.insert("categories".to_owned(), resource.categories.into());
    }
    let subresources: Vec<Value> = resource
        .subresources
        .iter()
        .map(|sub| {
            // Empty means the same as the document's, as upstream writes it.
            let own = (sub.group, sub.version) == (resource.group, resource.version);
            let (group, version) = if own { ("", "") } else { (sub.group, sub.version) };
            json!({
                "subresource": sub.name,
                "responseKind": {"group": group, "version": version, "kind": sub.kind},
                "verbs": sub.verbs,
            })
        })
        .collect();
    if !subresources.is_empty() {
        body.insert("subresources".to_owned(), subresources.into());
    }
    Value::Object(body)
}
