//! What extenders are asked and what they answer, as upstream's Go structs stand in JSON. These have no JSON tags: their fields are
//! written with capitals, and read whatever their case is.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Map, Value, json};

use crate::pod_info::PodInfo;
use crate::preempt::Candidate;
use crate::snapshot::NodeInfo;

/// What is wrong with an answer.
pub(super) type Wrong = String;

/// `ExtenderArgs`.
pub(super) fn args(pod: &Pod, nodes: &[Arc<NodeInfo>], names_only: bool) -> Value {
    let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
    let whole: Vec<&Node> = nodes.iter().filter_map(|node| node.node.as_deref()).collect();
    if names_only {
        json!({"Pod": pod, "Nodes": null, "NodeNames": names})
    } else {
        json!({"Pod": pod, "Nodes": {"metadata": {}, "items": whole}, "NodeNames": null})
    }
}

/// `ExtenderPreemptionArgs`.
pub(super) fn preemption_args(pod: &Pod, candidates: &[Candidate], names_only: bool) -> Value {
    let victims = |candidate: &Candidate, of: fn(&PodInfo) -> Value| {
        let pods: Vec<Value> = candidate.victims.iter().map(|victim| of(victim)).collect();
        json!({"Pods": pods, "NumPDBViolations": candidate.violations})
    };
    let by_node = |of: fn(&PodInfo) -> Value| -> Map<String, Value> {
        let each = candidates.iter();
        each.map(|candidate| (candidate.node.clone(), victims(candidate, of)))
            .collect()
    };
    if names_only {
        let meta = by_node(|victim| json!({"UID": victim.uid}));
        json!({"Pod": pod, "NodeNameToVictims": null, "NodeNameToMetaVictims": meta})
    } else {
        let whole = by_node(|victim| json!(*victim.pod));
        json!({"Pod": pod, "NodeNameToVictims": whole, "NodeNameToMetaVictims": null})
    }
}

/// `ExtenderBindingArgs`.
pub(super) fn binding_args(pod: &PodInfo, node: &str) -> Value {
    json!({"PodName": pod.key.name, "PodNamespace": pod.key.namespace, "PodUID": pod.uid, "Node": node})
}

/// Returns a field as Go's decoder finds it: by its name, else by its name in other case.
fn field<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let exact = object.get(name);
    let found = exact.or_else(|| {
        let mut fields = object.iter();
        fields.find_map(|(known, value)| known.eq_ignore_ascii_case(name).then_some(value))
    });
    found.filter(|value| !value.is_null())
}

fn object(value: &Value) -> Result<&Map<String, Value>, Wrong> {
    value.as_object().ok_or_else(|| "it is no object".to_owned())
}

fn text(object: &Map<String, Value>, name: &str) -> Result<String, Wrong> {
    match field(object, name) {
        None => Ok(String::new()),
        Some(value) => value
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| format!("{name} is no string")),
    }
}

fn number(object: &Map<String, Value>, name: &str) -> Result<i64, Wrong> {
    match field(object, name) {
        None => Ok(0),
        Some(value) => value.as_i64().ok_or_else(|| format!("{name} is no integer")),
    }
}

fn list<'a>(object: &'a Map<String, Value>, name: &str) -> Result<Option<&'a Vec<Value>>, Wrong> {
    match field(object, name) {
        None => Ok(None),
        Some(value) => value.as_array().map(Some).ok_or_else(|| format!("{name} is no list")),
    }
}

/// `ExtenderFilterResult`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Filtered {
    /// The nodes that are left, where `Nodes` names them.
    pub(super) nodes: Option<Vec<String>>,
    /// The nodes that are left, where `NodeNames` names them.
    pub(super) names: Option<Vec<String>>,
    /// Who is not, and why.
    pub(super) failed: BTreeMap<String, String>,
    /// The same, where nobody's leaving would help.
    pub(super) unresolvable: BTreeMap<String, String>,
    /// Not empty where it failed.
    pub(super) error: String,
}

impl Filtered {
    pub(super) fn read(value: &Value) -> Result<Self, Wrong> {
        let answer = object(value)?;
        let reasons = |name: &str| -> Result<BTreeMap<String, String>, Wrong> {
            let Some(value) = field(answer, name) else {
                return Ok(BTreeMap::new());
            };
            serde_json::from_value(value.clone()).map_err(|_| format!("{name} is no map of strings"))
        };
        let named = |node: &Value| -> Result<String, Wrong> {
            let name = node.pointer("/metadata/name").and_then(Value::as_str);
            name.map(str::to_owned)
                .ok_or_else(|| "Nodes has one without a name".to_owned())
        };
        let nodes = match field(answer, "Nodes") {
            None => None,
            Some(nodes) => {
                let items = list(object(nodes)?, "items")?.map_or(&[][..], Vec::as_slice);
                Some(items.iter().map(named).collect::<Result<_, _>>()?)
            }
        };
        let name = |name: &Value| {
            name.as_str()
                .map(str::to_owned)
                .ok_or("NodeNames has one that is no string")
        };
        let names = match list(answer, "NodeNames")? {
            None => None,
            Some(names) => Some(names.iter().map(name).collect::<Result<_, _>>()?),
        };
        Ok(Self {
            nodes,
            names,
            failed: reasons("FailedNodes")?,
            unresolvable: reasons("FailedAndUnresolvableNodes")?,
            error: text(answer, "Error")?,
        })
    }
}

/// `HostPriorityList`.
pub(super) fn read_priorities(value: &Value) -> Result<Vec<(String, i64)>, Wrong> {
    if value.is_null() {
        return Ok(Vec::new());
    }
    let list = value.as_array().ok_or_else(|| "it is no list".to_owned())?;
    list.iter()
        .map(|entry| {
            let entry = object(entry)?;
            Ok((text(entry, "Host")?, number(entry, "Score")?))
        })
        .collect()
}

/// The victims on a node: their uids, and how many budgets they break.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MetaVictims {
    pub(super) uids: Vec<String>,
    pub(super) violations: i64,
}

/// `ExtenderPreemptionResult`.
pub(super) fn read_preemption(value: &Value) -> Result<BTreeMap<String, MetaVictims>, Wrong> {
    let Some(nodes) = field(object(value)?, "NodeNameToMetaVictims") else {
        return Ok(BTreeMap::new());
    };
    let uid = |pod: &Value| text(object(pod)?, "UID");
    let victims = |value: &Value| -> Result<MetaVictims, Wrong> {
        if value.is_null() {
            return Ok(MetaVictims {
                uids: Vec::new(),
                violations: 0,
            });
        }
        let victims = object(value)?;
        let pods = list(victims, "Pods")?.map_or(&[][..], Vec::as_slice);
        Ok(MetaVictims {
            uids: pods.iter().map(uid).collect::<Result<_, _>>()?,
            violations: number(victims, "NumPDBViolations")?,
        })
    };
    let each = object(nodes)?.iter();
    each.map(|(node, value)| Ok((node.clone(), victims(value)?))).collect()
}

/// `ExtenderBindingResult`: empty where the pod is bound.
pub(super) fn read_binding(value: &Value) -> Result<String, Wrong> {
    text(object(value)?, "Error")
}
