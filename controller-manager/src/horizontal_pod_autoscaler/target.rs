//! Finds the scale of whatever an autoscaler refers to, and asks the API as upstream's clients do.

use http::{Method, Request, header};
use k8s_openapi::api::autoscaling::v2::CrossVersionObjectReference;
use serde_json::Value;
use timonel_api::resources;

use super::observe::Scale;

/// Sends a request; errors are the server's message, or the transport's. `what` is what is asked for, for servers that do not know it.
pub(super) async fn ask(
    client: &kube::Client,
    method: Method,
    path: &str,
    body: Vec<u8>,
    what: &str,
) -> Result<Value, String> {
    let verb = if method == Method::PUT { "update" } else { "get" };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::CONTENT_TYPE, "application/json")
        .body(body)
        .map_err(|error| error.to_string())?;
    client.request(request).await.map_err(|error| match error {
        kube::Error::Api(status) if status.code == 404 && !status.message.contains(" not found") => {
            format!("the server could not find the requested resource ({verb} {what})")
        }
        kube::Error::Api(status) => status.message,
        other => timonel_client::chain(&other),
    })
}

/// Reads what is at a path.
pub(super) async fn get(client: &kube::Client, path: &str, what: &str) -> Result<Value, String> {
    ask(client, Method::GET, path, Vec::new(), what).await
}

/// Splits an `apiVersion`.
pub(super) fn group_version(api_version: &str) -> Result<(&str, &str), String> {
    match api_version.split('/').collect::<Vec<_>>().as_slice() {
        [version] => Ok(("", *version)),
        [group, version] => Ok((*group, *version)),
        _ => Err(format!("unexpected GroupVersion string: {api_version}")),
    }
}

fn root(group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("/api/{version}")
    } else {
        format!("/apis/{group}/{version}")
    }
}

/// Where a kind is served: the version and the plural. Built-in kinds are known; for others the server is asked.
pub(super) async fn resource(
    client: &kube::Client,
    group: &str,
    version: &str,
    kind: &str,
) -> Result<(String, String), String> {
    let known = resources::all()
        .iter()
        .filter(|known| known.group == group && known.kind == kind);
    // As a mapper: any version of the group serves.
    if let Some(known) = known.min_by_key(|known| known.version != version) {
        return Ok((known.version.to_owned(), known.plural.to_owned()));
    }
    let mut versions = vec![version.to_owned()];
    if !group.is_empty()
        && let Ok(told) = get(client, &format!("/apis/{group}"), group).await
    {
        let more = told["versions"].as_array().into_iter().flatten();
        versions.extend(more.filter_map(|version| version["version"].as_str().map(str::to_owned)));
    }
    for version in versions {
        let Ok(list) = get(client, &root(group, &version), group).await else {
            continue;
        };
        let found = list["resources"].as_array().into_iter().flatten().find_map(|resource| {
            let name = resource["name"].as_str()?;
            (resource["kind"] == kind && !name.contains('/')).then(|| name.to_owned())
        });
        if let Some(plural) = found {
            return Ok((version, plural));
        }
    }
    Err(format!("no matches for kind {kind:?} in group {group:?}"))
}

/// Reads the scale of an autoscaler's target.
pub(super) async fn scale(
    client: &kube::Client,
    namespace: &str,
    reference: &CrossVersionObjectReference,
) -> Result<Scale, String> {
    let (group, version) = group_version(reference.api_version.as_deref().unwrap_or_default())?;
    let (version, plural) = resource(client, group, version, &reference.kind).await?;
    let name = &reference.name;
    let path = format!("{}/namespaces/{namespace}/{plural}/{name}/scale", root(group, &version));
    let what = if group.is_empty() {
        plural
    } else {
        format!("{plural}.{group}")
    };
    let object = get(client, &path, &what).await?;
    Ok(Scale { path, object })
}

/// Sets the number of replicas.
pub(super) async fn rescale(client: &kube::Client, scale: &Scale, replicas: i32) -> Result<(), String> {
    let mut object = scale.object.clone();
    object["spec"]["replicas"] = replicas.into();
    let body = object.to_string().into_bytes();
    ask(client, Method::PUT, &scale.path, body, "scale").await.map(|_| ())
}
