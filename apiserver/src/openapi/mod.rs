//! The API described to its clients: OpenAPI v3 per group version, and v2 in one document.
//!
//! ```text
//! api::resources --paths--+
//! api::facts ----schemas--+--> v3 (one document per group version, JSON) --> serve(path, accept)
//! k8s-openapi --describe--+--> v2 (everything; JSON, or protobuf for Go clients)
//! ```
//!
//! Callers want [`serve`]. Nothing is built before somebody asks; what was built is kept. Facts say which fields exist;
//! their descriptions come from `k8s-openapi`'s JSON schemas. Descriptions of query parameters are left out.

mod describe;
mod generated;
mod operations;
mod paths;
mod schemas;
mod v2;
mod v2_proto;

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha512};
use timonel_api::resources;

use crate::discovery::{Document, etag, hex, to_bytes};

pub use paths::GroupVersion;

/// The content type of v2 in protobuf. Go clients, which take no other form, ask for it with an `@` before the `v1.0`,
/// which is no media type; as upstream, the answer has a dot.
pub const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// Answers `/openapi/v3`, `/openapi/v3/api/v1`, `/openapi/v3/apis/G/V` and `/openapi/v2`, or `None` if there is none such.
///
/// `accept` is the request's `Accept` header, empty if it had none. v3 is JSON; v2 is protobuf where that is asked for
/// first, else JSON. A `?hash=` that fits the index lets clients cache for good; callers may add
/// `Cache-Control: public, immutable` then.
pub fn serve(path: &str, accept: &str) -> Option<Document> {
    let path = path.trim_end_matches('/');
    let key = match path {
        "/openapi/v2" if prefers_protobuf(accept) => "/openapi/v2#protobuf",
        _ => path,
    };
    let cached = CACHE.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned();
    if cached.is_some() {
        return cached;
    }
    let document = match key {
        "/openapi/v2" => json_document(&v2::document()),
        "/openapi/v2#protobuf" => {
            let body = v2_proto::encode(&v2::document());
            Document {
                content_type: V2_PROTOBUF,
                etag: Some(etag(&body)),
                body: body.into(),
            }
        }
        "/openapi/v3" => json_document(&index()),
        _ => json_document(&group_version_document(&GroupVersion::from_path(
            path.strip_prefix("/openapi/v3/")?,
        )?)),
    };
    CACHE
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(key.to_owned(), document.clone());
    Some(document)
}

static CACHE: LazyLock<Mutex<BTreeMap<String, Document>>> = LazyLock::new(Mutex::default);

fn prefers_protobuf(accept: &str) -> bool {
    accept
        .split(',')
        .find_map(|range| match range.split(';').next().unwrap_or_default().trim() {
            "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
            | "application/com.github.proto-openapi.spec.v2.v1.0+protobuf" => Some(true),
            "application/json" | "*/*" | "application/*" => Some(false),
            _ => None,
        })
        .unwrap_or(false)
}

fn json_document(value: &Value) -> Document {
    let body = to_bytes(value);
    Document {
        content_type: "application/json",
        etag: Some(etag(&body)),
        body,
    }
}

/// `/openapi/v3`: where each document is, with a hash that changes when it does. Documents are functions of the
/// program, so the program's version and the facts make the hash, and no document has to be built for it.
pub fn index() -> Value {
    let mut paths = Map::new();
    for version in GroupVersion::all() {
        let path = version.path();
        let seed = format!("{} {path} {}", env!("CARGO_PKG_VERSION"), *FACTS);
        let hash = hex(&Sha512::digest(seed));
        paths.insert(
            path.clone(),
            json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}")}),
        );
    }
    json!({"paths": paths})
}

/// A digest of what documents are made of.
static FACTS: LazyLock<String> = LazyLock::new(|| {
    let mut digest = Sha512::new();
    digest.update(format!("{:?}", resources::all()));
    for schema in timonel_api::facts::all() {
        digest.update(format!("{} {:?}", schema.name, schema.fields));
    }
    hex(&digest.finalize())
});

/// `/openapi/v3/apis/G/V`
pub fn group_version_document(version: &GroupVersion) -> Value {
    let (paths, roots) = paths::build(version, paths::Dialect::V3);
    let descriptions = describe::for_roots(&roots);
    let names = schemas::reachable(&roots);
    let schemas: Map<String, Value> = names
        .into_iter()
        .map(|name| {
            let schema = schemas::v3(&name, version.group, version.version, &descriptions);
            (name, schema)
        })
        .collect();
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "unversioned"},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "BearerToken": {
                    "type": "apiKey",
                    "description": "Bearer Token authentication",
                    "name": "authorization",
                    "in": "header",
                },
            },
        },
    })
}

#[cfg(test)]
mod tests;
