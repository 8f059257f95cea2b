//! Answers: objects and lists, in the form that was asked for.

use std::io::Write as _;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, VARY, WARNING};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use super::body::{self, Body, empty, full};
use super::negotiate::{Accepted, Format, Shape};
use super::request::RequestInfo;
use crate::discovery::Document;
use crate::error::ApiError;
use crate::registry::{Answer, Caller, List, Target};
use crate::table;

/// Answers larger than this are compressed when the client likes.
const COMPRESS_OVER: usize = 128 << 10;
/// Lists go out in pieces of about this size.
const PIECE: usize = 128 << 10;

/// How this client wants its answers.
#[derive(Clone, Debug)]
pub(super) struct Style {
    pub(super) accepted: Accepted,
    pretty: bool,
    gzip: bool,
    include_object: table::IncludeObject,
}

impl Style {
    pub(super) fn new(accepted: Accepted, info: &RequestInfo, headers: &HeaderMap) -> Self {
        let gzip = accepts_gzip(headers);
        let pretty = match info.query.get("pretty") {
            "" if !info.query.has("pretty") => {
                let agent = headers
                    .get("user-agent")
                    .and_then(|agent| agent.to_str().ok())
                    .unwrap_or_default();
                agent.starts_with("curl") || agent.starts_with("Wget") || agent.starts_with("Mozilla/5.0")
            }
            "" | "1" | "true" => true,
            _ => false,
        };
        Self {
            accepted,
            pretty,
            gzip,
            include_object: table::IncludeObject::parse(info.query.get("includeObject")),
        }
    }

    /// Style for errors that come before negotiation, or about it.
    pub(super) fn plain() -> Self {
        Self {
            accepted: Accepted {
                format: Format::Json,
                shape: Shape::Whole,
            },
            pretty: false,
            gzip: false,
            include_object: table::IncludeObject::Metadata,
        }
    }

    fn encode(&self, value: &Value) -> Bytes {
        match self.accepted.format {
            Format::Yaml => timonel_api::decode::to_yaml(value).into(),
            Format::Json if self.pretty => {
                let mut text = serde_json::to_vec_pretty(value).unwrap_or_default();
                text.push(b'\n');
                text.into()
            }
            Format::Json => {
                let mut text = serde_json::to_vec(value).unwrap_or_default();
                text.push(b'\n');
                text.into()
            }
        }
    }

    fn is_raw(&self) -> bool {
        self.accepted.format == Format::Json && !self.pretty
    }
}

fn response(style: &Style, code: StatusCode, length: Option<usize>, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static(style.accepted.format.content_type()),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    if let Some(length) = length {
        headers.insert(CONTENT_LENGTH, length.into());
    }
    response
}

/// Answers bytes, compressed where that pays.
fn bytes_response(style: &Style, code: StatusCode, bytes: Bytes) -> Response<Body> {
    if style.gzip && bytes.len() > COMPRESS_OVER {
        let pieces: Vec<Bytes> = (0..bytes.len())
            .step_by(PIECE)
            .map(|at| bytes.slice(at..(at + PIECE).min(bytes.len())))
            .collect();
        return compressed(style, code, pieces.into_iter());
    }
    response(style, code, Some(bytes.len()), full(bytes))
}

fn compressed(style: &Style, code: StatusCode, pieces: impl Iterator<Item = Bytes> + Send + 'static) -> Response<Body> {
    let encoder = Some(GzEncoder::new(Vec::with_capacity(PIECE), Compression::fast()));
    let stream = futures::stream::unfold((pieces, encoder), |(mut pieces, mut encoder)| async move {
        loop {
            let gzip = encoder.as_mut()?;
            let out = match pieces.next() {
                Some(piece) => {
                    // Writing to memory does not fail.
                    let _ = gzip.write_all(&piece);
                    std::mem::take(gzip.get_mut())
                }
                None => encoder.take()?.finish().unwrap_or_default(),
            };
            if !out.is_empty() {
                return Some((out.into(), (pieces, encoder)));
            }
        }
    });
    let mut response = response(style, code, None, body::stream(stream));
    let headers = response.headers_mut();
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    response
}

