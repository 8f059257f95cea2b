//! No controller of pods has more live pods at once than it was ever asked for.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Violation;
use super::history::{Invariant, Moment, controller, is_live, number, of, text};

/// See the module. A pod that was made without an answer is made again: each widens the bound by one.
pub struct Replicas {
    pub(super) unanswered: usize,
    /// Uid to the most that was asked for.
    asked: BTreeMap<String, usize>,
}

impl Replicas {
    pub(super) fn with_slack(unanswered: usize) -> Self {
        Self {
            unanswered,
            asked: BTreeMap::new(),
        }
    }
}

impl Invariant for Replicas {
    fn says(&self) -> &'static str {
        "never more pods than were asked for"
    }

    fn look(&mut self, moment: &Moment<'_>, there: &BTreeMap<String, Value>) -> Result<(), Violation> {
        let Some(now) = moment.now else { return Ok(()) };
        let asks = match moment.resource {
            "apps/replicasets" | "core/replicationcontrollers" | "apps/statefulsets" => "/spec/replicas",
            "batch/jobs" => "/spec/parallelism",
            "core/pods" => return self.count(now, there),
            _ => return Ok(()),
        };
        let most = self.asked.entry(text(now, "/metadata/uid").to_owned()).or_default();
        *most = number(now, asks).unwrap_or(1).max(*most);
        Ok(())
    }
}

impl Replicas {
    fn count(&self, pod: &Value, there: &BTreeMap<String, Value>) -> Result<(), Violation> {
        let Some((owner, name)) = controller(pod).filter(|_| is_live(pod)) else {
            return Ok(());
        };
        let Some(asked) = self.asked.get(owner) else {
            return Ok(());
        };
        let most = asked + self.unanswered;
        let pods = of(there, "core/pods");
        let live = pods.filter(|(_, pod)| is_live(pod) && controller(pod).is_some_and(|(uid, _)| uid == owner));
        let live = live.count();
        if live > most {
            let pod = text(pod, "/metadata/name");
            return Err(format!(
                "{name} has {live} live pods at once when {pod} is there; at most {most} are allowed"
            ));
        }
        Ok(())
    }
}
