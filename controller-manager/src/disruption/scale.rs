//! How many pods there should be, as their controllers' scales say: each controller counts once, whatever it has of its pods.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use timonel_api::resources;

use crate::context::Caches;
use crate::owner;
use timonel_api::ObjectKey;

/// What is known of the controller that a pod names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scaled {
    /// It wants so many pods. The controller that is scaled may be the controller's own.
    To { uid: String, replicas: i32 },
    /// It is not there any more, or another one is under its name.
    Gone,
    /// It cannot be scaled; why.
    Never(String),
}

/// What the controllers of all pods want together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scale {
    pub(crate) pods: i32,
    /// The pods that nobody controls.
    pub(crate) unmanaged: Vec<String>,
}

/// Adds up what the pods' controllers want.
///
/// *Errors:* where a pod's controller is gone or cannot be scaled, in upstream's words.
pub(crate) fn of(pods: &[Arc<Pod>], controller: impl Fn(&OwnerReference, &str) -> Scaled) -> Result<Scale, String> {
    let mut scales = BTreeMap::new();
    let mut unmanaged = Vec::new();
    for pod in pods {
        let name = owner::name(&pod.metadata);
        let Some(reference) = owner::controller_of(&pod.metadata) else {
            unmanaged.push(name.to_owned());
            continue;
        };
        match controller(reference, owner::namespace(&pod.metadata)) {
            Scaled::To { uid, replicas } => {
                scales.insert(uid, replicas);
            }
            Scaled::Gone => return Err(format!("found no controllers for pod {name:?}")),
            Scaled::Never(why) => return Err(why),
        }
    }
    let pods = scales.values().fold(0_i32, |sum, scale| sum.saturating_add(*scale));
    Ok(Scale { pods, unmanaged })
}

/// Looks a controller up.
pub(crate) fn look_up(caches: &Caches, reference: &OwnerReference, namespace: &str) -> Scaled {
    let key = ObjectKey::new(namespace, reference.name.clone());
    let group = reference.api_version.split_once('/').map_or("", |(group, _)| group);
    let to = |uid: &str, replicas: Option<i32>| Scaled::To {
        uid: uid.to_owned(),
        replicas: replicas.unwrap_or(1),
    };
    match (group, reference.kind.as_str()) {
        ("", "ReplicationController") => match caches.replication_controllers.get(&key) {
            Some(one) if owner::uid(&one.metadata) == reference.uid => {
                to(&reference.uid, one.spec.as_ref().and_then(|spec| spec.replicas))
            }
            _ => Scaled::Gone,
        },
        ("apps", "StatefulSet") => match caches.stateful_sets.get(&key) {
            Some(one) if owner::uid(&one.metadata) == reference.uid => {
                to(&reference.uid, one.spec.as_ref().and_then(|spec| spec.replicas))
            }
            _ => Scaled::Gone,
        },
        ("apps" | "extensions", "ReplicaSet") => match caches.replica_sets.get(&key) {
            Some(set) if owner::uid(&set.metadata) == reference.uid => {
                // A set of a Deployment wants what the Deployment wants, which may be spread over several sets.
                let deployment = owner::controller_of(&set.metadata).filter(|above| above.kind == "Deployment");
                let deployment = deployment.and_then(|above| {
                    let found = caches.deployments.get(&ObjectKey::new(namespace, above.name.clone()))?;
                    (owner::uid(&found.metadata) == above.uid).then_some(found)
                });
                match deployment {
                    Some(one) => to(
                        owner::uid(&one.metadata),
                        one.spec.as_ref().and_then(|spec| spec.replicas),
                    ),
                    None => to(&reference.uid, set.spec.as_ref().and_then(|spec| spec.replicas)),
                }
            }
            _ => Scaled::Gone,
        },
        _ => Scaled::Never(unscaled(reference)),
    }
}

/// Says that a kind has no scale. No other built-in kind has one, and custom kinds are not served.
fn unscaled(reference: &OwnerReference) -> String {
    let (group, version) = reference
        .api_version
        .split_once('/')
        .unwrap_or(("", &reference.api_version));
    match resources::by_kind(group, version, &reference.kind) {
        Some(resource) => format!("{} does not implement the scale subresource", resource.group_resource()),
        None => format!(
            "no matches for kind {:?} in version {:?}",
            reference.kind, reference.api_version
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, controller: Option<&str>) -> Arc<Pod> {
        let owners = controller
            .map(|uid| json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "s", "uid": uid, "controller": true}]));
        Arc::new(serde_json::from_value(json!({"metadata": {"name": name, "ownerReferences": owners}})).unwrap())
    }

    #[test]
    fn each_controller_counts_once_and_a_lost_one_is_an_error() {
        let known = |reference: &OwnerReference, _: &str| match reference.uid.as_str() {
            "three" => Scaled::To {
                uid: "three".to_owned(),
                replicas: 3,
            },
            "two" => Scaled::To {
                uid: "two".to_owned(),
                replicas: 2,
            },
            _ => Scaled::Gone,
        };
        let mut pods = vec![
            pod("a", Some("three")),
            pod("b", Some("three")),
            pod("c", Some("two")),
            pod("d", None),
        ];
        let expected = Scale {
            pods: 5,
            unmanaged: vec!["d".to_owned()],
        };
        assert_eq!(of(&pods, known), Ok(expected));
        pods.push(pod("e", Some("gone")));
        assert_eq!(of(&pods, known), Err("found no controllers for pod \"e\"".to_owned()));
    }

    #[test]
    fn kinds_without_a_scale_are_named() {
        let mut reference = OwnerReference {
            api_version: "batch/v1".to_owned(),
            kind: "Job".to_owned(),
            ..OwnerReference::default()
        };
        assert_eq!(
            unscaled(&reference),
            "jobs.batch does not implement the scale subresource"
        );
        reference.kind = "Wheel".to_owned();
        assert_eq!(
            unscaled(&reference),
            "no matches for kind \"Wheel\" in version \"batch/v1\""
        );
    }
}
