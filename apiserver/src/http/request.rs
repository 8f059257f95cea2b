//! What a request's method, path and query say: upstream's `RequestInfo`.

use std::collections::BTreeMap;

use http::Method;
use timonel_api::resources::{self, ResourceInfo, SubresourceInfo};
use timonel_api::selector::FieldSelector;

/// The query's parameters; of a repeated one the first counts, as upstream.
#[derive(Clone, Debug, Default)]
pub struct Query(BTreeMap<String, Vec<String>>);

impl Query {
    /// Reads a query string.
    pub fn parse(text: &str) -> Self {
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            all.entry(unescape(name)).or_default().push(unescape(value));
        }
        Self(all)
    }

    /// The first value of a parameter; empty where it is missing.
    pub fn get(&self, name: &str) -> &str {
        self.0
            .get(name)
            .and_then(|values| values.first())
            .map_or("", String::as_str)
    }

    /// Whether a parameter is there at all.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// All values of a parameter.
    pub fn all(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// A flag as Go's query conversion reads it: present without a value is true.
    pub fn flag(&self, name: &str) -> bool {
        self.has(name) && !matches!(self.get(name), "false" | "0")
    }
}

/// Undoes percent-encoding and `+`.
fn unescape(text: &str) -> String {
    decode(text, true)
}

