//! `LimitRanger`: a namespace's LimitRanges give containers default requests and limits and keep everything within bounds.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use timonel_api::quantity::Quantity;

use super::{AdmissionRequest, Context, Operation, Plugin, items, text};
use crate::error::ApiError;

pub(super) struct LimitRanger;

impl Plugin for LimitRanger {
    fn mutate(&self, request: &mut AdmissionRequest<'_>, context: &Context) -> Result<(), ApiError> {
        if !request.creates("", "pods") {
            return Ok(());
        }
        let ranges = ranges(request, context);
        let Some(pod) = request.object.as_deref_mut() else {
            return Ok(());
        };
        for range in &ranges {
            for limit in of_type(range, "Container") {
                set_defaults(pod, limit, text(&range["metadata"]["name"]));
            }
        }
        Ok(())
    }

    fn validate(&self, request: &AdmissionRequest<'_>, context: &Context) -> Result<(), ApiError> {
        let is_pod = request.is("", "pods", None) && request.operation == Operation::Create;
        let is_claim = request.is("", "persistentvolumeclaims", None)
            && matches!(request.operation, Operation::Create | Operation::Update);
        if !is_pod && !is_claim {
            return Ok(());
        }
        let mut wrong = Vec::new();
        for range in ranges(request, context) {
            if is_claim {
                let resources = &request.new_object()["spec"]["resources"];
                for limit in of_type(&range, "PersistentVolumeClaim") {
                    bounds(
                        limit,
                        "PersistentVolumeClaim",
                        &amounts(&resources["requests"]),
                        &BTreeMap::new(),
                        true,
                        &mut wrong,
                    );
                }
                continue;
            }
            let spec = &request.new_object()["spec"];
            for limit in of_type(&range, "Container") {
                for list in ["containers", "initContainers"] {
                    for container in items(&spec[list]) {
                        let resources = &container["resources"];
                        let (requests, limits) = (amounts(&resources["requests"]), amounts(&resources["limits"]));
                        bounds(limit, "Container", &requests, &limits, false, &mut wrong);
                    }
                }
            }
            for limit in of_type(&range, "Pod") {
                let (requests, limits) = (sums(spec, "requests"), sums(spec, "limits"));
                bounds(limit, "Pod", &requests, &limits, false, &mut wrong);
            }
        }
        match wrong.as_slice() {
            [] => Ok(()),
            [one] => Err(request.forbidden(one.clone())),
            many => Err(request.forbidden(format!("[{}]", many.join(", ")))),
        }
    }
}

type Amounts = BTreeMap<String, Quantity>;

fn ranges(request: &AdmissionRequest<'_>, context: &Context) -> Vec<Arc<Value>> {
    context.reader.list("limitranges", Some(request.namespace))
}

fn of_type<'a>(range: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    items(&range["spec"]["limits"])
        .iter()
        .filter(move |limit| text(&limit["type"]) == kind)
}

fn amounts(list: &Value) -> Amounts {
    let entries = list.as_object().into_iter().flatten();
    entries
        .filter_map(|(name, amount)| Some((name.clone(), quantity(amount)?)))
        .collect()
}

fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => Quantity::parse(text).ok(),
        Value::Number(number) => Quantity::parse(&number.to_string()).ok(),
        _ => None,
    }
}

fn plus(one: &Quantity, two: &Quantity) -> Quantity {
    *one + *two
}

/// A pod's amounts: the containers (and sidecars) together, or the largest init container if that is more.
fn sums(spec: &Value, field: &str) -> Amounts {
    let mut together = Amounts::new();
    let mut largest = Amounts::new();
    for (list, init) in [("containers", false), ("initContainers", true)] {
        for container in items(&spec[list]) {
            let sidecar = text(&container["restartPolicy"]) == "Always";
            for (name, amount) in amounts(&container["resources"][field]) {
                if init && !sidecar {
                    let most = largest.entry(name).or_insert(Quantity::ZERO);
                    if amount.nanos() > most.nanos() {
                        *most = amount;
                    }
                } else {
                    let sum = together.entry(name).or_insert(Quantity::ZERO);
                    *sum = plus(sum, &amount);
                }
            }
        }
    }
    for (name, amount) in largest {
        let sum = together.entry(name).or_insert(Quantity::ZERO);
        if amount.nanos() > sum.nanos() {
            *sum = amount;
        }
    }
    together
}

