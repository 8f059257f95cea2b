//! `pluginConfig`: the arguments of single plugins.

use k8s_openapi::api::core::v1::{NodeAffinity, TopologySpreadConstraint};
use timonel_api::field::{FieldError, Path};

use super::read::{Errors, Object};
use crate::plugins::args::{
    Args, BalancedArgs, FitArgs, InterPodAffinityArgs, NodeAffinityArgs, PreemptionArgs, ShapePoint, SpreadArgs,
    Strategy, VolumeBindingArgs, WeightedResource, default_resources,
};

/// Reads `pluginConfig` of a profile.
pub(super) fn read(profile: &mut Object, errors: &mut Errors) -> Args {
    let mut args = Args::default();
    let mut seen: Vec<String> = Vec::new();
    for mut entry in profile.objects("pluginConfig", errors) {
        let path = entry.at("name");
        let name = entry.text("name", errors).unwrap_or_default();
        if seen.contains(&name) {
            errors.wrong(FieldError::duplicate(&entry.path, name.clone()));
        }
        let own = entry.at("args");
        let mut object = entry
            .object("args", errors)
            .unwrap_or_else(|| Object::new(own, serde_json::Value::Null, errors));
        check_kind(&mut object, &name, errors);
        match name.as_str() {
            "NodeResourcesFit" => args.fit = fit(&mut object, errors),
            "NodeResourcesBalancedAllocation" => args.balanced = balanced(&mut object, errors),
            "InterPodAffinity" => args.inter_pod_affinity = inter_pod_affinity(&mut object, errors),
            "PodTopologySpread" => args.spread = spread(&mut object, errors),
            "NodeAffinity" => args.node_affinity = node_affinity(&mut object, errors),
            "DefaultPreemption" => args.preemption = preemption(&mut object, errors),
            "VolumeBinding" => args.volume_binding = volume_binding(&mut object, errors),
            _ => errors.wrong(FieldError::invalid(
                &path,
                name.clone(),
                "is no plugin that takes arguments here",
            )),
        }
        object.finish(errors);
        entry.finish(errors);
        seen.push(name);
    }
    args
}

fn check_kind(object: &mut Object, name: &str, errors: &mut Errors) {
    let wanted = [
        ("apiVersion", super::API_VERSION.to_owned()),
        ("kind", format!("{name}Args")),
    ];
    for (field, wanted) in wanted {
        if let Some(given) = object.text(field, errors)
            && given != wanted
        {
            let detail = format!("has to match plugin args: {wanted}");
            errors.wrong(FieldError::invalid(&object.at(field), given, detail));
        }
    }
}

fn in_range(path: &Path, given: i64, low: i64, high: i64, errors: &mut Errors) {
    if !(low..=high).contains(&given) {
        errors.wrong(FieldError::invalid(
            path,
            given,
            format!("not in valid range [{low}, {high}]"),
        ));
    }
}

fn resources(object: &mut Object, errors: &mut Errors) -> Vec<WeightedResource> {
    let mut read = Vec::new();
    for mut entry in object.objects("resources", errors) {
        let name = entry.text("name", errors).unwrap_or_default();
        if name.is_empty() {
            errors.wrong(FieldError::required(&entry.at("name"), ""));
        }
        let weight = entry
            .number("weight", errors)
            .filter(|weight| *weight != 0)
            .unwrap_or(1);
        if !(1..=100).contains(&weight) {
            let detail = format!("resource weight of {name} not in valid range (0, 100]");
            errors.wrong(FieldError::invalid(&entry.at("weight"), weight, detail));
        }
        entry.finish(errors);
        read.push(WeightedResource { name, weight });
    }
    if read.is_empty() { default_resources() } else { read }
}

