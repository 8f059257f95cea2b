//! What an admitted request wants, by path, resource and verb, and who in the registry answers it.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::Value;
use timonel_api::resources::{ResourceInfo, SubresourceInfo};

use super::body::{self, Body, BoxError};
use super::handler::Front;
use super::media::{decode_body, delete_body, patch_kind};
use super::metrics;
use super::negotiate::Shape;
use super::options;
use super::request::RequestInfo;
use super::respond::{self, Style};
use super::watch;
use crate::error::ApiError;
use crate::kubelet_proxy::{Call, KubeletProxy};
use crate::reader::ObjectReader;
use crate::registry::{Caller, Target};
use crate::table;
use crate::{discovery, openapi, subresources, usage};

/// A request for a resource, and what is known of it by now.
pub(super) struct Asked<'a> {
    pub(super) info: &'a RequestInfo,
    pub(super) resource: &'static ResourceInfo,
    pub(super) subresource: Option<&'static SubresourceInfo>,
    pub(super) caller: &'a Caller,
    pub(super) style: &'a Style,
}

impl Asked<'_> {
    /// The namespace, where the resource is in one.
    fn namespace(&self) -> &str {
        if self.resource.namespaced {
            &self.info.namespace
        } else {
            ""
        }
    }
}

impl Front {
    /// Answers a path that is no resource.
    pub(super) fn path(&self, info: &RequestInfo, headers: &HeaderMap) -> Result<Response<Body>, ApiError> {
        if let Some(response) = self.health.answer(info, &self.registry.caches) {
            return Ok(response);
        }
        match info.path.trim_end_matches('/') {
            "/metrics" => Ok(metrics::render(self)),
            "/openid/v1/jwks" => Ok(json_document("application/jwk-set+json", &self.authenticator.jwks())),
            "/.well-known/openid-configuration" => Ok(json_document(
                "application/json",
                &self.authenticator.openid_configuration(),
            )),
            _ => self.documents(info, headers),
        }
    }

    /// Discovery, OpenAPI and the version.
    fn documents(&self, info: &RequestInfo, headers: &HeaderMap) -> Result<Response<Body>, ApiError> {
        let text = |name: http::HeaderName| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
        };
        let accept = text(http::header::ACCEPT);
        let document = match info.path.trim_end_matches('/') {
            "/version" => Some(discovery::version(&self.registry.config.build)),
            _ => discovery::serve(&info.path, accept).or_else(|| openapi::serve(&info.path, accept)),
        };
        let document = document.ok_or(ApiError::NoSuchPath)?;
        if info.verb != "get" {
            return Ok(respond::text(StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed"));
        }
        Ok(respond::document(document, text(http::header::IF_NONE_MATCH), headers))
    }

    /// Answers a request for a resource.
    pub(super) async fn resource<B>(
        &self,
        asked: &Asked<'_>,
        parts: http::request::Parts,
        body: B,
    ) -> Result<Response<Body>, ApiError>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let Asked {
            info,
            resource,
            subresource,
            caller,
            style,
        } = *asked;
        let verbs = subresource.map_or(resource.verbs, |subresource| subresource.verbs);
        if !verbs.contains(&info.verb) {
            return Err(ApiError::method_not_allowed(resource.group_resource(), info.verb));
        }
        let registry = &self.registry;
        if let Some(warning) = crate::resources::deprecated_resource(resource) {
            caller.warn(warning);
        }
        if let Some(subresource) = subresource.filter(|sub| KubeletProxy::handles(resource.plural, sub.name)) {
            let call = Call {
                user: &caller.user,
                resource: resource.plural,
                subresource: subresource.name,
                namespace: asked.namespace(),
                name: &info.name,
            };
            return self
                .proxy
                .serve(&call, &registry.security.authorizer, parts, body)
                .await;
        }
        if subresources::is_component_status(resource) {
            return self.component_statuses(asked).await;
        }
        if usage::measures(resource) {
            return self.usage(asked);
        }
        if !resource.storage && info.verb == "create" {
            // Nothing says what a review would look like in rows and columns.
            if style.accepted.shape == Shape::Table {
                return Err(ApiError::not_acceptable());
            }
            let bytes = body::read(body, registry.config.body_limit).await?;
            let body = decode_body(&parts.headers, &bytes)?;
            let options = options::write(info, "CreateOptions")?;
            let answer = subresources::create_transient(
                registry,
                &self.authenticator,
                resource,
                &info.namespace,
                body,
                &options,
                caller,
            )
            .await?;
            return Ok(respond::value(style, StatusCode::CREATED, &answer.value()));
        }
        let name = if info.named { &info.name } else { "" };
        let target = registry.target(resource, subresource, asked.namespace(), name)?;
        match info.verb {
            "get" if subresources::is_scale(&target) => {
                let scale = subresources::get_scale(registry, &target).await?;
                Ok(respond::value(style, StatusCode::OK, &scale.value()))
            }
            "get" => {
                let answer = registry.get(&target, info.query.get("resourceVersion")).await?;
                Ok(respond::object(style, &target, caller, StatusCode::OK, &answer))
            }
            "list" => {
                let list = registry.list(&target, &options::list(info)?).await?;
                Ok(respond::list(style, &target, caller, &list))
            }
            "watch" => self.watch(asked, &target).await,
            _ => {
                let bytes = body::read(body, registry.config.body_limit).await?;
                self.write(asked, &target, &parts.headers, &bytes).await
            }
        }
    }

