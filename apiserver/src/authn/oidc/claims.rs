//! What a verified token says: upstream's rules, without a clock or a network.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::OidcConfig;
use crate::identity::UserInfo;

/// What upstream's library grants to issuers whose clocks run ahead.
const NOT_BEFORE_LEEWAY: f64 = 300.0;

/// Finds the user.
///
/// *Errors:* the reason in upstream's words where it has any.
pub(super) fn user(config: &OidcConfig, claims: &Map<String, Value>, now: Timestamp) -> Result<UserInfo, String> {
    let now = now.as_second() as f64;
    let audiences = texts(claims.get("aud")).unwrap_or_default();
    if !audiences.contains(&config.client_id) {
        return Err(format!("expected audience {:?} got {audiences:?}", config.client_id));
    }
    let expires = claims.get("exp").and_then(Value::as_f64).unwrap_or_default();
    if expires < now {
        return Err(format!("token is expired (Token Expiry: {expires})"));
    }
    if let Some(not_before) = claims.get("nbf").and_then(Value::as_f64)
        && not_before > now + NOT_BEFORE_LEEWAY
    {
        return Err(format!(
            "current time {now} before the nbf (not before) time: {not_before}"
        ));
    }
    let claim = config.username_claim.as_str();
    let username = match claims.get(claim) {
        Some(Value::String(name)) if !name.is_empty() => name,
        Some(Value::String(_)) => return Err("username cannot be empty".to_owned()),
        Some(_) => return Err(format!("parse username claims {claim:?}: it is no string")),
        None => return Err(format!("parse username claims {claim:?}: claim not present")),
    };
    if claim == "email" {
        match claims.get("email_verified") {
            None | Some(Value::Bool(true)) => {}
            Some(Value::Bool(false)) => return Err("email not verified".to_owned()),
            Some(_) => return Err("parse 'email_verified' claim: it is no boolean".to_owned()),
        }
    }
    let prefix = match config.username_prefix.as_str() {
        "-" => String::new(),
        "" if claim == "email" => String::new(),
        "" => format!("{}#", config.issuer_url),
        prefix => prefix.to_owned(),
    };
    let mut groups = Vec::new();
    if let Some(value) = claims
        .get(&config.groups_claim)
        .filter(|_| !config.groups_claim.is_empty())
    {
        let listed = texts(Some(value));
        let wrong = || format!("parse groups claim {:?}: it is no list of strings", config.groups_claim);
        for group in listed.ok_or_else(wrong)? {
            groups.push(format!("{}{group}", config.groups_prefix));
        }
    }
    for (name, wanted) in &config.required_claims {
        match claims.get(name) {
            None => return Err(format!("required claim {name} not present in ID token")),
            Some(Value::String(value)) if value == wanted => {}
            Some(value) => {
                return Err(format!(
                    "required claim {name} value does not match. Got = {value}, want = {wanted}"
                ));
            }
        }
    }
    let mut user = UserInfo {
        username: format!("{prefix}{username}"),
        groups,
        ..UserInfo::default()
    };
    if let Some(id) = claims.get("jti").and_then(Value::as_str).filter(|id| !id.is_empty()) {
        let key = "authentication.kubernetes.io/credential-id".to_owned();
        user.extra.insert(key, vec![format!("JTI={id}")]);
    }
    Ok(user)
}

/// A string, or a list of them.
fn texts(value: Option<&Value>) -> Option<Vec<String>> {
    match value? {
        Value::String(one) => Some(vec![one.clone()]),
        Value::Array(all) => all.iter().map(|one| one.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}
