//! A DaemonSet has at most one live pod per node, surge aside.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Violation;
use super::history::{Invariant, Moment, controller, is_live, of, text};

/// See the module. A pod that was made without an answer is made again: each widens the bound by one.
pub struct Daemons {
    pub(super) unanswered: usize,
}

/// The node for which a daemon was made: its affinity says so before it is bound.
fn node(pod: &Value) -> &str {
    let terms = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0";
    text(pod, &format!("{terms}/matchFields/0/values/0"))
}

impl Invariant for Daemons {
    fn says(&self) -> &'static str {
        "at most one daemon per node"
    }

    fn look(&mut self, moment: &Moment<'_>, there: &BTreeMap<String, Value>) -> Result<(), Violation> {
        let Some(pod) = moment
            .now
            .filter(|_| moment.resource == "core/pods" && moment.is_creation())
        else {
            return Ok(());
        };
        let Some((owner, _)) = controller(pod) else {
            return Ok(());
        };
        let mut sets = of(there, "apps/daemonsets");
        let Some((_, set)) = sets.find(|(_, set)| text(set, "/metadata/uid") == owner) else {
            return Ok(());
        };
        let surge = &set["spec"]["updateStrategy"]["rollingUpdate"]["maxSurge"];
        let surges = !surge.is_null() && surge != 0 && surge != "0%";
        let most = 1 + usize::from(surges) + self.unanswered;
        let same = |other: &Value| {
            is_live(other) && node(other) == node(pod) && controller(other).is_some_and(|(uid, _)| uid == owner)
        };
        let live = of(there, "core/pods").filter(|(_, other)| same(other)).count();
        if live > most {
            let (name, node) = (text(set, "/metadata/name"), node(pod));
            return Err(format!(
                "{name} has {live} live pods for {node}; at most {most} are allowed"
            ));
        }
        Ok(())
    }
}
