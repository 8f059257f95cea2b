//! From what the metrics ask for to what is done: stabilization, rates, bounds. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::autoscaling::v2::{HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscalerBehavior};

use super::replicas::ceil;

/// Without a behaviour, a workload at most doubles in one step ...
const FACTOR: i32 = 2;
/// ... but may always grow to so many.
const FLOOR: i32 = 4;

/// What the metrics asked for at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recommendation {
    pub(crate) replicas: i32,
    pub(crate) at: Timestamp,
}

/// By how many replicas a workload was changed at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) by: i32,
    pub(crate) at: Timestamp,
}

/// What is remembered of an autoscaler between two looks. A controller that starts anew starts without.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) recommendations: Vec<Recommendation>,
    pub(crate) ups: Vec<Change>,
    pub(crate) downs: Vec<Change>,
}

/// A reason and a sentence, and whether the condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) holds: bool,
    pub(super) reason: &'static str,
    pub(super) message: &'static str,
}

/// What is wanted of a workload.
#[derive(Clone, Debug)]
pub(super) struct Wish<'a> {
    pub(super) current: i32,
    pub(super) asked: i32,
    pub(super) least: i32,
    pub(super) most: i32,
    pub(super) behavior: Option<&'a HorizontalPodAutoscalerBehavior>,
    /// Upstream: `--horizontal-pod-autoscaler-downscale-stabilization`.
    pub(super) window: Duration,
    pub(super) now: Timestamp,
}

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Normalized {
    pub(super) replicas: i32,
    pub(super) able: Verdict,
    pub(super) limited: Verdict,
    pub(super) memory: Memory,
}

const STABILIZED_DOWN: (&str, &str) = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
);
const STABILIZED_UP: (&str, &str) = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
);
const TOO_MANY: (&str, &str) = (
    "TooManyReplicas",
    "the desired replica count is more than the maximum replica count",
);
const TOO_FEW: (&str, &str) = (
    "TooFewReplicas",
    "the desired replica count is less than the minimum replica count",
);
const TOO_FAST_UP: (&str, &str) = (
    "ScaleUpLimit",
    "the desired replica count is increasing faster than the maximum scale rate",
);
const TOO_FAST_DOWN: (&str, &str) = (
    "ScaleDownLimit",
    "the desired replica count is decreasing faster than the maximum scale rate",
);
const WITHIN: (&str, &str) = ("DesiredWithinRange", "the desired count is within the acceptable range");

/// Decides.
pub(super) fn normalize(wish: &Wish<'_>, memory: &Memory) -> Normalized {
    let rules = wish.behavior.map(|behavior| Rules::of(behavior, wish.window));
    let (stabilized, why, recommendations) = stabilize(wish, rules.as_ref(), &memory.recommendations);
    let (replicas, limit) = match &rules {
        Some(rules) => within_rates(wish, rules, stabilized, memory),
        None => within_bounds(wish, stabilized),
    };
    let able = if stabilized == wish.asked {
        ("ReadyForNewScale", "recommended size matches current size")
    } else {
        why
    };
    Normalized {
        replicas,
        able: Verdict {
            holds: true,
            reason: able.0,
            message: able.1,
        },
        limited: Verdict {
            holds: replicas != stabilized,
            reason: limit.0,
            message: limit.1,
        },
        memory: Memory {
            recommendations,
            ..memory.clone()
        },
    }
}

/// One direction's rules, complete.
struct Direction {
    window: SignedDuration,
    select: String,
    policies: Vec<HPAScalingPolicy>,
}

struct Rules {
    up: Direction,
    down: Direction,
}

fn seconds(count: i32) -> SignedDuration {
    SignedDuration::from_secs(count.into())
}

impl Rules {
    /// The rules with what the API server fills in where a behaviour is given at all.
    fn of(behavior: &HorizontalPodAutoscalerBehavior, window: Duration) -> Self {
        let policy = |kind: &str, value| HPAScalingPolicy {
            type_: kind.to_owned(),
            value,
            period_seconds: 15,
        };
        let window = SignedDuration::try_from(window).unwrap_or(SignedDuration::MAX);
        let direction = |rules: Option<&HPAScalingRules>, window: SignedDuration, policies: Vec<HPAScalingPolicy>| {
            let rules = rules.cloned().unwrap_or_default();
            Direction {
                window: rules.stabilization_window_seconds.map_or(window, seconds),
                select: rules.select_policy.unwrap_or_else(|| "Max".to_owned()),
                policies: rules.policies.filter(|given| !given.is_empty()).unwrap_or(policies),
            }
        };
        Self {
            up: direction(
                behavior.scale_up.as_ref(),
                SignedDuration::ZERO,
                vec![policy("Pods", 4), policy("Percent", 100)],
            ),
            down: direction(behavior.scale_down.as_ref(), window, vec![policy("Percent", 100)]),
        }
    }
}

