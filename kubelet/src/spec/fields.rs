//! The downward API: fields and resources of a pod as text.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, ResourceFieldSelector};
use timonel_api::quantity::Quantity;

use super::{ConfigError, NodeSettings};

/// Prints a map as the downward API's files show it: one `key="value"` a line.
fn map_text(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> = map
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    lines.join("\n")
}

/// Reads `fieldPath` of a pod. `ips` are the pod's addresses as far as they are known.
///
/// # Errors
/// When the path is not one that the downward API has.
pub fn field(pod: &Pod, path: &str, settings: &NodeSettings, ips: &[String]) -> Result<String, ConfigError> {
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref();
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let entry = |map: &Option<BTreeMap<String, String>>, key: &str| {
        map.as_ref().and_then(|map| map.get(key).cloned()).unwrap_or_default()
    };
    if let Some((map, key)) = path.strip_suffix("']").and_then(|path| path.split_once("['")) {
        return match map {
            "metadata.labels" => Ok(entry(&meta.labels, key)),
            "metadata.annotations" => Ok(entry(&meta.annotations, key)),
            _ => Err(ConfigError(format!("unsupported fieldPath: {path}"))),
        };
    }
    Ok(match path {
        "metadata.name" => text(&meta.name),
        "metadata.namespace" => text(&meta.namespace),
        "metadata.uid" => text(&meta.uid),
        "metadata.labels" => map_text(meta.labels.as_ref()),
        "metadata.annotations" => map_text(meta.annotations.as_ref()),
        "spec.nodeName" => settings.node_name.clone(),
        "spec.serviceAccountName" => spec.and_then(|s| s.service_account_name.clone()).unwrap_or_default(),
        "status.hostIP" => settings.node_ips.first().cloned().unwrap_or_default(),
        "status.hostIPs" => settings.node_ips.join(","),
        "status.podIP" => ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => ips.join(","),
        _ => return Err(ConfigError(format!("unsupported fieldPath: {path}"))),
    })
}

/// Reads `resourceFieldRef`. A limit that is not set is what the node can give.
///
/// # Errors
/// When the container or the resource does not exist.
pub fn resource(
    pod: &Pod,
    container: &str,
    selector: &ResourceFieldSelector,
    settings: &NodeSettings,
) -> Result<String, ConfigError> {
    let spec = pod.spec.clone().unwrap_or_default();
    let named = selector.container_name.as_deref().unwrap_or(container);
    let found = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
        .find(|candidate| candidate.name == named)
        .ok_or_else(|| ConfigError(format!("container {named} not found")))?;
    let resources = found.resources.clone().unwrap_or_default();
    let (kind, name) = selector
        .resource
        .split_once('.')
        .ok_or_else(|| ConfigError(format!("unsupported container resource : {}", selector.resource)))?;
    let limits = resources.limits.unwrap_or_default();
    let wire = match kind {
        "limits" => limits.get(name).cloned(),
        "requests" => resources
            .requests
            .unwrap_or_default()
            .get(name)
            .or(limits.get(name))
            .cloned(),
        _ => {
            return Err(ConfigError(format!(
                "unsupported container resource : {}",
                selector.resource
            )));
        }
    };
    let of_node = || {
        settings
            .allocatable
            .get(name)
            .and_then(|text| Quantity::parse(text).ok())
    };
    let value = wire
        .map(|wire| Quantity::lenient(&wire))
        .or_else(|| if kind == "limits" { of_node() } else { None });
    let Some(value) = value else { return Ok("0".to_owned()) };
    let divisor = selector
        .divisor
        .as_ref()
        .map(Quantity::lenient)
        .filter(|divisor| !divisor.is_zero());
    let nanos = divisor.map_or(1_000_000_000, |divisor| divisor.nanos()).max(1);
    // Rounded up, as upstream does.
    Ok(value
        .nanos()
        .div_euclid(nanos)
        .saturating_add(i128::from(value.nanos().rem_euclid(nanos) != 0))
        .to_string())
}
