//! What is gathered about one request on its way, and when it is logged.
//!
//! A [`Record`] that is dropped before its request was answered says so itself: as a panic where the server is unwinding, else as a
//! connection that was closed early. So nothing that was admitted goes unlogged.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, Response};
use http_body::Body as _;
use http_body_util::BodyExt;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::event::{Event, ObjectRef, micro, without_managed_fields};
use super::policy::Verdict;
use super::tap::{Heard, Tapped, until_end};
use super::{Audit, Level, Stage};
use crate::authn::user_json;
use crate::authz::{Attributes, Decision};
use crate::http::{Body, RequestInfo, decode_protobuf, full};
use crate::identity::UserInfo;

/// Bodies up to this size are logged.
const BODY_LIMIT: usize = 4 << 20;
/// What a compressed answer may unpack to.
const UNPACKED_LIMIT: u64 = 64 << 20;

/// Where the request comes from; the listener puts it into the request's extensions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerAddress(pub(crate) SocketAddr);

/// The audit's view of one request; empty where it is not logged.
#[derive(Debug, Default)]
pub(crate) struct Record(Option<Box<Open>>);

#[derive(Debug)]
struct Open {
    audit: Arc<Audit>,
    id: String,
    uri: String,
    info: RequestInfo,
    source_ips: Vec<String>,
    agent: String,
    content_type: String,
    received: Timestamp,
    verdict: Verdict,
    user: UserInfo,
    acting_as: Option<UserInfo>,
    annotations: BTreeMap<String, String>,
    heard: Heard,
    /// Why nobody could be found behind the request.
    refused: Option<&'static str>,
    status: Option<Value>,
    response_object: Option<Value>,
    /// Every stage that there will be has been logged.
    told: bool,
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// Whether the answer goes on for as long as the client likes.
fn is_long(info: &RequestInfo) -> bool {
    info.verb == "watch" || is_connection(info)
}

fn is_connection(info: &RequestInfo) -> bool {
    let subresource = info.subresource.as_str();
    info.is_resource && matches!(subresource, "attach" | "exec" | "proxy" | "log" | "portforward")
}

/// Through whom the request has come, nearest last.
fn source_ips(headers: &HeaderMap, peer: Option<PeerAddress>) -> Vec<String> {
    let mut found: Vec<String> = text(headers, "x-forwarded-for")
        .split(',')
        .chain([text(headers, "x-real-ip")])
        .filter_map(|ip| ip.trim().parse::<std::net::IpAddr>().ok())
        .map(|ip| ip.to_string())
        .collect();
    found.dedup();
    let nearest = peer.map_or("127.0.0.1".to_owned(), |PeerAddress(address)| {
        address.ip().to_canonical().to_string()
    });
    if found.last() != Some(&nearest) {
        found.push(nearest);
    }
    found
}

impl Record {
    /// Begins with what a request says of itself. Nothing is logged before it is known who asks.
    pub(crate) fn open(audit: Option<&Arc<Audit>>, id: &str, info: &RequestInfo, parts: &http::request::Parts) -> Self {
        let Some(audit) = audit else {
            return Self::default();
        };
        let uri = parts.uri.path_and_query().map_or("", |uri| uri.as_str());
        Self(Some(Box::new(Open {
            id: id.to_owned(),
            uri: uri.to_owned(),
            info: info.clone(),
            source_ips: source_ips(&parts.headers, parts.extensions.get().copied()),
            agent: text(&parts.headers, "user-agent").to_owned(),
            content_type: text(&parts.headers, "content-type").to_owned(),
            received: audit.clock.now(),
            audit: Arc::clone(audit),
            verdict: Verdict {
                level: Level::None,
                omit_stages: Vec::new(),
                omit_managed_fields: false,
            },
            user: UserInfo::default(),
            acting_as: None,
            annotations: BTreeMap::new(),
            heard: Heard::default(),
            refused: None,
            status: None,
            response_object: None,
            told: false,
        })))
    }

    /// It is known who asks: now the policy decides.
    pub(crate) fn authenticated(&mut self, user: &UserInfo) {
        self.settle(user, true);
        if let Some(open) = &self.0 {
            open.tell(Stage::RequestReceived);
        }
    }

