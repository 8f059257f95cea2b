//! Who is asking: client certificates, service-account tokens, bootstrap tokens, nobody; and acting as somebody else.
//!
//! ```text
//! TLS peer certificate --x509.rs-----------+
//! Authorization: Bearer JWT --tokens.rs----+--> UserInfo --impersonation.rs--> UserInfo --> authz
//! Authorization: Bearer id.secret --bootstrap.rs
//! Authorization: Bearer ID token --oidc--- an issuer outside the cluster
//! Authorization: Bearer anything --static_tokens.rs
//! nothing at all --> system:anonymous
//! ```
//!
//! What is presented and bad is a 401; it never falls back to anonymous. A good credential beside a bad one counts, as upstream's union
//! of authenticators has it.

mod bootstrap;
pub mod impersonation;
mod oidc;
mod reviews;
mod signing;
mod static_tokens;
mod tokens;
mod x509;

use std::sync::Arc;

use http::HeaderMap;
use rustls_pki_types::CertificateDer;
use timonel_client::{Clock, Rng};

pub use oidc::{OidcConfig, OidcError};
pub use reviews::{self_subject_review, token_review, user_json};
pub use static_tokens::{StaticTokens, TokenFileError};
pub use tokens::TokenError;

use crate::error::ApiError;
use crate::identity::UserInfo;
use crate::pki::{Pki, PkiError};
use crate::reader::ObjectReader;

const AUTHENTICATED: &str = "system:authenticated";

/// A file of PEM, read.
#[derive(Clone)]
pub struct KeyFile {
    /// Its name, for who must be told that it is damaged.
    pub file: String,
    /// What is in it.
    pub text: String,
}

impl std::fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not what is in it.
        write!(f, "{:?}", self.file)
    }
}

/// How tokens are issued and accepted.
#[derive(Clone, Debug)]
pub struct AuthnConfig {
    /// Signs service-account tokens: RSA, P-256 or P-384; the cluster's own key by default.
    pub signing_key: Option<KeyFile>,
    /// Further keys, public or private, that tokens may be signed with: those of before, or those to come.
    pub verifying_keys: Vec<KeyFile>,
    /// The `iss` of service-account tokens: `https://kubernetes.default.svc.cluster.local`.
    pub issuer: String,
    /// The audiences that this API server answers to; a token that names none of them is refused. The issuer by default.
    pub api_audiences: Vec<String>,
    /// Where clients find the keys: `https://HOST:PORT/openid/v1/jwks`.
    pub jwks_uri: String,
    /// The longest life of a token that may be asked for, in seconds; longer ones are shortened to it.
    pub max_token_seconds: i64,
    /// Whether requests without credentials are let in as `system:anonymous`.
    pub anonymous: bool,
    /// Users from a file.
    pub static_tokens: StaticTokens,
    /// An issuer outside the cluster whose ID tokens are accepted.
    pub oidc: Option<OidcConfig>,
}

