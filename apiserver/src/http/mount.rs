//! What else in this process answers over the API server's door: it keeps the locks (authentication, authorization by path,
//! limits, audit), and the guest only answers.

use std::fmt::Debug;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::Value;

use super::body::{self, Body, BoxError};
use super::handler::Front;
use super::request::RequestInfo;
use super::respond::{self, Style};
use crate::error::ApiError;

/// Below this a guest may be asked. Upstream's components have their debugging pages there, too.
pub const MOUNT: &str = "/debug/";

/// Somebody who answers below [`MOUNT`].
#[async_trait]
pub trait Guest: Send + Sync + Debug {
    /// Answers with a status code and a document; `None` where it knows nothing of the path.
    async fn answer(&self, verb: &str, path: &str, body: Bytes) -> Option<(u16, Value)>;
}

impl Front {
    /// Asks the guest, if there is one and the path is his.
    pub(super) async fn guest<B>(&self, info: &RequestInfo, body: B) -> Result<Option<Response<Body>>, ApiError>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let config = &self.registry.config;
        let Some(guest) = config.guest.as_ref().filter(|_| info.path.starts_with(MOUNT)) else {
            return Ok(None);
        };
        let body = body::read(body, config.body_limit).await?;
        let answer = guest.answer(info.verb, &info.path, body).await;
        Ok(answer.map(|(code, value)| {
            let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            respond::value(&Style::plain(), code, &value)
        }))
    }
}
