//! What the metrics of an autoscaler ask for together: the most that any of them does.

use k8s_openapi::api::autoscaling::v2::{
    ContainerResourceMetricStatus, ExternalMetricStatus, MetricSpec, MetricStatus, MetricTarget, MetricValueStatus,
    ObjectMetricStatus, PodsMetricStatus, ResourceMetricStatus,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Wire;
use timonel_api::quantity::{Format, Quantity};

use super::observe::{PodValues, Reading};
use super::plan::shown;
use super::replicas::{Proposal, Workload, by_mean, by_share, by_utilization, by_value};

/// What came of all metrics.
#[derive(Clone, Debug, Default)]
pub(super) struct Evaluated {
    /// How many replicas are asked for, and by which metric. None where too little is known to scale.
    pub(super) proposal: Option<(i32, String)>,
    /// Of the metrics that could be read. Upstream also leaves an empty entry for each that could not; that is of no use to anybody.
    pub(super) statuses: Vec<MetricStatus>,
    /// Reasons and messages of events.
    pub(super) warnings: Vec<(&'static str, String)>,
    /// Reason and message of the condition, where nothing can be asked for.
    pub(super) inactive: Option<(&'static str, String)>,
    pub(super) error: Option<String>,
}

/// What one metric asks for.
struct Valued {
    replicas: i32,
    name: String,
    status: MetricStatus,
}

/// Why a metric asks for nothing: the event's and condition's reason, its words, and how the whole's error puts them.
struct Failure {
    reason: &'static str,
    words: String,
    act: String,
}

fn quantity(millis: i64) -> Wire {
    Quantity::from_millis(millis, Format::DecimalSi).to_wire()
}

fn millis(wire: Option<&Wire>) -> Option<i64> {
    wire.map(|wire| Quantity::lenient(wire).millis())
}

/// Evaluates all metrics. Where some cannot be read, the others may ask for more, but not for less.
pub(super) fn evaluate(
    metrics: &[MetricSpec],
    readings: &[Result<Reading, String>],
    workload: &Workload<'_>,
) -> Evaluated {
    let mut evaluated = Evaluated::default();
    let (mut invalid, mut first) = (0, None);
    let mut asked: Option<(i32, String)> = None;
    for (metric, reading) in metrics.iter().zip(readings) {
        match one(metric, reading, workload) {
            Ok(valued) => {
                if asked
                    .as_ref()
                    .is_none_or(|(most, _)| *most == 0 || valued.replicas > *most)
                {
                    asked = Some((valued.replicas, valued.name));
                }
                evaluated.statuses.push(valued.status);
            }
            Err(failure) => {
                invalid += 1;
                evaluated.warnings.push((failure.reason, failure.words.clone()));
                first.get_or_insert(failure);
            }
        }
    }
    if let Some(failure) = &first {
        let total = metrics.len();
        evaluated.error = Some(format!(
            "invalid metrics ({invalid} invalid out of {total}), first error is: {}: {}",
            failure.act, failure.words
        ));
    }
    let enough = asked.filter(|(most, _)| invalid == 0 || *most >= workload.replicas);
    if enough.is_none() {
        let words = |failure: &Failure| {
            let message = format!("the HPA was unable to compute the replica count: {}", failure.words);
            (failure.reason, message)
        };
        evaluated.inactive = first.as_ref().map(words);
    }
    evaluated.proposal = enough;
    evaluated
}

fn one(metric: &MetricSpec, reading: &Result<Reading, String>, workload: &Workload<'_>) -> Result<Valued, Failure> {
    if let Some(source) = &metric.resource {
        let (name, current) = resource(&source.name, None, &source.target, reading, workload);
        let act = format!("failed to get {} resource metric value", source.name);
        let (proposal, current) = current.map_err(|words| failure("FailedGetResourceMetric", act, words))?;
        let mut status = bare("Resource");
        status.resource = Some(ResourceMetricStatus {
            name: source.name.clone(),
            current,
        });
        return Ok(valued(proposal, name, status));
    }
    if let Some(source) = &metric.container_resource {
        let container = source.container.as_str();
        let (name, current) = resource(&source.name, Some(container), &source.target, reading, workload);
        let act = format!("failed to get {} container metric value", source.container);
        let (proposal, current) = current.map_err(|words| failure("FailedGetContainerResourceMetric", act, words))?;
        let mut status = bare("ContainerResource");
        status.container_resource = Some(ContainerResourceMetricStatus {
            name: source.name.clone(),
            container: source.container.clone(),
            current,
        });
        return Ok(valued(proposal, name, status));
    }
    custom(metric, reading, workload)
}

fn custom(metric: &MetricSpec, reading: &Result<Reading, String>, workload: &Workload<'_>) -> Result<Valued, Failure> {
    if let Some(source) = &metric.pods {
        let act = "failed to get pods metric value".to_owned();
        let target = millis(source.target.average_value.as_ref()).unwrap_or_default();
        let proposal = of_pods(reading).and_then(|values| by_mean(workload, values, "", target));
        let proposal = proposal.map_err(|words| failure("FailedGetPodsMetric", act, words))?;
        let mut status = bare("Pods");
        status.pods = Some(PodsMetricStatus {
            metric: source.metric.clone(),
            current: mean(&proposal),
        });
        return Ok(valued(proposal, format!("pods metric {}", source.metric.name), status));
    }
    if let Some(source) = &metric.object {
        let act = "failed to get object metric value".to_owned();
        // Validation lets both kinds of targets be there; the type decides.
        let shared = source.target.type_ == "AverageValue";
        let read = of_one(reading).and_then(|value| whole(value, &source.target, shared, workload, "object"));
        let proposal = read.map_err(|words| {
            let act = match shared {
                true => format!("{act}: failed to get {} object metric", source.metric.name),
                false => act,
            };
            failure("FailedGetObjectMetric", act, words)
        })?;
        let mut status = bare("Object");
        status.object = Some(ObjectMetricStatus {
            described_object: source.described_object.clone(),
            metric: source.metric.clone(),
            current: if shared { mean(&proposal) } else { value(&proposal) },
        });
        let name = if shared {
            outside(&source.metric)
        } else {
            format!("{} metric {}", source.described_object.kind, source.metric.name)
        };
        return Ok(valued(proposal, name, status));
    }
    let Some(source) = &metric.external else {
        let words = format!("unknown metric source type {:?}", metric.type_);
        return Err(failure("InvalidMetricSourceType", "invalid metric".to_owned(), words));
    };
    let act = format!("failed to get {} external metric value", source.metric.name);
    let shared = source.target.average_value.is_some();
    let read = of_one(reading).and_then(|value| whole(value, &source.target, shared, workload, "external"));
    let proposal = read.map_err(|words| {
        let name = &source.metric.name;
        let act = match (shared, source.target.value.is_some()) {
            (true, _) => format!("{act}: failed to get {name} external metric"),
            (false, true) => format!("{act}: failed to get external metric {name}"),
            (false, false) => act,
        };
        failure("FailedGetExternalMetric", act, words)
    })?;
    let mut status = bare("External");
    status.external = Some(ExternalMetricStatus {
        metric: source.metric.clone(),
        current: if shared { mean(&proposal) } else { value(&proposal) },
    });
    Ok(valued(proposal, outside(&source.metric), status))
}

fn bare(kind: &str) -> MetricStatus {
    MetricStatus {
        type_: kind.to_owned(),
        ..MetricStatus::default()
    }
}

fn valued(proposal: Proposal, name: String, status: MetricStatus) -> Valued {
    Valued {
        replicas: proposal.replicas,
        name,
        status,
    }
}

fn failure(reason: &'static str, act: String, words: String) -> Failure {
    Failure { reason, words, act }
}

fn outside(metric: &k8s_openapi::api::autoscaling::v2::MetricIdentifier) -> String {
    format!("external metric {}({})", metric.name, shown(metric.selector.as_ref()))
}

fn mean(proposal: &Proposal) -> MetricValueStatus {
    MetricValueStatus {
        average_value: Some(quantity(proposal.value)),
        average_utilization: proposal.utilization,
        value: None,
    }
}

fn value(proposal: &Proposal) -> MetricValueStatus {
    MetricValueStatus {
        value: Some(quantity(proposal.value)),
        ..MetricValueStatus::default()
    }
}

fn of_pods(reading: &Result<Reading, String>) -> Result<&PodValues, String> {
    match reading {
        Ok(Reading::Pods(values)) => Ok(values),
        Ok(Reading::Value(_)) => Err("the metric is not of pods".to_owned()),
        Err(error) => Err(error.clone()),
    }
}

fn of_one(reading: &Result<Reading, String>) -> Result<i64, String> {
    match reading {
        Ok(Reading::Value(value)) => Ok(*value),
        Ok(Reading::Pods(_)) => Err("the metric is of pods".to_owned()),
        Err(error) => Err(error.clone()),
    }
}

/// A metric of something else, whose value may be shared out among the pods.
fn whole(
    value: i64,
    target: &MetricTarget,
    shared: bool,
    workload: &Workload<'_>,
    kind: &str,
) -> Result<Proposal, String> {
    let (average, total) = (millis(target.average_value.as_ref()), millis(target.value.as_ref()));
    match (shared, average, total) {
        (true, Some(target), _) => Ok(by_share(workload, value, target)),
        (false, _, Some(target)) => by_value(workload, value, target),
        _ => Err(format!(
            "invalid {kind} metric source: neither a value target nor an average value target was set"
        )),
    }
}

/// What a resource's metric is called, and what it asks for.
fn resource(
    name: &str,
    container: Option<&str>,
    target: &MetricTarget,
    reading: &Result<Reading, String>,
    workload: &Workload<'_>,
) -> (String, Result<(Proposal, MetricValueStatus), String>) {
    let values = of_pods(reading);
    if let Some(target) = millis(target.average_value.as_ref()) {
        let proposal = values.and_then(|values| by_mean(workload, values, name, target));
        let proposal = proposal.map_err(|error| format!("failed to get {name} usage: {error}"));
        return (
            format!("{name} resource"),
            proposal.map(|proposal| (proposal, mean(&proposal))),
        );
    }
    let title = format!("{name} resource utilization (percentage of request)");
    let Some(target) = target.average_utilization else {
        let words = "invalid resource metric source: neither an average utilization target nor an average value (usage) target was set";
        return (title, Err(words.to_owned()));
    };
    let proposal = values.and_then(|values| by_utilization(workload, values, name, container, target));
    let proposal = proposal.map_err(|error| format!("failed to get {name} utilization: {error}"));
    (title, proposal.map(|proposal| (proposal, mean(&proposal))))
}
