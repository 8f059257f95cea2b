//! Adds up what a namespace uses of a quota.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ResourceQuota, ResourceQuotaStatus};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Wire;
use serde_json::Value;
use timonel_api::quantity::Quantity;
use timonel_api::quota::{self, Amounts};
use timonel_client::runner::Plan;

/// A quota and what there is in its namespace.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) quota: Arc<ResourceQuota>,
    /// Objects of resources whose fields matter, by resource.
    pub(crate) objects: BTreeMap<String, Vec<Value>>,
    /// How many objects there are of the others, by resource.
    pub(crate) counts: BTreeMap<String, usize>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    SetStatus(Box<ResourceQuotaStatus>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    /// What changed, as `name: before -> after`.
    UsageChanged(Vec<String>),
}

/// Decides.
pub(crate) fn plan(observed: &Observed, _: Timestamp) -> Plan<Action, Because> {
    let mut plan = Plan::nothing();
    let quota = &*observed.quota;
    let spec = quota.spec.clone().unwrap_or_default();
    let whole = serde_json::to_value(quota).unwrap_or_default();
    let mut used: Amounts = spec
        .hard
        .iter()
        .flatten()
        .map(|(name, _)| (name.clone(), Quantity::ZERO))
        .collect();
    let mut add = |usage: Amounts, times: i64| {
        for (name, amount) in usage {
            if let Some(sum) = used.get_mut(&name) {
                *sum += amount.times(times);
            }
        }
    };
    for (resource, objects) in &observed.objects {
        for object in objects
            .iter()
            .filter(|object| quota::in_scope(&whole, resource, object))
        {
            add(quota::usage(resource, object), 1);
        }
    }
    for (resource, count) in &observed.counts {
        if quota::in_scope(&whole, resource, &Value::Null) {
            add(
                quota::usage(resource, &Value::Null),
                i64::try_from(*count).unwrap_or(i64::MAX),
            );
        }
    }
    let status = quota.status.clone().unwrap_or_default();
    let mut changes = differences(status.used.as_ref(), &used);
    let hard: Amounts = spec
        .hard
        .iter()
        .flatten()
        .map(|(name, amount)| (name.clone(), Quantity::lenient(amount)))
        .collect();
    changes.extend(differences(status.hard.as_ref(), &hard));
    if !changes.is_empty() {
        let used = used
            .into_iter()
            .map(|(name, amount)| (name, amount.to_wire()))
            .collect();
        let status = ResourceQuotaStatus {
            hard: spec.hard,
            used: Some(used),
        };
        plan.act(Action::SetStatus(Box::new(status)), Because::UsageChanged(changes));
    }
    plan
}

fn differences(before: Option<&BTreeMap<String, Wire>>, after: &Amounts) -> Vec<String> {
    let Some(before) = before else {
        return after
            .iter()
            .map(|(name, now)| format!("{name}: {now}"))
            .chain([String::new()])
            .collect();
    };
    let gone = before
        .keys()
        .filter(|name| !after.contains_key(*name))
        .map(|name| format!("{name}: gone"));
    let changed = after.iter().filter_map(|(name, now)| {
        let was = before.get(name).map(Quantity::lenient);
        (was != Some(*now)).then(|| format!("{name}: {now}"))
    });
    gone.chain(changed).collect()
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;
    use timonel_client::law::settles;

    use super::*;

    #[track_caller]
    fn check(spec: Value, expected: Expect) {
        let pod = |name: &str, phase: &str, cpu: &str| {
            json!({"metadata": {"name": name}, "status": {"phase": phase},
                "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu, "memory": "64Mi"}}}]}})
        };
        let bare = json!({"metadata": {"name": "bare"}, "spec": {"containers": [{"name": "c"}]}, "status": {"phase": "Running"}});
        let pods = vec![
            pod("a", "Running", "250m"),
            pod("b", "Pending", "1"),
            pod("done", "Succeeded", "4"),
            bare,
        ];
        let services = vec![json!({"spec": {"type": "NodePort", "ports": [{"port": 1}, {"port": 2}]}})];
        let quota = json!({"metadata": {"name": "q", "namespace": "demo"}, "spec": spec});
        let mut seen = Observed {
            quota: Arc::new(serde_json::from_value(quota).unwrap()),
            objects: [("pods".to_owned(), pods), ("services".to_owned(), services)].into(),
            counts: [("configmaps".to_owned(), 3), ("replicasets.apps".to_owned(), 2)].into(),
        };
        settles(
            &mut seen,
            |seen| plan(seen, Timestamp::UNIX_EPOCH).actions,
            |seen, Action::SetStatus(status)| {
                Arc::make_mut(&mut seen.quota).status = Some((**status).clone());
            },
        )
        .unwrap();
        let used = seen.quota.status.as_ref().unwrap().used.clone().unwrap();
        let lines: Vec<String> = used
            .iter()
            .map(|(name, amount)| format!("{name}={}", amount.0))
            .collect();
        expected.assert_eq(&lines.join(" "));
    }

    #[test]
    fn usage_is_what_there_is() {
        let hard = json!({"pods": "5", "count/pods": "9", "cpu": "4", "requests.memory": "1Gi", "services": "2", "services.nodeports": "3",
            "configmaps": "9", "count/replicasets.apps": "9", "secrets": "9"});
        check(
            json!({"hard": hard}),
            expect![
                "configmaps=3 count/pods=4 count/replicasets.apps=2 cpu=1250m pods=3 requests.memory=128Mi secrets=0 services=1 services.nodeports=2"
            ],
        );
    }

    #[test]
    fn a_scope_lets_only_some_pods_count() {
        check(
            json!({"hard": {"pods": "5"}, "scopes": ["BestEffort"]}),
            expect!["pods=1"],
        );
        check(
            json!({"hard": {"pods": "5", "cpu": "1"}, "scopes": ["NotBestEffort"]}),
            expect!["cpu=1250m pods=2"],
        );
    }
}
