//! No PersistentVolume is bound twice, and no claim to two volumes.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Violation;
use super::history::{Invariant, Moment, of, text};

/// See the module.
#[derive(Default)]
pub struct Volumes;

impl Invariant for Volumes {
    fn says(&self) -> &'static str {
        "no volume is bound twice"
    }

    fn look(&mut self, moment: &Moment<'_>, there: &BTreeMap<String, Value>) -> Result<(), Violation> {
        let Some(now) = moment.now else { return Ok(()) };
        let before = moment.before.unwrap_or(&Value::Null);
        let name = text(now, "/metadata/name");
        match moment.resource {
            "core/persistentvolumes" => {
                let (was, is) = (text(before, "/spec/claimRef/uid"), text(now, "/spec/claimRef/uid"));
                if !was.is_empty() && !is.is_empty() && was != is {
                    return Err(format!("volume {name} went from one claim to another"));
                }
                let twin = of(there, "core/persistentvolumes").find(|(key, other)| {
                    *key != moment.key && !is.is_empty() && text(other, "/spec/claimRef/uid") == is
                });
                // A volume that is bound to a claim which took another is let go again: only both in use is wrong.
                match twin
                    .filter(|(_, twin)| text(twin, "/status/phase") == "Bound" && text(now, "/status/phase") == "Bound")
                {
                    Some((_, twin)) => Err(format!("{name} and {} have one claim", text(twin, "/metadata/name"))),
                    None => Ok(()),
                }
            }
            "core/persistentvolumeclaims" => {
                let (was, is) = (text(before, "/spec/volumeName"), text(now, "/spec/volumeName"));
                if !moment.is_creation() && !was.is_empty() && was != is {
                    return Err(format!("claim {name} went from volume {was} to {is:?}"));
                }
                let twin = of(there, "core/persistentvolumeclaims")
                    .find(|(key, other)| *key != moment.key && !is.is_empty() && text(other, "/spec/volumeName") == is);
                match twin {
                    Some((_, twin)) => Err(format!("{name} and {} have one volume", text(twin, "/metadata/name"))),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}
