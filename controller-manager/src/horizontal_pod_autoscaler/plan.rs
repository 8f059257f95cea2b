//! Decides how many replicas an autoscaler's target is to have, and what its status says.

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{HPAScalingRules, HorizontalPodAutoscalerStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector as Typed, Time};
use timonel_api::quantity::Quantity;
use timonel_api::selector::LabelSelector;
use timonel_client::events::EventType;
use timonel_client::runner::Plan;

use super::evaluate::{Evaluated, evaluate};
use super::normalize::{Memory, Recommendation, Wish, normalize, remember};
use super::observe::{Observed, Scale};
use super::replicas::{Tolerances, Workload};
use super::status::Draft;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Write an event.
    Say {
        kind: EventType,
        reason: &'static str,
        message: String,
    },
    /// Give the target another size, and tell what came of it.
    Rescale(Box<Rescale>),
    /// Write the status.
    SetStatus(Box<HorizontalPodAutoscalerStatus>),
    /// Keep in mind until the next look.
    Remember(Memory),
}

/// A change of a target's size.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rescale {
    pub(super) scale: Scale,
    pub(super) to: i32,
    pub(super) reason: String,
    /// The status and the memory if it works.
    pub(super) done: (HorizontalPodAutoscalerStatus, Memory),
    /// What the status is made from if it does not.
    pub(super) failed: Draft,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    NoScale,
    NoMetrics,
    Told,
    Recommended { replicas: i32 },
    Wanted { from: i32, to: i32, reason: String },
    StatusDiffers,
}

/// Writes a selector as Go writes a pointer to one.
pub(super) fn shown(selector: Option<&Typed>) -> String {
    let Some(selector) = selector else {
        return "nil".to_owned();
    };
    let labels: String = selector
        .match_labels
        .iter()
        .flatten()
        .map(|(key, value)| format!("{key}: {value},"))
        .collect();
    let expressions: String = selector
        .match_expressions
        .iter()
        .flatten()
        .map(|one| {
            let values = one.values.clone().unwrap_or_default().join(" ");
            format!(
                "LabelSelectorRequirement{{Key:{},Operator:{},Values:[{values}],}},",
                one.key, one.operator
            )
        })
        .collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )
}

type Planned = Plan<Action, Because>;

fn say(plan: &mut Planned, kind: EventType, reason: &'static str, message: impl Into<String>, because: Because) {
    let message = message.into();
    plan.act(Action::Say { kind, reason, message }, because);
}

fn warn(plan: &mut Planned, reason: &'static str, message: &str) {
    say(plan, EventType::Warning, reason, message, Because::Told);
}

fn set_status(plan: &mut Planned, observed: &Observed, draft: Draft) {
    let status = draft.finish();
    if observed.autoscaler.status.as_ref() != Some(&status) {
        plan.act(Action::SetStatus(Box::new(status)), Because::StatusDiffers);
    }
}

fn set_memory(plan: &mut Planned, observed: &Observed, memory: Memory, replicas: i32) {
    if observed.memory != memory {
        plan.act(Action::Remember(memory), Because::Recommended { replicas });
    }
}

/// Decides.
pub(crate) fn plan(observed: &Observed, now: Timestamp) -> Planned {
    let mut plan = Planned::nothing();
    plan.look_again(observed.settings.period);
    if observed.autoscaler.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let mut draft = Draft::of(&observed.autoscaler, now);
    match &observed.scale {
        Ok(scale) => with_scale(&mut plan, observed, scale, draft, now),
        Err(error) => {
            say(
                &mut plan,
                EventType::Warning,
                "FailedGetScale",
                error.as_str(),
                Because::NoScale,
            );
            let message = format!("the HPA controller was unable to get the target's current scale: {error}");
            draft.condition("AbleToScale", false, "FailedGetScale", message);
            set_status(&mut plan, observed, draft);
        }
    }
    plan
}

