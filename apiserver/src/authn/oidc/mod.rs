//! ID tokens of an OpenID Connect issuer
//! (<https://kubernetes.io/docs/reference/access-authn-authz/authentication/#openid-connect-tokens>).
//!
//! ```text
//! token --iss is ours?--> keys.rs: the issuer's keys (discovery, JWKS) --signature--> claims.rs: time, audience, prefixes --> UserInfo
//! ```
//!
//! The issuer is asked when the first token comes, and again when a token names a key that is not known; never more often than its keys'
//! bounds say, whatever tokens are sent. While it cannot be reached, tokens signed with known keys are still accepted.
//!
//! Not there, unlike upstream: distributed claims, and ES512, which the library does not know.

mod claims;
mod keys;

use std::collections::BTreeMap;

use jiff::Timestamp;
use jsonwebtoken::{Algorithm, Validation};
use serde_json::{Map, Value};

use super::tokens::TokenError;
use crate::identity::UserInfo;

/// An issuer, and what its tokens mean. The names are those of upstream's flags.
#[derive(Clone, Debug, Default)]
pub struct OidcConfig {
    /// `https://`, exactly as the tokens' `iss` has it.
    pub issuer_url: String,
    /// What the tokens' `aud` must hold.
    pub client_id: String,
    /// Which claim is the user's name; empty for `sub`.
    pub username_claim: String,
    /// What goes before it. `-` for nothing; empty for upstream's default: the issuer's URL and `#`, but nothing for `email`.
    pub username_prefix: String,
    /// Which claim lists the groups; empty for none.
    pub groups_claim: String,
    /// What goes before each.
    pub groups_prefix: String,
    /// Claims that must be there with just this value.
    pub required_claims: BTreeMap<String, String>,
    /// What the issuer's certificate is verified by, PEM; the system's authorities without.
    pub ca_pem: Option<String>,
    /// `RS256` and the like; empty for `RS256`.
    pub signing_algs: Vec<String>,
}

/// Why the settings do not work.
#[derive(Debug, thiserror::Error)]
pub enum OidcError {
    /// A flag's value.
    #[error("--{flag}: {reason}")]
    Flag {
        /// Which one.
        flag: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// No HTTP client can be made.
    #[error("setting up the client for the OIDC issuer")]
    Client(#[source] reqwest::Error),
}

fn algorithm(name: &str) -> Option<Algorithm> {
    Some(match name {
        "RS256" => Algorithm::RS256,
        "RS384" => Algorithm::RS384,
        "RS512" => Algorithm::RS512,
        "PS256" => Algorithm::PS256,
        "PS384" => Algorithm::PS384,
        "PS512" => Algorithm::PS512,
        "ES256" => Algorithm::ES256,
        "ES384" => Algorithm::ES384,
        _ => return None,
    })
}

/// Accepts the tokens of one issuer.
pub(super) struct Oidc {
    config: OidcConfig,
    algorithms: Vec<Algorithm>,
    keys: keys::Keys,
}

/// The claims of a token, not verified; only good for asking whose it is.
fn unverified(token: &str) -> Option<Map<String, Value>> {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let payload = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

impl Oidc {
    pub(super) fn new(mut config: OidcConfig) -> Result<Self, OidcError> {
        let wrong = |flag, reason: &str| OidcError::Flag {
            flag,
            reason: reason.to_owned(),
        };
        if !config.issuer_url.starts_with("https://") {
            return Err(wrong("oidc-issuer-url", "URL scheme must be https"));
        }
        if config.client_id.is_empty() {
            return Err(wrong("oidc-client-id", "is required with --oidc-issuer-url"));
        }
        if config.signing_algs.is_empty() {
            config.signing_algs.push("RS256".to_owned());
        }
        if config.username_claim.is_empty() {
            "sub".clone_into(&mut config.username_claim);
        }
        let mut algorithms = Vec::new();
        for name in &config.signing_algs {
            let known = "is none of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384";
            algorithms.push(algorithm(name).ok_or_else(|| wrong("oidc-signing-algs", &format!("{name:?} {known}")))?);
        }
        Ok(Self {
            keys: keys::Keys::new(&config.issuer_url, config.ca_pem.as_deref())?,
            config,
            algorithms,
        })
    }

    /// Finds the user of a token; `None` where it is another issuer's.
    pub(super) async fn authenticate(&self, token: &str, now: Timestamp) -> Result<Option<UserInfo>, TokenError> {
        let issuer = unverified(token).and_then(|claims| claims.get("iss")?.as_str().map(str::to_owned));
        if issuer.as_deref() != Some(&self.config.issuer_url) {
            return Ok(None);
        }
        let failed = |reason: String| TokenError::Oidc(reason);
        let header = jsonwebtoken::decode_header(token).map_err(|error| failed(error.to_string()))?;
        if !self.algorithms.contains(&header.alg) {
            return Err(failed(format!("unexpected signature algorithm {:?}", header.alg)));
        }
        let mut claims = self.verify(token, &header);
        if claims.is_none() {
            let fetched = self.keys.refresh().await;
            claims = self.verify(token, &header);
            if let (None, Err(problem)) = (&claims, fetched) {
                return Err(failed(timonel_client::chain(&problem)));
            }
        }
        let claims = claims.ok_or_else(|| failed("failed to verify id token signature".to_owned()))?;
        claims::user(&self.config, &claims, now).map(Some).map_err(failed)
    }

    fn verify(&self, token: &str, header: &jsonwebtoken::Header) -> Option<Map<String, Value>> {
        // Exactly the algorithm of the header, which was compared with the settings; time and audience are checked by us.
        let mut rules = Validation::new(header.alg);
        rules.validate_exp = false;
        rules.validate_nbf = false;
        rules.validate_aud = false;
        rules.required_spec_claims.clear();
        let candidates = self.keys.candidates(header);
        candidates
            .iter()
            .find_map(|key| jsonwebtoken::decode::<Map<String, Value>>(token, key, &rules).ok())
            .map(|decoded| decoded.claims)
    }
}

#[cfg(test)]
mod tests;