/// Answers a value as it is.
pub(super) fn value(style: &Style, code: StatusCode, value: &Value) -> Response<Body> {
    bytes_response(style, code, style.encode(value))
}

/// Answers a line of text, as Go's `http.Error` does: for what upstream answers before it knows what the client reads.
pub(super) fn text(code: StatusCode, line: &str) -> Response<Body> {
    let mut response = Response::new(full(format!("{line}\n")));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

/// An answer without a body.
fn bare(code: StatusCode) -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = code;
    response
}

/// Answers an error.
pub(super) fn error(style: &Style, error: &ApiError) -> Response<Body> {
    let status = error.to_status();
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = value(style, code, &status.body);
    if let Some(seconds) = status.body["details"]["retryAfterSeconds"].as_u64() {
        answer.headers_mut().insert("retry-after", seconds.into());
    }
    if code == StatusCode::UNAUTHORIZED {
        answer
            .headers_mut()
            .insert("www-authenticate", HeaderValue::from_static("Bearer"));
    }
    answer
}

/// Answers an object.
pub(super) fn object(
    style: &Style,
    target: &Target,
    caller: &Caller,
    code: StatusCode,
    answer: &Answer,
) -> Response<Body> {
    match style.accepted.shape {
        Shape::Whole if style.is_raw() => bytes_response(style, code, answer.bytes()),
        Shape::Whole => value(style, code, &answer.value()),
        Shape::Table => {
            let object = answer.value();
            if object["kind"] == "Status" {
                return value(style, code, &object);
            }
            let revision = object["metadata"]["resourceVersion"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            let rows = [object];
            let table = table::render(
                target,
                rows.iter().map(Arc::clone),
                &revision,
                style.include_object,
                caller.now,
            );
            value(style, code, &table)
        }
        Shape::Metadata | Shape::MetadataList => value(style, code, &table::partial(&answer.value())),
    }
}

/// Answers a list.
pub(super) fn list(style: &Style, target: &Target, caller: &Caller, list: &List) -> Response<Body> {
    let mut metadata = json!({"resourceVersion": list.revision.to_string()});
    if let Some(token) = &list.continue_token {
        metadata["continue"] = token.as_str().into();
    }
    if let Some(remaining) = list.remaining {
        metadata["remainingItemCount"] = remaining.into();
    }
    let shown = |object: &Arc<crate::cache::Object>| target.shown(object).value();
    let code = StatusCode::OK;
    match style.accepted.shape {
        Shape::Table => {
            let rows = list.items.iter().map(shown);
            let revision = list.revision.to_string();
            let mut table = table::render(target, rows, &revision, style.include_object, caller.now);
            table["metadata"] = metadata;
            value(style, code, &table)
        }
        Shape::Metadata | Shape::MetadataList => {
            let items: Vec<Value> = list.items.iter().map(|object| table::partial(&shown(object))).collect();
            let list = json!({
                "kind": "PartialObjectMetadataList",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": metadata,
                "items": items,
            });
            value(style, code, &list)
        }
        Shape::Whole if style.is_raw() && !target.is_view() => joined(style, target, &metadata, list),
        Shape::Whole => {
            let items: Vec<Value> = list
                .items
                .iter()
                .map(|object| {
                    let mut item = (*shown(object)).clone();
                    if let Some(item) = item.as_object_mut() {
                        item.remove("kind");
                        item.remove("apiVersion");
                    }
                    item
                })
                .collect();
            let list = json!({
                "kind": format!("{}List", target.info.kind),
                "apiVersion": target.info.api_version(),
                "metadata": metadata,
                "items": items,
            });
            value(style, code, &list)
        }
    }
}

/// A list of stored objects: their bytes, joined as they go out.
fn joined(style: &Style, target: &Target, metadata: &Value, list: &List) -> Response<Body> {
    let head: Bytes = format!(
        "{{\"kind\":\"{}List\",\"apiVersion\":\"{}\",\"metadata\":{metadata},\"items\":[",
        target.info.kind,
        target.info.api_version()
    )
    .into();
    let tail = Bytes::from_static(b"]}\n");
    let items: Vec<Bytes> = list.items.iter().map(|object| object.bytes_without_type()).collect();
    // Each item gets its opening brace back, all but the first a comma.
    let braces = items.len() + items.len().saturating_sub(1);
    let length = head.len() + tail.len() + braces + items.iter().map(Bytes::len).sum::<usize>();
    let mut head = Some(head);
    let mut tail = Some(tail);
    let mut items = items.into_iter();
    let mut first = true;
    let pieces = std::iter::from_fn(move || {
        tail.as_ref()?;
        let mut piece = BytesMut::with_capacity(PIECE.min(length) + 4096);
        if let Some(head) = head.take() {
            piece.put_slice(&head);
        }
        while piece.len() < PIECE {
            let Some(item) = items.next() else {
                if let Some(tail) = tail.take() {
                    piece.put_slice(&tail);
                }
                break;
            };
            if !std::mem::take(&mut first) {
                piece.put_u8(b',');
            }
            piece.put_u8(b'{');
            piece.put_slice(&item);
        }
        Some(piece.freeze())
    });
    if style.gzip && length > COMPRESS_OVER {
        return compressed(style, StatusCode::OK, pieces);
    }
    response(
        style,
        StatusCode::OK,
        Some(length),
        body::stream(futures::stream::iter(pieces)),
    )
}

/// Answers a document of discovery or OpenAPI, or that the client has it already.
pub(super) fn document(document: Document, known: &str, headers: &HeaderMap) -> Response<Body> {
    let mut style = Style::plain();
    style.gzip = accepts_gzip(headers);
    let fresh = document
        .etag
        .as_deref()
        .is_some_and(|etag| known.split(',').any(|known| known.trim() == etag));
    let mut answer = if fresh {
        bare(StatusCode::NOT_MODIFIED)
    } else {
        bytes_response(&style, StatusCode::OK, document.body)
    };
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(document.content_type));
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    if let Some(etag) = document.etag.and_then(|etag| HeaderValue::from_str(&etag).ok()) {
        headers.insert(http::header::ETAG, etag);
    }
    answer
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.split(',').any(|coding| coding.trim().starts_with("gzip")))
}

