//! A StatefulSet that makes its pods in order makes none before each lower one has been ready.
//!
//! Has been, once: that a lower pod has just turned unready, a controller may not know yet.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Violation;
use super::history::{Invariant, Moment, controller, is_ready, number, of, text};

/// See the module.
#[derive(Default)]
pub struct Order {
    /// The ordinals that have been ready, with the set's uid.
    ready: BTreeSet<(String, usize)>,
}

impl Invariant for Order {
    fn says(&self) -> &'static str {
        "never a StatefulSet pod before those that it follows"
    }

    fn look(&mut self, moment: &Moment<'_>, there: &BTreeMap<String, Value>) -> Result<(), Violation> {
        if moment.resource != "core/pods" {
            return Ok(());
        }
        let Some(pod) = moment.now else { return Ok(()) };
        let ordinal = text(pod, "/metadata/labels/apps.kubernetes.io~1pod-index").parse::<usize>();
        let (Ok(ordinal), Some((owner, _))) = (ordinal, controller(pod)) else {
            return Ok(());
        };
        if is_ready(pod) {
            self.ready.insert((owner.to_owned(), ordinal));
        }
        let set = of(there, "apps/statefulsets").find(|(_, set)| text(set, "/metadata/uid") == owner);
        let in_order = |set: &&Value| text(set, "/spec/podManagementPolicy") != "Parallel";
        let Some(set) = set.map(|(_, set)| set).filter(in_order) else {
            return Ok(());
        };
        if !moment.is_creation() {
            return Ok(());
        }
        let first = number(set, "/spec/ordinals/start").unwrap_or(0);
        match (first..ordinal).find(|lower| !self.ready.contains(&(owner.to_owned(), *lower))) {
            Some(lower) => Err(format!(
                "{} was made, and number {lower} has never been ready",
                text(pod, "/metadata/name")
            )),
            None => Ok(()),
        }
    }
}
