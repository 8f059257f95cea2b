//! Decides whether a token has expired, or when it will.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use timonel_client::runner::Plan;

/// A bootstrap token.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) secret: Arc<Secret>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Delete,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    Expired { at: Timestamp },
    ExpirationUnreadable,
}

/// Decides. A token whose expiration cannot be read counts as expired, as upstream.
pub(crate) fn plan(observed: &Observed, now: Timestamp) -> Plan<Action, Because> {
    let mut plan = Plan::nothing();
    let Some(text) = observed.secret.data.as_ref().and_then(|data| data.get("expiration")) else {
        return plan;
    };
    let at = std::str::from_utf8(&text.0)
        .ok()
        .and_then(|text| text.parse::<Timestamp>().ok());
    let Some(at) = at else {
        plan.act(Action::Delete, Because::ExpirationUnreadable);
        return plan;
    };
    match Duration::try_from(at.duration_since(now)) {
        Ok(left) if !left.is_zero() => plan.look_again(left),
        _ => plan.act(Action::Delete, Because::Expired { at }),
    }
    plan
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    #[test]
    fn a_token_goes_when_its_time_has_come() {
        let mut secret = Secret::default();
        let at = ByteString(b"1970-01-01T00:01:00Z".to_vec());
        secret.data.get_or_insert_default().insert("expiration".into(), at);
        let observed = Observed {
            secret: Arc::new(secret),
        };
        let early = plan(&observed, Timestamp::UNIX_EPOCH);
        assert_eq!((early.is_empty(), early.requeue), (true, Some(Duration::from_secs(60))));
        assert_eq!(
            plan(&observed, Timestamp::from_second(60).unwrap()).actions,
            [Action::Delete]
        );
    }
}
