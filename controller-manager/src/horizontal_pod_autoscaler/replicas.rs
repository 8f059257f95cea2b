//! How many replicas a metric asks for: upstream's `ReplicaCalculator`. Pure; errors are upstream's words.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use timonel_api::quantity::Quantity;

use super::observe::{PodValue, PodValues};
use crate::owner;

/// By how much usage may differ from its target without anything being done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tolerances {
    pub(super) down: f64,
    pub(super) up: f64,
}

impl Tolerances {
    fn hold(self, ratio: f64) -> bool {
        (1.0 - self.down..=1.0 + self.up).contains(&ratio)
    }
}

/// For how long after its start what a pod uses says little.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Upstream: `--horizontal-pod-autoscaler-cpu-initialization-period`.
    pub(super) cpu_initialization: Duration,
    /// Upstream: `--horizontal-pod-autoscaler-initial-readiness-delay`.
    pub(super) initial_readiness: Duration,
}

/// What a calculation rests on besides the metric.
#[derive(Clone, Copy, Debug)]
pub(super) struct Workload<'a> {
    /// The pods that the scale's selector means.
    pub(super) pods: &'a [Arc<Pod>],
    /// `spec.replicas` of the scale.
    pub(super) replicas: i32,
    /// `status.replicas` of the scale.
    pub(super) running: i32,
    pub(super) tolerances: Tolerances,
    pub(super) patience: Patience,
    pub(super) now: Timestamp,
}

/// What is asked for, and the value that the status shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Proposal {
    pub(super) replicas: i32,
    /// Percent of the request.
    pub(super) utilization: Option<i32>,
    /// Thousandths.
    pub(super) value: i64,
}

/// A ratio of two counts. Nobody counts so far that a float would not be near enough; upstream does the same.
fn ratio(of: i64, to: i64) -> f64 {
    of as f64 / to as f64
}

/// Rounds up; saturates.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a cast of a float saturates, which is what is wanted"
)]
pub(super) fn ceil(value: f64) -> i32 {
    value.ceil() as i32
}

/// Pods by what their metrics are worth.
#[derive(Debug, Default)]
struct Grouped {
    ready: usize,
    unready: BTreeSet<String>,
    missing: BTreeSet<String>,
    ignored: BTreeSet<String>,
}

fn phase(pod: &Pod) -> &str {
    let status = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    status.unwrap_or_default()
}

fn group(workload: &Workload<'_>, values: &PodValues, resource: &str) -> Grouped {
    let mut grouped = Grouped::default();
    for pod in workload.pods {
        let name = owner::name(&pod.metadata).to_owned();
        if pod.metadata.deletion_timestamp.is_some() || phase(pod) == "Failed" {
            grouped.ignored.insert(name);
        } else if phase(pod) == "Pending" {
            grouped.unready.insert(name);
        } else if let Some(value) = values.get(&name) {
            if resource == "cpu" && says_little(pod, value, workload) {
                grouped.unready.insert(name);
            } else {
                grouped.ready += 1;
            }
        } else {
            grouped.missing.insert(name);
        }
    }
    grouped
}

/// Whether a pod's use of processors is that of its start: it is not ready yet, or was not for the whole window.
fn says_little(pod: &Pod, value: &PodValue, workload: &Workload<'_>) -> bool {
    let status = pod.status.as_ref();
    let started = status.and_then(|status| status.start_time.as_ref()).map(|at| at.0);
    let conditions = status.and_then(|status| status.conditions.as_ref());
    let ready = conditions.and_then(|list| list.iter().find(|condition| condition.type_ == "Ready"));
    let (Some(started), Some(ready)) = (started, ready) else {
        return true;
    };
    let unready = ready.status == "False";
    let since = ready
        .last_transition_time
        .as_ref()
        .map_or(Timestamp::UNIX_EPOCH, |at| at.0);
    // Differences, for a node may claim any time and a sum might lie beyond all times.
    let younger =
        |age: SignedDuration, limit: Duration| age < SignedDuration::try_from(limit).unwrap_or(SignedDuration::MAX);
    if younger(
        workload.now.duration_since(started),
        workload.patience.cpu_initialization,
    ) {
        unready || younger(value.at.duration_since(since), value.window)
    } else {
        unready && younger(since.duration_since(started), workload.patience.initial_readiness)
    }
}

