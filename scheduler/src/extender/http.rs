//! The way to extenders over HTTP.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{Request, Uri, header};
use http_body_util::{BodyExt, Limited};
use kube::client::Body;
use kube::config::AuthInfo;

use super::{Caller, Extender, ExtenderError, Pem, Settings, Tls};

/// An answer may be as large as the nodes of a large cluster in full, and no larger.
const MAX_ANSWER: usize = 64 << 20;

#[derive(Debug)]
struct Http {
    settings: Settings,
    client: Client,
}

/// A client that can be shown in logs.
struct Client(kube::Client);

impl std::fmt::Debug for Client {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Client")
    }
}

/// Makes ready to call an extender. Files that its settings name are read now.
///
/// # Errors
/// When its URL, its certificates or its key are no good.
pub fn connect(settings: Settings) -> Result<Extender, ExtenderError> {
    let wrong = |reason: String| ExtenderError::Setup {
        url: settings.url_prefix.clone(),
        reason,
    };
    let url: Uri = settings.url_prefix.parse().map_err(|error| wrong(format!("{error}")))?;
    let config = configuration(url, &settings).map_err(wrong)?;
    let client = kube::Client::try_from(config).map_err(|error| wrong(timonel_client::chain(&error)))?;
    Ok(Extender {
        caller: Arc::new(Http {
            settings: settings.clone(),
            client: Client(client),
        }),
        settings,
    })
}

fn configuration(url: Uri, settings: &Settings) -> Result<kube::Config, String> {
    let tls = &settings.tls;
    let mut config = kube::Config::new(url);
    // The whole call has a time, and there is only one try of it.
    (config.connect_timeout, config.read_timeout, config.write_timeout) = (None, None, None);
    config.default_retry = false;
    config.disable_compression = true;
    config.tls_server_name = tls.server_name.clone();
    let authorities = read(&tls.ca, "caFile")?;
    config.accept_invalid_certs = tls.insecure || (settings.enable_https && authorities.is_none());
    if let Some(pem) = &authorities {
        if tls.insecure {
            return Err("specifying a root certificates file with the insecure flag is not allowed".to_owned());
        }
        let certificates = certificates(pem)?;
        config.root_cert = Some(certificates);
    }
    config.auth_info = identity(tls)?;
    Ok(config)
}

/// Reads a PEM text, wherever it is.
fn read(pem: &Pem, field: &str) -> Result<Option<Vec<u8>>, String> {
    match (&pem.data, &pem.file) {
        (Some(data), _) => Ok(Some(data.clone())),
        (None, Some(file)) => match std::fs::read(file) {
            Ok(text) => Ok(Some(text)),
            Err(error) => Err(format!("{field}: read {}: {error}", file.display())),
        },
        (None, None) => Ok(None),
    }
}

/// The certificates of a PEM text.
fn certificates(pem: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let text = String::from_utf8_lossy(pem);
    let (begin, end) = ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----");
    let blocks = text.split(begin).skip(1);
    let decoded = blocks.map(|block| {
        let base64: String = block.split(end).next().unwrap_or_default().split_whitespace().collect();
        let wrong = |error| format!("unable to load root certificates: {error}");
        STANDARD.decode(base64).map_err(wrong)
    });
    let certificates = decoded.collect::<Result<Vec<_>, _>>()?;
    if certificates.is_empty() {
        return Err("unable to load root certificates: there is no certificate in it".to_owned());
    }
    Ok(certificates)
}

/// Who we are.
fn identity(tls: &Tls) -> Result<AuthInfo, String> {
    let (cert, key) = (read(&tls.cert, "certFile")?, read(&tls.key, "keyFile")?);
    match (cert, key) {
        (None, None) => Ok(AuthInfo::default()),
        (Some(cert), Some(key)) => Ok(AuthInfo {
            client_certificate_data: Some(STANDARD.encode(cert)),
            client_key_data: Some(STANDARD.encode(key).into()),
            ..AuthInfo::default()
        }),
        (Some(_), None) => Err("keyFile or keyData must be specified with a certificate".to_owned()),
        (None, Some(_)) => Err("certFile or certData must be specified with a key".to_owned()),
    }
}

impl Http {
    async fn exchange(&self, verb: &str, url: &str, body: Vec<u8>) -> Result<Vec<u8>, ExtenderError> {
        let call = |source: Box<dyn std::error::Error + Send + Sync>| ExtenderError::Call {
            url: url.to_owned(),
            source,
        };
        let request = Request::post(format!("/{verb}"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body))
            .map_err(|source| call(source.into()))?;
        let answer = self
            .client
            .0
            .send(request)
            .await
            .map_err(|source| call(source.into()))?;
        let code = answer.status().as_u16();
        if code != 200 {
            return Err(ExtenderError::Status {
                verb: verb.to_owned(),
                url: url.to_owned(),
                code,
            });
        }
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        Ok(body.map_err(call)?.to_bytes().to_vec())
    }
}

#[async_trait]
impl Caller for Http {
    async fn call(&self, verb: &str, body: Vec<u8>) -> Result<Vec<u8>, ExtenderError> {
        let url = format!("{}/{verb}", self.settings.url_prefix.trim_end_matches('/'));
        let timeout = self.settings.timeout;
        match tokio::time::timeout(timeout, self.exchange(verb, &url, body)).await {
            Ok(answer) => answer,
            Err(_) => Err(ExtenderError::Timeout { url, timeout }),
        }
    }
}
