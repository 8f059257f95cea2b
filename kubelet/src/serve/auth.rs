//! Who asks, and whether they may.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};
use jiff::Timestamp;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::Api;
use kube::api::PostParams;

use crate::worker::Shared;

/// The group whose members may do everything.
const MASTERS: &str = "system:masters";
/// How long an answer of the API server is believed.
const CACHED: Duration = Duration::from_secs(30);

/// Somebody who has proved who they are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) groups: Vec<String>,
}

/// Reads the user from a certificate that TLS has verified.
pub(super) fn user_of(cert: &[u8]) -> Option<User> {
    let (_, cert) = x509_parser::parse_x509_certificate(cert).ok()?;
    let subject = cert.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let groups = subject
        .iter_organization()
        .filter_map(|group| group.as_str().ok())
        .map(str::to_owned)
        .collect();
    Some(User { name, groups })
}

/// Who, verb, subresource.
type Question = (User, &'static str, &'static str);

/// Remembers what the API server answered.
#[derive(Debug, Default)]
pub(super) struct Decisions(Mutex<BTreeMap<Question, (Timestamp, bool)>>);

/// The subresource of `nodes` that a path is about, as upstream names it.
pub(super) fn subresource(path: &str) -> &'static str {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    match first {
        "stats" => "stats",
        "metrics" => "metrics",
        "logs" => "log",
        "healthz" => "healthz",
        "configz" => "configz",
        "pods" | "runningpods" => "pods",
        _ => "proxy",
    }
}

fn verb(method: &Method) -> &'static str {
    match method.as_str() {
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "get",
    }
}

/// Lets a request through only if its sender is known and permitted.
pub(super) async fn check(
    State((shared, decisions)): State<(Arc<Shared>, Arc<Decisions>)>,
    request: Request,
    next: Next,
) -> Response {
    let Some(user) = request.extensions().get::<User>().cloned() else {
        return (StatusCode::UNAUTHORIZED, "Unauthorized").into_response();
    };
    let verb = verb(request.method());
    let subresource = subresource(request.uri().path());
    let mut answer = allowed(&shared, &decisions, &user, verb, subresource).await;
    // Whoever may do everything may do this too: upstream's fallback for what once was part of `nodes/proxy`.
    if matches!(answer, Ok(false)) && matches!(subresource, "pods" | "healthz" | "configz") {
        answer = allowed(&shared, &decisions, &user, verb, "proxy").await;
    }
    match answer {
        Ok(true) => next.run(request).await,
        Ok(false) => {
            let message = format!(
                "Forbidden (user={}, verb={verb}, resource=nodes, subresource={subresource})",
                user.name
            );
            (StatusCode::FORBIDDEN, message).into_response()
        }
        Err(error) => {
            let message = format!(
                "Authorization error (user={}): {}",
                user.name,
                timonel_client::chain(&error)
            );
            (StatusCode::INTERNAL_SERVER_ERROR, message).into_response()
        }
    }
}

async fn allowed(
    shared: &Shared,
    decisions: &Decisions,
    user: &User,
    verb: &'static str,
    subresource: &'static str,
) -> Result<bool, kube::Error> {
    if user.groups.iter().any(|group| group == MASTERS) {
        return Ok(true);
    }
    let key = (user.clone(), verb, subresource);
    let now = shared.clock.now();
    let known = decisions
        .0
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(&key)
        .copied();
    if let Some((at, allowed)) = known
        && now < at + CACHED
    {
        return Ok(allowed);
    }
    let mut groups = user.groups.clone();
    groups.push("system:authenticated".to_owned());
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(user.name.clone()),
            groups: Some(groups),
            resource_attributes: Some(ResourceAttributes {
                verb: Some(verb.to_owned()),
                version: Some("v1".to_owned()),
                resource: Some("nodes".to_owned()),
                subresource: Some(subresource.to_owned()),
                name: Some(shared.config.node_name.clone()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let api: Api<SubjectAccessReview> = Api::all(shared.client.clone());
    let answer = api.create(&PostParams::default(), &review).await?;
    let allowed = answer.status.is_some_and(|status| status.allowed);
    let mut decisions = decisions.0.lock().unwrap_or_else(PoisonError::into_inner);
    decisions.retain(|_, (at, _)| now < *at + CACHED);
    decisions.insert(key, (now, allowed));
    Ok(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_ask_for_the_subresources_that_upstream_asks_for() {
        for (path, expected) in [
            ("/stats/summary", "stats"),
            ("/metrics", "metrics"),
            ("/metrics/resource", "metrics"),
            ("/metrics/cadvisor", "metrics"),
            ("/containerLogs/default/web-0/web", "proxy"),
            ("/pods", "pods"),
            ("/healthz", "healthz"),
            ("/exec/default/web-0/web", "proxy"),
        ] {
            assert_eq!(subresource(path), expected, "{path}");
        }
    }
}