fn decode(text: &str, plus: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = |from: usize| {
            let pair = bytes.get(from..from + 2)?;
            u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()
        };
        match bytes[at] {
            b'+' if plus => out.push(b' '),
            b'%' => match hex(at + 1) {
                Some(byte) => {
                    out.push(byte);
                    at += 2;
                }
                None => out.push(b'%'),
            },
            byte => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// What a request is about.
#[derive(Clone, Debug, Default)]
pub struct RequestInfo {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; the lower-case method for bare paths.
    pub verb: &'static str,
    /// The path as it came.
    pub path: String,
    /// Whether it names a resource.
    pub is_resource: bool,
    /// Empty for core.
    pub group: String,
    /// `v1`
    pub version: String,
    /// Empty for cluster-scoped resources and all namespaces.
    pub namespace: String,
    /// `pods`
    pub resource: String,
    /// `log`
    pub subresource: String,
    /// What follows the subresource: the path of a proxy request.
    pub rest: String,
    /// The object's name, or the one that the field selector names.
    pub name: String,
    /// Whether the path itself names the object.
    pub named: bool,
    /// The parameters.
    pub query: Query,
}

fn method_verb(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "get",
        "HEAD" => "head",
        "POST" => "post",
        "PUT" => "put",
        "PATCH" => "patch",
        "DELETE" => "delete",
        "OPTIONS" => "options",
        "CONNECT" => "connect",
        _ => "",
    }
}

/// Whether a subresource leads through the server to something else.
fn is_tunnel(subresource: &str) -> bool {
    matches!(subresource, "attach" | "exec" | "log" | "portforward" | "proxy")
}

impl RequestInfo {
    /// Reads a request's method, path and query.
    pub fn parse(method: &Method, path: &str, query: &str) -> Self {
        let mut info = Self {
            verb: method_verb(method),
            path: path.to_owned(),
            query: Query::parse(query),
            ..Self::default()
        };
        let parts: Vec<String> = path
            .split('/')
            .filter(|part| !part.is_empty())
            .map(|part| decode(part, false))
            .collect();
        let mut parts: &[String] = &parts;
        match parts {
            [api, version, rest @ ..] if api == "api" && !rest.is_empty() => {
                info.version.clone_from(version);
                parts = rest;
            }
            [apis, group, version, rest @ ..] if apis == "apis" && !rest.is_empty() => {
                info.group.clone_from(group);
                info.version.clone_from(version);
                parts = rest;
            }
            _ => return info,
        }
        info.is_resource = true;
        info.verb = match method.as_str() {
            "POST" => "create",
            "GET" | "HEAD" => "get",
            "PUT" => "update",
            "PATCH" => "patch",
            "DELETE" => "delete",
            _ => "",
        };
        // The old form of a watch: /api/v1/watch/namespaces/n/pods.
        let old_watch = parts[0] == "watch" && parts.len() > 1;
        if old_watch {
            parts = &parts[1..];
        }
        if parts[0] == "namespaces" && info.group.is_empty() {
            if let [_, namespace, rest @ ..] = parts {
                info.namespace.clone_from(namespace);
                if !rest.is_empty() && !matches!(rest[0].as_str(), "status" | "finalize") {
                    parts = rest;
                }
            }
        } else if parts[0] == "namespaces"
            && let [_, namespace, rest @ ..] = parts
        {
            info.namespace.clone_from(namespace);
            parts = rest;
        }
        if let [resource, rest @ ..] = parts {
            info.resource.clone_from(resource);
            if let [name, rest @ ..] = rest {
                info.name.clone_from(name);
                info.named = true;
                if let [subresource, rest @ ..] = rest {
                    info.subresource.clone_from(subresource);
                    info.rest = rest.join("/");
                }
            }
        }
        if info.resource == "namespaces" && info.group.is_empty() {
            // A namespace is within itself, as upstream, so that its own roles can speak of it.
            info.namespace.clone_from(&info.name);
        }
        if old_watch {
            info.verb = "watch";
        } else if !info.named {
            match info.verb {
                "get" if info.query.flag("watch") => info.verb = "watch",
                "get" => info.verb = "list",
                "delete" => info.verb = "deletecollection",
                _ => {}
            }
        } else if info.verb == "get" && info.subresource.is_empty() && info.query.flag("watch") {
            info.verb = "watch";
        }
        if matches!(info.verb, "list" | "watch" | "deletecollection")
            && !info.named
            && let Ok(selector) = FieldSelector::parse(info.query.get("fieldSelector"))
            && let Some(name) = selector.required_value("metadata.name")
        {
            name.clone_into(&mut info.name);
        }
        info
    }

    /// Whether the request may go on for as long as both sides like: upstream's `BasicLongRunningRequestCheck`.
    pub fn is_long_running(&self) -> bool {
        matches!(self.verb, "watch" | "proxy") || (self.is_resource && is_tunnel(&self.subresource))
    }

    /// Whether the request changes nothing.
    pub fn reads(&self) -> bool {
        matches!(self.verb, "get" | "list" | "watch")
    }

    /// Finds the resource in the table of what is served.
    pub fn resource_info(&self) -> Option<&'static ResourceInfo> {
        resources::by_plural(&self.group, &self.version, &self.resource)
    }

    /// Finds the subresource.
    pub fn subresource_info(&self, info: &'static ResourceInfo) -> Option<&'static SubresourceInfo> {
        info.subresource(&self.subresource)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(method: Method, target: &str) -> RequestInfo {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        RequestInfo::parse(&method, path, query)
    }

    #[test]
    fn paths_are_read_as_upstream_reads_them() {
        let info = parse(Method::GET, "/api/v1/namespaces/demo/pods/web-0/log?follow=true");
        assert_eq!(
            (
                info.verb,
                &*info.namespace,
                &*info.resource,
                &*info.name,
                &*info.subresource
            ),
            ("get", "demo", "pods", "web-0", "log")
        );
        let info = parse(
            Method::GET,
            "/apis/apps/v1/deployments?watch=1&fieldSelector=metadata.name%3Dx",
        );
        assert_eq!(
            (info.verb, &*info.group, &*info.name, info.named),
            ("watch", "apps", "x", false)
        );
        let info = parse(Method::DELETE, "/api/v1/namespaces/demo/pods");
        assert_eq!((info.verb, &*info.namespace), ("deletecollection", "demo"));
        let info = parse(Method::PUT, "/api/v1/namespaces/demo/finalize");
        assert_eq!(
            (&*info.resource, &*info.name, &*info.subresource),
            ("namespaces", "demo", "finalize")
        );
        let info = parse(Method::GET, "/api/v1/namespaces/demo");
        assert_eq!((info.verb, &*info.resource, &*info.name), ("get", "namespaces", "demo"));
        assert!(!parse(Method::GET, "/apis/apps/v1").is_resource);
        assert!(!parse(Method::GET, "/healthz").is_resource);
    }
}