/// The best of the recent recommendations, why, and the recommendations with the new one.
fn stabilize(
    wish: &Wish<'_>,
    rules: Option<&Rules>,
    before: &[Recommendation],
) -> (i32, (&'static str, &'static str), Vec<Recommendation>) {
    let default = SignedDuration::try_from(wish.window).unwrap_or(SignedDuration::MAX);
    let up = wish.asked >= wish.current;
    let (window, kept_for, inclusive) = match rules {
        // Without a behaviour, only going down is held back, and going up looks back just as far.
        None => (default, default, true),
        Some(rules) => {
            let window = if up { rules.up.window } else { rules.down.window };
            (window, rules.up.window.max(rules.down.window), false)
        }
    };
    let lowest = rules.is_some() && up;
    let age = |recommendation: &Recommendation| wish.now.duration_since(recommendation.at);
    let recent = before.iter().filter(|recommendation| {
        let age = age(recommendation);
        age < window || (inclusive && age == window)
    });
    let recent = recent.map(|recommendation| recommendation.replicas);
    let stabilized = if lowest {
        recent.fold(wish.asked, i32::min)
    } else {
        recent.fold(wish.asked, i32::max)
    };
    let new = Recommendation {
        replicas: wish.asked,
        at: wish.now,
    };
    let mut kept: Vec<Recommendation> = before
        .iter()
        .filter(|recommendation| age(recommendation) <= kept_for)
        .copied()
        .collect();
    // Asked twice at the same time, the same is not remembered twice.
    if !kept.contains(&new) {
        kept.push(new);
    }
    (stabilized, if lowest { STABILIZED_UP } else { STABILIZED_DOWN }, kept)
}

fn within_bounds(wish: &Wish<'_>, asked: i32) -> (i32, (&'static str, &'static str)) {
    let fastest = wish.current.saturating_mul(FACTOR).max(FLOOR);
    let (most, why) = if wish.most > fastest {
        (fastest, TOO_FAST_UP)
    } else {
        (wish.most, TOO_MANY)
    };
    if asked < wish.least {
        (wish.least, TOO_FEW)
    } else if asked > most {
        (most, why)
    } else {
        (asked, WITHIN)
    }
}

fn within_rates(wish: &Wish<'_>, rules: &Rules, asked: i32, memory: &Memory) -> (i32, (&'static str, &'static str)) {
    if asked > wish.current {
        let fastest = rules.up.most(wish.current, memory, wish.now).max(wish.current);
        let (most, why) = if wish.most > fastest {
            (fastest, TOO_FAST_UP)
        } else {
            (wish.most, TOO_MANY)
        };
        if asked > most {
            return (most, why);
        }
    } else if asked < wish.current {
        let fastest = rules.down.least(wish.current, memory, wish.now).min(wish.current);
        let (least, why) = if wish.least < fastest {
            (fastest, TOO_FAST_DOWN)
        } else {
            (wish.least, TOO_FEW)
        };
        if asked < least {
            return (least, why);
        }
    }
    (asked, WITHIN)
}

/// By how much was changed in the last `period` seconds.
fn changed(changes: &[Change], period: i32, now: Timestamp) -> i32 {
    let recent = changes
        .iter()
        .filter(|change| now.duration_since(change.at) < seconds(period));
    recent.fold(0, |sum, change| sum.saturating_add(change.by))
}

impl Memory {
    /// How many replicas there were when the last `period` seconds began.
    fn start_of(&self, period: i32, current: i32, now: Timestamp) -> i32 {
        let (added, deleted) = (changed(&self.ups, period, now), changed(&self.downs, period, now));
        current.saturating_sub(added).saturating_add(deleted)
    }
}

impl Direction {
    /// How far up it may go now.
    fn most(&self, current: i32, memory: &Memory, now: Timestamp) -> i32 {
        let proposals = self.policies.iter().map(|policy| {
            let start = memory.start_of(policy.period_seconds, current, now);
            match policy.type_.as_str() {
                "Percent" => ceil(f64::from(start) * (1.0 + f64::from(policy.value) / 100.0)),
                _ => start.saturating_add(policy.value),
            }
        });
        match self.select.as_str() {
            "Disabled" => current,
            "Min" => proposals.min().unwrap_or(current),
            _ => proposals.max().unwrap_or(current),
        }
    }

    /// How far down it may go now.
    fn least(&self, current: i32, memory: &Memory, now: Timestamp) -> i32 {
        let proposals = self.policies.iter().map(|policy| {
            let start = memory.start_of(policy.period_seconds, current, now);
            match policy.type_.as_str() {
                "Percent" => floor(f64::from(start) * (1.0 - f64::from(policy.value) / 100.0)),
                _ => start.saturating_sub(policy.value),
            }
        });
        match self.select.as_str() {
            "Disabled" => current,
            "Min" => proposals.max().unwrap_or(current),
            _ => proposals.min().unwrap_or(current),
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a cast of a float saturates, which is what is wanted"
)]
fn floor(value: f64) -> i32 {
    value as i32
}

/// Remembers that a workload was changed, for as long as any policy looks back.
pub(super) fn remember(memory: &Memory, wish: &Wish<'_>, replicas: i32) -> Memory {
    let mut memory = memory.clone();
    // Nobody looks at them without a behaviour.
    let Some(behavior) = wish.behavior else { return memory };
    let rules = Rules::of(behavior, wish.window);
    let (changes, policies) = if replicas > wish.current {
        (&mut memory.ups, &rules.up.policies)
    } else {
        (&mut memory.downs, &rules.down.policies)
    };
    let longest = policies.iter().map(|policy| policy.period_seconds).max().unwrap_or(0);
    changes.retain(|change| wish.now.duration_since(change.at) <= seconds(longest));
    changes.push(Change {
        by: (replicas - wish.current).abs(),
        at: wish.now,
    });
    memory
}
