//! No pod is admitted over its namespace's quota.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Violation;
use super::history::{Invariant, Moment, of, text};

/// See the module. Judged by the number of pods, which needs no arithmetic of its own that could be wrong in the same way.
#[derive(Default)]
pub struct Quota;

impl Invariant for Quota {
    fn says(&self) -> &'static str {
        "no pod is admitted over its quota"
    }

    fn look(&mut self, moment: &Moment<'_>, there: &BTreeMap<String, Value>) -> Result<(), Violation> {
        let Some(pod) = moment
            .now
            .filter(|_| moment.resource == "core/pods" && moment.is_creation())
        else {
            return Ok(());
        };
        let namespace = text(pod, "/metadata/namespace");
        let within = |object: &Value| text(object, "/metadata/namespace") == namespace;
        let ended = |pod: &Value| ["Succeeded", "Failed"].contains(&text(pod, "/status/phase"));
        for (_, quota) in of(there, "core/resourcequotas").filter(|(_, quota)| within(quota)) {
            let hard = &quota["status"]["hard"]["pods"];
            let Some(most) = hard.as_str().and_then(|hard| hard.parse::<usize>().ok()) else {
                continue;
            };
            let pods = of(there, "core/pods")
                .filter(|(_, pod)| within(pod) && !ended(pod))
                .count();
            if pods > most {
                let (quota, pod) = (text(quota, "/metadata/name"), text(pod, "/metadata/name"));
                return Err(format!("{pod} is pod number {pods}, and {quota} allows {most}"));
            }
        }
        Ok(())
    }
}
