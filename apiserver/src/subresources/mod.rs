//! Subresources that are more than a part of their object, and the kinds that are never stored: reviews, bindings, component statuses.
//!
//! [`special`] says which way a request takes; everything else is the generic registry's.

mod binding;
mod component_status;
mod eviction;
mod narrow;
mod scale;

use serde_json::{Value, json};
use timonel_api::decode::Decoded;

use crate::authn::{self, Authenticator};
use crate::authz;
use crate::error::ApiError;
use crate::registry::{Answer, Caller, Registry, Target, WriteOptions, accept_as};
use crate::security::{Act, Operation};

pub(crate) use component_status::{
    get as get_component_status, is as is_component_status, list as list_component_statuses,
    target as component_status_target,
};
pub(crate) use narrow::narrow;

/// A success without an object.
pub(crate) fn success() -> Answer {
    Answer::Value(json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "code": 201,
    }))
}

/// Whether creation through this target is not the generic registry's.
pub(crate) fn creates(target: &Target) -> bool {
    matches!(target.subresource_name(), Some("binding" | "eviction" | "token"))
}

/// Creation through `pods/binding`, `pods/eviction` and `serviceaccounts/token`.
pub(crate) async fn create(
    registry: &Registry,
    authenticator: &Authenticator,
    target: &Target,
    body: Decoded,
    options: &WriteOptions,
    caller: &Caller,
) -> Result<Answer, ApiError> {
    let Some(subresource) = target.subresource else {
        return Err(ApiError::NoSuchPath);
    };
    let mut value = accept_as(
        subresource.group,
        subresource.version,
        subresource.kind,
        body,
        options,
        caller,
    )?;
    // NodeRestriction decides here which tokens and evictions a node may ask for.
    let act = Act {
        caller,
        operation: Operation::Create,
        dry_run: options.dry_run,
        old: None,
    };
    registry.mutate(target, &act, Some(&mut value)).await?;
    let _permit = registry.admit(target, &act, Some(&mut value)).await?;
    match subresource.name {
        "binding" => binding::bind(registry, target, &value, options, caller).await,
        "eviction" => eviction::evict(registry, target, &value, options, caller).await,
        "token" => {
            registry.current(target)?;
            let (answer, id) = authenticator.token_request(&target.namespace, &target.name, value)?;
            let key = "authentication.kubernetes.io/issued-credential-id";
            caller.notes.annotate(key, format!("JTI={id}"));
            Ok(Answer::Value(answer))
        }
        other => Err(ApiError::not_implemented(format!(
            "{}/{other}",
            target.group_resource()
        ))),
    }
}

/// Creation of what is never stored.
pub(crate) async fn create_transient(
    registry: &Registry,
    authenticator: &Authenticator,
    info: &'static timonel_api::resources::ResourceInfo,
    namespace: &str,
    body: Decoded,
    options: &WriteOptions,
    caller: &Caller,
) -> Result<Answer, ApiError> {
    let value = accept_as(info.group, info.version, info.kind, body, options, caller)?;
    let answer: Value = match (info.group, info.plural) {
        ("authorization.k8s.io", plural) => {
            authz::review(&registry.security.authorizer, plural, namespace, &caller.user, value)?
        }
        ("authentication.k8s.io", "tokenreviews") => authn::token_review(authenticator, value).await?,
        ("authentication.k8s.io", "selfsubjectreviews") => authn::self_subject_review(&caller.user, value),
        ("", "bindings") => {
            let pods = timonel_api::resources::by_kind("", "v1", "Pod").ok_or(ApiError::NoSuchPath)?;
            let name = value["metadata"]["name"].as_str().unwrap_or_default();
            let target = registry.target(pods, pods.subresource("binding"), namespace, name)?;
            return binding::bind(registry, &target, &value, options, caller).await;
        }
        _ => return Err(ApiError::not_implemented(info.group_resource())),
    };
    Ok(Answer::Value(answer))
}

/// Whether the target is read and written as a Scale.
pub(crate) fn is_scale(target: &Target) -> bool {
    target.subresource_name() == Some("scale")
}

pub(crate) use scale::{get as get_scale, patch as patch_scale, update as update_scale};
