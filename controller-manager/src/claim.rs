//! Who controls an object, and who should: the rules of adoption and release that all controllers share.
//!
//! Upstream: `ClaimObject` in `pkg/controller/controller_ref_manager.go`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector as TypedSelector, ObjectMeta};
use timonel_api::ObjectKey;
use timonel_api::selector::LabelSelector;
use timonel_client::Reader;
use timonel_client::runner::key_of;

use crate::owner;

/// What a controller makes of an object that it found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Controls it, and it matches.
    Own,
    /// An orphan that matches.
    Adopt,
    /// Controls it, but it matches no longer.
    Release,
    /// Somebody else's, or nobody's business.
    Leave,
}

/// Decides about one object. `leaving` tells whether the controller itself is being deleted: then it neither adopts nor releases.
pub(crate) fn claim(object: &ObjectMeta, uid: &str, matches: bool, leaving: bool) -> Claim {
    match (owner::controller_of(object), matches) {
        (Some(owner), true) if owner.uid == uid => Claim::Own,
        (Some(owner), false) if owner.uid == uid && !leaving => Claim::Release,
        (None, true) if !leaving && object.deletion_timestamp.is_none() => Claim::Adopt,
        _ => Claim::Leave,
    }
}

/// Returns whether something concerns the object: it controls it, or it is an orphan that its selector matches.
pub(crate) fn ours(controller: &ObjectMeta, selector: Option<&TypedSelector>) -> impl Fn(&ObjectMeta) -> bool + use<> {
    let (uid, selector) = (
        owner::uid(controller).to_owned(),
        LabelSelector::from_optional(selector),
    );
    move |object| match owner::controller_of(object) {
        Some(owner) => owner.uid == uid,
        None => selector.matches_optional(object.labels.as_ref()),
    }
}

/// Returns the keys of the objects of a kind that another object concerns: its controller, or everyone that would adopt it.
pub(crate) fn concerned<K>(
    controllers: &Reader<K>,
    object: &ObjectMeta,
    selector: impl Fn(&K) -> Option<TypedSelector>,
) -> Vec<ObjectKey>
where
    K: kube::Resource<DynamicType = ()> + Send + Sync + 'static,
{
    let namespace = owner::namespace(object);
    match owner::controller_of(object) {
        Some(owner) if owner.kind == K::kind(&()) => vec![ObjectKey::new(namespace, owner.name.clone())],
        Some(_) => Vec::new(),
        None => controllers
            .list_in(namespace)
            .iter()
            .filter(|one| LabelSelector::from_optional(selector(one).as_ref()).matches_optional(object.labels.as_ref()))
            .map(|one| key_of(&**one))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn orphans_are_adopted_and_strangers_released_unless_the_controller_leaves() {
        let object = |owner: Option<&str>| -> ObjectMeta {
            let owners = owner
                .map(|uid| json!([{"apiVersion": "v1", "kind": "X", "name": "x", "uid": uid, "controller": true}]));
            serde_json::from_value(json!({"ownerReferences": owners})).unwrap()
        };
        for (owner, matches, leaving, expected) in [
            (Some("me"), true, false, Claim::Own),
            (Some("me"), true, true, Claim::Own),
            (Some("me"), false, false, Claim::Release),
            (Some("me"), false, true, Claim::Leave),
            (Some("other"), true, false, Claim::Leave),
            (None, true, false, Claim::Adopt),
            (None, true, true, Claim::Leave),
            (None, false, false, Claim::Leave),
        ] {
            assert_eq!(
                claim(&object(owner), "me", matches, leaving),
                expected,
                "{owner:?} {matches} {leaving}"
            );
        }
        let mut going = object(None);
        going.deletion_timestamp = Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
        assert_eq!(claim(&going, "me", true, false), Claim::Leave);
    }
}