fn with_scale(plan: &mut Planned, observed: &Observed, scale: &Scale, mut draft: Draft, now: Timestamp) {
    let spec = &observed.autoscaler.spec;
    let (current, least) = (scale.wanted(), spec.min_replicas.unwrap_or(1));
    draft.condition(
        "AbleToScale",
        true,
        "SucceededGetScale",
        "the HPA controller was able to get the target's current scale",
    );
    let mut memory = observed.memory.clone();
    if memory.recommendations.is_empty() {
        // So that an autoscaler that is new, or that nobody remembers, does not begin by scaling down.
        memory.recommendations.push(Recommendation {
            replicas: current,
            at: now,
        });
    }
    if current == 0 && least != 0 {
        let message = "scaling is disabled since the replica count of the target is zero";
        draft.condition("ScalingActive", false, "ScalingDisabled", message);
        draft.sizes(current, current, Vec::new());
        set_memory(plan, observed, memory, current);
        set_status(plan, observed, draft);
    } else if current > spec.max_replicas {
        let reason = "Current number of replicas above Spec.MaxReplicas";
        rescale(
            plan,
            observed,
            scale,
            draft,
            (memory, spec.max_replicas, reason.to_owned(), Vec::new()),
            now,
        );
    } else if current < least {
        let reason = "Current number of replicas below Spec.MinReplicas";
        rescale(
            plan,
            observed,
            scale,
            draft,
            (memory, least, reason.to_owned(), Vec::new()),
            now,
        );
    } else {
        by_metrics(plan, observed, scale, draft, memory, now);
    }
}

/// Whether the scale's selector says which pods are meant, and means them alone.
fn selector_problem(observed: &Observed, scale: &Scale) -> Option<(&'static str, &'static str, String, String)> {
    let text = scale.selector();
    if text.is_empty() {
        let condition = "the HPA target's scale is missing a selector".to_owned();
        return Some((
            "SelectorRequired",
            "InvalidSelector",
            "selector is required".to_owned(),
            condition,
        ));
    }
    if let Err(error) = LabelSelector::parse(text) {
        let words = format!("couldn't convert selector into a corresponding internal selector object: {error}");
        return Some(("InvalidSelector", "InvalidSelector", words.clone(), words));
    }
    if observed.rivals.len() > 1 {
        let rivals = observed.rivals.join(" ");
        let words = format!("pods by selector {text} are controlled by multiple HPAs: [{rivals}]");
        return Some(("AmbiguousSelector", "AmbiguousSelector", words.clone(), words));
    }
    None
}

/// What nothing could be computed from: the status keeps what is known.
fn give_up(
    plan: &mut Planned,
    observed: &Observed,
    mut draft: Draft,
    evaluated: Evaluated,
    memory: Memory,
    current: i32,
) {
    let desired = observed
        .autoscaler
        .status
        .as_ref()
        .map_or(0, |status| status.desired_replicas);
    draft.sizes(current, desired, evaluated.statuses);
    let error = evaluated.error.unwrap_or_default();
    say(
        plan,
        EventType::Warning,
        "FailedComputeMetricsReplicas",
        error,
        Because::NoMetrics,
    );
    set_memory(plan, observed, memory, current);
    set_status(plan, observed, draft);
}

