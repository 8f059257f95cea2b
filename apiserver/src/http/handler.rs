//! The way of a request: who asks, may they, what do they want, here it is.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use rustls_pki_types::CertificateDer;
use serde_json::Value;
use timonel_api::decode::{self, Decoded};
use timonel_api::resources::{ResourceInfo, SubresourceInfo};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::body::{self, Body, BoxError, empty};
use super::health::Health;
use super::limits::{self, Delivery, InFlight};
use super::metrics::{self, Metrics};
use super::negotiate::{self, Shape};
use super::request::RequestInfo;
use super::respond::{self, Style};
use super::{options, protobuf, watch};
use crate::audit::{Audit, Record};
use crate::authn::{Authenticator, impersonation};
use crate::authz::{Attributes, Authorizer};
use crate::cache::Caches;
use crate::error::ApiError;
use crate::identity::UserInfo;
use crate::kubelet_proxy::{Call, KubeletProxy};
use crate::registry::{Caller, PatchKind, Registry, Target};
use crate::table;
use crate::{discovery, openapi, subresources};

/// How the connector knows its client.
#[derive(Clone, Debug)]
pub enum Identity {
    /// Somebody in this process, settled when the client was made.
    Settled(UserInfo),
    /// A TLS peer, with the certificates that it showed.
    Peer(Option<Arc<Vec<CertificateDer<'static>>>>),
}

/// The front of the API server: turns requests into answers.
#[derive(Debug)]
pub struct Front {
    pub(crate) registry: Arc<Registry>,
    pub(crate) authenticator: Authenticator,
    pub(crate) health: Health,
    pub(crate) metrics: Metrics,
    pub(crate) inflight: InFlight,
    pub(crate) proxy: KubeletProxy,
    /// Nothing is logged without.
    pub(crate) audit: Option<Arc<Audit>>,
    /// Ends watches and other long requests.
    pub(crate) stop: CancellationToken,
}

impl Front {
    /// Answers a request, whatever becomes of it: too late is a 504, a panic is a 500 and the server goes on.
    ///
    /// *Cancel safety:* what has been committed stays; dropping the future gives up the rest.
    pub async fn handle<B>(self: Arc<Self>, request: Request<B>, identity: Identity) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let id = audit_id(request.headers()).unwrap_or_else(|| self.registry.rng.uuid().to_string());
        let (parts, body) = request.into_parts();
        let info = RequestInfo::parse(&parts.method, parts.uri.path(), parts.uri.query().unwrap_or_default());
        let observed = self.metrics.begin(&info, &parts.headers);
        let mut record = Record::open(self.audit.as_ref(), &id, &info, &parts);
        let mut style = Style::plain();
        let answer = self
            .clone()
            .in_time(&info, parts, body, identity, &mut style, &mut record);
        let mut response = match AssertUnwindSafe(answer).catch_unwind().await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => respond::error(&style, &error),
            Err(_) => {
                record.panicked();
                // The panic hook has said where.
                tracing::error!(
                    audit_id = id,
                    verb = info.verb,
                    path = info.path,
                    "a request ended in a panic"
                );
                respond::text(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "This request caused apiserver to panic. Look in the logs for details.",
                )
            }
        };
        if let Ok(id) = HeaderValue::from_str(&id) {
            response.headers_mut().insert("audit-id", id);
        }
        let response = record.close(response).await;
        self.metrics.end(observed, response)
    }

    /// Gives a request the time that it may take, which for long-running ones is any.
    async fn in_time<B>(
        self: Arc<Self>,
        info: &RequestInfo,
        parts: http::request::Parts,
        body: B,
        identity: Identity,
        style: &mut Style,
        record: &mut Record,
    ) -> Result<Response<Body>, ApiError>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        if info.is_long_running() {
            let delivery = if info.verb == "watch" {
                Delivery::Stream
            } else {
                Delivery::Relay
            };
            let mut response = self.answer(info, parts, body, identity, style, record).await?;
            response.extensions_mut().insert(delivery);
            return Ok(response);
        }
        let longest = self.registry.config.request_timeout;
        let allowed = options::timeout(info)?
            .filter(|wish| !wish.is_zero())
            .unwrap_or(longest);
        let deadline = Instant::now() + allowed.min(longest);
        let answer = self.answer(info, parts, body, identity, style, record);
        let mut response = tokio::time::timeout_at(deadline, answer)
            .await
            .map_err(|_| ApiError::timeout("request did not complete within the allotted timeout"))??;
        response.extensions_mut().insert(Delivery::By(deadline));
        Ok(response)
    }

    async fn answer<B>(
        self: Arc<Self>,
        info: &RequestInfo,
        mut parts: http::request::Parts,
        body: B,
        identity: Identity,
        style: &mut Style,
        record: &mut Record,
    ) -> Result<Response<Body>, ApiError>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let size: usize = parts
            .headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len())
            .sum();
        let url = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
        if url > limits::URL_BYTES {
            return Ok(respond::text(StatusCode::URI_TOO_LONG, "414 URI Too Long"));
        }
        if size > limits::HEAD_BYTES || parts.headers.len() > limits::HEAD_FIELDS {
            return Ok(respond::text(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "431 Request Header Fields Too Large",
            ));
        }
        // The control plane's own clients are as many as their workers; a storm outside must not starve them.
        let ours = matches!(identity, Identity::Settled(_));
        let user = match identity {
            Identity::Settled(user) => user,
            Identity::Peer(certificates) => {
                let certificates = certificates.as_deref().map(Vec::as_slice);
                let found = self.authenticator.authenticate(&parts.headers, certificates).await;
                self.metrics.authenticated(found.is_ok());
                found.inspect_err(|_| record.refused(&parts.headers))?
            }
        };
        record.authenticated(&user);
        let body = record.tap(body);
        let user = impersonation::apply(&parts.headers, user, &self.registry.security.authorizer)?;
        record.acting_as(&user);
        let admitted = if ours {
            Ok(None)
        } else {
            self.inflight.admit(info, &user)
        };
        let Ok(_permit) = admitted else {
            let mut response = respond::text(
                StatusCode::TOO_MANY_REQUESTS,
                "Too many requests, please try again later.",
            );
            response.headers_mut().insert(RETRY_AFTER, 1.into());
            return Ok(response);
        };
        self.authorize(info, &user, record)?;
        let agent = parts
            .headers
            .get("user-agent")
            .and_then(|agent| agent.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        let caller = Caller::new(user, self.registry.clock.now(), &agent);
        if !info.is_resource {
            return self.path(info, &mut parts).await;
        }
        *style = Style::new(negotiate::accepted(&parts.headers)?, info, &parts.headers);
        let resource = info.resource_info().ok_or(ApiError::NoSuchPath)?;
        let subresource = match info.subresource.as_str() {
            "" => None,
            _ => Some(info.subresource_info(resource).ok_or(ApiError::NoSuchPath)?),
        };
        let mut response = self
            .resource(info, resource, subresource, parts, body, &caller, style)
            .await
            .unwrap_or_else(|error| respond::error(style, &error));
        record.annotate(caller.notes.annotations());
        respond::warnings(&mut response, caller.take_warnings());
        Ok(response)
    }

    fn authorize(&self, info: &RequestInfo, user: &UserInfo, record: &mut Record) -> Result<(), ApiError> {
        let attributes = Attributes::of(info, user);
        let decision = self.registry.security.authorizer.authorize(&attributes);
        self.metrics.authorized(decision.allowed);
        record.decided(&decision);
        if decision.allowed {
            return Ok(());
        }
        Err(Authorizer::forbidden(&attributes, &decision))
    }

    /// Paths that are no resources.
    async fn path(&self, info: &RequestInfo, parts: &mut http::request::Parts) -> Result<Response<Body>, ApiError> {
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
            _ => self.documents(info, &parts.headers),
        }
    }

    /// Discovery and OpenAPI.
    fn documents(&self, info: &RequestInfo, headers: &HeaderMap) -> Result<Response<Body>, ApiError> {
        let text = |name: http::HeaderName| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
        };
        let accept = text(http::header::ACCEPT);
        let document = discovery::serve(&info.path, accept)
            .or_else(|| openapi::serve(&info.path, accept))
            .ok_or(ApiError::NoSuchPath)?;
        if info.verb != "get" {
            return Ok(respond::text(StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed"));
        }
        Ok(respond::document(document, text(http::header::IF_NONE_MATCH), headers))
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "a request and everything that is known about it by now"
    )]
    async fn resource<B>(
        self: Arc<Self>,
        info: &RequestInfo,
        resource: &'static ResourceInfo,
        subresource: Option<&'static SubresourceInfo>,
        parts: http::request::Parts,
        body: B,
        caller: &Caller,
        style: &Style,
    ) -> Result<Response<Body>, ApiError>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
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
                namespace: if resource.namespaced { &info.namespace } else { "" },
                name: &info.name,
            };
            return self
                .proxy
                .serve(&call, &registry.security.authorizer, parts, body)
                .await;
        }
        if subresources::is_component_status(resource) {
            let target = subresources::component_status_target(resource, &info.name);
            if info.verb == "get" {
                let answer = subresources::get_component_status(registry, &target).await?;
                return Ok(respond::object(style, &target, caller, StatusCode::OK, &answer));
            }
            let list = subresources::list_component_statuses(registry, &target, &options::list(info)?).await?;
            return Ok(respond::list(style, &target, caller, &list));
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
        let target = registry.target(
            resource,
            subresource,
            &info.namespace,
            if info.named { &info.name } else { "" },
        )?;
        let target = Target {
            namespace: if resource.namespaced {
                info.namespace.clone()
            } else {
                String::new()
            },
            ..target
        };
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
            "watch" => self.watch(info, &target, caller, style).await,
            verb => {
                let bytes = body::read(body, registry.config.body_limit).await?;
                self.write(verb, info, &target, &parts.headers, bytes, caller, style)
                    .await
            }
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "a request and everything that is known about it by now"
    )]
    async fn write(
        &self,
        verb: &str,
        info: &RequestInfo,
        target: &Target,
        headers: &HeaderMap,
        bytes: Bytes,
        caller: &Caller,
        style: &Style,
    ) -> Result<Response<Body>, ApiError> {
        let registry = &self.registry;
        let (code, answer) = match verb {
            "create" if subresources::creates(target) => {
                let options = options::write(info, "CreateOptions")?;
                let body = decode_body(headers, &bytes)?;
                let authenticator = &self.authenticator;
                let answer = subresources::create(registry, authenticator, target, body, &options, caller).await?;
                return Ok(respond::value(style, StatusCode::CREATED, &answer.value()));
            }
            "update" if subresources::is_scale(target) => {
                let options = options::write(info, "UpdateOptions")?;
                let body = decode_body(headers, &bytes)?;
                let answer = subresources::update_scale(registry, target, body, &options, caller).await?;
                return Ok(respond::value(style, StatusCode::OK, &answer.value()));
            }
            "patch" if subresources::is_scale(target) => {
                let options = options::write(info, "PatchOptions")?;
                let kind = patch_kind(headers)?;
                let answer = subresources::patch_scale(registry, target, kind, &bytes, &options, caller).await?;
                return Ok(respond::value(style, StatusCode::OK, &answer.value()));
            }
            "create" => {
                let options = options::write(info, "CreateOptions")?;
                let body = decode_body(headers, &bytes)?;
                (
                    StatusCode::CREATED,
                    registry.create(target, body, &options, caller).await?,
                )
            }
            "update" => {
                let options = options::write(info, "UpdateOptions")?;
                let body = decode_body(headers, &bytes)?;
                let (created, answer) = registry.update(target, body, &options, caller).await?;
                (if created { StatusCode::CREATED } else { StatusCode::OK }, answer)
            }
            "patch" => {
                let options = options::write(info, "PatchOptions")?;
                let kind = patch_kind(headers)?;
                let (created, answer) = registry.patch(target, kind, &bytes, &options, caller).await?;
                (if created { StatusCode::CREATED } else { StatusCode::OK }, answer)
            }
            "delete" => {
                let options = options::delete(info, &delete_body(headers, &bytes)?)?;
                (StatusCode::OK, registry.delete(target, &options, caller).await?)
            }
            "deletecollection" => {
                let options = options::delete(info, &delete_body(headers, &bytes)?)?;
                let list = registry
                    .delete_collection(target, &options::list(info)?, &options, caller)
                    .await?;
                return Ok(respond::list(style, target, caller, &list));
            }
            other => return Err(ApiError::method_not_allowed(target.group_resource(), other)),
        };
        Ok(respond::object(style, target, caller, code, &answer))
    }

    async fn watch(
        &self,
        info: &RequestInfo,
        target: &Target,
        caller: &Caller,
        style: &Style,
    ) -> Result<Response<Body>, ApiError> {
        let options = options::list(info)?;
        let watcher = self.registry.watch(target, &options, self.stop.child_token()).await?;
        let include = table::IncludeObject::parse(info.query.get("includeObject"));
        let transform: Option<watch::Transform> = match style.accepted.shape {
            Shape::Whole if !target.is_view() => None,
            shape => {
                let target = target.clone();
                let clock = self.registry.clock.clone();
                let _ = caller;
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

/// The id that the client has given its request, as upstream takes it.
fn audit_id(headers: &HeaderMap) -> Option<String> {
    let given = headers.get("audit-id")?.to_str().ok()?;
    (!given.is_empty() && given.len() <= 64).then(|| given.to_owned())
}

fn media_type(headers: &HeaderMap) -> &str {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map_or("", str::trim)
}

/// Decodes a body as its media type says.
pub(super) fn decode_body(headers: &HeaderMap, bytes: &[u8]) -> Result<Decoded, ApiError> {
    let result = match media_type(headers) {
        "" | "application/json" => decode::json(bytes),
        "application/yaml" | "text/yaml" | "application/x-yaml" => decode::yaml(bytes),
        "application/vnd.kubernetes.protobuf" => return protobuf::decode(bytes),
        _ => return Err(ApiError::unsupported_media_type()),
    };
    result.map_err(|error| ApiError::bad_request(error.to_string()))
}

fn delete_body(headers: &HeaderMap, bytes: &[u8]) -> Result<Value, ApiError> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    Ok(decode_body(headers, bytes)?.value)
}

fn patch_kind(headers: &HeaderMap) -> Result<PatchKind, ApiError> {
    Ok(match media_type(headers) {
        "application/json-patch+json" => PatchKind::Json,
        "application/merge-patch+json" => PatchKind::Merge,
        "application/strategic-merge-patch+json" => PatchKind::Strategic,
        "application/apply-patch+yaml" => PatchKind::Apply,
        _ => {
            return Err(ApiError::UnsupportedMediaType(
                "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml"
                    .to_owned(),
            ));
        }
    })
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

/// An answer without a body.
pub(super) fn bare(code: StatusCode) -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = code;
    response
}

impl Front {
    /// The caches, for readiness.
    pub(crate) fn caches(&self) -> &Arc<Caches> {
        &self.registry.caches
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
