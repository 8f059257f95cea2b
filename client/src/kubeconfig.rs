//! From a kubeconfig, or from certificates in memory, to a client over HTTPS.
//!
//! There is no insecure mode: a kubeconfig that says `insecure-skip-tls-verify`, or a server that is not `https`, is refused.
//! Dead connections are noticed by TCP itself (keepalive, user timeout), so that a watch on a server that lost its power
//! does not hang for minutes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::{HeaderValue, USER_AGENT};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::ConfigExt as _;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

use crate::reload::Reloading;

/// An idle connection is probed after this long, so that a watch notices a server that vanished.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// Between probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// Unanswered probes until a connection counts as dead.
const KEEPALIVE_RETRIES: u32 = 3;
/// Data that stays unacknowledged for this long ends the connection.
const USER_TIMEOUT: Duration = Duration::from_secs(12);
/// A connection that is not established in this time is given up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why no client could be made.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    /// The file could not be read or understood.
    #[error("cannot load kubeconfig {path}")]
    Load {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<kube::config::KubeconfigError>,
    },
    /// The kubeconfig names a server without TLS, or asks not to verify it.
    #[error("refusing an insecure connection to {server}: Timonel verifies every server by TLS")]
    Insecure {
        /// The server's URL.
        server: String,
    },
    /// The credentials could not be assembled.
    #[error("cannot assemble credentials for {server}")]
    Assemble {
        /// The server's URL.
        server: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// How a client proves who it is.
#[derive(Clone)]
pub enum Credentials {
    /// A client certificate and its key, both in PEM.
    Certificate {
        /// The certificate chain.
        cert_pem: String,
        /// The private key.
        key_pem: String,
    },
    /// A bearer token.
    Token(String),
    /// Nothing: the server sees `system:anonymous`.
    Anonymous,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Certificate { .. } => "Certificate(..)",
            Self::Token(_) => "Token(..)",
            Self::Anonymous => "Anonymous",
        })
    }
}

/// Loads a kubeconfig and connects as its current context says. `agent` goes before the slash of the `User-Agent`, by which
/// the server records who wrote a field. When the file changes, because its certificate was renewed, requests from then on go
/// out as it says.
///
/// # Errors
/// When the file cannot be read, is not a kubeconfig, or is insecure.
pub async fn load(path: impl AsRef<Path>, agent: &str) -> Result<kube::Client, KubeconfigError> {
    Reloading::start(path.as_ref().to_path_buf(), agent).await
}

/// Connects as the file says now, with its credentials or without, and returns its namespace too.
pub(crate) async fn load_once(
    path: &Path,
    agent: &str,
    proves: bool,
) -> Result<(kube::Client, String), KubeconfigError> {
    let mut config = load_config(path).await?;
    if !proves {
        config.auth_info = AuthInfo::default();
    }
    let agent = format!(
        "{agent}/{} ({}/{})",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH
    );
    if let Ok(agent) = HeaderValue::try_from(agent) {
        config.headers.push((USER_AGENT, agent));
    }
    Ok((connect(&config)?, config.default_namespace.clone()))
}

/// Loads a kubeconfig into kube's own configuration, for those who need the server's address too.
///
/// # Errors
/// When the file cannot be read, is not a kubeconfig, or is insecure.
pub async fn load_config(path: impl AsRef<Path>) -> Result<kube::Config, KubeconfigError> {
    let path = path.as_ref().to_path_buf();
    let named = |source| KubeconfigError::Load {
        path: path.clone(),
        source: Box::new(source),
    };
    let file = Kubeconfig::read_from(&path).map_err(named)?;
    kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .map_err(named)
}

/// Makes a client over HTTPS from what a joining node holds in memory. `ca_pem` is what the server is verified by.
///
/// # Errors
/// When the server is not `https` or the PEM is malformed.
pub async fn https(server: &str, ca_pem: &str, credentials: &Credentials) -> Result<kube::Client, KubeconfigError> {
    let assemble = |source: Box<dyn std::error::Error + Send + Sync>| KubeconfigError::Assemble {
        server: server.to_owned(),
        source,
    };
    let document = document("timonel", server, ca_pem, "client", credentials);
    let file: Kubeconfig = serde_json::from_value(document).map_err(|error| assemble(Box::new(error)))?;
    let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .map_err(|error| assemble(Box::new(error)))?;
    connect(&config)
}

/// Renders a kubeconfig with one cluster, one user and one context, as JSON (which is YAML too).
pub fn document(cluster: &str, server: &str, ca_pem: &str, user: &str, credentials: &Credentials) -> Value {
    let proof = match credentials {
        Credentials::Certificate { cert_pem, key_pem } => json!({
            "client-certificate-data": BASE64.encode(cert_pem),
            "client-key-data": BASE64.encode(key_pem),
        }),
        Credentials::Token(token) => json!({ "token": token }),
        Credentials::Anonymous => json!({}),
    };
    let context = format!("{user}@{cluster}");
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster, "cluster": {
            "server": server,
            "certificate-authority-data": BASE64.encode(ca_pem),
        }}],
        "users": [{"name": user, "user": proof}],
        "contexts": [{"name": context, "context": {"cluster": cluster, "user": user}}],
        "current-context": context,
    })
}

/// Connects with kube's configuration, over a connector that notices dead peers.
///
/// # Errors
/// When the configuration is insecure or its certificates are malformed.
pub fn connect(config: &kube::Config) -> Result<kube::Client, KubeconfigError> {
    let server = config.cluster_url.to_string();
    if config.accept_invalid_certs || config.cluster_url.scheme_str() != Some("https") {
        return Err(KubeconfigError::Insecure { server });
    }
    // One crypto provider in the whole process; losing the race to install it is fine.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let assemble = |source: kube::Error| KubeconfigError::Assemble {
        server: server.clone(),
        source: Box::new(source),
    };
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(CONNECT_TIMEOUT));
    http.set_keepalive(Some(KEEPALIVE));
    http.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
    http.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
    http.set_tcp_user_timeout(Some(USER_TIMEOUT));
    let https = config.rustls_https_connector_with_connector(http).map_err(assemble)?;
    let transport = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(https);
    let service = tower::ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer().map_err(assemble)?)
        .layer(config.extra_headers_layer().map_err(assemble)?)
        .map_err(tower::BoxError::from)
        .service(transport);
    Ok(kube::Client::new(service, config.default_namespace.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_without_tls_is_refused() {
        let refused = https("http://10.0.0.1:6443", "", &Credentials::Anonymous).await;
        assert!(
            matches!(refused, Err(KubeconfigError::Insecure { .. })),
            "{refused:?}",
            refused = refused.err()
        );
    }

    #[tokio::test]
    async fn a_kubeconfig_that_skips_verification_is_refused() {
        let mut document = document("c", "https://10.0.0.1:6443", "", "u", &Credentials::Token("t".into()));
        document["clusters"][0]["cluster"] =
            json!({"server": "https://10.0.0.1:6443", "insecure-skip-tls-verify": true});
        let file: Kubeconfig = serde_json::from_value(document).unwrap();
        let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
            .await
            .unwrap();
        assert!(matches!(connect(&config), Err(KubeconfigError::Insecure { .. })));
    }
}
