//! A Deployment never falls below what must be available because of a controller.
//!
//! Pods that die by themselves, or that a user deletes, are nobody's fault here: only a deletion that a controller began counts, and
//! only of a pod that was ready.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Violation;
use super::history::{Invariant, Moment, controller, is_live, is_ready, number, of, text};
use super::surge::share;

/// See the module.
pub struct Floor {
    unanswered: usize,
    /// Pods that turned unready by themselves: what comes after that is not judged, for a cache may be a moment behind the node.
    troubled: bool,
}

impl Floor {
    pub(super) fn with_slack(unanswered: usize) -> Self {
        Self {
            unanswered,
            troubled: false,
        }
    }
}

/// How many pods of a Deployment must stay available.
fn least(deployment: &Value) -> usize {
    let replicas = number(deployment, "/spec/replicas").unwrap_or(1);
    let strategy = &deployment["spec"]["strategy"];
    if strategy["type"] == "Recreate" {
        return 0;
    }
    let surge = share(&strategy["rollingUpdate"]["maxSurge"], replicas, true);
    let unavailable = share(&strategy["rollingUpdate"]["maxUnavailable"], replicas, false);
    // Upstream: both rounded to nothing would be no way to go on.
    let unavailable = if surge == 0 { unavailable.max(1) } else { unavailable };
    replicas.saturating_sub(unavailable)
}

fn troubled(moment: &Moment<'_>) -> bool {
    let (Some(before), Some(now)) = (moment.before, moment.now) else {
        return false;
    };
    is_live(before) && is_ready(before) && now["metadata"]["deletionTimestamp"].is_null() && !is_ready(now)
}

impl Invariant for Floor {
    fn says(&self) -> &'static str {
        "never below minAvailable because of us"
    }

    fn look(&mut self, moment: &Moment<'_>, there: &BTreeMap<String, Value>) -> Result<(), Violation> {
        if moment.resource != "core/pods" {
            return Ok(());
        }
        self.troubled |= troubled(moment);
        let ours = moment.writer() == "kube-controller-manager";
        let Some(pod) = moment
            .before
            .filter(|pod| moment.begins_deletion() && is_ready(pod) && ours)
        else {
            return Ok(());
        };
        let owner = |object: &Value| controller(object).map(|(uid, _)| uid.to_owned());
        let set_of = |uid: &str| of(there, "apps/replicasets").find(|(_, set)| text(set, "/metadata/uid") == uid);
        let deployment_of = |pod: &Value| owner(set_of(&owner(pod)?)?.1);
        let Some(uid) = deployment_of(pod) else { return Ok(()) };
        let mut deployments = of(there, "apps/deployments");
        let Some((_, deployment)) = deployments.find(|(_, one)| text(one, "/metadata/uid") == uid) else {
            return Ok(());
        };
        if self.troubled || !deployment["metadata"]["deletionTimestamp"].is_null() {
            return Ok(());
        }
        let left = of(there, "core/pods")
            .filter(|(_, other)| is_live(other) && is_ready(other) && deployment_of(other).as_ref() == Some(&uid))
            .count();
        let least = least(deployment);
        if left + self.unanswered < least {
            return Err(format!(
                "{} was deleted, which leaves {left} ready; {least} must be",
                text(pod, "/metadata/name")
            ));
        }
        Ok(())
    }
}
