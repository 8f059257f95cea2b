//! One connection to an API server, with the namespace that commands act in.

use std::path::Path;

use http::{Method, Request, Response};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;

use crate::args::Connection;
use crate::error::Failure;
use crate::resolve::Resource;

/// The largest answer that is read into memory.
const MAX_ANSWER: usize = 512 * 1024 * 1024;

/// The largest file that is sent.
const MAX_UPLOAD: u64 = 2 * 1024 * 1024 * 1024;

/// How an answer is asked for.
pub(crate) const JSON: &str = "application/json";
/// A server-side table, or plain JSON where the server makes none.
pub(crate) const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// A connection and its defaults.
pub(crate) struct Session {
    /// The transport; commands that need upgrades use it directly.
    pub(crate) client: Client,
    /// The namespace of `--namespace`, else the context's, else `default`.
    pub(crate) namespace: String,
    /// Whether `--namespace` was given.
    pub(crate) namespace_given: bool,
    /// The server's URL, for `cluster-info`.
    pub(crate) server: String,
}

impl Session {
    /// Opens a session as the flags and the kubeconfig say.
    pub(crate) async fn open(flags: &Connection) -> Result<Self, Failure> {
        let kubeconfig = match &flags.kubeconfig {
            Some(path) => Kubeconfig::read_from(path)
                .map_err(|error| Failure::usage(format!("stat {}: {error}", path.display())))?,
            None => Kubeconfig::read().map_err(|error| Failure::usage(format!("no kubeconfig: {error}")))?,
        };
        let options = KubeConfigOptions {
            context: flags.context.clone(),
            cluster: flags.cluster.clone(),
            user: flags.user.clone(),
        };
        let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .map_err(|error| Failure::usage(error.to_string()))?;
        if let Some(server) = &flags.server {
            config.cluster_url = server
                .parse()
                .map_err(|_| Failure::usage(format!("--server {server:?} is not a URL")))?;
        }
        if let Some(token) = &flags.token {
            config.auth_info.token = Some(token.clone().into());
        }
        if flags.impersonate.is_some() {
            config.auth_info.impersonate = flags.impersonate.clone();
            config.auth_info.impersonate_groups = Some(flags.impersonate_groups.clone());
        }
        // Long watches and log streams end when the server ends them.
        config.read_timeout = flags.request_timeout.filter(|timeout| !timeout.is_zero());
        let namespace = flags
            .namespace
            .clone()
            .unwrap_or_else(|| config.default_namespace.clone());
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let client = Client::try_from(config)?;
        Ok(Self {
            client,
            namespace,
            namespace_given: flags.namespace.is_some(),
            server,
        })
    }

    /// Sends a request and returns the answer as it comes, once its status says that it is good.
    pub(crate) async fn send(&self, call: Call<'_>) -> Result<Response<Body>, Failure> {
        let mut request = Request::builder()
            .method(call.method)
            .uri(call.path)
            .header(http::header::ACCEPT, call.accept);
        if let Some(content_type) = call.content_type {
            request = request.header(http::header::CONTENT_TYPE, content_type);
        }
        let request = request
            .body(Body::from(call.body.unwrap_or_default()))
            .map_err(|error| Failure::usage(format!("cannot make a request of {:?}: {error}", call.path)))?;
        let response = self.client.send(request).await.map_err(|error| match error {
            kube::Error::HyperError(_) | kube::Error::Service(_) => Failure::usage(format!(
                "The connection to the server {} was refused or lost: {}",
                self.server,
                Failure::from(error)
            )),
            other => other.into(),
        })?;
        for warning in response.headers().get_all(http::header::WARNING) {
            if let Some(text) = warning
                .to_str()
                .ok()
                .and_then(|text| text.split_once('"'))
                .map(|(_, text)| text)
            {
                eprintln!(
                    "Warning: {}",
                    text.rsplit_once('"')
                        .map_or(text, |(text, _)| text)
                        .replace("\\\"", "\"")
                );
            }
        }
        if response.status().is_success() {
            return Ok(response);
        }
        let code = response.status().as_u16();
        let body = read(response).await?;
        let status = serde_json::from_slice(&body).ok().filter(|status: &Value| status["kind"] == "Status").unwrap_or_else(|| {
            serde_json::json!({"code": code, "reason": "", "message": String::from_utf8_lossy(&body).trim().to_owned()})
        });
        Err(Failure::Server {
            status: Box::new(status),
            doing: None,
        })
    }

