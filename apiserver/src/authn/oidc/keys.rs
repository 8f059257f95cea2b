//! The issuer's keys: fetched when they are needed, within bounds.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk};
use jsonwebtoken::{Algorithm, DecodingKey, Header};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::OidcError;

/// A request to the issuer may take so long.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The issuer is asked at most so often, however many tokens with unknown keys come.
const PAUSE: Duration = Duration::from_secs(10);
/// An answer may be so large.
const LIMIT: usize = 1 << 20;
/// So many keys are kept.
const KEYS: usize = 128;

/// Why the issuer's keys could not be fetched.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// The issuer does not answer.
    #[error("asking {url}")]
    Ask {
        /// What was asked for.
        url: String,
        /// Why not.
        source: reqwest::Error,
    },
    /// It answers with something else.
    #[error("{url}: {reason}")]
    Answer {
        /// What was asked for.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
}

struct Known {
    id: Option<String>,
    rsa: bool,
    key: Arc<DecodingKey>,
}

pub(super) struct Keys {
    issuer: String,
    http: reqwest::Client,
    known: ArcSwap<Vec<Known>>,
    /// When the issuer was asked last; held while it is being asked.
    asked: Mutex<Option<Instant>>,
}

fn known(jwk: &Value) -> Option<Known> {
    let jwk: Jwk = serde_json::from_value(jwk.clone()).ok()?;
    if jwk
        .common
        .public_key_use
        .as_ref()
        .is_some_and(|used| *used != jsonwebtoken::jwk::PublicKeyUse::Signature)
    {
        return None;
    }
    let rsa = match jwk.algorithm {
        AlgorithmParameters::RSA(_) => true,
        AlgorithmParameters::EllipticCurve(_) => false,
        _ => return None,
    };
    Some(Known {
        key: Arc::new(DecodingKey::from_jwk(&jwk).ok()?),
        id: jwk.common.key_id,
        rsa,
    })
}

impl Keys {
    pub(super) fn new(issuer: &str, ca_pem: Option<&str>) -> Result<Self, OidcError> {
        let mut http = reqwest::Client::builder()
            .https_only(true)
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::limited(3));
        if let Some(pem) = ca_pem {
            let trusted = reqwest::Certificate::from_pem_bundle(pem.as_bytes()).map_err(OidcError::Client)?;
            if trusted.is_empty() {
                return Err(OidcError::Flag {
                    flag: "oidc-ca-file",
                    reason: "there is no certificate in it".to_owned(),
                });
            }
            http = http.tls_certs_only(trusted);
        }
        Ok(Self {
            issuer: issuer.to_owned(),
            http: http.build().map_err(OidcError::Client)?,
            known: ArcSwap::default(),
            asked: Mutex::new(None),
        })
    }

    /// The keys that may have signed a token with this header.
    pub(super) fn candidates(&self, header: &Header) -> Vec<Arc<DecodingKey>> {
        let elliptic = matches!(header.alg, Algorithm::ES256 | Algorithm::ES384);
        let known = self.known.load();
        known
            .iter()
            .filter(|known| known.rsa != elliptic)
            .filter(|known| header.kid.is_none() || known.id.is_none() || known.id == header.kid)
            .map(|known| Arc::clone(&known.key))
            .collect()
    }

    /// Fetches the keys anew, unless that was tried just now.
    pub(super) async fn refresh(&self) -> Result<(), FetchError> {
        let mut asked = self.asked.lock().await;
        if asked.is_some_and(|at| at.elapsed() < PAUSE) {
            return Ok(());
        }
        *asked = Some(Instant::now());
        let url = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let discovery = self.get(&url).await?;
        let wrong = |reason: String| FetchError::Answer {
            url: url.clone(),
            reason,
        };
        if discovery["issuer"] != self.issuer.as_str() {
            return Err(wrong(format!(
                "issuer did not match the issuer returned by provider, expected {:?} got {}",
                self.issuer, discovery["issuer"]
            )));
        }
        let keys_url = discovery["jwks_uri"].as_str().unwrap_or_default();
        if !keys_url.starts_with("https://") {
            return Err(wrong(format!("jwks_uri {keys_url:?} is no https URL")));
        }
        let set = self.get(keys_url).await?;
        let keys = set["keys"].as_array().map(Vec::as_slice).unwrap_or_default();
        let keys: Vec<Known> = keys.iter().filter_map(known).take(KEYS).collect();
        if keys.is_empty() {
            return Err(FetchError::Answer {
                url: keys_url.to_owned(),
                reason: "there is no key in it that is understood".to_owned(),
            });
        }
        self.known.store(Arc::new(keys));
        Ok(())
    }

    async fn get(&self, url: &str) -> Result<Value, FetchError> {
        let failed = |source| FetchError::Ask {
            url: url.to_owned(),
            source,
        };
        let wrong = |reason: String| FetchError::Answer {
            url: url.to_owned(),
            reason,
        };
        let mut answer = self.http.get(url).send().await.map_err(failed)?;
        if !answer.status().is_success() {
            return Err(wrong(answer.status().to_string()));
        }
        let mut bytes = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(failed)? {
            bytes.extend_from_slice(&piece);
            if bytes.len() > LIMIT {
                return Err(wrong("the answer is too large".to_owned()));
            }
        }
        serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))
    }
}
