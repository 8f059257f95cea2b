//! Decides whether a namespace needs its default service account.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use timonel_client::runner::Plan;

/// The account that pods get which name none.
pub(super) const NAME: &str = "default";

/// A namespace, and whether it has the account.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) namespace: Arc<Namespace>,
    pub(crate) exists: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Create it.
    Create,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    Missing,
}

/// Tells whether things may still be created in a namespace.
pub(crate) fn is_alive(namespace: &Namespace) -> bool {
    let phase = namespace.status.as_ref().and_then(|status| status.phase.as_deref());
    namespace.metadata.deletion_timestamp.is_none() && phase != Some("Terminating")
}

/// Decides.
pub(crate) fn plan(observed: &Observed) -> Plan<Action, Because> {
    let mut plan = Plan::nothing();
    if is_alive(&observed.namespace) && !observed.exists {
        plan.act(Action::Create, Because::Missing);
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_created_once_and_not_in_a_namespace_that_goes() {
        let mut observed = Observed {
            namespace: Arc::new(Namespace::default()),
            exists: false,
        };
        timonel_client::law::settles(&mut observed, |seen| plan(seen).actions, |seen, _| seen.exists = true).unwrap();
        let mut going = Namespace::default();
        going.status.get_or_insert_default().phase = Some("Terminating".into());
        let observed = Observed {
            namespace: Arc::new(going),
            exists: false,
        };
        assert!(plan(&observed).is_empty());
    }
}
