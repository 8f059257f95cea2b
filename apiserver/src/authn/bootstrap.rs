//! Bootstrap tokens: what a node shows before it has a certificate
//! (<https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/>).

use aws_lc_rs::constant_time;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;

use super::tokens::TokenError;
use crate::identity::UserInfo;
use crate::reader::ObjectReader;

const GROUP: &str = "system:bootstrappers";

/// Splits `abcdef.0123456789abcdef`; anything else is no bootstrap token.
pub(super) fn split(token: &str) -> Option<(&str, &str)> {
    let plain =
        |text: &str, len| text.len() == len && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    token
        .split_once('.')
        .filter(|(id, secret)| plain(id, 6) && plain(secret, 16))
}

fn field(secret: &Value, name: &str) -> String {
    let decoded = secret["data"][name]
        .as_str()
        .and_then(|data| STANDARD.decode(data).ok());
    decoded
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .unwrap_or_default()
}

/// Finds the user of a bootstrap token: its Secret in `kube-system` must be meant for authentication and not expired.
pub(super) fn authenticate(
    reader: &dyn ObjectReader,
    id: &str,
    token_secret: &str,
    now: Timestamp,
) -> Result<UserInfo, TokenError> {
    let refused = |reason: &str| TokenError::Bootstrap {
        id: id.to_owned(),
        reason: reason.to_owned(),
    };
    let secret = reader
        .get("secrets", "kube-system", &format!("bootstrap-token-{id}"))
        .ok_or_else(|| refused("it does not exist"))?;
    if !secret["metadata"]["deletionTimestamp"].is_null() {
        return Err(refused("it is being deleted"));
    }
    if secret["type"] != "bootstrap.kubernetes.io/token" {
        return Err(refused("its secret is of another type"));
    }
    let held = field(&secret, "token-secret");
    if constant_time::verify_slices_are_equal(held.as_bytes(), token_secret.as_bytes()).is_err()
        || field(&secret, "token-id") != id
    {
        return Err(refused("the secret does not match"));
    }
    let expiration = field(&secret, "expiration");
    if !expiration.is_empty() && expiration.parse::<Timestamp>().is_ok_and(|at| at <= now) {
        return Err(refused("it is expired"));
    }
    if !expiration.is_empty() && expiration.parse::<Timestamp>().is_err() {
        return Err(refused("its expiration is no RFC 3339 time"));
    }
    if field(&secret, "usage-bootstrap-authentication") != "true" {
        return Err(refused("it is not meant for authentication"));
    }
    let mut groups = vec![GROUP.to_owned()];
    let extra = field(&secret, "auth-extra-groups");
    for group in extra.split(',').filter(|group| !group.is_empty()) {
        if !is_bootstrap_group(group) {
            return Err(refused("it names a group outside system:bootstrappers:"));
        }
        groups.push(group.to_owned());
    }
    Ok(UserInfo {
        username: format!("system:bootstrap:{id}"),
        groups,
        ..UserInfo::default()
    })
}

/// `system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]`
fn is_bootstrap_group(group: &str) -> bool {
    let Some(rest) = group.strip_prefix("system:bootstrappers:") else {
        return false;
    };
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    rest.len() <= 256
        && rest.bytes().last().is_some_and(plain)
        && rest.bytes().all(|b| plain(b) || b == b':' || b == b'-')
}
