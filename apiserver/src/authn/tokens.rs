//! Service-account tokens: JWTs bound to the account and, where asked for, to a pod, a secret or a node
//! (<https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/>).

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::signing::{Signing, Verifying};
use super::{Authenticator, AuthnConfig};
use crate::error::ApiError;
use crate::identity::UserInfo;
use crate::pki::PkiError;
use crate::reader::ObjectReader;

/// What upstream grants to clocks that differ, and to objects on their way out.
const LEEWAY: SignedDuration = SignedDuration::from_secs(60);
/// Verified signatures kept; whether the account still lives is looked up every time.
const KEPT: usize = 4096;
/// A kubelet asks for 3607 seconds on behalf of clients that may not yet know how to reload a token: such tokens live a year and
/// carry the time after which their use deserves a warning, as upstream's `--service-account-extend-token-expiration` (on by default).
const EXTENDED_WHEN: i64 = 3607;
const EXTENDED_TO: i64 = 365 * 24 * 3600;

/// Why a token is not accepted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TokenError {
    /// Not a JWT of ours.
    #[error("invalid bearer token: {0}")]
    Malformed(String),
    /// Another issuer's.
    #[error("token was issued by {0:?}")]
    Issuer(String),
    /// Meant for others.
    #[error("token audiences do not match")]
    Audience,
    /// Too old.
    #[error("service account token has expired")]
    Expired,
    /// Not valid yet.
    #[error("service account token is not valid yet")]
    NotYet,
    /// What it is bound to is gone or was made anew.
    #[error("service account token has been invalidated: {0}")]
    Invalidated(String),
    /// An ID token that is not accepted.
    #[error("oidc: {0}")]
    Oidc(String),
    /// A bootstrap token that is not accepted.
    #[error("bootstrap token {id}: {reason}")]
    Bootstrap {
        /// The public half.
        id: String,
        /// Why.
        reason: String,
    },
}

/// Name and uid of an object that a token is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Bound {
    pub(super) name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) uid: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Private {
    pub(super) namespace: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) node: Option<Bound>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pod: Option<Bound>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) secret: Option<Bound>,
    pub(super) serviceaccount: Bound,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) warnafter: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    pub(super) aud: Vec<String>,
    pub(super) exp: i64,
    pub(super) iat: i64,
    pub(super) iss: String,
    #[serde(default)]
    pub(super) jti: String,
    #[serde(rename = "kubernetes.io")]
    pub(super) private: Private,
    pub(super) nbf: i64,
    pub(super) sub: String,
}

/// Signs and verifies.
pub(super) struct Tokens {
    signing: Signing,
    /// Beside the one that signs.
    verifying: Vec<Verifying>,
    known: RwLock<HashMap<[u8; 32], Arc<Claims>>>,
}

impl Tokens {
    /// Takes what is configured; without, the cluster's own key signs.
    pub(super) fn new(cluster: &str, config: &AuthnConfig) -> Result<Self, PkiError> {
        let damaged = |file: &str, reason: String| PkiError::Damaged {
            file: file.to_owned(),
            reason,
        };
        let (file, text) = match &config.signing_key {
            Some(given) => (given.file.as_str(), given.text.as_str()),
            None => ("pki/sa.key", cluster),
        };
        let signing = Signing::read(text).map_err(|reason| damaged(file, reason))?;
        let mut verifying: Vec<Verifying> = Vec::new();
        for given in &config.verifying_keys {
            let keys = Verifying::all(&given.text).map_err(|reason| damaged(&given.file, reason))?;
            for key in keys {
                if key.id != signing.public.id && verifying.iter().all(|known| known.id != key.id) {
                    verifying.push(key);
                }
            }
        }
        Ok(Self {
            signing,
            verifying,
            known: RwLock::default(),
        })
    }

    /// Every key that a token may be signed with.
    fn keys(&self) -> impl Iterator<Item = &Verifying> {
        std::iter::once(&self.signing.public).chain(&self.verifying)
    }

    fn sign(&self, claims: &Claims) -> Result<String, ApiError> {
        let mut header = Header::new(self.signing.public.algorithm);
        header.typ = None;
        header.kid = Some(self.signing.public.id.clone());
        jsonwebtoken::encode(&header, claims, &self.signing.key)
            .map_err(|error| ApiError::internal(format!("failed to create token: {error}")))
    }

    /// Checks signature, issuer and time.
    pub(super) fn verify(&self, token: &str, issuer: &str, now: Timestamp) -> Result<Arc<Claims>, TokenError> {
        let claims = self.signed(token)?;
        if claims.iss != issuer {
            return Err(TokenError::Issuer(claims.iss.clone()));
        }
        let (second, leeway) = (now.as_second(), LEEWAY.as_secs());
        if second - leeway > claims.exp {
            return Err(TokenError::Expired);
        }
        if second + leeway < claims.nbf || second + leeway < claims.iat {
            return Err(TokenError::NotYet);
        }
        Ok(claims)
    }