    async fn component_statuses(&self, asked: &Asked<'_>) -> Result<Response<Body>, ApiError> {
        let Asked {
            info, caller, style, ..
        } = *asked;
        let target = subresources::component_status_target(asked.resource, &info.name);
        if info.verb == "get" {
            let answer = subresources::get_component_status(&self.registry, &target).await?;
            return Ok(respond::object(style, &target, caller, StatusCode::OK, &answer));
        }
        let list = subresources::list_component_statuses(&self.registry, &target, &options::list(info)?).await?;
        Ok(respond::list(style, &target, caller, &list))
    }

    /// What nodes and pods use: metrics.k8s.io.
    fn usage(&self, asked: &Asked<'_>) -> Result<Response<Body>, ApiError> {
        let Asked {
            info, caller, style, ..
        } = *asked;
        let name = if info.named { info.name.as_str() } else { "" };
        let target = usage::target(asked.resource, asked.namespace(), name);
        let caches: &dyn ObjectReader = &*self.registry.caches;
        if info.named {
            let answer = usage::get(&self.usage, caches, &target, caller.now)?;
            return Ok(respond::object(style, &target, caller, StatusCode::OK, &answer));
        }
        let revision = self.registry.caches.applied();
        let list = usage::list(
            &self.usage,
            caches,
            &target,
            &options::list(info)?,
            revision,
            caller.now,
        )?;
        Ok(respond::list(style, &target, caller, &list))
    }

    async fn write(
        &self,
        asked: &Asked<'_>,
        target: &Target,
        headers: &HeaderMap,
        bytes: &[u8],
    ) -> Result<Response<Body>, ApiError> {
        let Asked {
            info, caller, style, ..
        } = *asked;
        let registry = &self.registry;
        let (code, answer) = match info.verb {
            "create" if subresources::creates(target) => {
                let options = options::write(info, "CreateOptions")?;
                let body = decode_body(headers, bytes)?;
                let authenticator = &self.authenticator;
                let answer = subresources::create(registry, authenticator, target, body, &options, caller).await?;
                return Ok(respond::value(style, StatusCode::CREATED, &answer.value()));
            }
            "update" if subresources::is_scale(target) => {
                let options = options::write(info, "UpdateOptions")?;
                let body = decode_body(headers, bytes)?;
                let answer = subresources::update_scale(registry, target, body, &options, caller).await?;
                return Ok(respond::value(style, StatusCode::OK, &answer.value()));
            }
            "patch" if subresources::is_scale(target) => {
                let options = options::write(info, "PatchOptions")?;
                let kind = patch_kind(headers)?;
                let answer = subresources::patch_scale(registry, target, kind, bytes, &options, caller).await?;
                return Ok(respond::value(style, StatusCode::OK, &answer.value()));
            }
            "create" => {
                let options = options::write(info, "CreateOptions")?;
                let body = decode_body(headers, bytes)?;
                (
                    StatusCode::CREATED,
                    registry.create(target, body, &options, caller).await?,
                )
            }
            "update" => {
                let options = options::write(info, "UpdateOptions")?;
                let body = decode_body(headers, bytes)?;
                let (created, answer) = registry.update(target, body, &options, caller).await?;
                (if created { StatusCode::CREATED } else { StatusCode::OK }, answer)
            }
            "patch" => {
                let options = options::write(info, "PatchOptions")?;
                let kind = patch_kind(headers)?;
                let (created, answer) = registry.patch(target, kind, bytes, &options, caller).await?;
                (if created { StatusCode::CREATED } else { StatusCode::OK }, answer)
            }
            "delete" => {
                let options = options::delete(info, &delete_body(headers, bytes)?)?;
                (StatusCode::OK, registry.delete(target, &options, caller).await?)
            }
            "deletecollection" => {
                let options = options::delete(info, &delete_body(headers, bytes)?)?;
                let list = registry
                    .delete_collection(target, &options::list(info)?, &options, caller)
                    .await?;
                return Ok(respond::list(style, target, caller, &list));
            }
            other => return Err(ApiError::method_not_allowed(target.group_resource(), other)),
        };
        Ok(respond::object(style, target, caller, code, &answer))
    }

    async fn watch(&self, asked: &Asked<'_>, target: &Target) -> Result<Response<Body>, ApiError> {
        let Asked { info, style, .. } = *asked;
        let options = options::list(info)?;
        let watcher = self.registry.watch(target, &options, self.stop.child_token()).await?;
        let include = table::IncludeObject::parse(info.query.get("includeObject"));
        let transform: Option<watch::Transform> = match style.accepted.shape {
            Shape::Whole if !target.is_view() => None,
            shape => {
                let target = target.clone();
                let clock = self.registry.clock.clone();
                Some(Box::new(move |bytes: &Bytes| {
                    let Ok(object) = serde_json::from_slice::<Value>(bytes) else {
                        return bytes.clone();
                    };
                    let shown = target.shown_value(&object);
                    let result = match shape {
                        Shape::Whole => shown,
                        Shape::Metadata | Shape::MetadataList => table::partial(&shown),
                        Shape::Table => {
                            let revision = shown["metadata"]["resourceVersion"]
                                .as_str()
                                .unwrap_or_default()
                                .to_owned();
                            table::event(&target, shown, &revision, include, clock.now())
                        }
                    };
                    result.to_string().into()
                }))
            }
        };
        let mut response = Response::new(body::stream(watch::stream(watcher, transform)));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert("cache-control", HeaderValue::from_static("no-cache, private"));
        Ok(response)
    }
}

/// One of the documents by which others learn to verify service-account tokens.
fn json_document(media_type: &'static str, value: &Value) -> Response<Body> {
    let mut response = Response::new(body::full(value.to_string()));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    let cached = HeaderValue::from_static("public, max-age=3600");
    response.headers_mut().insert("cache-control", cached);
    response
}
