//! The way through the API server to kubelets, pods and services: `log`, `exec`, `attach`, `portforward`, `proxy`.
//!
//! ```text
//! request --options.rs--> the kubelet's path and query --+
//!         --target.rs--> address, port, TLS? ------------+--connect.rs--> connection --relay.rs--> streamed answer
//!                                                                                     \--101--> raw bytes both ways
//! ```
//!
//! *Trust.* The API server shows its own client certificate to kubelets, and demands a serving certificate that the cluster's authority
//! has signed for the address dialled. A node whose `kubernetes.io/kubelet-serving` request has not been signed yet cannot be
//! reached; upstream does not check unless told to, we do not offer not to.
//!
//! *Tunnels.* An upgraded connection (WebSocket or SPDY) is copied byte by byte and never parsed: the kubelet and the client settle
//! the protocol between themselves. Logs are passed on piece by piece as they arrive.
//!
//! Absent: `https:` targets of `pods/proxy` and `services/proxy` (answered as not implemented, because upstream skips verification
//! there), and upstream's rewriting of links in proxied HTML.

mod connect;
mod options;
mod relay;
mod target;

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use timonel_client::Rng;

use crate::authz::{Attributes, Authorizer};
use crate::error::ApiError;
use crate::identity::UserInfo;
use crate::pki::{Pki, PkiError};
use crate::reader::ObjectReader;

/// Any error of a body.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body that is passed on.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// What a request asks to be connected to.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Who asks.
    pub user: &'a UserInfo,
    /// `pods`, `nodes` or `services`.
    pub resource: &'a str,
    /// `log`, `exec`, `attach`, `portforward` or `proxy`.
    pub subresource: &'a str,
    /// Empty for nodes.
    pub namespace: &'a str,
    /// The object; for `proxy` also `scheme:name:port`.
    pub name: &'a str,
}

/// Connects requests to kubelets, pods and services.
pub struct KubeletProxy {
    reader: Arc<dyn ObjectReader>,
    dialer: connect::Dialer,
    rng: Arc<dyn Rng>,
}

impl std::fmt::Debug for KubeletProxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KubeletProxy").finish_non_exhaustive()
    }
}

impl KubeletProxy {
    /// Takes the client certificate and the authority from the cluster's keys.
    pub fn new(pki: &Pki, reader: Arc<dyn ObjectReader>, rng: Arc<dyn Rng>) -> Result<Self, PkiError> {
        Ok(Self {
            reader,
            dialer: connect::Dialer::new(pki.kubelet_client_config()?),
            rng,
        })
    }

    /// Says whether a subresource is served by [`KubeletProxy::serve`].
    pub fn handles(resource: &str, subresource: &str) -> bool {
        matches!(
            (resource, subresource),
            ("pods", "log" | "exec" | "attach" | "portforward" | "proxy") | ("nodes" | "services", "proxy")
        )
    }

    /// Carries a request, already authorized, to where it is meant to go, and the answer back.
    ///
    /// For upgrades `parts` must still hold hyper's `OnUpgrade` extension.
    pub async fn serve<B>(
        &self,
        call: &Call<'_>,
        authorizer: &Authorizer,
        parts: Parts,
        body: B,
    ) -> Result<Response<Body>, ApiError>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let query = parts.uri.query().unwrap_or_default().to_owned();
        match call.subresource {
            "log" => self.log(call, &query).await,
            "exec" | "attach" | "portforward" => self.stream(call, authorizer, parts, &query).await,
            _ => self.proxy(call, parts, body).await,
        }
    }

    /// Asks a node's kubelet for a text of at most `limit` bytes, with the API server's own certificate.
    ///
    /// *Errors:* who did not answer, or with what instead.
    pub(crate) async fn text(&self, node: &str, path: &str, limit: usize) -> Result<String, ApiError> {
        let backend = target::kubelet(self.reader.as_ref(), node)?;
        relay::text(&self.dialer, &backend, path, limit).await
    }

    async fn log(&self, call: &Call<'_>, query: &str) -> Result<Response<Body>, ApiError> {
        let pod = target::pod(self.reader.as_ref(), call)?;
        let path = options::log(&pod, call, query)?;
        let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        if node.is_empty() {
            let mut nothing = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
            *nothing.status_mut() = StatusCode::NO_CONTENT;
            return Ok(nothing);
        }
        let backend = target::kubelet(self.reader.as_ref(), node)?;
        relay::log(&self.dialer, &backend, &path, call).await
    }

    async fn stream(
        &self,
        call: &Call<'_>,
        authorizer: &Authorizer,
        parts: Parts,
        query: &str,
    ) -> Result<Response<Body>, ApiError> {
        // A WebSocket must be opened with GET; what it does is what POST would do, so it needs the same permission.
        if parts.method == Method::GET {
            let asks = Attributes::resource(call.user, "create", "", call.resource);
            authorizer.require(
                &asks
                    .within(call.namespace)
                    .named(call.name)
                    .with_subresource(call.subresource),
            )?;
        }
        let pod = target::pod(self.reader.as_ref(), call)?;
        let path = options::stream(&pod, call, query)?;
        let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        if node.is_empty() {
            return Err(ApiError::bad_request(format!(
                "pod {} does not have a host assigned",
                call.name
            )));
        }
        let backend = target::kubelet(self.reader.as_ref(), node)?;
        if !relay::is_upgrade(&parts.headers) {
            return Err(ApiError::bad_request("Upgrade request required"));
        }
        let nothing = Empty::new().map_err(|never| match never {}).boxed_unsync();
        relay::forward(&self.dialer, &backend, &path, parts, nothing).await
    }

    async fn proxy<B>(&self, call: &Call<'_>, parts: Parts, body: B) -> Result<Response<Body>, ApiError>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let Some(rest) = options::proxied_path(parts.uri.path(), call) else {
            return Err(ApiError::NoSuchPath);
        };
        // Without the slash relative links would lead one level too high.
        if rest.is_empty() && (parts.method == Method::GET || parts.method == Method::HEAD) {
            return relay::redirect(&parts);
        }
        let backend = match call.resource {
            "nodes" => target::node(self.reader.as_ref(), call.name)?,
            "pods" => target::pod_port(self.reader.as_ref(), call)?,
            _ => target::service(self.reader.as_ref(), call, self.rng.next_u64())?,
        };
        let mut path = if rest.is_empty() {
            "/".to_owned()
        } else {
            rest.to_owned()
        };
        if let Some(query) = parts.uri.query() {
            path.push('?');
            path.push_str(query);
        }
        relay::forward(
            &self.dialer,
            &backend,
            &path,
            parts,
            body.map_err(Into::into).boxed_unsync(),
        )
        .await
    }
}

#[cfg(test)]
mod tests;
