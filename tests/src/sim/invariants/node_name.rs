//! A pod's node never changes once it is set.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Violation;
use super::history::{Invariant, Moment, text};

/// See the module.
#[derive(Default)]
pub struct NodeName {
    /// Uid to node.
    bound: BTreeMap<String, String>,
}

impl Invariant for NodeName {
    fn says(&self) -> &'static str {
        "a pod is bound once"
    }

    fn look(&mut self, moment: &Moment<'_>, _: &BTreeMap<String, Value>) -> Result<(), Violation> {
        let Some(pod) = moment.now.filter(|_| moment.resource == "core/pods") else {
            return Ok(());
        };
        let (uid, node) = (text(pod, "/metadata/uid"), text(pod, "/spec/nodeName"));
        match self.bound.get(uid) {
            Some(before) if before != node => {
                let name = text(pod, "/metadata/name");
                Err(format!("pod {name} was bound to {before} and then to {node:?}"))
            }
            Some(_) => Ok(()),
            None => {
                if !node.is_empty() {
                    self.bound.insert(uid.to_owned(), node.to_owned());
                }
                Ok(())
            }
        }
    }
}