    /// Sends a file. kube's client takes no stream for a body, so the file is in memory meanwhile, and its size has a limit.
    pub(crate) async fn upload(&self, path: &str, file: &Path) -> Result<(), Failure> {
        let named = |error: std::io::Error| Failure::usage(format!("{}: {error}", file.display()));
        let length = tokio::fs::metadata(file).await.map_err(named)?.len();
        if length > MAX_UPLOAD {
            return Err(Failure::usage(format!(
                "{} has {length} bytes; at most {MAX_UPLOAD} can be sent",
                file.display()
            )));
        }
        let call = Call {
            method: Method::POST,
            path,
            accept: "*/*",
            content_type: Some("application/x-tar"),
            body: Some(tokio::fs::read(file).await.map_err(named)?),
        };
        self.bytes(call).await.map(drop)
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn bytes(&self, call: Call<'_>) -> Result<Vec<u8>, Failure> {
        read(self.send(call).await?).await
    }

    /// Sends a request and parses the answer as JSON.
    pub(crate) async fn json(&self, call: Call<'_>) -> Result<Value, Failure> {
        Ok(serde_json::from_slice(&self.bytes(call).await?)?)
    }

    /// Reads a JSON document.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.json(Call::get(path)).await
    }

    /// The path of a resource's collection, in `namespace` where the resource has one.
    pub(crate) fn collection(&self, resource: &Resource, namespace: Option<&str>) -> String {
        resource.collection_path(namespace.filter(|_| resource.namespaced))
    }

    /// The path of an object in the session's namespace.
    pub(crate) fn object(&self, resource: &Resource, name: &str) -> String {
        format!("{}/{}", self.collection(resource, Some(&self.namespace)), encode(name))
    }
}

/// A request in the making.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    pub(crate) accept: &'a str,
    pub(crate) content_type: Option<&'a str>,
    pub(crate) body: Option<Vec<u8>>,
}

impl<'a> Call<'a> {
    /// A GET that asks for JSON.
    pub(crate) fn get(path: &'a str) -> Self {
        Self {
            method: Method::GET,
            path,
            accept: JSON,
            content_type: None,
            body: None,
        }
    }

    /// A request that carries JSON.
    pub(crate) fn with_json(method: Method, path: &'a str, body: &Value) -> Self {
        Self {
            method,
            path,
            accept: JSON,
            content_type: Some(JSON),
            body: Some(body.to_string().into_bytes()),
        }
    }

    /// A PATCH: the content type says which kind.
    pub(crate) fn patch(path: &'a str, content_type: &'a str, body: &Value) -> Self {
        Self {
            content_type: Some(content_type),
            ..Self::with_json(Method::PATCH, path, body)
        }
    }
}

async fn read(response: Response<Body>) -> Result<Vec<u8>, Failure> {
    let body = http_body_util::Limited::new(response.into_body(), MAX_ANSWER);
    let collected = body
        .collect()
        .await
        .map_err(|error| Failure::usage(format!("reading the answer failed: {error}")))?;
    Ok(collected.to_bytes().to_vec())
}

/// Escapes a path segment or a query value.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Builds a query string from the pairs that have a value.
pub(crate) fn query(pairs: &[(&str, Option<&str>)]) -> String {
    let parts: Vec<String> = pairs
        .iter()
        .filter_map(|(key, value)| value.map(|value| format!("{key}={}", encode(value))))
        .collect();
    if parts.is_empty() {
        String::new()
    } else {
        format!("?{}", parts.join("&"))
    }
}
