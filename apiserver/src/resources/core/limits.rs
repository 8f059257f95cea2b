//! Limit ranges. What they hold back is `admission::limit_ranger`.

use std::collections::BTreeSet;

use serde_json::Value;
use timonel_api::quantity::Quantity;
use timonel_api::{FieldError, Path, names};

use super::super::amounts::{container_resource_name, may_be_overcommitted, read, resource_name};
use super::super::common::wrong;
use super::super::strategy::Strategy;
use super::super::value::{at, default, each, ensure, entries, list, text, within};

/// `limitranges`.
pub(crate) struct LimitRanges;

impl Strategy for LimitRanges {
    fn has_status(&self) -> bool {
        false
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        within(object, "spec", |spec| {
            each(spec, "limits", |item| {
                if text(item, "type") != "Container" {
                    return;
                }
                let max: Vec<(String, Value)> = entries(item, "max").map(|(k, v)| (k.to_owned(), v.clone())).collect();
                let fill = |item: &mut Value, field: &str, from: &[(String, Value)]| {
                    if !from.is_empty()
                        && let Some(map) = ensure(item, field)
                    {
                        for (key, value) in from {
                            default(map, key, value.clone());
                        }
                    }
                };
                fill(item, "default", &max);
                let limits: Vec<(String, Value)> = entries(item, "default")
                    .map(|(k, v)| (k.to_owned(), v.clone()))
                    .collect();
                fill(item, "defaultRequest", &limits);
                let min: Vec<(String, Value)> = entries(item, "min").map(|(k, v)| (k.to_owned(), v.clone())).collect();
                fill(item, "defaultRequest", &min);
            });
        });
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let (path, mut errors, mut seen) = (Path::new("spec").child("limits"), Vec::new(), BTreeSet::new());
        for (index, item) in list(at(object, "spec"), "limits").iter().enumerate() {
            let (path, kind) = (path.index(index), text(item, "type"));
            let at_kind = path.child("type");
            let sentences = names::qualified_name(kind);
            if sentences.is_empty() && !kind.contains('/') && !KINDS.contains(&kind) {
                let detail = "must be a standard limit type or fully qualified";
                errors.push(FieldError::invalid(&at_kind, kind, detail));
            }
            wrong(&at_kind, kind, sentences, &mut errors);
            if !seen.insert(kind) {
                errors.push(FieldError::duplicate(&at_kind, kind));
            }
            self::limits(item, &path, &mut errors);
        }
        errors
    }
}

const KINDS: [&str; 3] = ["Pod", "Container", "PersistentVolumeClaim"];

/// The maps of one item, in upstream's order.
const MAPS: [&str; 5] = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];

fn limits(item: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let kind = text(item, "type");
    let rule = match kind {
        "Pod" | "Container" => container_resource_name,
        _ => resource_name,
    };
    let mut named = BTreeSet::new();
    for map in MAPS {
        if kind == "Pod" && ["default", "defaultRequest"].contains(&map) {
            if entries(item, map).next().is_some() {
                let detail = "may not be specified when `type` is 'Pod'";
                errors.push(FieldError::forbidden(&path.child(map), detail));
            }
            continue;
        }
        if map == "maxLimitRequestRatio" && kind == "PersistentVolumeClaim" {
            storage_is_bounded(item, path, errors);
        }
        for (name, _) in entries(item, map) {
            rule(name, &path.child(map).key(name), errors);
            named.insert(name);
        }
    }
    for name in named {
        let amount = |map: &str| {
            let own = kind != "Pod" || !["default", "defaultRequest"].contains(&map);
            own.then(|| read(at(at(item, map), name))).flatten()
        };
        one(name, MAPS.map(amount), path, errors);
    }
}

fn storage_is_bounded(item: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    if ["min", "max"].iter().all(|map| at(item, map).get("storage").is_none()) {
        let detail = "either minimum or maximum storage value is required, but neither was provided";
        errors.push(FieldError::required(&path.child("limits"), detail));
    }
}

