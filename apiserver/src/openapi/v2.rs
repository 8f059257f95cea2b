//! OpenAPI v2: every group version in one document.

use serde_json::{Map, Value, json};

use super::paths::{Dialect, GroupVersion};
use super::{describe, paths, schemas};

/// `/openapi/v2`
pub(super) fn document() -> Value {
    let mut all = Map::new();
    let mut roots: Vec<String> = Vec::new();
    let versions = GroupVersion::all();
    for version in &versions {
        let (paths, needed) = paths::build(version, Dialect::V2);
        all.extend(paths);
        roots.extend(needed);
    }
    roots.sort();
    roots.dedup();
    let descriptions = describe::for_roots(&roots);
    let names: Vec<(&str, &str)> = versions.iter().map(|v| (v.group, v.version)).collect();
    let definitions: Map<String, Value> = schemas::reachable(&roots)
        .into_iter()
        .map(|name| {
            let schema = schemas::v2(&name, &names, &descriptions);
            (name, schema)
        })
        .collect();
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": "v1.36.0"},
        "paths": all,
        "definitions": definitions,
        "securityDefinitions": {
            "BearerToken": {
                "type": "apiKey",
                "description": "Bearer Token authentication",
                "name": "authorization",
                "in": "header",
            },
        },
        "security": [{"BearerToken": []}],
    })
}