fn fit(object: &mut Object, errors: &mut Errors) -> FitArgs {
    let mut args = FitArgs::default();
    for (field, list) in [
        ("ignoredResources", &mut args.ignored_resources),
        ("ignoredResourceGroups", &mut args.ignored_resource_groups),
    ] {
        *list = object.typed(field, "a list of strings", errors).unwrap_or_default();
        let path = object.at(field);
        for (at, name) in list.iter().enumerate() {
            if field == "ignoredResourceGroups" && name.contains('/') {
                let detail = "resource group name can't contain '/'";
                errors.wrong(FieldError::invalid(&path.index(at), name.clone(), detail));
            }
            for detail in timonel_api::names::qualified_name(name) {
                errors.wrong(FieldError::invalid(&path.index(at), name.clone(), detail));
            }
        }
    }
    let Some(mut strategy) = object.object("scoringStrategy", errors) else {
        return args;
    };
    let kind = strategy.text("type", errors).unwrap_or_default();
    args.resources = resources(&mut strategy, errors);
    let ratio_path = strategy.at("requestedToCapacityRatio");
    let ratio = strategy.object("requestedToCapacityRatio", errors);
    match (kind.as_str(), ratio) {
        ("RequestedToCapacityRatio", Some(mut ratio)) => {
            args.strategy = Strategy::RequestedToCapacityRatio(shape(&mut ratio, errors));
            ratio.finish(errors);
        }
        ("RequestedToCapacityRatio", None) => {
            let detail = "must be specified when type is RequestedToCapacityRatio";
            errors.wrong(FieldError::required(&ratio_path, detail));
        }
        ("LeastAllocated" | "MostAllocated", Some(_)) => {
            let detail = "must be nil when type is not RequestedToCapacityRatio";
            errors.wrong(FieldError::forbidden(&ratio_path, detail));
        }
        ("LeastAllocated", None) => args.strategy = Strategy::LeastAllocated,
        ("MostAllocated", None) => args.strategy = Strategy::MostAllocated,
        _ => {
            let known = ["LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"];
            errors.wrong(FieldError::not_supported(&strategy.at("type"), kind.clone(), &known));
        }
    }
    strategy.finish(errors);
    args
}

fn shape(object: &mut Object, errors: &mut Errors) -> Vec<ShapePoint> {
    let path = object.at("shape");
    let mut points: Vec<ShapePoint> = Vec::new();
    for mut entry in object.objects("shape", errors) {
        let utilization = entry.number("utilization", errors).unwrap_or(0);
        let score = entry.number("score", errors).unwrap_or(0);
        in_range(&entry.at("utilization"), utilization, 0, 100, errors);
        in_range(&entry.at("score"), score, 0, 10, errors);
        if points.last().is_some_and(|before| before.utilization >= utilization) {
            let detail = "values must be sorted in increasing order";
            errors.wrong(FieldError::invalid(&entry.at("utilization"), utilization, detail));
        }
        entry.finish(errors);
        points.push(ShapePoint { utilization, score });
    }
    if points.is_empty() {
        errors.wrong(FieldError::required(&path, "at least one point must be specified"));
    }
    points
}

fn balanced(object: &mut Object, errors: &mut Errors) -> BalancedArgs {
    let path = object.at("resources");
    let resources = resources(object, errors);
    for (at, resource) in resources.iter().enumerate() {
        if resources.iter().take(at).any(|other| other.name == resource.name) {
            errors.wrong(FieldError::duplicate(
                &path.index(at).child("name"),
                resource.name.clone(),
            ));
        }
        if resource.weight != 1 {
            errors.wrong(FieldError::invalid(
                &path.index(at).child("weight"),
                resource.weight,
                "must be 1",
            ));
        }
    }
    BalancedArgs { resources }
}

fn inter_pod_affinity(object: &mut Object, errors: &mut Errors) -> InterPodAffinityArgs {
    let weight = object.number("hardPodAffinityWeight", errors).unwrap_or(1);
    in_range(&object.at("hardPodAffinityWeight"), weight, 0, 100, errors);
    InterPodAffinityArgs {
        hard_pod_affinity_weight: weight,
        ignore_preferred_terms_of_existing_pods: object
            .flag("ignorePreferredTermsOfExistingPods", errors)
            .unwrap_or(false),
    }
}

fn spread(object: &mut Object, errors: &mut Errors) -> SpreadArgs {
    let kind_path = object.at("defaultingType");
    let kind = object.text("defaultingType", errors).unwrap_or_default();
    let path = object.at("defaultConstraints");
    let listed: Vec<TopologySpreadConstraint> = object
        .typed("defaultConstraints", "a list of topology spread constraints", errors)
        .unwrap_or_default();
    for (at, constraint) in listed.iter().enumerate() {
        default_constraint(&path.index(at), constraint, &listed[..at], errors);
    }
    match kind.as_str() {
        "List" => SpreadArgs {
            default_constraints: Some(listed),
        },
        "" | "System" => {
            if !listed.is_empty() {
                let detail = "when .defaultConstraints are not empty";
                errors.wrong(FieldError::invalid(&kind_path, "System", detail));
            }
            SpreadArgs::default()
        }
        _ => {
            errors.wrong(FieldError::not_supported(&kind_path, kind, &["System", "List"]));
            SpreadArgs::default()
        }
    }
}

