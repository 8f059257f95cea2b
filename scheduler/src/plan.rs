//! What would become of pods if they were created now: the decisions that the scheduler would make, one after another, on a
//! snapshot. Nothing changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use crate::account::Account;
use crate::decide::{Turn, decide_for};
use crate::pod_info::{PodInfo, scheduler_name};
use crate::preempt::{Preemption, preempt};
use crate::profile::Profile;
use crate::snapshot::Snapshot;

/// Decides about pods in their order, each in the world that those before have left. Every node is looked at.
pub fn plan(
    profiles: &BTreeMap<String, Arc<Profile>>,
    snapshot: &Snapshot,
    budgets: &[Arc<PodDisruptionBudget>],
    pods: &[Arc<PodInfo>],
) -> Vec<Account> {
    let mut world = snapshot.clone();
    let mut accounts = Vec::new();
    for pod in pods {
        let turn = Turn {
            thorough: true,
            ..Turn::default()
        };
        let Some(profile) = profiles.get(scheduler_name(&pod.pod)) else {
            let mut account = Account::of(pod, &crate::decide::Decision::default(), 0);
            account.message = Some(format!(
                "no profile has the scheduler name {:?}",
                scheduler_name(&pod.pod)
            ));
            accounts.push(account);
            continue;
        };
        let decision = decide_for(profile, pod, &world, turn);
        let mut account = Account::of(pod, &decision, usize::MAX);
        let gates = pod.spec().and_then(|spec| spec.scheduling_gates.as_deref());
        if profile.gates && gates.is_some_and(|gates| !gates.is_empty()) {
            account.node = None;
            account.message = Some("Scheduling is blocked due to non-empty scheduling gates".to_owned());
            accounts.push(account);
            continue;
        }
        match &decision.node {
            Some(node) => world = world.with_pod(Arc::clone(pod), node),
            None => make_room(&mut account, preempt(profile, pod, &world, &decision, budgets, 0)),
        }
        accounts.push(account);
    }
    accounts
}

/// Says what preemption would do. Later pods of the plan see the world as it is until the victims are gone.
fn make_room(account: &mut Account, preemption: Preemption) {
    let mut add = |why: &str| {
        if account.nodes_in_all > 0
            && !why.is_empty()
            && let Some(message) = &mut account.message
        {
            *message = format!("{message} {why}");
        }
    };
    match preemption {
        Preemption::NotEligible(why) => add(why),
        Preemption::Nothing(why) | Preemption::Failed(why) => add(&why),
        Preemption::Evict { node, victims, .. } => {
            account.victims = victims.iter().map(|victim| victim.key.to_string()).collect();
            account.nominated_node = Some(node);
        }
    }
}