    fn signed(&self, token: &str) -> Result<Arc<Claims>, TokenError> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(claims) = known.get(&digest) {
            return Ok(Arc::clone(claims));
        }
        drop(known);
        let malformed = |error: jsonwebtoken::errors::Error| TokenError::Malformed(error.to_string());
        let header = jsonwebtoken::decode_header(token).map_err(malformed)?;
        let fits = |key: &&Verifying| key.algorithm == header.alg;
        let named = |key: &Verifying| header.kid.as_ref() == Some(&key.id);
        // The key that the token names, else whichever fits.
        let one = self.keys().filter(fits).find(|key| named(key));
        let others = self.keys().filter(fits).filter(|_| one.is_none());
        let mut failed = TokenError::Malformed("no key of this server signs so".to_owned());
        let mut verified = None;
        for key in one.into_iter().chain(others) {
            let mut rules = Validation::new(key.algorithm);
            // Time, audience and issuer are checked by us, against the clock port.
            rules.validate_exp = false;
            rules.validate_nbf = false;
            rules.validate_aud = false;
            rules.required_spec_claims.clear();
            match jsonwebtoken::decode::<Claims>(token, &key.key, &rules) {
                Ok(decoded) => {
                    verified = Some(decoded.claims);
                    break;
                }
                Err(error) => failed = malformed(error),
            }
        }
        let claims = Arc::new(verified.ok_or(failed)?);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KEPT {
            known.clear();
        }
        known.insert(digest, Arc::clone(&claims));
        Ok(claims)
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Checks that an object is there, is the same one, and has not been on its way out for longer than the leeway.
fn check_live(
    reader: &dyn ObjectReader,
    resource: &str,
    namespace: &str,
    bound: &Bound,
    now: Timestamp,
) -> Result<(), TokenError> {
    let name = &bound.name;
    let Some(object) = reader.get(resource, namespace, name) else {
        return Err(TokenError::Invalidated(format!("{resource} {name:?} does not exist")));
    };
    let metadata = &object["metadata"];
    let gone = text(&metadata["deletionTimestamp"])
        .parse::<Timestamp>()
        .is_ok_and(|at| at < now - LEEWAY);
    if gone {
        return Err(TokenError::Invalidated(format!("{resource} {name:?} has been deleted")));
    }
    if text(&metadata["uid"]) != bound.uid {
        return Err(TokenError::Invalidated(format!(
            "{resource} {name:?} is another one by now"
        )));
    }
    Ok(())
}

/// The user of a verified token, if what it is bound to still lives.
pub(super) fn live_user(reader: &dyn ObjectReader, claims: &Claims, now: Timestamp) -> Result<UserInfo, TokenError> {
    let private = &claims.private;
    let namespace = &private.namespace;
    check_live(reader, "serviceaccounts", namespace, &private.serviceaccount, now)?;
    if let Some(secret) = &private.secret {
        check_live(reader, "secrets", namespace, secret, now)?;
    }
    let mut user = UserInfo {
        username: format!("system:serviceaccount:{namespace}:{}", private.serviceaccount.name),
        uid: private.serviceaccount.uid.clone(),
        groups: vec![
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{namespace}"),
        ],
        ..UserInfo::default()
    };
    let mut extra = |key: &str, value: &str| {
        if !value.is_empty() {
            let key = format!("authentication.kubernetes.io/{key}");
            user.extra.insert(key, vec![value.to_owned()]);
        }
    };
    if !claims.jti.is_empty() {
        extra("credential-id", &format!("JTI={}", claims.jti));
    }
    if let Some(pod) = &private.pod {
        check_live(reader, "pods", namespace, pod, now)?;
        extra("pod-name", &pod.name);
        extra("pod-uid", &pod.uid);
    }
    if let Some(node) = &private.node {
        // Of a pod's token the node is information; only a token bound to the node itself dies with it.
        if private.pod.is_none() {
            check_live(reader, "nodes", "", node, now)?;
        }
        extra("node-name", &node.name);
        extra("node-uid", &node.uid);
    }
    Ok(user)
}

impl Authenticator {
    /// Answers a TokenRequest (`serviceaccounts/token`): returns the object with its status, and the token's id.
    pub fn token_request(&self, namespace: &str, name: &str, mut request: Value) -> Result<(Value, String), ApiError> {
        const GROUP: &str = "authentication.k8s.io";
        let account = self
            .reader
            .get("serviceaccounts", namespace, name)
            .ok_or_else(|| ApiError::not_found("serviceaccounts", name))?;
        let spec = &mut request["spec"];
        if spec["expirationSeconds"].is_null() {
            spec["expirationSeconds"] = 3600.into();
        }
        if spec["audiences"].as_array().is_none_or(Vec::is_empty) {
            spec["audiences"] = json!(self.config.api_audiences);
        }
        let wanted = spec["expirationSeconds"].as_i64().unwrap_or_default();
        let path = timonel_api::Path::new("spec").child("expirationSeconds");
        let wrong = match wanted {
            ..600 => Some("may not specify a duration less than 10 minutes"),
            4_294_967_297.. => Some("may not specify a duration larger than 2^32 seconds"),
            _ => None,
        };
        if let Some(wrong) = wrong {
            let error = timonel_api::FieldError::invalid(&path, wanted, wrong);
            return Err(ApiError::invalid(format!("TokenRequest.{GROUP}"), "", vec![error]));
        }
        let wanted = wanted.min(self.config.max_token_seconds);
        spec["expirationSeconds"] = wanted.into();
        let audiences: Vec<String> = spec["audiences"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|audience| text(audience).to_owned())
            .collect();
        let reference = spec["boundObjectRef"].clone();
        let mut private = Private {
            namespace: namespace.to_owned(),
            node: None,
            pod: None,
            secret: None,
            serviceaccount: Bound {
                name: name.to_owned(),
                uid: text(&account["metadata"]["uid"]).to_owned(),
            },
            warnafter: None,
        };
        if reference.is_object() {
            self.bind(&reference, &mut private)?;
        }
        let now = self.clock.now().as_second();
        let for_us = audiences
            .iter()
            .all(|audience| self.config.api_audiences.contains(audience));
        let mut expires = now + wanted;
        if wanted == EXTENDED_WHEN && private.pod.is_some() && for_us {
            private.warnafter = Some(expires);
            expires = now + EXTENDED_TO;
        }
        let claims = Claims {
            aud: audiences,
            exp: expires,
            iat: now,
            iss: self.config.issuer.clone(),
            jti: self.rng.uuid().to_string(),
            private,
            nbf: now,
            sub: format!("system:serviceaccount:{namespace}:{name}"),
        };
        let expiration = Timestamp::from_second(now + wanted).map_err(|error| ApiError::internal(error.to_string()))?;
        request["metadata"]["name"] = name.into();
        request["metadata"]["namespace"] = namespace.into();
        request["status"] = json!({"token": self.tokens.sign(&claims)?, "expirationTimestamp": expiration.to_string()});
        Ok((request, claims.jti))
    }