/// What the containers of each pod request of a resource, in thousandths: all of them, or the one named.
fn requests(pods: &[Arc<Pod>], container: Option<&str>, resource: &str) -> Result<BTreeMap<String, i64>, String> {
    let mut requests = BTreeMap::new();
    for pod in pods {
        let name = owner::name(&pod.metadata);
        let Some(spec) = &pod.spec else { continue };
        let of_pod = spec
            .resources
            .as_ref()
            .and_then(|resources| resources.requests.as_ref());
        if let Some(request) = of_pod.and_then(|requests| requests.get(resource))
            && container.is_none()
        {
            requests.insert(name.to_owned(), Quantity::lenient(request).millis());
            continue;
        }
        let sidecars = spec.init_containers.iter().flatten();
        let sidecars = sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
        let mut sum = 0_i64;
        for one in spec.containers.iter().chain(sidecars) {
            if container.is_some_and(|wanted| wanted != one.name) {
                continue;
            }
            let request = one
                .resources
                .as_ref()
                .and_then(|resources| resources.requests.as_ref()?.get(resource));
            let request = request
                .ok_or_else(|| format!("missing request for {resource} in container {} of Pod {name}", one.name))?;
            sum = sum.saturating_add(Quantity::lenient(request).millis());
        }
        requests.insert(name.to_owned(), sum);
    }
    Ok(requests)
}

/// Usage over target, the utilization in percent, the mean usage.
fn utilization(values: &PodValues, requests: &BTreeMap<String, i64>, target: i32) -> Result<(f64, i32, i64), String> {
    let (mut used, mut requested, mut count) = (0_i64, 0_i64, 0_i64);
    for (pod, value) in values {
        // Metrics of what is no pod of ours.
        let Some(request) = requests.get(pod) else { continue };
        used = used.saturating_add(value.value);
        requested = requested.saturating_add(*request);
        count += 1;
    }
    if requested == 0 {
        return Err("no metrics returned matched known pods".to_owned());
    }
    let percent = i32::try_from(used.saturating_mul(100) / requested).unwrap_or(i32::MAX);
    Ok((ratio(percent.into(), target.into()), percent, used / count.max(1)))
}

/// Usage over target, and the mean usage.
fn usage(values: &PodValues, target: i64) -> (f64, i64) {
    let sum = values
        .values()
        .fold(0_i64, |sum, value| sum.saturating_add(value.value));
    let mean = sum / i64::try_from(values.len()).unwrap_or(i64::MAX).max(1);
    (ratio(mean, target), mean)
}

fn none_selected() -> String {
    "no pods returned by selector while calculating replica count".to_owned()
}

/// The metrics of ready pods, and how the pods fall into groups.
fn sift(workload: &Workload<'_>, values: &PodValues, resource: &str) -> Result<(PodValues, Grouped), String> {
    if workload.pods.is_empty() {
        return Err(none_selected());
    }
    let grouped = group(workload, values, resource);
    let mut kept = values.clone();
    kept.retain(|pod, _| !grouped.ignored.contains(pod) && !grouped.unready.contains(pod));
    Ok((kept, grouped))
}

fn ready_ones(kept: &PodValues) -> Result<(), String> {
    if kept.is_empty() {
        return Err("did not receive metrics for any ready pods".to_owned());
    }
    Ok(())
}