fn default_constraint(
    path: &Path,
    constraint: &TopologySpreadConstraint,
    before: &[TopologySpreadConstraint],
    errors: &mut Errors,
) {
    if constraint.max_skew <= 0 {
        let given = i64::from(constraint.max_skew);
        errors.wrong(FieldError::invalid(
            &path.child("maxSkew"),
            given,
            "not in valid range (0, inf)",
        ));
    }
    let key = path.child("topologyKey");
    if constraint.topology_key.is_empty() {
        errors.wrong(FieldError::required(&key, "can not be empty"));
    } else {
        for detail in timonel_api::names::qualified_name(&constraint.topology_key) {
            errors.wrong(FieldError::invalid(&key, constraint.topology_key.clone(), detail));
        }
    }
    let when = path.child("whenUnsatisfiable");
    match constraint.when_unsatisfiable.as_str() {
        "" => errors.wrong(FieldError::required(&when, "can not be empty")),
        "DoNotSchedule" | "ScheduleAnyway" => {}
        other => errors.wrong(FieldError::not_supported(
            &when,
            other,
            &["DoNotSchedule", "ScheduleAnyway"],
        )),
    }
    if constraint.label_selector.is_some() {
        let detail = "constraint must not define a selector, as they deduced for each pod";
        errors.wrong(FieldError::forbidden(&path.child("labelSelector"), detail));
    }
    let same = |other: &TopologySpreadConstraint| {
        other.topology_key == constraint.topology_key && other.when_unsatisfiable == constraint.when_unsatisfiable
    };
    if before.iter().any(same) {
        let given = format!("{{{}, {}}}", constraint.topology_key, constraint.when_unsatisfiable);
        errors.wrong(FieldError::duplicate(path, given));
    }
}

fn node_affinity(object: &mut Object, errors: &mut Errors) -> NodeAffinityArgs {
    NodeAffinityArgs {
        added_affinity: object.typed::<NodeAffinity>("addedAffinity", "a node affinity", errors),
    }
}

fn preemption(object: &mut Object, errors: &mut Errors) -> PreemptionArgs {
    let share = object.number("minCandidateNodesPercentage", errors).unwrap_or(10);
    let least = object.number("minCandidateNodesAbsolute", errors).unwrap_or(100);
    let (share_path, least_path) = (
        object.at("minCandidateNodesPercentage"),
        object.at("minCandidateNodesAbsolute"),
    );
    in_range(&share_path, share, 0, 100, errors);
    if least < 0 {
        errors.wrong(FieldError::invalid(&least_path, least, "not in valid range [0, inf)"));
    }
    if share == 0 && least == 0 {
        let detail = |other: &str| format!("cannot be zero at the same time as {other}");
        errors.wrong(FieldError::invalid(
            &share_path,
            share,
            detail("minCandidateNodesAbsolute"),
        ));
        errors.wrong(FieldError::invalid(
            &least_path,
            least,
            detail("minCandidateNodesPercentage"),
        ));
    }
    PreemptionArgs {
        min_candidate_nodes_percentage: usize::try_from(share).unwrap_or(10),
        min_candidate_nodes_absolute: usize::try_from(least).unwrap_or(100),
    }
}

fn volume_binding(object: &mut Object, errors: &mut Errors) -> VolumeBindingArgs {
    let timeout = object.number("bindTimeoutSeconds", errors).unwrap_or(600);
    if timeout < 0 {
        let detail = "invalid BindTimeoutSeconds, should not be a negative value";
        errors.wrong(FieldError::invalid(&object.at("bindTimeoutSeconds"), timeout, detail));
    }
    object.refuse(
        "shape",
        "unexpected field `shape`, remove it or turn on the feature gate StorageCapacityScoring",
        errors,
    );
    VolumeBindingArgs {
        bind_timeout_seconds: timeout,
    }
}