    fn bind(&self, reference: &Value, private: &mut Private) -> Result<(), ApiError> {
        let (kind, api_version) = (text(&reference["kind"]), text(&reference["apiVersion"]));
        let (name, asked_uid) = (text(&reference["name"]), text(&reference["uid"]));
        let (resource, namespace) = match (api_version, kind) {
            ("v1", "Pod") => ("pods", private.namespace.as_str()),
            ("v1", "Secret") => ("secrets", private.namespace.as_str()),
            ("v1", "Node") => ("nodes", ""),
            _ => {
                let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
                return Err(ApiError::bad_request(format!(
                    "cannot bind token to object of type {group}/{version}, Kind={kind}"
                )));
            }
        };
        let object = self
            .reader
            .get(resource, namespace, name)
            .ok_or_else(|| ApiError::not_found(resource, name))?;
        let uid = text(&object["metadata"]["uid"]).to_owned();
        if !asked_uid.is_empty() && asked_uid != uid {
            return Err(ApiError::conflict(
                resource,
                name,
                format!(
                    "the UID in the bound object reference ({asked_uid}) does not match the UID in record. The object might have been deleted and then recreated"
                ),
            ));
        }
        let bound = Some(Bound {
            name: name.to_owned(),
            uid,
        });
        match kind {
            "Pod" => {
                if text(&object["spec"]["serviceAccountName"]) != private.serviceaccount.name {
                    return Err(ApiError::bad_request(format!(
                        "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                        private.serviceaccount.name
                    )));
                }
                let node = text(&object["spec"]["nodeName"]);
                if !node.is_empty() {
                    let stored = self.reader.get("nodes", "", node);
                    private.node = Some(Bound {
                        name: node.to_owned(),
                        uid: stored.map_or_else(String::new, |node| text(&node["metadata"]["uid"]).to_owned()),
                    });
                }
                private.pod = bound;
            }
            "Secret" => private.secret = bound,
            _ => private.node = bound,
        }
        Ok(())
    }

    /// The body of `/openid/v1/jwks` (`application/jwk-set+json`).
    pub fn jwks(&self) -> Value {
        let keys: Vec<&Value> = self.tokens.keys().map(|key| &key.jwk).collect();
        json!({"keys": keys})
    }

    /// The body of `/.well-known/openid-configuration` (`application/json`).
    pub fn openid_configuration(&self) -> Value {
        let algorithms: BTreeSet<&str> = self.tokens.keys().filter_map(|key| key.jwk["alg"].as_str()).collect();
        json!({
            "issuer": self.config.issuer,
            "jwks_uri": self.config.jwks_uri,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": algorithms,
        })
    }
}
