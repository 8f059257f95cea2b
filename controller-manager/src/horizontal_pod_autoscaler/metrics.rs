//! Reads metrics through the API: metrics.k8s.io, which the server answers by itself, and custom.metrics.k8s.io and
//! external.metrics.k8s.io where somebody serves them. Errors are upstream's words.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{MetricIdentifier, MetricSpec, ObjectMetricSource};
use serde_json::Value;
use timonel_api::duration;
use timonel_api::quantity::Quantity;
use timonel_api::selector::LabelSelector;

use super::observe::{PodValue, PodValues, Reading};
use super::target;

/// The window of metrics that say none; upstream's.
const WINDOW: Duration = Duration::from_secs(60);

/// Escapes a query's value.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            escaped.push(byte.into());
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

fn items<'a>(list: &'a Value, api: &str) -> Result<&'a [Value], String> {
    let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    if items.is_empty() {
        return Err(format!("no metrics returned from {api} metrics API"));
    }
    Ok(items)
}

fn millis(value: &Value) -> Option<i64> {
    Quantity::parse(value.as_str()?).ok().map(|quantity| quantity.millis())
}

fn time(object: &Value) -> Timestamp {
    let at = object["timestamp"].as_str().and_then(|text| text.parse().ok());
    at.unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Reads what one metric of a spec is about.
pub(super) async fn read(
    client: &kube::Client,
    namespace: &str,
    selector: &str,
    metric: &MetricSpec,
) -> Result<Reading, String> {
    if let Some(source) = &metric.resource {
        return resource(client, namespace, selector, &source.name, None).await;
    }
    if let Some(source) = &metric.container_resource {
        return resource(client, namespace, selector, &source.name, Some(&source.container)).await;
    }
    if let Some(source) = &metric.pods {
        return pods(client, namespace, selector, &source.metric).await;
    }
    if let Some(source) = &metric.object {
        return object(client, namespace, source).await;
    }
    match &metric.external {
        Some(source) => external(client, namespace, &source.metric).await,
        None => Err(format!("unknown metric source type {:?}", metric.type_)),
    }
}

async fn resource(
    client: &kube::Client,
    namespace: &str,
    selector: &str,
    name: &str,
    container: Option<&str>,
) -> Result<Reading, String> {
    let path = format!(
        "/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods?labelSelector={}",
        escape(selector)
    );
    let list = target::get(client, &path, "pods.metrics.k8s.io").await;
    let list = list.map_err(|error| format!("unable to fetch metrics from resource metrics API: {error}"));
    let values = list.and_then(|list| of_pods(items(&list, "resource")?, name, container));
    values
        .map(Reading::Pods)
        .map_err(|error| format!("unable to get metrics for resource {name}: {error}"))
}

/// A pod of which any container is not measured is missing.
pub(super) fn of_pods(items: &[Value], resource: &str, container: Option<&str>) -> Result<PodValues, String> {
    let mut values = BTreeMap::new();
    for item in items {
        let text = |field: &str| item["metadata"][field].as_str().unwrap_or_default();
        let containers = item["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
        let value = match container {
            Some(name) => {
                let found = containers.iter().find(|container| container["name"] == name);
                let found = found.ok_or_else(|| {
                    let (namespace, pod) = (text("namespace"), text("name"));
                    format!("failed to get container metrics: container {name} not present in metrics for pod {namespace}/{pod}")
                })?;
                millis(&found["usage"][resource])
            }
            None if containers.is_empty() => None,
            None => containers
                .iter()
                .map(|container| millis(&container["usage"][resource]))
                .sum(),
        };
        let window = item["window"].as_str().and_then(duration::parse).unwrap_or_default();
        values.extend(value.map(|value| {
            let value = PodValue {
                value,
                at: time(item),
                window,
            };
            (text("name").to_owned(), value)
        }));
    }
    Ok(values)
}

/// The version of custom.metrics.k8s.io that is served.
async fn custom(client: &kube::Client) -> Result<String, String> {
    let group = target::get(client, "/apis/custom.metrics.k8s.io", "custom.metrics.k8s.io").await;
    let served = group.ok().map(|group| group["versions"].clone()).unwrap_or_default();
    let serves = |version: &str| {
        let mut served = served.as_array().into_iter().flatten();
        served.any(|known| known["version"] == version)
    };
    let known = ["v1beta2", "v1beta1"].into_iter().find(|version| serves(version));
    let version = known.ok_or("no custom metrics API (custom.metrics.k8s.io) registered")?;
    Ok(format!("/apis/custom.metrics.k8s.io/{version}"))
}

fn label_selector(metric: &MetricIdentifier) -> Result<String, String> {
    let Some(selector) = &metric.selector else {
        return Ok(String::new());
    };
    let parsed = LabelSelector::from_typed(selector).map_err(|error| error.to_string())?;
    Ok(parsed.to_string())
}

/// A list of custom metrics, whatever they are of.
async fn custom_list(
    client: &kube::Client,
    place: &str,
    selector: &str,
    metric: &MetricIdentifier,
) -> Result<Vec<Value>, String> {
    let fetched = async {
        let query = [
            ("labelSelector", selector.to_owned()),
            ("metricLabelSelector", label_selector(metric)?),
        ];
        let query: Vec<String> = query
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("{name}={}", escape(value)))
            .collect();
        let path = format!("{}/{place}/{}?{}", custom(client).await?, metric.name, query.join("&"));
        target::get(client, &path, "custom.metrics.k8s.io").await
    };
    let list = fetched.await;
    let list = list.map_err(|error| format!("unable to fetch metrics from custom metrics API: {error}"))?;
    Ok(items(&list, "custom")?.to_vec())
}

async fn pods(
    client: &kube::Client,
    namespace: &str,
    selector: &str,
    metric: &MetricIdentifier,
) -> Result<Reading, String> {
    let place = format!("namespaces/{namespace}/pods/*");
    let list = custom_list(client, &place, selector, metric).await;
    let list = list.map_err(|error| format!("unable to get metric {}: {error}", metric.name))?;
    let values = list.iter().filter_map(|item| {
        let value = PodValue {
            value: millis(&item["value"])?,
            at: time(item),
            window: item["windowSeconds"].as_u64().map_or(WINDOW, Duration::from_secs),
        };
        Some((item["describedObject"]["name"].as_str()?.to_owned(), value))
    });
    Ok(Reading::Pods(values.collect()))
}

async fn object(client: &kube::Client, namespace: &str, source: &ObjectMetricSource) -> Result<Reading, String> {
    let (of, metric) = (&source.described_object, &source.metric);
    let fetched = async {
        let (group, version) = target::group_version(of.api_version.as_deref().unwrap_or_default())?;
        // A namespace is the place of its own metrics.
        let place = if group.is_empty() && of.kind == "Namespace" {
            format!("namespaces/{}/metrics", of.name)
        } else {
            let (_, plural) = target::resource(client, group, version, &of.kind).await?;
            let resource = if group.is_empty() {
                plural
            } else {
                format!("{plural}.{group}")
            };
            format!("namespaces/{namespace}/{resource}/{}", of.name)
        };
        custom_list(client, &place, "", metric).await
    };
    let list = fetched.await;
    let value = list.and_then(|list| {
        let value = list.first().and_then(|item| millis(&item["value"]));
        value.ok_or_else(|| "the metric has no value".to_owned())
    });
    value.map(Reading::Value).map_err(|error| {
        let (metric, kind, name) = (&metric.name, &of.kind, &of.name);
        format!("unable to get metric {metric}: {kind} on {namespace} {name}/{error}")
    })
}

async fn external(client: &kube::Client, namespace: &str, metric: &MetricIdentifier) -> Result<Reading, String> {
    let fetched = async {
        let selector = escape(&label_selector(metric)?);
        let path = format!(
            "/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{}?labelSelector={selector}",
            metric.name
        );
        let what = format!("{}.external.metrics.k8s.io", metric.name);
        let list = target::get(client, &path, &what).await;
        list.map_err(|error| format!("unable to fetch metrics from external metrics API: {error}"))
    };
    let sum = fetched.await.and_then(|list| {
        let values = items(&list, "external")?
            .iter()
            .filter_map(|item| millis(&item["value"]));
        Ok(values.fold(0_i64, i64::saturating_add))
    });
    sum.map(Reading::Value).map_err(|error| {
        let selector = super::plan::shown(metric.selector.as_ref());
        format!(
            "unable to get external metric {namespace}/{}/{selector}: {error}",
            metric.name
        )
    })
}