fn by_metrics(
    plan: &mut Planned,
    observed: &Observed,
    scale: &Scale,
    mut draft: Draft,
    memory: Memory,
    now: Timestamp,
) {
    let spec = &observed.autoscaler.spec;
    let current = scale.wanted();
    if let Some((event, reason, error, condition)) = selector_problem(observed, scale) {
        warn(plan, event, &error);
        draft.condition("ScalingActive", false, reason, condition);
        let nothing = Evaluated {
            error: Some(error),
            ..Evaluated::default()
        };
        return give_up(plan, observed, draft, nothing, memory, current);
    }
    let workload = Workload {
        pods: &observed.pods,
        replicas: current,
        running: scale.running(),
        tolerances: tolerances(observed),
        patience: observed.settings.patience,
        now,
    };
    let metrics = spec.metrics.as_deref().unwrap_or_default();
    let evaluated = evaluate(metrics, &observed.readings, &workload);
    for (reason, message) in &evaluated.warnings {
        warn(plan, reason, message);
    }
    let Some((asked, metric)) = evaluated.proposal.clone() else {
        if let Some((reason, message)) = &evaluated.inactive {
            draft.condition("ScalingActive", false, reason, message.as_str());
        }
        return give_up(plan, observed, draft, evaluated, memory, current);
    };
    let message = format!("the HPA was able to successfully calculate a replica count from {metric}");
    draft.condition("ScalingActive", true, "ValidMetricFound", message);
    let wish = wish(observed, current, asked, now);
    let normalized = normalize(&wish, &memory);
    for (kind, verdict) in [("AbleToScale", normalized.able), ("ScalingLimited", normalized.limited)] {
        draft.condition(kind, verdict.holds, verdict.reason, verdict.message);
    }
    let statuses = evaluated.statuses;
    if normalized.replicas == current {
        draft.sizes(current, current, statuses);
        set_memory(plan, observed, normalized.memory, asked);
        set_status(plan, observed, draft);
        return;
    }
    let reason = if asked > current {
        format!("{metric} above target")
    } else if asked < current {
        "All metrics below target".to_owned()
    } else {
        String::new()
    };
    let change = (normalized.memory, normalized.replicas, reason, statuses);
    rescale(plan, observed, scale, draft, change, now);
}

/// The behaviour's tolerances, where it gives some.
fn tolerances(observed: &Observed) -> Tolerances {
    let behavior = observed.autoscaler.spec.behavior.as_ref();
    let own = |rules: Option<&HPAScalingRules>| {
        let tolerance = rules.and_then(|rules| rules.tolerance.as_ref());
        tolerance.map(|tolerance| Quantity::lenient(tolerance).as_f64())
    };
    let default = observed.settings.tolerances;
    Tolerances {
        down: own(behavior.and_then(|behavior| behavior.scale_down.as_ref())).unwrap_or(default.down),
        up: own(behavior.and_then(|behavior| behavior.scale_up.as_ref())).unwrap_or(default.up),
    }
}

fn wish(observed: &Observed, current: i32, asked: i32, now: Timestamp) -> Wish<'_> {
    let spec = &observed.autoscaler.spec;
    Wish {
        current,
        asked,
        least: spec.min_replicas.unwrap_or(1),
        most: spec.max_replicas,
        behavior: spec.behavior.as_ref(),
        window: observed.settings.stabilization,
        now,
    }
}

/// The memory, the new size, why, and what the metrics are now.
type NewSize = (
    Memory,
    i32,
    String,
    Vec<k8s_openapi::api::autoscaling::v2::MetricStatus>,
);

fn rescale(plan: &mut Planned, observed: &Observed, scale: &Scale, draft: Draft, change: NewSize, now: Timestamp) {
    let (memory, to, reason, statuses) = change;
    let current = scale.wanted();
    let mut failed = draft.clone();
    let before = observed.autoscaler.status.as_ref();
    failed.sizes(
        current,
        before.map_or(0, |status| status.desired_replicas),
        before
            .and_then(|status| status.current_metrics.clone())
            .unwrap_or_default(),
    );
    let mut done = draft;
    done.condition(
        "AbleToScale",
        true,
        "SucceededRescale",
        format!("the HPA controller was able to update the target scale to {to}"),
    );
    done.sizes(current, to, statuses);
    done.status.last_scale_time = Some(Time(super::status::whole_seconds(now)));
    let memory = remember(&memory, &wish(observed, current, to, now), to);
    let because = Because::Wanted {
        from: current,
        to,
        reason: reason.clone(),
    };
    let rescale = Rescale {
        scale: scale.clone(),
        to,
        reason,
        done: (done.finish(), memory),
        failed,
    };
    plan.act(Action::Rescale(Box::new(rescale)), because);
}
