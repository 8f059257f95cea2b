//! Decides which claims a pod's ephemeral volumes need.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use timonel_api::pod;
use timonel_client::runner::Plan;

use crate::owner;

/// A pod, and the claims of its namespace that have the names of its ephemeral volumes.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) pod: Arc<Pod>,
    pub(crate) claims: Vec<Arc<PersistentVolumeClaim>>,
    /// What was said of this pod last.
    pub(crate) told: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    Create(Box<PersistentVolumeClaim>),
    /// Say that a volume cannot be had, and why.
    Warn(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    HasNoClaim { volume: String },
    ClaimIsOfSomebodyElse { volume: String },
}

/// The names of a pod's ephemeral volumes, each with the name of its claim.
pub(crate) fn volumes(pod: &Pod) -> Vec<(&str, String)> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let ephemeral = volumes.filter(|volume| volume.ephemeral.is_some());
    let claim = |name: &str| format!("{}-{name}", owner::name(&pod.metadata));
    ephemeral
        .map(|volume| (volume.name.as_str(), claim(&volume.name)))
        .collect()
}

/// Decides.
pub(crate) fn plan(observed: &Observed) -> Plan<Action, Because> {
    let mut plan = Plan::nothing();
    let pod = &*observed.pod;
    if pod::is_terminating(pod) || pod::is_terminal(pod) {
        return plan;
    }
    for (volume, name) in volumes(pod) {
        let found = observed
            .claims
            .iter()
            .find(|claim| owner::name(&claim.metadata) == name);
        match found {
            Some(claim) if owner::is_controlled_by(&claim.metadata, owner::uid(&pod.metadata)) => {}
            Some(_) => {
                let (namespace, own) = (owner::namespace(&pod.metadata), owner::name(&pod.metadata));
                let text = format!(
                    "ephemeral volume {volume}: PVC {namespace}/{name} was not created for pod {namespace}/{own} (pod is not owner)"
                );
                if observed.told.as_ref() != Some(&text) {
                    plan.act(
                        Action::Warn(text),
                        Because::ClaimIsOfSomebodyElse {
                            volume: volume.to_owned(),
                        },
                    );
                }
            }
            None => {
                if let Some(claim) = claim_for(pod, volume, name) {
                    plan.act(
                        Action::Create(Box::new(claim)),
                        Because::HasNoClaim {
                            volume: volume.to_owned(),
                        },
                    );
                }
            }
        }
    }
    plan
}

fn claim_for(pod: &Pod, volume: &str, name: String) -> Option<PersistentVolumeClaim> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let source = volumes
        .into_iter()
        .find(|other| other.name == volume)?
        .ephemeral
        .as_ref()?;
    let template = source.volume_claim_template.as_ref()?;
    let given = template.metadata.clone().unwrap_or_default();
    Some(PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: pod.metadata.namespace.clone(),
            labels: given.labels,
            annotations: given.annotations,
            owner_references: Some(vec![owner::controller_reference(pod)]),
            ..ObjectMeta::default()
        },
        spec: Some(template.spec.clone()),
        status: None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use timonel_client::law::settles;

    use super::*;

    fn seen(leaving: bool) -> Observed {
        let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"accessModes": ["ReadWriteOnce"]}});
        let pod = json!({
            "metadata": {"name": "p", "namespace": "demo", "uid": "pod", "deletionTimestamp": leaving.then_some("2026-01-01T00:00:00Z")},
            "spec": {"containers": [], "volumes": [{"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}}, {"name": "x", "emptyDir": {}}]},
        });
        Observed {
            pod: Arc::new(serde_json::from_value(pod).unwrap()),
            claims: Vec::new(),
            told: None,
        }
    }

    fn apply(seen: &mut Observed, action: &Action) {
        match action {
            Action::Create(claim) => seen.claims.push(Arc::new((**claim).clone())),
            Action::Warn(text) => seen.told = Some(text.clone()),
        }
    }

    #[test]
    fn each_ephemeral_volume_gets_its_claim() {
        let mut world = seen(false);
        settles(&mut world, |seen| plan(seen).actions, apply).unwrap();
        let [claim] = &world.claims[..] else {
            panic!("one claim: {:?}", world.claims)
        };
        assert_eq!(owner::name(&claim.metadata), "p-scratch");
        assert!(owner::is_controlled_by(&claim.metadata, "pod"));
        assert_eq!(claim.metadata.labels.as_ref().unwrap()["a"], "b");
        assert!(plan(&seen(true)).is_empty(), "a pod that leaves needs nothing");
    }

    #[test]
    fn a_claim_of_somebody_else_is_not_taken() {
        let mut world = seen(false);
        let other = json!({"metadata": {"name": "p-scratch", "namespace": "demo"}});
        world.claims.push(Arc::new(serde_json::from_value(other).unwrap()));
        settles(&mut world, |seen| plan(seen).actions, apply).unwrap();
        let text = "ephemeral volume scratch: PVC demo/p-scratch was not created for pod demo/p (pod is not owner)";
        assert_eq!(world.told.as_deref(), Some(text));
    }
}
