//! Generators of quotas, priority classes and disruption budgets.

use clap::Args;
use serde_json::{Value, json};
use timonel_api::selector::LabelSelector;

use super::{Common, Made};
use crate::error::Failure;

/// `create quota`
#[derive(Clone, Debug, Args)]
pub(crate) struct Quota {
    name: String,
    /// RESOURCE=QUANTITY pairs, separated by commas
    #[arg(long, value_delimiter = ',')]
    hard: Vec<String>,
    /// Scopes, separated by commas
    #[arg(long, value_delimiter = ',')]
    scopes: Vec<String>,
    #[command(flatten)]
    pub(super) common: Common,
}

impl Quota {
    pub(super) fn make(&self) -> Result<Made, Failure> {
        let mut spec = json!({});
        for pair in &self.hard {
            let Some((resource, quantity)) = pair.split_once('=') else {
                return Err(Failure::usage(format!(
                    "invalid argument syntax {pair}, expected <resource>=<value>"
                )));
            };
            let quantity = timonel_api::quantity::canonical(quantity)
                .map_err(|error| Failure::usage(format!("{resource}: {error}")))?;
            spec["hard"][resource] = json!(quantity);
        }
        if !self.scopes.is_empty() {
            spec["scopes"] = json!(self.scopes);
        }
        let object = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": self.name}, "spec": spec, "status": {}});
        Ok(Made::new(object, "failed to create quota:"))
    }
}

/// `create priorityclass`
#[derive(Clone, Debug, Args)]
pub(crate) struct PriorityClass {
    name: String,
    /// The priority
    #[arg(long, default_value_t = 0, allow_hyphen_values = true)]
    value: i32,
    /// Whether pods without a class get this one
    #[arg(long)]
    global_default: bool,
    /// What the class is for
    #[arg(long, default_value = "")]
    description: String,
    /// PreemptLowerPriority or Never
    #[arg(long, default_value = "PreemptLowerPriority")]
    preemption_policy: String,
    #[command(flatten)]
    pub(super) common: Common,
}

impl PriorityClass {
    pub(super) fn make(&self) -> Made {
        let mut object = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
            "metadata": {"name": self.name}, "value": self.value, "preemptionPolicy": self.preemption_policy});
        if self.global_default {
            object["globalDefault"] = json!(true);
        }
        if !self.description.is_empty() {
            object["description"] = json!(self.description);
        }
        Made::new(object, "failed to create priorityclass:")
    }
}

/// `create poddisruptionbudget`
#[derive(Clone, Debug, Args)]
pub(crate) struct PodDisruptionBudget {
    name: String,
    /// How many pods must stay, as a number or a percentage
    #[arg(long, conflicts_with = "max_unavailable")]
    min_available: Option<String>,
    /// How many pods may go, as a number or a percentage
    #[arg(long)]
    max_unavailable: Option<String>,
    /// The pods' labels
    #[arg(long)]
    selector: String,
    #[command(flatten)]
    pub(super) common: Common,
}

fn int_or_string(text: &str) -> Value {
    text.parse::<i32>().map_or_else(|_| json!(text), |number| json!(number))
}

impl PodDisruptionBudget {
    pub(super) fn make(&self) -> Result<Made, Failure> {
        let mut spec = json!({"selector": selector(&self.selector)?});
        match (&self.min_available, &self.max_unavailable) {
            (Some(text), _) => spec["minAvailable"] = int_or_string(text),
            (None, Some(text)) => spec["maxUnavailable"] = int_or_string(text),
            (None, None) => {
                return Err(Failure::usage(
                    "one of min-available or max-unavailable must be specified",
                ));
            }
        }
        let object = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": self.name},
            "spec": spec,
            "status": {"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0}});
        Ok(Made::new(object, "failed to create poddisruptionbudget:"))
    }
}

/// `a=b,c in (d)` as the structure that objects hold.
fn selector(text: &str) -> Result<Value, Failure> {
    let wrong = |what: String| Failure::usage(format!("invalid selector {text:?}: {what}"));
    LabelSelector::parse(text).map_err(|error| wrong(error.to_string()))?;
    let mut labels = serde_json::Map::new();
    for pair in text.split(',') {
        let plain = pair.split_once("==").or_else(|| pair.split_once('='));
        match plain {
            Some((key, value)) if !key.ends_with('!') && !key.contains('(') => {
                labels.insert(key.trim().to_owned(), json!(value.trim()));
            }
            _ => return Err(wrong("only key=value pairs can be written from here".to_owned())),
        }
    }
    Ok(json!({ "matchLabels": labels }))
}