    /// Nobody could be found behind the request.
    pub(crate) fn refused(&mut self, headers: &HeaderMap) {
        self.settle(&UserInfo::default(), false);
        if let Some(open) = &mut self.0 {
            open.refused = Some(
                if text(headers, "authorization").to_lowercase().starts_with("bearer ") {
                    "Authentication failed, attempted: bearer"
                } else if headers.contains_key("authorization") {
                    "Authentication failed, attempted: basic"
                } else {
                    "Authentication failed, no credentials provided"
                },
            );
        }
    }

    fn settle(&mut self, user: &UserInfo, known: bool) {
        let Some(open) = &mut self.0 else { return };
        open.verdict = open.audit.policy.decide(&Attributes::of(&open.info, user), known);
        open.user = user.clone();
        open.audit.count_level(open.verdict.level);
        if open.verdict.level == Level::None {
            open.told = true;
            self.0 = None;
        }
    }

    /// The request acts as somebody else.
    pub(crate) fn acting_as(&mut self, user: &UserInfo) {
        if let Some(open) = self.0.as_mut().filter(|open| open.user != *user) {
            open.acting_as = Some(user.clone());
        }
    }

    /// Authorization has decided.
    pub(crate) fn decided(&mut self, decision: &Decision) {
        if let Some(open) = &mut self.0 {
            let word = if decision.allowed { "allow" } else { "forbid" };
            let reason = decision.reason.clone();
            open.annotations
                .insert("authorization.k8s.io/decision".to_owned(), word.to_owned());
            open.annotations
                .insert("authorization.k8s.io/reason".to_owned(), reason);
        }
    }

    /// Admission and others have something to say. What is noted already stays, as upstream.
    pub(crate) fn annotate(&mut self, notes: BTreeMap<String, String>) {
        if let Some(open) = &mut self.0 {
            for (key, value) in notes {
                open.annotations.entry(key).or_insert(value);
            }
        }
    }

    /// Listens to the request's body where it is an object.
    pub(crate) fn tap<B>(&self, body: B) -> Tapped<B> {
        let heard = self.0.as_ref().filter(|open| !is_connection(&open.info));
        Tapped::new(body, heard.map(|open| open.heard.clone()), BODY_LIMIT)
    }

    /// The request ended in a panic.
    pub(crate) fn panicked(&mut self) {
        if let Some(open) = &mut self.0 {
            open.panicked();
        }
    }

    /// The answer is there: logs it, at once or when its body ends.
    pub(crate) async fn close(mut self, response: Response<Body>) -> Response<Body> {
        let Some(open) = &mut self.0 else {
            return response;
        };
        if open.told {
            return response;
        }
        let code = response.status();
        if let Some(reason) = open.refused {
            open.status = Some(json!({"metadata": {}, "message": reason, "code": code.as_u16()}));
            open.tell(Stage::ResponseStarted);
            open.told = true;
            return response;
        }
        let long = is_long(&open.info);
        let wanted = code.as_u16() >= 400 || open.verdict.level == Level::RequestResponse;
        let whole = response.body().size_hint().exact().is_some();
        let response = if wanted && (whole || !long) {
            open.read(response).await
        } else {
            response
        };
        let status = open.status.get_or_insert_with(|| json!({"metadata": {}}));
        status["code"] = code.as_u16().into();
        if !long {
            return response;
        }
        open.tell(Stage::ResponseStarted);
        until_end(response, self)
    }
}

impl Open {
    /// Reads the whole answer, and makes it anew.
    async fn read(&mut self, response: Response<Body>) -> Response<Body> {
        let (parts, body) = response.into_parts();
        let Ok(collected) = body.collect().await else {
            // The bodies of whole answers are in memory; there is nothing that could break off.
            return Response::from_parts(parts, full(Bytes::new()));
        };
        let bytes = collected.to_bytes();
        let plain = if parts.headers.contains_key(CONTENT_ENCODING) {
            let mut plain = Vec::new();
            let mut unpacking = flate2::read::GzDecoder::new(&*bytes).take(UNPACKED_LIMIT);
            unpacking.read_to_end(&mut plain).is_ok().then_some(Bytes::from(plain))
        } else {
            Some(bytes.clone())
        };
        let media_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let object = plain.and_then(|plain| object(media_type.unwrap_or_default(), &plain));
        if let Some(object) = object {
            if object["kind"] == "Status" && object["apiVersion"] == "v1" {
                let mut status = json!({"metadata": {}});
                for field in ["status", "message", "reason", "details"] {
                    if let Some(value) = object.get(field) {
                        status[field] = value.clone();
                    }
                }
                self.status = Some(status);
            }
            if self.verdict.level == Level::RequestResponse {
                self.response_object = Some(object);
            }
        }
        Response::from_parts(parts, full(bytes))
    }

