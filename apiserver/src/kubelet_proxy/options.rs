//! What a request asks of a kubelet, in the kubelet's own paths and queries; and which container it means.

use serde_json::Value;
use timonel_api::{FieldError, Path};
use url::form_urlencoded;

use super::Call;
use crate::error::ApiError;

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

struct Query(Vec<(String, String)>);

impl Query {
    fn parse(query: &str) -> Self {
        Self(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// A flag, as upstream reads it: anything but `false` and `0` means yes.
    fn flag(&self, name: &str) -> Option<bool> {
        self.get(name)
            .map(|value| !(value == "0" || value.eq_ignore_ascii_case("false")))
    }
}

fn names(containers: &Value) -> Vec<&str> {
    let containers = containers.as_array().map(Vec::as_slice).unwrap_or_default();
    containers.iter().map(|container| text(&container["name"])).collect()
}

/// The container that is meant, where the pod has only one or one is named.
fn container(pod: &Value, asked: &str) -> Result<String, ApiError> {
    let (spec, pod_name) = (&pod["spec"], text(&pod["metadata"]["name"]));
    let (usual, init) = (names(&spec["containers"]), names(&spec["initContainers"]));
    if !asked.is_empty() {
        let ephemeral = names(&spec["ephemeralContainers"]);
        if [&usual, &init, &ephemeral].iter().any(|list| list.contains(&asked)) {
            return Ok(asked.to_owned());
        }
        return Err(ApiError::bad_request(format!(
            "container {asked} is not valid for pod {pod_name}"
        )));
    }
    match usual.as_slice() {
        [one] => Ok((*one).to_owned()),
        [] => Err(ApiError::bad_request(format!(
            "a container name must be specified for pod {pod_name}"
        ))),
        many => {
            let mut message = format!(
                "a container name must be specified for pod {pod_name}, choose one of: [{}]",
                many.join(" ")
            );
            if !init.is_empty() {
                message.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
            }
            Err(ApiError::bad_request(message))
        }
    }
}

/// `/containerLogs/NAMESPACE/POD/CONTAINER?follow=true...`
pub(super) fn log(pod: &Value, call: &Call<'_>, query: &str) -> Result<String, ApiError> {
    let query = Query::parse(query);
    let container = container(pod, query.get("container").unwrap_or_default())?;
    let mut wrong = Vec::new();
    let mut wanted = form_urlencoded::Serializer::new(String::new());
    for flag in ["follow", "previous", "timestamps"] {
        if query.flag(flag) == Some(true) {
            wanted.append_pair(flag, "true");
        }
    }
    for (name, least, words) in [
        ("sinceSeconds", 1, "must be greater than 0"),
        ("tailLines", 0, "must be greater than or equal to 0"),
        ("limitBytes", 1, "must be greater than 0"),
    ] {
        let Some(given) = query.get(name) else {
            continue;
        };
        match given.parse::<i64>() {
            Ok(number) if number >= least => {
                wanted.append_pair(name, given);
            }
            Ok(number) => wrong.push(FieldError::invalid(&Path::new(name), number, words)),
            Err(_) => {
                return Err(ApiError::bad_request(format!(
                    "strconv.ParseInt: parsing {given:?}: invalid syntax"
                )));
            }
        }
    }
    if let Some(since) = query.get("sinceTime") {
        if since.parse::<jiff::Timestamp>().is_err() {
            return Err(ApiError::bad_request(format!(
                "parsing time {since:?}: it is no RFC 3339 time"
            )));
        }
        if query.get("sinceSeconds").is_some() {
            wrong.push(FieldError::forbidden(
                &Path::whole(),
                "at most one of `sinceTime` or `sinceSeconds` may be specified",
            ));
        }
        wanted.append_pair("sinceTime", since);
    }
    match query.get("stream") {
        None | Some("" | "All") => {}
        Some(stream @ ("Stdout" | "Stderr")) => {
            wanted.append_pair("stream", stream);
        }
        Some(other) => wrong.push(FieldError::not_supported(
            &Path::new("stream"),
            other,
            &["All", "Stdout", "Stderr"],
        )),
    }
    if !wrong.is_empty() {
        return Err(ApiError::invalid("PodLogOptions", call.name, wrong));
    }
    let path = format!("/containerLogs/{}/{}/{container}", call.namespace, call.name);
    Ok(join(path, &wanted.finish()))
}

/// `/exec/NAMESPACE/POD/CONTAINER?command=...`, `/attach/...`, `/portForward/NAMESPACE/POD`
pub(super) fn stream(pod: &Value, call: &Call<'_>, query: &str) -> Result<String, ApiError> {
    let query = Query::parse(query);
    let mut wanted = form_urlencoded::Serializer::new(String::new());
    if call.subresource == "portforward" {
        let ports: Vec<&str> = query.all("ports").collect();
        if !ports.is_empty() {
            wanted.append_pair("port", &ports.join(","));
        }
        let path = format!("/portForward/{}/{}", call.namespace, call.name);
        return Ok(join(path, &wanted.finish()));
    }
    let container = container(pod, query.get("container").unwrap_or_default())?;
    let tty = query.flag("tty").unwrap_or(false);
    for (name, yes) in [
        ("input", query.flag("stdin").unwrap_or(false)),
        ("output", query.flag("stdout").unwrap_or(true)),
        // A terminal has one stream for both; a kubelet that waited for the other would wait for ever.
        ("error", query.flag("stderr").unwrap_or(true) && !tty),
        ("tty", tty),
    ] {
        if yes {
            wanted.append_pair(name, "1");
        }
    }
    for word in query.all("command") {
        wanted.append_pair("command", word);
    }
    let path = format!("/{}/{}/{}/{container}", call.subresource, call.namespace, call.name);
    Ok(join(path, &wanted.finish()))
}

fn join(path: String, query: &str) -> String {
    if query.is_empty() {
        path
    } else {
        format!("{path}?{query}")
    }
}

/// What follows `/proxy` in a path, still encoded: empty, or from its slash on.
pub(super) fn proxied_path<'a>(path: &'a str, call: &Call<'_>) -> Option<&'a str> {
    let mut segments = path.trim_start_matches('/').split('/');
    // api, v1, [namespaces, NAMESPACE,] resource, name, proxy
    let before = if call.namespace.is_empty() { 5 } else { 7 };
    let head: usize = (0..before)
        .map(|_| segments.next().map_or(0, |segment| segment.len() + 1))
        .sum();
    let (head, rest) = path.split_at_checked(head)?;
    head.ends_with("/proxy").then_some(rest)
}
