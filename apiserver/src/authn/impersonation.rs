//! Acting as somebody else, for those who may `impersonate` them
//! (<https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation>).

use std::collections::BTreeMap;

use http::HeaderMap;

use super::AUTHENTICATED;
use crate::authz::{Attributes, Authorizer};
use crate::error::ApiError;
use crate::identity::UserInfo;

const USER: &str = "impersonate-user";
const UID: &str = "impersonate-uid";
const GROUP: &str = "impersonate-group";
const EXTRA: &str = "impersonate-extra-";

fn one(headers: &HeaderMap, name: &str) -> String {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}

fn all(headers: &HeaderMap, name: &str) -> Vec<String> {
    let values = headers.get_all(name).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .map(str::to_owned)
        .collect()
}

/// Returns the user that the request acts as: the requester where no header asks for another.
///
/// *Errors:* `Forbidden` where the requester may not impersonate what the headers name; `Internal`, as upstream, where groups, a uid
/// or extras are asked for without a user.
pub fn apply(headers: &HeaderMap, requester: UserInfo, authorizer: &Authorizer) -> Result<UserInfo, ApiError> {
    let (user, uid, groups) = (one(headers, USER), one(headers, UID), all(headers, GROUP));
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in headers.keys() {
        if let Some(key) = name.as_str().strip_prefix(EXTRA) {
            extra.insert(unescape(key), all(headers, name.as_str()));
        }
    }
    if user.is_empty() {
        if uid.is_empty() && groups.is_empty() && extra.is_empty() {
            return Ok(requester);
        }
        return Err(ApiError::internal(
            "requested impersonation without impersonating a user",
        ));
    }
    let may = |group, resource, subresource, namespace, name| {
        let asks = Attributes::resource(&requester, "impersonate", group, resource)
            .within(namespace)
            .named(name)
            .with_subresource(subresource);
        authorizer.require(&asks)
    };
    let account = user
        .strip_prefix("system:serviceaccount:")
        .and_then(|rest| rest.split_once(':'));
    match account {
        Some((namespace, name)) => may("", "serviceaccounts", "", namespace, name)?,
        None => may("", "users", "", "", &user)?,
    }
    for group in &groups {
        may("", "groups", "", "", group)?;
    }
    for (key, values) in &extra {
        for value in values {
            may("authentication.k8s.io", "userextras", key, "", value)?;
        }
    }
    if !uid.is_empty() {
        may("authentication.k8s.io", "uids", "", "", &uid)?;
    }
    let mut acting = UserInfo {
        username: user.clone(),
        uid,
        groups,
        extra,
    };
    if let (Some((namespace, _)), true) = (account, acting.groups.is_empty()) {
        acting.groups = vec![
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{namespace}"),
        ];
    }
    let everybody = if user == "system:anonymous" {
        "system:unauthenticated"
    } else {
        AUTHENTICATED
    };
    let settled = acting.is_in(AUTHENTICATED) || acting.is_in("system:unauthenticated");
    if !settled {
        acting.groups.push(everybody.to_owned());
    }
    Ok(acting)
}

/// Undoes percent-encoding; what is not valid encoding stays as it is.
fn unescape(key: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = key.as_bytes();
    while let [first, tail @ ..] = rest {
        let decoded = match (first, tail) {
            (b'%', [high, low, ..]) => std::str::from_utf8(&[*high, *low])
                .ok()
                .and_then(|digits| u8::from_str_radix(digits, 16).ok()),
            _ => None,
        };
        bytes.push(decoded.unwrap_or(*first));
        rest = if decoded.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8(bytes).unwrap_or_else(|_| key.to_owned())
}
