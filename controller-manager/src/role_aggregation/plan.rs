//! Decides what an aggregated ClusterRole allows.

use std::sync::Arc;

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use timonel_api::selector::LabelSelector;
use timonel_client::runner::Plan;

use crate::owner;

/// An aggregated role, and all roles, by name.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) role: Arc<ClusterRole>,
    pub(crate) all: Vec<Arc<ClusterRole>>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    SetRules(Vec<PolicyRule>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    /// These roles are selected.
    MadeOf(Vec<String>),
}

/// Decides.
pub(crate) fn plan(observed: &Observed) -> Plan<Action, Because> {
    let mut plan = Plan::nothing();
    let role = &*observed.role;
    let Some(aggregation) = &role.aggregation_rule else {
        return plan;
    };
    let mut rules: Vec<PolicyRule> = Vec::new();
    let mut parts = Vec::new();
    for selector in aggregation.cluster_role_selectors.iter().flatten() {
        let selector = LabelSelector::from_optional(Some(selector));
        for other in &observed.all {
            if other.metadata.name == role.metadata.name || !selector.matches_optional(other.metadata.labels.as_ref()) {
                continue;
            }
            parts.push(owner::name(&other.metadata).to_owned());
            for rule in other.rules.iter().flatten() {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
        }
    }
    if rules != role.rules.clone().unwrap_or_default() {
        plan.act(Action::SetRules(rules), Because::MadeOf(parts));
    }
    plan
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use timonel_client::law::settles;

    use super::*;

    fn role(name: &str, label: &str, verbs: &[&str]) -> Arc<ClusterRole> {
        let rules: Vec<Value> = verbs
            .iter()
            .map(|verb| json!({"verbs": [verb], "apiGroups": [""], "resources": ["pods"]}))
            .collect();
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": name, "labels": {label: "true"}}, "rules": rules}))
                .unwrap(),
        )
    }

    #[test]
    fn a_role_is_made_of_all_that_it_selects_each_rule_once() {
        let mut whole = ClusterRole::clone(&role("whole", "part", &["delete"]));
        let rule =
            json!({"clusterRoleSelectors": [{"matchLabels": {"part": "true"}}, {"matchLabels": {"more": "true"}}]});
        whole.aggregation_rule = Some(serde_json::from_value(rule).unwrap());
        let whole = Arc::new(whole);
        let mut seen = Observed {
            all: vec![
                role("a", "part", &["get", "list"]),
                role("b", "more", &["list", "watch"]),
                role("c", "other", &["patch"]),
                Arc::clone(&whole),
            ],
            role: whole,
        };
        assert_eq!(plan(&seen).because, [Because::MadeOf(vec!["a".into(), "b".into()])]);
        settles(
            &mut seen,
            |seen| plan(seen).actions,
            |seen, Action::SetRules(rules)| {
                Arc::make_mut(&mut seen.role).rules = Some(rules.clone());
            },
        )
        .unwrap();
        let verbs: Vec<String> = seen
            .role
            .rules
            .iter()
            .flatten()
            .map(|rule| rule.verbs.concat())
            .collect();
        assert_eq!(verbs, ["get", "list", "watch"]);
        assert!(
            plan(&Observed {
                role: role("a", "part", &["get"]),
                all: Vec::new()
            })
            .is_empty(),
            "only aggregated ones change"
        );
    }
}
