//! A container's environment: service variables, `envFrom`, `env`, in upstream's order and precedence.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use k8s_openapi::api::core::v1::{Container, EnvVarSource, Pod, Service};

use super::expansion::expand;
use super::{ConfigError, NodeSettings, References, fields};

/// Builds the environment.
///
/// # Errors
/// When something that is not optional is missing.
pub fn environment(
    pod: &Pod,
    container: &Container,
    references: &References,
    settings: &NodeSettings,
    ips: &[String],
) -> Result<Vec<(String, String)>, ConfigError> {
    let links = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.enable_service_links)
        .unwrap_or(true);
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let services = service_variables(&references.services, namespace, links);
    let mut from: BTreeMap<String, String> = BTreeMap::new();
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.clone().unwrap_or_default();
        if let Some(wanted) = &source.config_map_ref {
            match references.config_maps.get(&wanted.name).and_then(Option::as_ref) {
                Some(map) => {
                    for (key, value) in map.data.iter().flatten() {
                        from.insert(format!("{prefix}{key}"), value.clone());
                    }
                }
                None if wanted.optional == Some(true) => {}
                None => return Err(ConfigError(format!("configmap \"{}\" not found", wanted.name))),
            }
        }
        if let Some(wanted) = &source.secret_ref {
            match references.secrets.get(&wanted.name).and_then(Option::as_ref) {
                Some(secret) => {
                    for (key, value) in secret.data.iter().flatten() {
                        from.insert(format!("{prefix}{key}"), String::from_utf8_lossy(&value.0).into_owned());
                    }
                }
                None if wanted.optional == Some(true) => {}
                None => return Err(ConfigError(format!("secret \"{}\" not found", wanted.name))),
            }
        }
    }
    let mut result = from;
    let mut order: Vec<String> = result.keys().cloned().collect();
    // What `$(NAME)` may refer to: everything so far, services last.
    let mut known: BTreeMap<String, String> = services.clone();
    known.extend(result.clone());
    for variable in container.env.iter().flatten() {
        let value = match &variable.value_from {
            Some(source) => match from_source(pod, container, source, references, settings, ips)? {
                Some(value) => value,
                None => continue,
            },
            None => expand(variable.value.as_deref().unwrap_or_default(), &known),
        };
        known.insert(variable.name.clone(), value.clone());
        if result.insert(variable.name.clone(), value).is_none() {
            order.push(variable.name.clone());
        }
    }
    for (name, value) in services {
        if let Entry::Vacant(free) = result.entry(name) {
            order.push(free.key().clone());
            free.insert(value);
        }
    }
    Ok(order
        .into_iter()
        .filter_map(|name| result.get(&name).cloned().map(|value| (name, value)))
        .collect())
}

fn from_source(
    pod: &Pod,
    container: &Container,
    source: &EnvVarSource,
    references: &References,
    settings: &NodeSettings,
    ips: &[String],
) -> Result<Option<String>, ConfigError> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    if let Some(selector) = &source.field_ref {
        return fields::field(pod, &selector.field_path, settings, ips).map(Some);
    }
    if let Some(selector) = &source.resource_field_ref {
        return fields::resource(pod, &container.name, selector, settings).map(Some);
    }
    if let Some(selector) = &source.config_map_key_ref {
        let optional = selector.optional == Some(true);
        let Some(map) = references.config_maps.get(&selector.name).and_then(Option::as_ref) else {
            if optional {
                return Ok(None);
            }
            return Err(ConfigError(format!("configmap \"{}\" not found", selector.name)));
        };
        return match map.data.as_ref().and_then(|data| data.get(&selector.key)) {
            Some(value) => Ok(Some(value.clone())),
            None if optional => Ok(None),
            None => Err(ConfigError(format!(
                "couldn't find key {} in ConfigMap {namespace}/{}",
                selector.key, selector.name
            ))),
        };
    }
    if let Some(selector) = &source.secret_key_ref {
        let optional = selector.optional == Some(true);
        let Some(secret) = references.secrets.get(&selector.name).and_then(Option::as_ref) else {
            if optional {
                return Ok(None);
            }
            return Err(ConfigError(format!("secret \"{}\" not found", selector.name)));
        };
        return match secret.data.as_ref().and_then(|data| data.get(&selector.key)) {
            Some(value) => Ok(Some(String::from_utf8_lossy(&value.0).into_owned())),
            None if optional => Ok(None),
            None => Err(ConfigError(format!(
                "couldn't find key {} in Secret {namespace}/{}",
                selector.key, selector.name
            ))),
        };
    }
    Err(ConfigError(
        "an environment variable has an unsupported source".to_owned(),
    ))
}

/// The variables that tell about services: `NAME_SERVICE_HOST`, `NAME_SERVICE_PORT`, and the links of Docker's time.
pub fn service_variables(
    services: &[std::sync::Arc<Service>],
    namespace: &str,
    links: bool,
) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for service in services {
        let name = service.metadata.name.as_deref().unwrap_or_default();
        let home = service.metadata.namespace.as_deref().unwrap_or_default();
        let master = home == "default" && name == "kubernetes";
        if !(master || links && home == namespace) {
            continue;
        }
        let Some(spec) = &service.spec else { continue };
        let Some(ip) = spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty() && *ip != "None") else {
            continue;
        };
        let Some(first) = spec.ports.iter().flatten().next() else {
            continue;
        };
        let prefix = name.to_uppercase().replace('-', "_");
        variables.insert(format!("{prefix}_SERVICE_HOST"), ip.to_owned());
        variables.insert(format!("{prefix}_SERVICE_PORT"), first.port.to_string());
        for (index, port) in spec.ports.iter().flatten().enumerate() {
            if let Some(port_name) = port.name.as_deref().filter(|name| !name.is_empty()) {
                let suffix = port_name.to_uppercase().replace('-', "_");
                variables.insert(format!("{prefix}_SERVICE_PORT_{suffix}"), port.port.to_string());
            }
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let (lower, upper) = (protocol.to_lowercase(), protocol.to_uppercase());
            let host = if ip.contains(':') {
                format!("[{ip}]")
            } else {
                ip.to_owned()
            };
            let url = format!("{lower}://{host}:{}", port.port);
            if index == 0 {
                variables.insert(format!("{prefix}_PORT"), url.clone());
            }
            let stem = format!("{prefix}_PORT_{}_{upper}", port.port);
            variables.insert(format!("{stem}_PROTO"), lower);
            variables.insert(format!("{stem}_PORT"), port.port.to_string());
            variables.insert(format!("{stem}_ADDR"), ip.to_owned());
            variables.insert(stem, url);
        }
    }
    variables
}
