//! The way of a request: who asks, may they, in what time; `dispatch` knows what they want.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use rustls_pki_types::CertificateDer;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::body::{Body, BoxError};
use super::dispatch::Asked;
use super::health::Health;
use super::limits::{self, Delivery, InFlight};
use super::metrics::Metrics;
use super::negotiate;
use super::options;
use super::request::RequestInfo;
use super::respond::{self, Style};
use crate::audit::{Audit, Record};
use crate::authn::{Authenticator, impersonation};
use crate::authz::{Attributes, Authorizer};
use crate::cache::Caches;
use crate::error::ApiError;
use crate::identity::UserInfo;
use crate::kubelet_proxy::KubeletProxy;
use crate::registry::{Caller, Registry};
use crate::usage::Usage;

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
    pub(crate) proxy: Arc<KubeletProxy>,
    pub(crate) usage: Arc<Usage>,
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
            if let Some(answer) = self.guest(info, body).await? {
                return Ok(answer);
            }
            return self.path(info, &parts.headers);
        }
        *style = Style::new(negotiate::accepted(&parts.headers)?, info, &parts.headers);
        let resource = info.resource_info().ok_or(ApiError::NoSuchPath)?;
        let subresource = match info.subresource.as_str() {
            "" => None,
            _ => Some(info.subresource_info(resource).ok_or(ApiError::NoSuchPath)?),
        };
        let asked = Asked {
            info,
            resource,
            subresource,
            caller: &caller,
            style,
        };
        let mut response = self
            .resource(&asked, parts, body)
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

    /// The caches, for readiness.
    pub(crate) fn caches(&self) -> &Arc<Caches> {
        &self.registry.caches
    }
}

/// The id that the client has given its request, as upstream takes it.
fn audit_id(headers: &HeaderMap) -> Option<String> {
    let given = headers.get("audit-id")?.to_str().ok()?;
    (!given.is_empty() && given.len() <= 64).then(|| given.to_owned())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