/// Finishes a calculation: pods without metrics are taken to use all that they may when the rest uses too little, and nothing when it
/// uses too much; so whatever they turn out to use, the scaling does not have to be undone.
///
/// Where usage is just the target, they stay unknown. Upstream then takes them to use nothing of a metric with a mean as its target (though not
/// of one with a utilization), and so scales down to the pods that it knows.
fn rebalance(
    workload: &Workload<'_>,
    mut kept: PodValues,
    grouped: &Grouped,
    first: f64,
    all_of_it: impl Fn(&str) -> i64,
    again: impl Fn(&PodValues) -> Result<f64, String>,
) -> Result<i32, String> {
    let rebalance_unready = !grouped.unready.is_empty() && first > 1.0;
    if !rebalance_unready && grouped.missing.is_empty() {
        if workload.tolerances.hold(first) {
            return Ok(workload.replicas);
        }
        let ready = i32::try_from(grouped.ready).unwrap_or(i32::MAX);
        return Ok(ceil(first * f64::from(ready)));
    }
    let value = |value| PodValue {
        value,
        at: Timestamp::UNIX_EPOCH,
        window: Duration::ZERO,
    };
    for pod in &grouped.missing {
        if first < 1.0 {
            kept.insert(pod.clone(), value(all_of_it(pod)));
        } else if first > 1.0 {
            kept.insert(pod.clone(), value(0));
        }
    }
    if rebalance_unready {
        kept.extend(grouped.unready.iter().map(|pod| (pod.clone(), value(0))));
    }
    let second = again(&kept)?;
    let turned = (first < 1.0 && second > 1.0) || (first > 1.0 && second < 1.0);
    if workload.tolerances.hold(second) || turned {
        return Ok(workload.replicas);
    }
    let count = i32::try_from(kept.len()).unwrap_or(i32::MAX);
    let replicas = ceil(second * f64::from(count));
    if (second < 1.0 && replicas > workload.replicas) || (second > 1.0 && replicas < workload.replicas) {
        return Ok(workload.replicas);
    }
    Ok(replicas)
}

/// A resource against a percentage of what is requested of it.
pub(super) fn by_utilization(
    workload: &Workload<'_>,
    values: &PodValues,
    resource: &str,
    container: Option<&str>,
    target: i32,
) -> Result<Proposal, String> {
    let (kept, grouped) = sift(workload, values, resource)?;
    let requests = requests(workload.pods, container, resource)?;
    ready_ones(&kept)?;
    let (first, percent, mean) = utilization(&kept, &requests, target)?;
    let all_of_it = |pod: &str| {
        let request = requests.get(pod).copied().unwrap_or_default();
        request.saturating_mul(i64::from(target.max(100))) / 100
    };
    let again = |values: &PodValues| utilization(values, &requests, target).map(|(ratio, ..)| ratio);
    Ok(Proposal {
        replicas: rebalance(workload, kept, &grouped, first, all_of_it, again)?,
        utilization: Some(percent),
        value: mean,
    })
}

/// A resource or a metric of pods against a mean.
pub(super) fn by_mean(
    workload: &Workload<'_>,
    values: &PodValues,
    resource: &str,
    target: i64,
) -> Result<Proposal, String> {
    let (kept, grouped) = sift(workload, values, resource)?;
    ready_ones(&kept)?;
    let (first, mean) = usage(&kept, target);
    let again = |values: &PodValues| Ok(usage(values, target).0);
    Ok(Proposal {
        replicas: rebalance(workload, kept, &grouped, first, |_| target, again)?,
        utilization: None,
        value: mean,
    })
}

/// A metric of something else against a value: as many of the ready pods as it takes. From nothing it goes by the value alone.
pub(super) fn by_value(workload: &Workload<'_>, value: i64, target: i64) -> Result<Proposal, String> {
    let usage = ratio(value, target);
    let replicas = if workload.replicas == 0 {
        ceil(usage)
    } else if workload.tolerances.hold(usage) {
        workload.replicas
    } else {
        if workload.pods.is_empty() {
            return Err(format!("unable to calculate ready pods: {}", none_selected()));
        }
        let ready = |pod: &&Arc<Pod>| phase(pod) == "Running" && timonel_api::pod::is_ready(pod);
        let ready = i32::try_from(workload.pods.iter().filter(ready).count()).unwrap_or(i32::MAX);
        ceil(usage * f64::from(ready))
    };
    Ok(Proposal {
        replicas,
        utilization: None,
        value,
    })
}

/// A metric of something else, shared out among the pods.
pub(super) fn by_share(workload: &Workload<'_>, value: i64, target: i64) -> Proposal {
    let running = i64::from(workload.running);
    let usage = ratio(value, target.saturating_mul(running));
    // No pods share nothing: their number is none, and so not within any tolerance.
    let replicas = if workload.running > 0 && workload.tolerances.hold(usage) {
        workload.running
    } else {
        ceil(ratio(value, target))
    };
    let share = if running == 0 {
        0
    } else {
        value / running + i64::from(value % running > 0)
    };
    Proposal {
        replicas,
        utilization: None,
        value: share,
    }
}