/// Why nobody could be authenticated.
#[derive(Debug, thiserror::Error)]
pub enum AuthnError {
    /// The cluster's own keys do not work.
    #[error("the cluster's keys")]
    Pki(#[from] PkiError),
    /// The settings about the OIDC issuer do not work.
    #[error("the OIDC issuer")]
    Oidc(#[from] OidcError),
}

impl Default for AuthnConfig {
    fn default() -> Self {
        let issuer = "https://kubernetes.default.svc.cluster.local".to_owned();
        Self {
            signing_key: None,
            verifying_keys: Vec::new(),
            api_audiences: vec![issuer.clone()],
            jwks_uri: format!("{issuer}/openid/v1/jwks"),
            issuer,
            max_token_seconds: 365 * 24 * 3600,
            anonymous: true,
            static_tokens: StaticTokens::default(),
            oidc: None,
        }
    }
}

/// Finds out who asks.
pub struct Authenticator {
    config: AuthnConfig,
    x509: x509::X509,
    tokens: tokens::Tokens,
    oidc: Option<oidc::Oidc>,
    reader: Arc<dyn ObjectReader>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authenticator")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Authenticator {
    /// Makes an authenticator that trusts the cluster's authority and service-account key.
    pub fn new(
        config: AuthnConfig,
        pki: &Pki,
        reader: Arc<dyn ObjectReader>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Result<Self, AuthnError> {
        Ok(Self {
            oidc: config.oidc.clone().map(oidc::Oidc::new).transpose()?,
            x509: x509::X509::new(pki.client_verifier()?),
            tokens: tokens::Tokens::new(pki.service_account_key(), &config)?,
            config,
            reader,
            clock,
            rng,
        })
    }

    /// Finds out who asks, from the certificate of the TLS peer and the request's headers.
    ///
    /// *Errors:* `Unauthorized` where something was presented and nothing of it is good.
    pub async fn authenticate(
        &self,
        headers: &HeaderMap,
        peer: Option<&[CertificateDer<'static>]>,
    ) -> Result<UserInfo, ApiError> {
        let mut refused = None;
        if let Some([certificate, intermediates @ ..]) = peer {
            match self.x509.authenticate(certificate, intermediates, self.clock.now()) {
                Ok(Some(user)) => return Ok(authenticated(user)),
                Ok(None) => {}
                Err(reason) => refused = Some(reason),
            }
        }
        if let Some(token) = bearer(headers) {
            match self.token(&token, &self.config.api_audiences).await {
                Ok((user, _)) => return Ok(authenticated(user)),
                Err(reason) => refused = Some(reason.to_string()),
            }
        }
        match refused {
            None if self.config.anonymous => Ok(UserInfo::anonymous()),
            None => Err(ApiError::unauthorized()),
            Some(reason) => {
                tracing::warn!(reason, "unable to authenticate the request");
                Err(ApiError::unauthorized())
            }
        }
    }

    /// Finds the user of a token that must be meant for one of `audiences`, and those of them that it is meant for.
    async fn token(&self, token: &str, audiences: &[String]) -> Result<(UserInfo, Vec<String>), TokenError> {
        if let Some(user) = self.config.static_tokens.user(token) {
            return Ok((user, audiences.to_vec()));
        }
        if let Some((id, secret)) = bootstrap::split(token) {
            let user = bootstrap::authenticate(self.reader.as_ref(), id, secret, self.clock.now())?;
            return Ok((user, audiences.to_vec()));
        }
        if let Some(oidc) = &self.oidc
            && let Some(user) = oidc.authenticate(token, self.clock.now()).await?
        {
            return Ok((user, audiences.to_vec()));
        }
        let claims = self.tokens.verify(token, &self.config.issuer, self.clock.now())?;
        let meant: Vec<String> = audiences
            .iter()
            .filter(|audience| claims.aud.contains(audience))
            .cloned()
            .collect();
        if meant.is_empty() {
            return Err(TokenError::Audience);
        }
        let user = tokens::live_user(self.reader.as_ref(), &claims, self.clock.now())?;
        Ok((user, meant))
    }
}

fn authenticated(mut user: UserInfo) -> UserInfo {
    if !user.is_in(AUTHENTICATED) {
        user.groups.push(AUTHENTICATED.to_owned());
    }
    user
}

/// The bearer token, from `Authorization` or from the WebSocket protocol list, where browsers must put it.
fn bearer(headers: &HeaderMap) -> Option<String> {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    const PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";
    if let Some(value) = headers.get(http::header::AUTHORIZATION) {
        let (scheme, token) = value.to_str().ok()?.trim().split_once(' ')?;
        let token = token.trim();
        return (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.to_owned());
    }
    let protocols = headers.get_all(http::header::SEC_WEBSOCKET_PROTOCOL);
    let encoded = protocols
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .find_map(|protocol| protocol.trim().strip_prefix(PROTOCOL))?;
    String::from_utf8(URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()
}

#[cfg(test)]
mod tests;