/// All warnings together may have so many characters; if they have more, each is cut to fewer, and the last are left out. As upstream.
const WARNINGS: usize = 4 << 10;
const WARNING_CUT: usize = 256;

/// Adds the warnings that came up on the way.
pub(super) fn warnings(response: &mut Response<Body>, warnings: Vec<String>) {
    let cut = warnings.iter().map(|warning| warning.chars().count()).sum::<usize>() > WARNINGS;
    let mut written = 0;
    for warning in warnings {
        if cut && written >= WARNINGS {
            return;
        }
        let text: String = warning
            .chars()
            .take(if cut { WARNING_CUT } else { usize::MAX })
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        written += text.chars().count();
        let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            response.headers_mut().append(WARNING, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(all: Vec<String>) -> Vec<usize> {
        let mut response = Response::new(body::empty());
        warnings(&mut response, all);
        let headers = response.headers().get_all(WARNING).iter();
        headers.map(HeaderValue::len).collect()
    }

    #[test]
    fn warnings_that_are_too_long_together_are_cut() {
        let around = "299 - \"\"".len();
        assert_eq!(said(vec!["a".repeat(4096)]), [4096 + around]);
        let flood: Vec<String> = (0..100).map(|at| format!("{at}{}", "x".repeat(20_000))).collect();
        assert_eq!(said(flood), [256 + around; 16]);
    }
}
