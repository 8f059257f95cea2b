//! Decides about the finalizer that protects an object while somebody uses it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use timonel_client::runner::Plan;

/// An object, and who uses it.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) meta: ObjectMeta,
    pub(crate) finalizer: &'static str,
    pub(crate) user: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Protect,
    Unprotect,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    Unprotected,
    BeingDeletedAndUnused,
}

/// Decides.
pub(crate) fn plan(observed: &Observed) -> Plan<Action, Because> {
    let mut plan = Plan::nothing();
    let mut finalizers = observed.meta.finalizers.iter().flatten();
    let protected = finalizers.any(|finalizer| finalizer == observed.finalizer);
    match (observed.meta.deletion_timestamp.is_some(), protected) {
        (true, true) if observed.user.is_none() => plan.act(Action::Unprotect, Because::BeingDeletedAndUnused),
        (false, false) => plan.act(Action::Protect, Because::Unprotected),
        _ => {}
    }
    plan
}
