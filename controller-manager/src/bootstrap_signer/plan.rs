//! Decides which signatures `cluster-info` should carry: one per token that may sign.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use timonel_client::runner::Plan;

use crate::owner;

const KUBECONFIG: &str = "kubeconfig";
const SIGNATURE: &str = "jws-kubeconfig-";

/// What is signed, and all bootstrap tokens.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) info: Arc<ConfigMap>,
    pub(crate) tokens: Vec<Arc<Secret>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    SetData(BTreeMap<String, String>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    SignaturesDiffer,
}

/// Tells whether a Secret is a bootstrap token.
pub(crate) fn is_token(secret: &Secret) -> bool {
    secret.type_.as_deref() == Some("bootstrap.kubernetes.io/token")
}

/// Decides.
pub(crate) fn plan(observed: &Observed, now: Timestamp) -> Plan<Action, Because> {
    let mut plan = Plan::nothing();
    let held = observed.info.data.clone().unwrap_or_default();
    let Some(content) = held.get(KUBECONFIG) else {
        return plan;
    };
    let mut wanted = held.clone();
    wanted.retain(|key, _| !key.starts_with(SIGNATURE));
    for secret in &observed.tokens {
        let Some(token) = Token::of(secret) else { continue };
        match token.left(now) {
            Some(Duration::ZERO) => continue,
            Some(left) => plan.look_again(left),
            None => {}
        }
        wanted.insert(format!("{SIGNATURE}{}", token.id), token.sign(content));
    }
    if wanted != held {
        plan.act(Action::SetData(wanted), Because::SignaturesDiffer);
    }
    plan
}

/// A token that may sign.
struct Token {
    id: String,
    secret: String,
    /// `Err` where it cannot be read: then the token counts as expired, as upstream.
    expires: Option<Result<Timestamp, ()>>,
}

impl Token {
    fn of(secret: &Secret) -> Option<Self> {
        let data = secret.data.as_ref()?;
        let field = |name: &str| String::from_utf8(data.get(name)?.0.clone()).ok();
        let id = field("token-id")?;
        let named = owner::name(&secret.metadata) == format!("bootstrap-token-{id}");
        let may_sign = field("usage-bootstrap-signing").as_deref() == Some("true");
        let secret = field("token-secret").filter(|secret| !secret.is_empty())?;
        let expires = field("expiration").filter(|text| !text.is_empty());
        let expires = expires.map(|text| text.parse::<Timestamp>().map_err(drop));
        (named && may_sign).then_some(Self { id, secret, expires })
    }

    /// How long it is still good for; for ever where `None`.
    fn left(&self, now: Timestamp) -> Option<Duration> {
        let left = |at: &Timestamp| Duration::try_from(at.duration_since(now)).unwrap_or_default();
        Some(self.expires.as_ref()?.as_ref().map_or(Duration::ZERO, left))
    }

    /// A JWS whose payload is left out, as `cluster-info` carries it.
    fn sign(&self, content: &str) -> String {
        let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"HS256","kid":"{}"}}"#, self.id));
        let payload = URL_SAFE_NO_PAD.encode(content);
        let key = hmac::Key::new(hmac::HMAC_SHA256, format!("{}.{}", self.id, self.secret).as_bytes());
        let signature = hmac::sign(&key, format!("{header}.{payload}").as_bytes());
        format!("{header}..{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    fn token(id: &str, change: &[(&str, &str)]) -> Arc<Secret> {
        let mut secret = Secret {
            type_: Some("bootstrap.kubernetes.io/token".into()),
            ..Secret::default()
        };
        secret.metadata.name = Some(format!("bootstrap-token-{id}"));
        let fields = [
            ("token-id", id),
            ("token-secret", "0123456789abcdef"),
            ("usage-bootstrap-signing", "true"),
        ];
        let data = secret.data.get_or_insert_default();
        for (key, value) in fields.iter().chain(change) {
            data.insert((*key).into(), ByteString(value.as_bytes().to_vec()));
        }
        Arc::new(secret)
    }

    fn observed(tokens: Vec<Arc<Secret>>) -> Observed {
        let mut info = ConfigMap::default();
        let data = info.data.get_or_insert_default();
        data.insert(KUBECONFIG.into(), "content".into());
        data.insert(format!("{SIGNATURE}gone01"), "old".into());
        Observed {
            info: Arc::new(info),
            tokens,
        }
    }

    /// The ids of the tokens whose signatures are there once all is done.
    fn signed(mut seen: Observed, now: Timestamp) -> Vec<String> {
        let apply = |seen: &mut Observed, Action::SetData(data): &Action| {
            Arc::make_mut(&mut seen.info).data = Some(data.clone());
        };
        timonel_client::law::settles(&mut seen, |seen| plan(seen, now).actions, apply).unwrap();
        let data = seen.info.data.clone().unwrap();
        data.keys()
            .filter_map(|key| key.strip_prefix(SIGNATURE).map(str::to_owned))
            .collect()
    }

    #[test]
    fn every_token_that_may_sign_signs_and_the_signatures_of_others_go() {
        let tokens = vec![
            token("good01", &[]),
            token("mute01", &[("usage-bootstrap-signing", "false")]),
            token("name01", &[("token-id", "other1")]),
            token("late01", &[("expiration", "1970-01-01T00:01:00Z")]),
            token("odd001", &[("expiration", "tomorrow")]),
        ];
        let seen = observed(tokens);
        assert_eq!(
            plan(&seen, Timestamp::UNIX_EPOCH).requeue,
            Some(Duration::from_secs(60))
        );
        assert_eq!(signed(seen.clone(), Timestamp::UNIX_EPOCH), ["good01", "late01"]);
        assert_eq!(signed(seen, Timestamp::from_second(60).unwrap()), ["good01"]);
    }

    #[test]
    fn the_signature_is_a_detached_jws() {
        let token = Token::of(&token("abcdef", &[])).unwrap();
        let signature = token.sign("content");
        let (header, mac) = signature.split_once("..").unwrap();
        assert_eq!(
            URL_SAFE_NO_PAD.decode(header).unwrap(),
            br#"{"alg":"HS256","kid":"abcdef"}"#
        );
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"abcdef.0123456789abcdef");
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode("content"));
        hmac::verify(&key, signed.as_bytes(), &URL_SAFE_NO_PAD.decode(mac).unwrap()).unwrap();
    }
}