/// Fills in what containers do not say, and notes it in an annotation as upstream does.
fn set_defaults(pod: &mut Value, limit: &Value, range: &str) {
    let mut notes = Vec::new();
    for (list, word) in [("containers", "container"), ("initContainers", "init container")] {
        for container in pod
            .pointer_mut(&format!("/spec/{list}"))
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            let name = text(&container["name"]).to_owned();
            // A limit that was given stands in for a request that was not; defaults come after.
            for (source, field, noun) in [
                ("defaultRequest", "requests", "request"),
                ("default", "limits", "limit"),
            ] {
                let mut set = Vec::new();
                for (resource, amount) in limit[source].as_object().into_iter().flatten() {
                    if !container["resources"][field][resource].is_null() {
                        continue;
                    }
                    container["resources"][field][resource] = amount.clone();
                    set.push(resource.clone());
                }
                if !set.is_empty() {
                    notes.push(format!("{} {noun} for {word} {name}", set.join(", ")));
                }
            }
        }
    }
    if !notes.is_empty() {
        let note = format!("LimitRanger plugin set: {}", notes.join("; "));
        pod["metadata"]["annotations"]["kubernetes.io/limit-ranger"] = note.into();
        tracing::debug!(range, "limit range set defaults");
    }
}

fn bounds(
    limit: &Value,
    kind: &str,
    requests: &Amounts,
    limits: &Amounts,
    requests_only: bool,
    wrong: &mut Vec<String>,
) {
    for (name, least) in amounts(&limit["min"]) {
        match requests.get(&name) {
            None => wrong.push(format!(
                "minimum {name} usage per {kind} is {}.  No request is specified",
                show(&least)
            )),
            Some(request) if request.nanos() < least.nanos() => wrong.push(format!(
                "minimum {name} usage per {kind} is {}, but request is {}",
                show(&least),
                show(request)
            )),
            Some(_) => {}
        }
        if let Some(given) = limits.get(&name).filter(|given| given.nanos() < least.nanos()) {
            wrong.push(format!(
                "minimum {name} usage per {kind} is {}, but limit is {}",
                show(&least),
                show(given)
            ));
        }
    }
    for (name, most) in amounts(&limit["max"]) {
        let looked_at = if requests_only { requests } else { limits };
        let noun = if requests_only { "request" } else { "limit" };
        match looked_at.get(&name) {
            None => wrong.push(format!(
                "maximum {name} usage per {kind} is {}.  No {noun} is specified",
                show(&most)
            )),
            Some(given) if given.nanos() > most.nanos() => wrong.push(format!(
                "maximum {name} usage per {kind} is {}, but {noun} is {}",
                show(&most),
                show(given)
            )),
            Some(_) => {}
        }
        if requests_only {
            continue;
        }
        if let Some(request) = requests.get(&name).filter(|request| request.nanos() > most.nanos()) {
            wrong.push(format!(
                "maximum {name} usage per {kind} is {}, but request is {}",
                show(&most),
                show(request)
            ));
        }
    }
    for (name, ratio) in amounts(&limit["maxLimitRequestRatio"]) {
        match (requests.get(&name), limits.get(&name)) {
            (Some(request), Some(given)) if !request.is_zero() => {
                let actual = given.as_f64() / request.as_f64();
                if actual > ratio.as_f64() {
                    wrong.push(format!(
                        "{name} max limit to request ratio per {kind} is {}, but provided ratio is {actual:.6}",
                        show(&ratio)
                    ));
                }
            }
            (Some(_), Some(_)) => {}
            _ => wrong.push(format!(
                "{name} max limit to request ratio per {kind} is {}, but no request is specified or request is 0",
                show(&ratio)
            )),
        }
    }
}

fn show(quantity: &Quantity) -> String {
    quantity.to_string()
}
