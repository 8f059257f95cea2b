//! Which plugins a profile has at which extension point: upstream's defaults, `multiPoint`, and what single points say.

use std::collections::BTreeSet;

use timonel_api::field::{FieldError, Path};

use super::read::{Errors, Object};
use crate::plugins::args::Args;
use crate::plugins::{self, Plugin};
use crate::profile::{Enabled, Profile};

/// Extension points.
const POINTS: [&str; 12] = [
    "preEnqueue",
    "queueSort",
    "preFilter",
    "filter",
    "postFilter",
    "preScore",
    "score",
    "reserve",
    "permit",
    "preBind",
    "bind",
    "postBind",
];

/// Upstream's default plugins in their order, with their weights and the points at which each works.
const DEFAULTS: [(&str, i64, &[&str]); 19] = [
    ("SchedulingGates", 0, &["preEnqueue"]),
    ("PrioritySort", 0, &["queueSort"]),
    ("NodeUnschedulable", 0, &["filter"]),
    ("NodeName", 0, &["filter"]),
    ("TaintToleration", 3, &["filter", "preScore", "score"]),
    ("NodeAffinity", 2, &["preFilter", "filter", "preScore", "score"]),
    ("NodePorts", 0, &["preFilter", "filter"]),
    ("NodeResourcesFit", 1, &["preFilter", "filter", "preScore", "score"]),
    ("VolumeRestrictions", 0, &["preFilter", "filter"]),
    ("NodeVolumeLimits", 0, &["preFilter", "filter"]),
    (
        "VolumeBinding",
        0,
        &["preFilter", "filter", "reserve", "preBind", "preScore", "score"],
    ),
    ("VolumeZone", 0, &["preFilter", "filter"]),
    ("PodTopologySpread", 2, &["preFilter", "filter", "preScore", "score"]),
    ("InterPodAffinity", 2, &["preFilter", "filter", "preScore", "score"]),
    (
        "DynamicResources",
        0,
        &["preEnqueue", "preFilter", "filter", "postFilter", "reserve", "preBind"],
    ),
    ("DefaultPreemption", 0, &["preEnqueue", "postFilter"]),
    ("NodeResourcesBalancedAllocation", 1, &["preScore", "score"]),
    ("ImageLocality", 1, &["score"]),
    ("DefaultBinder", 0, &["bind"]),
];

/// Plugins that are part of the scheduler itself rather than of [`plugins::build`].
const BUILT_IN: [&str; 4] = ["SchedulingGates", "PrioritySort", "DefaultPreemption", "DefaultBinder"];

/// A plugin as a set names it.
#[derive(Clone, Debug)]
struct Named {
    name: String,
    weight: i64,
}

/// `enabled` and `disabled` of one extension point.
#[derive(Clone, Debug, Default)]
struct Set {
    enabled: Vec<Named>,
    disabled: BTreeSet<String>,
}

fn points_of(name: &str) -> Option<&'static [&'static str]> {
    let known = DEFAULTS.iter().find(|(known, ..)| *known == name);
    known.map(|(_, _, points)| *points)
}

fn set(plugins: &mut Object, point: &str, there: &BTreeSet<&str>, errors: &mut Errors) -> Set {
    let Some(mut object) = plugins.object(point, errors) else {
        return Set::default();
    };
    let mut set = Set::default();
    for mut plugin in object.objects("enabled", errors) {
        let path = plugin.at("name");
        let name = plugin.text("name", errors).unwrap_or_default();
        let weight = plugin.number("weight", errors).unwrap_or(0);
        check_enabled(&path, point, &name, there, errors);
        if weight < 0 {
            errors.wrong(FieldError::invalid(
                &plugin.at("weight"),
                weight,
                "must not be negative",
            ));
        }
        if set.enabled.iter().any(|other: &Named| other.name == name) {
            errors.wrong(FieldError::duplicate(&path, name.clone()));
        }
        plugin.finish(errors);
        set.enabled.push(Named { name, weight });
    }
    for mut plugin in object.objects("disabled", errors) {
        let path = plugin.at("name");
        let name = plugin.text("name", errors).unwrap_or_default();
        // A weight there means nothing, also upstream.
        plugin.take("weight");
        if name != "*" && points_of(&name).is_none() {
            errors.wrong(FieldError::invalid(
                &path,
                name.clone(),
                "is no plugin of this scheduler",
            ));
        }
        plugin.finish(errors);
        set.disabled.insert(name);
    }
    object.finish(errors);
    set
}

fn check_enabled(path: &Path, point: &str, name: &str, there: &BTreeSet<&str>, errors: &mut Errors) {
    let detail = match points_of(name) {
        None => "is no plugin of this scheduler".to_owned(),
        Some(_) if !there.contains(name) => "is not implemented by this scheduler".to_owned(),
        Some(points) if point != "multiPoint" && !points.contains(&point) => {
            format!("plugin {name:?} does not extend {point} plugin")
        }
        Some(_) => return,
    };
    errors.wrong(FieldError::invalid(path, name, detail));
}

