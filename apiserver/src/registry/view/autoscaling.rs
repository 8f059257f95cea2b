//! `autoscaling/v1` HorizontalPodAutoscalers are `autoscaling/v2`'s with one metric: the processor's utilisation.
//!
//! Everything else that v2 says stands in v1 as JSON in annotations, so that writing back what was read loses nothing:
//! <https://github.com/kubernetes/kubernetes/blob/master/pkg/apis/autoscaling/v1/conversion.go>. In there, metrics have flat
//! fields (`targetAverageValue`) instead of v2's nested ones (`target.averageValue`).

use serde_json::{Map, Value, json};

/// v1's annotation, and v2's field for it.
const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

/// A flat field of a metric, and where v2 keeps it; `@` is `target` in a specification and `current` in a status.
type Field = (&'static str, &'static [&'static str]);

/// The fields of each kind of metric, by the name of v2's field for it.
const KINDS: &[(&str, &[Field])] = &[
    (
        "resource",
        &[
            ("name", &["name"]),
            ("@AverageUtilization", &["@", "averageUtilization"]),
            ("@AverageValue", &["@", "averageValue"]),
        ],
    ),
    (
        "containerResource",
        &[
            ("name", &["name"]),
            ("container", &["container"]),
            ("@AverageUtilization", &["@", "averageUtilization"]),
            ("@AverageValue", &["@", "averageValue"]),
        ],
    ),
    (
        "pods",
        &[
            ("metricName", &["metric", "name"]),
            ("selector", &["metric", "selector"]),
            ("@AverageValue", &["@", "averageValue"]),
        ],
    ),
    (
        "object",
        &[
            ("target", &["describedObject"]),
            ("metricName", &["metric", "name"]),
            ("selector", &["metric", "selector"]),
            ("@Value", &["@", "value"]),
            ("averageValue", &["@", "averageValue"]),
        ],
    ),
    (
        "external",
        &[
            ("metricName", &["metric", "name"]),
            ("metricSelector", &["metric", "selector"]),
            ("@Value", &["@", "value"]),
            ("@AverageValue", &["@", "averageValue"]),
        ],
    ),
];

pub(super) fn outward(stored: &Value) -> Value {
    let mut shown = stored.clone();
    let metrics = take(&mut shown, "spec", "metrics");
    let (goals, others): (Vec<_>, Vec<_>) = items(&metrics).partition(|metric| cpu_goal(metric).is_some());
    annotate(&mut shown, METRICS, flat(&others, "target"));
    // v1 has room for one; upstream too keeps the first and forgets the rest.
    if let Some(goal) = goals.first().and_then(|metric| cpu_goal(metric)) {
        shown["spec"]["targetCPUUtilizationPercentage"] = goal.clone();
    }
    let behavior = take(&mut shown, "spec", "behavior");
    annotate(&mut shown, BEHAVIOR, behavior);
    let current = take(&mut shown, "status", "currentMetrics");
    let used = items(&current).find_map(|metric| cpu(metric)?.pointer("/current/averageUtilization"));
    if let Some(used) = used {
        shown["status"]["currentCPUUtilizationPercentage"] = used.clone();
    }
    let all: Vec<_> = items(&current).collect();
    annotate(&mut shown, CURRENT_METRICS, flat(&all, "current"));
    let conditions = take(&mut shown, "status", "conditions");
    annotate(&mut shown, CONDITIONS, conditions);
    shown
}

pub(super) fn inward(shown: &Value) -> Result<Value, String> {
    let mut stored = shown.clone();
    let goal = take(&mut stored, "spec", "targetCPUUtilizationPercentage");
    let mut metrics = Vec::new();
    if !goal.is_null() {
        metrics.push(json!({"type": "Resource", "resource": {
            "name": "cpu", "target": {"type": "Utilization", "averageUtilization": goal}
        }}));
    }
    metrics.extend(nested(&annotation(&mut stored, METRICS)?, "target"));
    put(&mut stored, "spec", "metrics", Value::Array(metrics));
    let behavior = annotation(&mut stored, BEHAVIOR)?;
    put(&mut stored, "spec", "behavior", behavior);
    let used = take(&mut stored, "status", "currentCPUUtilizationPercentage");
    let mut current = nested(&annotation(&mut stored, CURRENT_METRICS)?, "current");
    if current.is_empty() && !used.is_null() {
        current.push(json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": used}}}));
    }
    put(&mut stored, "status", "currentMetrics", Value::Array(current));
    let conditions = annotation(&mut stored, CONDITIONS)?;
    put(&mut stored, "status", "conditions", conditions);
    Ok(stored)
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn cpu(metric: &Value) -> Option<&Value> {
    let resource = &metric["resource"];
    (metric["type"] == "Resource" && resource["name"] == "cpu").then_some(resource)
}

fn cpu_goal(metric: &Value) -> Option<&Value> {
    cpu(metric)?.pointer("/target/averageUtilization")
}

fn take(object: &mut Value, part: &str, field: &str) -> Value {
    let part = object.get_mut(part).and_then(Value::as_object_mut);
    part.and_then(|part| part.remove(field)).unwrap_or_default()
}

/// Sets a field, unless there is nothing to set.
fn put(object: &mut Value, part: &str, field: &str, value: Value) {
    if !value.is_null() && value != json!([]) && object.is_object() {
        object[part][field] = value;
    }
}

fn annotate(object: &mut Value, name: &str, value: Value) {
    if !value.is_null() && value != json!([]) {
        object["metadata"]["annotations"][name] = value.to_string().into();
    }
}

/// Takes an annotation's JSON out of an object.
fn annotation(object: &mut Value, name: &str) -> Result<Value, String> {
    let metadata = object.get_mut("metadata").and_then(Value::as_object_mut);
    let Some(metadata) = metadata else {
        return Ok(Value::Null);
    };
    let annotations = metadata.get_mut("annotations").and_then(Value::as_object_mut);
    let Some(annotations) = annotations else {
        return Ok(Value::Null);
    };
    let text = annotations.remove(name);
    if annotations.is_empty() {
        metadata.remove("annotations");
    }
    match text.as_ref().and_then(Value::as_str) {
        Some(text) => {
            serde_json::from_str(text).map_err(|error| format!("metadata.annotations[{name}] is not JSON: {error}"))
        }
        None => Ok(Value::Null),
    }
}

/// Metrics as v1's annotations hold them. `side` is `target` or `current`.
fn flat(metrics: &[&Value], side: &str) -> Value {
    let metrics = metrics.iter().map(|metric| {
        let mut out = Map::from_iter([("type".to_owned(), metric["type"].clone())]);
        for (kind, fields) in KINDS.iter().filter(|(kind, _)| metric[*kind].is_object()) {
            let source = &metric[*kind];
            let flat: Map<_, _> = fields
                .iter()
                .filter_map(|(name, path)| {
                    let mut steps = path.iter().map(|step| step.replace('@', side));
                    let value = steps.try_fold(source, |value, step| value.get(step))?;
                    Some((name.replace('@', side), value.clone()))
                })
                .collect();
            out.insert((*kind).to_owned(), flat.into());
        }
        Value::Object(out)
    });
    metrics.collect()
}

/// Metrics as v2 has them.
fn nested(metrics: &Value, side: &str) -> Vec<Value> {
    let metrics = items(metrics).map(|metric| {
        let mut out = json!({"type": metric["type"]});
        for (kind, fields) in KINDS.iter().filter(|(kind, _)| metric[*kind].is_object()) {
            let mut source = json!({});
            for (name, path) in *fields {
                if let Some(value) = metric[*kind].get(name.replace('@', side)) {
                    let steps = path.iter().map(|step| step.replace('@', side));
                    *steps.fold(&mut source, |at, step| &mut at[step]) = value.clone();
                }
            }
            if let Some(target) = source.get_mut("target").and_then(Value::as_object_mut) {
                let has = |field: &str| target.get(field).is_some_and(|value| value != "0");
                let goal = match () {
                    () if has("averageUtilization") => "Utilization",
                    () if has("averageValue") => "AverageValue",
                    () => "Value",
                };
                target.insert("type".to_owned(), goal.into());
            }
            out[*kind] = source;
        }
        out
    });
    metrics.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_v2_says_survives_being_read_and_written_as_v1() {
        let stored = json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "web", "annotations": {"mine": "stays"}},
            "spec": {
                "minReplicas": 2, "maxReplicas": 5, "scaleTargetRef": {"kind": "Deployment", "name": "web"},
                "metrics": [
                    {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}},
                    {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "64Mi"}}},
                    {"type": "Pods", "pods": {"metric": {"name": "hits", "selector": {"matchLabels": {"a": "b"}}}, "target": {"type": "AverageValue", "averageValue": "10"}}},
                    {"type": "Object", "object": {"describedObject": {"kind": "Service", "name": "x"}, "metric": {"name": "hits"}, "target": {"type": "Value", "value": "10"}}},
                ],
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": 5}},
            },
            "status": {
                "currentReplicas": 2, "desiredReplicas": 3,
                "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 91, "averageValue": "91m"}}}],
                "conditions": [{"type": "AbleToScale", "status": "True"}],
            },
        });
        let shown = outward(&stored);
        assert_eq!(shown["spec"]["targetCPUUtilizationPercentage"], 70);
        assert_eq!(shown["status"]["currentCPUUtilizationPercentage"], 91);
        let mut fields: Vec<_> = shown["spec"].as_object().unwrap().keys().collect();
        fields.sort();
        assert_eq!(
            fields,
            [
                "maxReplicas",
                "minReplicas",
                "scaleTargetRef",
                "targetCPUUtilizationPercentage"
            ]
        );
        let metrics = shown["metadata"]["annotations"][METRICS].as_str().unwrap();
        assert!(metrics.contains(r#""targetAverageValue":"64Mi""#), "{metrics}");
        assert_eq!(inward(&shown).unwrap(), stored);
    }

    #[test]
    fn a_plain_v1_object_gets_one_metric_and_a_broken_annotation_is_refused() {
        let plain =
            json!({"metadata": {"name": "web"}, "spec": {"maxReplicas": 5, "targetCPUUtilizationPercentage": 50}});
        let stored = inward(&plain).unwrap();
        assert_eq!(
            stored["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"],
            50
        );
        assert_eq!(outward(&stored), plain);
        let broken = json!({"metadata": {"annotations": {METRICS: "[{"}}});
        assert!(inward(&broken).unwrap_err().contains(METRICS));
    }
}
