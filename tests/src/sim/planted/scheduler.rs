//! Bugs of the scheduler.

use http::Method;
use serde_json::{Value, json};

use super::Bug;
use crate::sim::world::Component;

const fn bug(name: &'static str, scenario: &'static str) -> Bug {
    Bug::new(name, Component::Scheduler, scenario)
}

pub(super) static BUGS: &[Bug] = &[
    bug("the scheduler forgets the pods that it has just placed", "scheduling").does(|deed| {
        // Whoever forgets them takes the same best node again and again.
        if deed.is(&Method::POST, "*/binding") {
            deed.body["target"]["name"] = json!("node-1");
        }
    }),
    bug("the scheduler does not look at cordons", "drain-with-budget").sees(|path, event| {
        if path.ends_with("/nodes")
            && let Some(spec) = event["object"]["spec"].as_object_mut()
        {
            spec.remove("unschedulable");
            spec.remove("taints");
        }
    }),
    bug("the scheduler ignores what pods ask for", "scheduling").sees(|path, event| {
        if path.ends_with("/pods") {
            let containers = event["object"]["spec"]["containers"].as_array_mut();
            for container in containers.into_iter().flatten() {
                container["resources"] = Value::Null;
            }
        }
    }),
    bug("the scheduler preempts nobody", "preemption").does(|deed| {
        if deed.is(&Method::DELETE, "pods/") {
            deed.undo();
        }
    }),
];