/// The default plugins as `multiPoint` leaves them.
fn multi_point(custom: &Set) -> Vec<Named> {
    let mut enabled: Vec<Named> = Vec::new();
    if !custom.disabled.contains("*") {
        for (name, weight, _) in DEFAULTS {
            if custom.disabled.contains(name) {
                continue;
            }
            let again = custom.enabled.iter().find(|plugin| plugin.name == name);
            let own = || Named {
                name: name.to_owned(),
                weight,
            };
            enabled.push(again.cloned().unwrap_or_else(own));
        }
    }
    for plugin in &custom.enabled {
        if !enabled.iter().any(|other| other.name == plugin.name) {
            enabled.push(plugin.clone());
        }
    }
    enabled
}

/// The plugins at one point, in their order: named there and by `multiPoint`, by `multiPoint`, named there only.
fn at_point(point: &str, multi: &[Named], own: &Set) -> Vec<Named> {
    let everywhere = multi.iter().filter(|plugin| {
        let works = points_of(&plugin.name).is_some_and(|points| points.contains(&point));
        works && !own.disabled.contains("*") && !own.disabled.contains(&plugin.name)
    });
    let named = |plugin: &Named| own.enabled.iter().any(|other| other.name == plugin.name);
    let (twice, rest): (Vec<&Named>, Vec<&Named>) = everywhere.partition(|plugin| named(plugin));
    let overriding = own.enabled.iter();
    let overriding = overriding.filter(|plugin| twice.iter().any(|other| other.name == plugin.name));
    let alone = own.enabled.iter();
    let alone = alone.filter(|plugin| !twice.iter().any(|other| other.name == plugin.name));
    overriding.chain(rest).chain(alone).cloned().collect()
}

/// What there is at a point.
fn at<'a>(lists: &'a [(&str, Vec<Named>)], point: &str) -> &'a [Named] {
    let list = lists.iter().find(|(name, _)| *name == point);
    list.map_or(&[], |(_, plugins)| plugins)
}

/// Reads `plugins` of a profile.
pub(super) fn read(profile: &mut Object, name: &str, args: &Args, errors: &mut Errors) -> Profile {
    let built = plugins::build(args);
    let there: BTreeSet<&str> = built.iter().map(|plugin| plugin.name()).chain(BUILT_IN).collect();
    let path = profile.at("plugins");
    let mut object = profile
        .object("plugins", errors)
        .unwrap_or_else(|| Object::new(path.clone(), serde_json::Value::Null, errors));
    let multi = multi_point(&set(&mut object, "multiPoint", &there, errors));
    let lists: Vec<(&str, Vec<Named>)> = POINTS
        .iter()
        .map(|point| {
            (
                *point,
                at_point(point, &multi, &set(&mut object, point, &there, errors)),
            )
        })
        .collect();
    object.finish(errors);
    let has = |point: &str, name: &str| at(&lists, point).iter().any(|plugin| plugin.name == name);
    if !has("queueSort", "PrioritySort") {
        let detail = format!("only one queue sort plugin required for profile with scheduler name {name:?}, but got 0");
        errors.wrong(FieldError::required(&path.child("queueSort"), detail));
    }
    if !has("bind", "DefaultBinder") {
        let detail = format!("at least one bind plugin is needed for profile with scheduler name {name:?}");
        errors.wrong(FieldError::required(&path.child("bind"), detail));
    }
    // What a plugin works out beforehand it cannot do without later.
    for (before, then) in [("preFilter", "filter"), ("preScore", "score")] {
        for plugin in at(&lists, then) {
            let prepares = points_of(&plugin.name).is_some_and(|points| points.contains(&before));
            if prepares && !has(before, &plugin.name) {
                let detail = format!("{} cannot {then} without it", plugin.name);
                errors.wrong(FieldError::required(&path.child(before), detail));
            }
        }
    }
    Profile {
        scheduler_name: name.to_owned(),
        plugins: order(&built, at(&lists, "filter"), at(&lists, "score")),
        percentage_of_nodes_to_score: 0,
        extended: false,
        gates: has("preEnqueue", "SchedulingGates"),
        preemption: has("postFilter", "DefaultPreemption").then(|| args.preemption.clone()),
        volume_patience: has("preBind", "VolumeBinding").then(|| args.volume_binding.patience()),
    }
}

/// Puts plugins in the order in which they filter, those that only score last.
fn order(built: &[std::sync::Arc<dyn Plugin>], filter: &[Named], score: &[Named]) -> Vec<Enabled> {
    let weight = |name: &str| {
        let scoring = score.iter().find(|plugin| plugin.name == name)?;
        Some(if scoring.weight == 0 { 1 } else { scoring.weight })
    };
    let find = |name: &str| built.iter().find(|plugin| plugin.name() == name).cloned();
    let filtering = filter.iter().filter_map(|named| {
        Some(Enabled {
            plugin: find(&named.name)?,
            filters: true,
            weight: weight(&named.name),
        })
    });
    let scoring = score
        .iter()
        .filter(|named| !filter.iter().any(|other| other.name == named.name));
    let scoring = scoring.filter_map(|named| {
        Some(Enabled {
            plugin: find(&named.name)?,
            filters: false,
            weight: weight(&named.name),
        })
    });
    filtering.chain(scoring).collect()
}
