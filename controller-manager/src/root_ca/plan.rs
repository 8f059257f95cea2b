//! Decides whether a namespace's copy of the root certificate is as it should be.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use timonel_client::runner::Plan;

use crate::owner;
use crate::service_account::plan::is_alive;

pub(super) const NAME: &str = "kube-root-ca.crt";
const DESCRIPTION: (&str, &str) = (
    "kubernetes.io/description",
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal \
     service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.",
);

/// A namespace, its copy, and the certificate.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) namespace: Arc<Namespace>,
    pub(crate) published: Option<Arc<ConfigMap>>,
    pub(crate) ca: String,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    Create(Box<ConfigMap>),
    Correct(Box<ConfigMap>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    Missing,
    Differs,
}

/// Decides.
pub(crate) fn plan(observed: &Observed) -> Plan<Action, Because> {
    let mut plan = Plan::nothing();
    if !is_alive(&observed.namespace) {
        return plan;
    }
    let wanted = ConfigMap {
        metadata: ObjectMeta {
            name: Some(NAME.into()),
            namespace: Some(owner::name(&observed.namespace.metadata).into()),
            annotations: Some(BTreeMap::from([(DESCRIPTION.0.into(), DESCRIPTION.1.into())])),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([("ca.crt".into(), observed.ca.clone())])),
        ..ConfigMap::default()
    };
    let described = |map: &ConfigMap| {
        let annotations = map.metadata.annotations.as_ref();
        annotations
            .and_then(|annotations| annotations.get(DESCRIPTION.0))
            .map(String::as_str)
            == Some(DESCRIPTION.1)
    };
    match &observed.published {
        None => plan.act(Action::Create(Box::new(wanted)), Because::Missing),
        Some(map) if map.data != wanted.data || !described(map) => {
            plan.act(Action::Correct(Box::new(wanted)), Because::Differs);
        }
        Some(_) => {}
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_made_and_mended() {
        let tampered = ConfigMap {
            data: Some(BTreeMap::from([("ca.crt".into(), "other".into())])),
            ..ConfigMap::default()
        };
        for published in [None, Some(Arc::new(tampered))] {
            let mut observed = Observed {
                namespace: Arc::new(Namespace::default()),
                published,
                ca: "pem".into(),
            };
            let apply = |seen: &mut Observed, action: &Action| {
                let (Action::Create(map) | Action::Correct(map)) = action;
                seen.published = Some(Arc::new(ConfigMap::clone(map)));
            };
            timonel_client::law::settles(&mut observed, |seen| plan(seen).actions, apply).unwrap();
            assert_eq!(observed.published.unwrap().data.as_ref().unwrap()["ca.crt"], "pem");
        }
    }
}
