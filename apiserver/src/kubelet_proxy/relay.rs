//! Sends a request on and its answer back, and becomes a pipe where the two sides upgrade.

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::connect::Dialer;
use super::target::Backend;
use super::{Body, BoxError, Call};
use crate::audit::Tunnel;
use crate::error::ApiError;

/// So much of a kubelet's complaint is passed on, as upstream.
const COMPLAINT: usize = 50 << 10;

/// Headers of one hop, or meant for us alone: the backend must never see the caller's credentials.
const NOT_PASSED_ON: [HeaderName; 8] = [
    header::AUTHORIZATION,
    header::HOST,
    header::CONNECTION,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::PROXY_AUTHORIZATION,
];

/// Says whether the client wants to leave HTTP.
pub(super) fn is_upgrade(headers: &HeaderMap) -> bool {
    let connection = headers.get_all(header::CONNECTION).iter();
    let asked = connection
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|token| token.trim().eq_ignore_ascii_case("upgrade"));
    asked && headers.contains_key(header::UPGRADE)
}

fn is_private(name: &HeaderName) -> bool {
    NOT_PASSED_ON.contains(name) || name.as_str().starts_with("impersonate-")
}

/// The bearer token that a browser hides among the WebSocket protocols is a credential too.
fn without_token(value: &HeaderValue) -> Option<HeaderValue> {
    let text = value.to_str().ok()?;
    let kept: Vec<&str> = text
        .split(',')
        .map(str::trim)
        .filter(|protocol| !protocol.starts_with("base64url.bearer.authorization.k8s.io."))
        .collect();
    HeaderValue::from_str(&kept.join(", "))
        .ok()
        .filter(|value| !value.is_empty())
}

fn request(backend: &Backend, path: &str, parts: &Parts, body: Body) -> Result<Request<Body>, ApiError> {
    let broken = |error: http::Error| ApiError::bad_request(format!("cannot be passed on: {error}"));
    let mut request = Request::builder()
        .method(parts.method.clone())
        .uri(path)
        .body(body)
        .map_err(broken)?;
    let headers = request.headers_mut();
    for (name, value) in &parts.headers {
        if is_private(name) {
            continue;
        }
        if name == header::SEC_WEBSOCKET_PROTOCOL {
            if let Some(value) = without_token(value) {
                headers.append(name, value);
            }
            continue;
        }
        headers.append(name, value.clone());
    }
    if is_upgrade(&parts.headers) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        if let Some(protocol) = parts.headers.get(header::UPGRADE) {
            headers.insert(header::UPGRADE, protocol.clone());
        }
    }
    let host = format!("{}:{}", backend.host, backend.port);
    let host = HeaderValue::from_str(&host).map_err(|error| broken(error.into()))?;
    headers.insert(header::HOST, host);
    Ok(request)
}

fn passed_on(body: Incoming) -> Body {
    body.map_err(|error| -> BoxError { error.into() }).boxed_unsync()
}

/// Sends a request on. Where the backend answers 101, the two connections are joined; else its answer is passed on as it is.
pub(super) async fn forward(
    dialer: &Dialer,
    backend: &Backend,
    path: &str,
    mut parts: Parts,
    body: Body,
) -> Result<Response<Body>, ApiError> {
    let client = parts.extensions.remove::<OnUpgrade>();
    let request = request(backend, path, &parts, body)?;
    let mut sender = dialer.dial(backend).await?;
    let mut answer = sender
        .send_request(request)
        .await
        .map_err(|error| ApiError::internal(format!("error sending request: {error}")))?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        let (mut head, body) = answer.into_parts();
        for name in [
            header::CONNECTION,
            header::TRANSFER_ENCODING,
            HeaderName::from_static("keep-alive"),
        ] {
            head.headers.remove(name);
        }
        head.version = http::Version::default();
        return Ok(Response::from_parts(head, passed_on(body)));
    }
    let Some(client) = client else {
        return Err(ApiError::bad_request("this connection cannot be upgraded"));
    };
    let server = hyper::upgrade::on(&mut answer);
    let tunnel = Tunnel::default();
    let open = tunnel.clone();
    tokio::spawn(async move {
        let _open = open;
        let (client, server) = match tokio::try_join!(client, server) {
            Ok(both) => both,
            Err(error) => {
                tracing::debug!(%error, "an upgrade did not come about");
                return;
            }
        };
        let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
        if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut server).await {
            tracing::debug!(%error, "a tunnel ended");
        }
    });
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = std::mem::take(answer.headers_mut());
    response.extensions_mut().insert(tunnel);
    Ok(response)
}

/// Gets a log and passes it on as it comes. What the kubelet complains about becomes an error of ours.
pub(super) async fn log(
    dialer: &Dialer,
    backend: &Backend,
    path: &str,
    call: &Call<'_>,
) -> Result<Response<Body>, ApiError> {
    let (parts, ()) = Request::new(()).into_parts();
    let nothing = Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync();
    let request = request(backend, path, &parts, nothing)?;
    let mut sender = dialer.dial(backend).await?;
    let answer = sender.send_request(request).await.map_err(|error| {
        ApiError::internal(format!(
            "Get \"https://{}:{}{path}\": {error}",
            backend.host, backend.port
        ))
    })?;
    let status = answer.status();
    if status.is_success() {
        let mut response = Response::new(passed_on(answer.into_body()));
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        return Ok(response);
    }
    let body = Limited::new(answer.into_body(), COMPLAINT).collect().await;
    let words = body.map_or_else(
        |_| String::new(),
        |body| String::from_utf8_lossy(&body.to_bytes()).trim_end().to_owned(),
    );
    Err(match status {
        StatusCode::BAD_REQUEST => ApiError::bad_request(words),
        StatusCode::NOT_FOUND if words.is_empty() => ApiError::not_found("pods", call.name),
        StatusCode::NOT_FOUND => ApiError::bad_request(words),
        _ => ApiError::internal(words),
    })
}

/// Gets a text of at most `limit` bytes.
pub(super) async fn text(dialer: &Dialer, backend: &Backend, path: &str, limit: usize) -> Result<String, ApiError> {
    let (parts, ()) = Request::new(()).into_parts();
    let nothing = Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync();
    let request = request(backend, path, &parts, nothing)?;
    let failed = |reason: String| {
        let (host, port) = (&backend.host, backend.port);
        ApiError::internal(format!("Get \"https://{host}:{port}{path}\": {reason}"))
    };
    let mut sender = dialer.dial(backend).await?;
    let answer = sender.send_request(request).await;
    let answer = answer.map_err(|error| failed(error.to_string()))?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), limit).collect().await;
    let body = body.map_err(|error| failed(error.to_string()))?.to_bytes();
    let text = String::from_utf8_lossy(&body);
    if status.is_success() {
        return Ok(text.into_owned());
    }
    let words: String = text.trim_end().chars().take(200).collect();
    Err(failed(format!("{status}: {words}")))
}

/// Sends a browser to the same path with a slash at its end.
pub(super) fn redirect(parts: &Parts) -> Result<Response<Body>, ApiError> {
    let query = parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let place = HeaderValue::from_str(&format!("{}/{query}", parts.uri.path()))
        .map_err(|error| ApiError::bad_request(error.to_string()))?;
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    response.headers_mut().insert(header::LOCATION, place);
    Ok(response)
}
