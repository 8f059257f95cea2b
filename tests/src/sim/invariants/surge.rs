//! A Deployment never has more pods asked for than its replicas and its surge.
//!
//! Upstream's own bound: it counts what the ReplicaSets ask for, since a ReplicaSet that was told to shrink needs a moment. What is
//! above the bound because the Deployment itself shrank may stay for a while, but not grow.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Violation;
use super::history::{Invariant, Moment, controller, number, of, text};

/// See the module. A write that took effect without an answer is made again: each widens the bound by one.
pub struct Surge {
    pub(super) unanswered: usize,
    totals: BTreeMap<String, usize>,
}

impl Surge {
    pub(super) fn with_slack(unanswered: usize) -> Self {
        Self {
            unanswered,
            totals: BTreeMap::new(),
        }
    }
}

/// A number or a share of another, rounded up.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small and positive"
)]
pub(super) fn share(value: &Value, of: usize, up: bool) -> usize {
    match value {
        Value::String(percent) => {
            let share = percent.trim_end_matches('%').parse().unwrap_or(0.0) * of as f64 / 100.0;
            if up {
                share.ceil() as usize
            } else {
                share.floor() as usize
            }
        }
        other => other
            .as_u64()
            .and_then(|number| usize::try_from(number).ok())
            .unwrap_or(0),
    }
}

/// The most pods that a Deployment's spec allows.
fn most(deployment: &Value) -> usize {
    let replicas = number(deployment, "/spec/replicas").unwrap_or(1);
    let surge = deployment.pointer("/spec/strategy/rollingUpdate/maxSurge");
    replicas + surge.map_or(0, |surge| share(surge, replicas, true))
}

impl Invariant for Surge {
    fn says(&self) -> &'static str {
        "never more than maxSurge above"
    }

    fn look(&mut self, moment: &Moment<'_>, there: &BTreeMap<String, Value>) -> Result<(), Violation> {
        if moment.resource != "apps/replicasets" {
            return Ok(());
        }
        let Some((owner, name)) = moment.now.and_then(controller) else {
            return Ok(());
        };
        let sets =
            of(there, "apps/replicasets").filter(|(_, set)| controller(set).is_some_and(|(uid, _)| uid == owner));
        let total: usize = sets.map(|(_, set)| number(set, "/spec/replicas").unwrap_or(1)).sum();
        let before = self.totals.insert(owner.to_owned(), total).unwrap_or(0);
        let mut deployments = of(there, "apps/deployments");
        let Some((_, deployment)) = deployments.find(|(_, one)| text(one, "/metadata/uid") == owner) else {
            return Ok(());
        };
        let most = most(deployment) + self.unanswered;
        if total > most && total > before {
            return Err(format!(
                "the ReplicaSets of {name} ask for {total} pods; at most {most} are allowed"
            ));
        }
        Ok(())
    }
}
