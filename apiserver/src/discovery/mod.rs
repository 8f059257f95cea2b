//! What the server tells about itself: `/api`, `/apis`, their groups and versions, the aggregated form, `/version`.
//!
//! ```text
//! api::resources (the table) --documents--> JSON --serve(path, accept)--> Document { content_type, etag, body }
//! ```
//!
//! Callers want [`serve`]; the functions in [`documents`] make each document by itself. All of it is pure: the table is
//! fixed when the program is built, so that each document is made once and kept.

pub mod documents;

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest as _, Sha512};

use crate::config::BuildInfo;

/// The content type of the aggregated form, which is also what a client asks for.
pub const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// A response's parts: the status is 200, or 304 where the client sent the same `If-None-Match`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// For `Content-Type`.
    pub content_type: &'static str,
    /// For `ETag`, with its quotes.
    pub etag: Option<String>,
    /// Uncompressed.
    pub body: Bytes,
}

/// Answers a path of discovery (`/api`, `/api/v1`, `/apis`, `/apis/G`, `/apis/G/V`), or `None` if there is none such.
///
/// `accept` is the request's `Accept` header, empty if it had none. Documents are JSON; the aggregated form is chosen
/// for `/api` and `/apis` where the client prefers it.
pub fn serve(path: &str, accept: &str) -> Option<Document> {
    let path = path.trim_end_matches('/');
    let aggregated = matches!(path, "/api" | "/apis") && prefers_aggregated(accept);
    let key = if aggregated {
        format!("{path}#aggregated")
    } else {
        path.to_owned()
    };
    if let Some(document) = lock(&CACHE).get(&key) {
        return Some(document.clone());
    }
    let document = document(path, aggregated)?;
    lock(&CACHE).insert(key, document.clone());
    Some(document)
}

/// `/version`: what is served, and from what it was built.
pub(crate) fn version(build: &BuildInfo) -> Document {
    Document {
        content_type: "application/json",
        etag: None,
        body: to_bytes(&documents::version(build)),
    }
}

static CACHE: LazyLock<Mutex<BTreeMap<String, Document>>> = LazyLock::new(Mutex::default);

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn document(path: &str, aggregated: bool) -> Option<Document> {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let value = match (segments.as_slice(), aggregated) {
        (["api"], true) => documents::aggregated_core(),
        (["apis"], true) => documents::aggregated_groups(),
        (["api"], false) => documents::api_versions(),
        (["apis"], false) => documents::group_list(),
        (["api", version], _) => documents::resource_list("", version)?,
        (["apis", group], _) => documents::group(group)?,
        (["apis", group, version], _) if !group.is_empty() => documents::resource_list(group, version)?,
        _ => return None,
    };
    let body = to_bytes(&value);
    Some(Document {
        content_type: if aggregated { AGGREGATED } else { "application/json" },
        etag: aggregated.then(|| etag(&body)),
        body,
    })
}

/// Whether the first media type that we can serve is the aggregated form. Clients list what they prefer first; the
/// weights that a few give do not contradict that order.
fn prefers_aggregated(accept: &str) -> bool {
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let parameters: BTreeMap<&str, &str> = parts.filter_map(|p| p.split_once('=')).collect();
        match (media, parameters.get("as"), parameters.get("g"), parameters.get("v")) {
            ("application/json", Some(&"APIGroupDiscoveryList"), Some(&"apidiscovery.k8s.io"), Some(&"v2")) => {
                return true;
            }
            ("application/json" | "*/*" | "application/*", None, _, _) => return false,
            _ => {}
        }
    }
    false
}

/// Serializes a document.
pub(crate) fn to_bytes(value: &Value) -> Bytes {
    Bytes::from(value.to_string())
}

/// A strong entity tag: upstream's is the content's SHA-512 in capitals, quoted.
pub(crate) fn etag(body: &[u8]) -> String {
    format!("\"{}\"", hex(&Sha512::digest(body)))
}

/// Hexadecimal digits in capitals.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

#[cfg(test)]
mod tests;