/// Checks the bounds of one resource against each other; the amounts are in the order of [`MAPS`].
fn one(name: &str, amounts: [Option<Quantity>; 5], path: &Path, errors: &mut Vec<FieldError>) {
    let [max, min, limit, request, ratio] = amounts;
    let mut refuse = |map: &str, shown: Quantity, detail: String| {
        errors.push(FieldError::invalid(
            &path.child(map).key(name),
            shown.to_string(),
            detail,
        ));
    };
    // Where both are there and the first is the greater: the map and amount that is shown, and what the two are called.
    let pairs = [
        (min, max, "min", min, "min", "max"),
        (min, request, "defaultRequest", request, "min", "default request"),
        (request, max, "defaultRequest", request, "default request", "max"),
        (
            request,
            limit,
            "defaultRequest",
            request,
            "default request",
            "default limit",
        ),
        (min, limit, "default", min, "min", "default"),
        (limit, max, "default", max, "default", "max"),
    ];
    for (less, more, map, shown, noun, other) in pairs {
        if let (Some(less), Some(more), Some(shown)) = (less, more, shown)
            && less > more
        {
            refuse(
                map,
                shown,
                format!("{noun} value {less} is greater than {other} value {more}"),
            );
        }
    }
    if let Some(ratio) = ratio {
        if ratio.nanos() < 1_000_000_000 {
            refuse("maxLimitRequestRatio", ratio, format!("ratio {ratio} is less than 1"));
        }
        if let (Some(min), Some(max)) = (min, max) {
            let most = max.as_f64() / min.as_f64();
            if ratio.as_f64() > most {
                let detail = format!("ratio {ratio} is greater than max/min = {most:.6}");
                refuse("maxLimitRequestRatio", ratio, detail);
            }
        }
    }
    if let (Some(limit), Some(request)) = (limit, request)
        && limit != request
        && !may_be_overcommitted(name)
    {
        let detail = format!("default value {limit} must equal to defaultRequest value {request} in {name}");
        refuse("defaultRequest", request, detail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(items: Value) -> Vec<String> {
        let errors = LimitRanges.validate(&json!({"spec": {"limits": items}}));
        errors
            .iter()
            .map(|error| error.to_string().replace("spec.limits", "l"))
            .collect()
    }

    #[test]
    fn bounds_do_not_contradict_each_other() {
        let good = json!([
            {"type": "Pod", "max": {"cpu": "2"}, "min": {"cpu": "1"}, "maxLimitRequestRatio": {"cpu": "2"}},
            {"type": "Container", "max": {"cpu": "2"}, "min": {"cpu": "100m"}, "default": {"cpu": "1"}, "defaultRequest": {"cpu": "500m"}},
            {"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}},
        ]);
        assert_eq!(said(good), Vec::<String>::new());
        let cases: &[(Value, &[&str])] = &[
            (
                json!({"type": "Pod", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "2"}}),
                &[
                    "l[0].default: Forbidden: may not be specified when `type` is 'Pod'",
                    "l[0].defaultRequest: Forbidden: may not be specified when `type` is 'Pod'",
                ],
            ),
            (
                json!({"type": "Container", "max": {"cpu": "1"}, "min": {"cpu": "2"}, "default": {"cpu": "1500m"}, "defaultRequest": {"cpu": "1600m"}}),
                &[
                    "l[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1",
                    "l[0].defaultRequest[cpu]: Invalid value: \"1600m\": min value 2 is greater than default request value 1600m",
                    "l[0].defaultRequest[cpu]: Invalid value: \"1600m\": default request value 1600m is greater than max value 1",
                    "l[0].defaultRequest[cpu]: Invalid value: \"1600m\": default request value 1600m is greater than default limit value 1500m",
                    "l[0].default[cpu]: Invalid value: \"2\": min value 2 is greater than default value 1500m",
                    "l[0].default[cpu]: Invalid value: \"1\": default value 1500m is greater than max value 1",
                ],
            ),
            (
                json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "500m", "memory": "3"}, "min": {"memory": "1"}, "max": {"memory": "2"}}),
                &[
                    "l[0].maxLimitRequestRatio[cpu]: Invalid value: \"500m\": ratio 500m is less than 1",
                    "l[0].maxLimitRequestRatio[memory]: Invalid value: \"3\": ratio 3 is greater than max/min = 2.000000",
                ],
            ),
            (
                json!({"type": "PersistentVolumeClaim"}),
                &[
                    "l[0].limits: Required value: either minimum or maximum storage value is required, but neither was provided",
                ],
            ),
            (
                json!({"type": "Container", "default": {"a.b/c": "2"}, "defaultRequest": {"a.b/c": "1"}, "max": {"pods": "1"}}),
                &[
                    "l[0].max[pods]: Invalid value: \"pods\": must be a standard resource for containers",
                    "l[0].defaultRequest[a.b/c]: Invalid value: \"1\": default value 2 must equal to defaultRequest value 1 in a.b/c",
                ],
            ),
            (
                json!({"type": "Shoe"}),
                &["l[0].type: Invalid value: \"Shoe\": must be a standard limit type or fully qualified"],
            ),
        ];
        for (item, expected) in cases {
            assert_eq!(said(json!([item])), *expected, "{item}");
        }
        assert_eq!(
            said(json!([{"type": "Pod"}, {"type": "Pod"}])),
            ["l[1].type: Duplicate value: \"Pod\""]
        );
    }
}
