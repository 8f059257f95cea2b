//! Decides what is deleted next in a namespace that goes, and says what is left.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition, NamespaceStatus};
use timonel_api::conditions;
use timonel_client::runner::Plan;

/// Group, version and plural.
pub(crate) type ResourceName = (&'static str, &'static str, &'static str);

/// What is left of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) resource: ResourceName,
    pub(crate) count: usize,
    /// How many are not being deleted yet.
    pub(crate) staying: usize,
    pub(crate) finalizers: BTreeMap<String, usize>,
}

/// A namespace that is being deleted, and what is left in it.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) namespace: Arc<Namespace>,
    pub(crate) contents: Vec<Content>,
    pub(crate) retry: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    DeleteAll(ResourceName),
    SetStatus(Box<NamespaceStatus>),
    Finalize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    PodsGoFirst { count: usize },
    StillThere { resource: ResourceName, count: usize },
    StatusChanged,
    Empty,
}

/// Decides.
pub(crate) fn plan(observed: &Observed, now: Timestamp) -> Plan<Action, Because> {
    let mut plan = Plan::nothing();
    let pods = observed
        .contents
        .iter()
        .find(|content| content.resource == ("", "v1", "pods"));
    match pods {
        // What pods use must not vanish under them.
        Some(pods) => {
            if pods.staying > 0 {
                plan.act(
                    Action::DeleteAll(pods.resource),
                    Because::PodsGoFirst { count: pods.count },
                );
            }
        }
        None => {
            for content in observed.contents.iter().filter(|content| content.staying > 0) {
                let (resource, count) = (content.resource, content.count);
                plan.act(Action::DeleteAll(resource), Because::StillThere { resource, count });
            }
        }
    }
    let old = observed.namespace.status.clone().unwrap_or_default();
    let mut list = old.conditions.clone().unwrap_or_default();
    let mut changed = old.phase.as_deref() != Some("Terminating");
    for condition in describe(&observed.contents) {
        changed |= conditions::set(&mut list, condition, now);
    }
    if changed {
        let status = NamespaceStatus {
            phase: Some("Terminating".into()),
            conditions: Some(list),
        };
        plan.act(Action::SetStatus(Box::new(status)), Because::StatusChanged);
    }
    if observed.contents.is_empty() {
        let held = observed
            .namespace
            .spec
            .as_ref()
            .and_then(|spec| spec.finalizers.as_ref());
        if held.is_some_and(|held| held.iter().any(|finalizer| finalizer == "kubernetes")) {
            plan.act(Action::Finalize, Because::Empty);
        }
    } else {
        plan.look_again(observed.retry);
    }
    plan
}

/// Upstream's five conditions and their words.
fn describe(contents: &[Content]) -> Vec<NamespaceCondition> {
    let condition = |kind: &str, status: &str, reason: &str, message: String| NamespaceCondition {
        type_: kind.into(),
        status: status.into(),
        reason: Some(reason.into()),
        message: Some(message),
        last_transition_time: None,
    };
    let remaining: Vec<String> = contents
        .iter()
        .map(|content| {
            let (group, _, plural) = content.resource;
            let name = if group.is_empty() {
                format!("{plural}.")
            } else {
                format!("{plural}.{group}")
            };
            format!("{name} has {} resource instances", content.count)
        })
        .collect();
    let mut finalizers: BTreeMap<&str, usize> = BTreeMap::new();
    for (finalizer, count) in contents.iter().flat_map(|content| &content.finalizers) {
        *finalizers.entry(finalizer).or_insert(0) += count;
    }
    let held: Vec<String> = finalizers
        .iter()
        .map(|(finalizer, count)| format!("{finalizer} in {count} resource instances"))
        .collect();
    vec![
        condition(
            "NamespaceDeletionDiscoveryFailure",
            "False",
            "ResourcesDiscovered",
            "All resources successfully discovered".into(),
        ),
        condition(
            "NamespaceDeletionGroupVersionParsingFailure",
            "False",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed".into(),
        ),
        condition(
            "NamespaceDeletionContentFailure",
            "False",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization".into(),
        ),
        if remaining.is_empty() {
            let message = "All content successfully removed".into();
            condition("NamespaceContentRemaining", "False", "ContentRemoved", message)
        } else {
            let message = format!("Some resources are remaining: {}", remaining.join(", "));
            condition("NamespaceContentRemaining", "True", "SomeResourcesRemain", message)
        },
        if held.is_empty() {
            let message = "All content-preserving finalizers finished".into();
            condition(
                "NamespaceFinalizersRemaining",
                "False",
                "ContentHasNoFinalizers",
                message,
            )
        } else {
            let message = format!(
                "Some content in the namespace has finalizers remaining: {}",
                held.join(", ")
            );
            condition("NamespaceFinalizersRemaining", "True", "SomeFinalizersRemain", message)
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(plural: &'static str) -> Content {
        Content {
            resource: ("", "v1", plural),
            count: 2,
            staying: 2,
            finalizers: BTreeMap::new(),
        }
    }

    #[test]
    fn pods_go_before_what_they_use_and_then_the_namespace_itself() {
        let mut namespace = Namespace::default();
        namespace.spec.get_or_insert_default().finalizers = Some(vec!["kubernetes".into()]);
        let mut observed = Observed {
            namespace: Arc::new(namespace),
            contents: vec![content("configmaps"), content("pods")],
            retry: Duration::from_secs(1),
        };
        let mut order = Vec::new();
        for _ in 0..4 {
            for action in plan(&observed, Timestamp::UNIX_EPOCH).actions {
                match action {
                    Action::DeleteAll(gone) => {
                        order.push(gone.2);
                        observed.contents.retain(|content| content.resource != gone);
                    }
                    Action::SetStatus(status) => Arc::make_mut(&mut observed.namespace).status = Some(*status),
                    Action::Finalize => {
                        order.push("finalize");
                        Arc::make_mut(&mut observed.namespace).spec = None;
                    }
                }
            }
        }
        assert_eq!(order, ["pods", "configmaps", "finalize"]);
        assert!(plan(&observed, Timestamp::UNIX_EPOCH).is_empty());
    }
}