    /// What the request is about, completed from its object.
    fn object_ref(&self, object: Option<&Value>) -> Option<ObjectRef> {
        let info = &self.info;
        if !info.is_resource {
            return None;
        }
        let from = |field: &str| {
            let value = object.and_then(|object| object["metadata"][field].as_str());
            value.unwrap_or_default().to_owned()
        };
        let or = |known: &String, field: &str| if known.is_empty() { from(field) } else { known.clone() };
        Some(ObjectRef {
            resource: info.resource.clone(),
            namespace: or(&info.namespace, "namespace"),
            name: or(&info.name, "name"),
            uid: from("uid"),
            api_group: info.group.clone(),
            api_version: info.version.clone(),
            resource_version: from("resourceVersion"),
            subresource: info.subresource.clone(),
        })
    }

    fn panicked(&mut self) {
        self.status = Some(json!({
            "metadata": {}, "status": "Failure", "message": "APIServer panic'd", "reason": "InternalError", "code": 500,
        }));
        if self.verdict.level != Level::None {
            self.tell(Stage::Panic);
        }
        self.told = true;
    }

    fn tell(&self, stage: Stage) {
        let Verdict { level, omit_stages, .. } = &self.verdict;
        if omit_stages.contains(&stage) {
            return;
        }
        let shown = |object: Value| {
            if self.verdict.omit_managed_fields {
                without_managed_fields(object)
            } else {
                object
            }
        };
        let heard = self.heard.take();
        let sent = (!heard.is_empty())
            .then(|| object(&self.content_type, &heard))
            .flatten();
        let describes = matches!(self.info.verb, "create" | "update");
        let object_ref = self.object_ref(sent.as_ref().filter(|_| describes));
        let request_object = sent.filter(|_| *level >= Level::Request).map(shown);
        let response_object = self.response_object.clone().map(shown);
        let event = Event {
            kind: "Event",
            api_version: "audit.k8s.io/v1",
            level: *level,
            audit_id: &self.id,
            stage,
            request_uri: &self.uri,
            verb: self.info.verb,
            user: match self.refused {
                Some(_) => json!({}),
                None => user_json(&self.user),
            },
            impersonated_user: self.acting_as.as_ref().map(user_json),
            source_ips: &self.source_ips,
            user_agent: &self.agent,
            object_ref: object_ref.as_ref(),
            response_status: self.status.as_ref(),
            request_object: request_object.as_ref(),
            response_object: response_object.as_ref(),
            request_received_timestamp: micro(self.received),
            stage_timestamp: micro(self.audit.clock.now()),
            annotations: &self.annotations,
        };
        match serde_json::to_vec(&event) {
            Ok(mut line) => {
                line.push(b'\n');
                self.audit.emit(line);
            }
            Err(problem) => tracing::error!(%problem, "an audit event cannot be written as JSON"),
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.told || self.verdict.level == Level::None {
            return;
        }
        let early = || json!({"metadata": {}, "status": "Success", "message": "Connection closed early", "code": 200});
        self.status.get_or_insert_with(early);
        self.tell(Stage::ResponseComplete);
    }
}

/// A body as JSON, where it is an object.
fn object(media_type: &str, bytes: &[u8]) -> Option<Value> {
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    if media_type.is_empty() || media_type.ends_with("json") {
        serde_json::from_slice(bytes).ok()
    } else if media_type.ends_with("yaml") {
        timonel_api::decode::yaml(bytes).ok().map(|decoded| decoded.value)
    } else if media_type == "application/vnd.kubernetes.protobuf" {
        decode_protobuf(bytes).ok().map(|decoded| decoded.value)
    } else {
        None
    }
}
