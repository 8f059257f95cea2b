//! Where a request is to go: a kubelet, a node's port, a pod's port, or one of the endpoints of a service.

use std::sync::Arc;

use serde_json::Value;

use super::Call;
use crate::error::ApiError;
use crate::reader::ObjectReader;

/// Kubelets listen here unless their Node says otherwise.
const KUBELET_PORT: u16 = 10250;

/// Somebody to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Backend {
    /// An address or a name.
    pub(super) host: String,
    pub(super) port: u16,
    /// Speaks TLS with a certificate of the cluster's authority: kubelets do.
    pub(super) kubelet: bool,
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The pod that a call names.
pub(super) fn pod(reader: &dyn ObjectReader, call: &Call<'_>) -> Result<Arc<Value>, ApiError> {
    reader
        .get("pods", call.namespace, call.name)
        .ok_or_else(|| ApiError::not_found("pods", call.name))
}

/// The kubelet of a node.
pub(super) fn kubelet(reader: &dyn ObjectReader, node: &str) -> Result<Backend, ApiError> {
    let stored = reader
        .get("nodes", "", node)
        .ok_or_else(|| ApiError::not_found("nodes", node))?;
    let status = &stored["status"];
    let known = items(&status["addresses"]);
    let address = ["InternalIP", "ExternalIP", "InternalDNS", "Hostname"]
        .iter()
        .find_map(|kind| known.iter().find(|address| text(&address["type"]) == *kind))
        .map(|address| text(&address["address"]).to_owned())
        .ok_or_else(|| {
            ApiError::internal(format!(
                "no preferred addresses found; known addresses: {}",
                status["addresses"]
            ))
        })?;
    let port = status["daemonEndpoints"]["kubeletEndpoint"]["Port"]
        .as_u64()
        .and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port > 0);
    Ok(Backend {
        host: address,
        port: port.unwrap_or(KUBELET_PORT),
        kubelet: true,
    })
}

/// `[scheme:]name[:port]`
struct Named<'a> {
    scheme: &'a str,
    name: &'a str,
    port: &'a str,
}

fn split(reference: &str) -> Result<Named<'_>, ApiError> {
    let parts: Vec<&str> = reference.split(':').collect();
    let named = match parts.as_slice() {
        [name] => Named {
            scheme: "",
            name,
            port: "",
        },
        [name, port] => Named { scheme: "", name, port },
        [scheme, name, port] => Named { scheme, name, port },
        _ => return Err(ApiError::bad_request(format!("invalid request {reference:?}"))),
    };
    match named.scheme {
        "" | "http" => Ok(named),
        "https" => Ok(named),
        _ => Err(ApiError::bad_request(format!("invalid request {reference:?}"))),
    }
}

fn plain_only(named: &Named<'_>) -> Result<(), ApiError> {
    if named.scheme == "https" {
        return Err(ApiError::not_implemented("proxying to an https port"));
    }
    Ok(())
}

fn number(port: &str) -> Result<u16, ApiError> {
    port.parse()
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| ApiError::bad_request(format!("invalid port {port:?}")))
}

/// A node's kubelet, or another port of the node.
pub(super) fn node(reader: &dyn ObjectReader, reference: &str) -> Result<Backend, ApiError> {
    let named = split(reference)?;
    let kubelet = kubelet(reader, named.name)?;
    if named.port.is_empty() {
        return Ok(kubelet);
    }
    let port = number(named.port)?;
    if port == kubelet.port {
        return Ok(kubelet);
    }
    plain_only(&named)?;
    proxyable(&kubelet.host)?;
    Ok(Backend {
        host: kubelet.host,
        port,
        kubelet: false,
    })
}

/// Nobody is sent to the API server's own loopback, nor to link-local addresses, where clouds keep their credentials.
fn proxyable(host: &str) -> Result<(), ApiError> {
    let refused = match host.parse() {
        Ok(std::net::IpAddr::V4(ip)) => {
            ip.is_loopback() || ip.is_link_local() || ip.is_multicast() || ip.is_unspecified()
        }
        Ok(std::net::IpAddr::V6(ip)) => {
            ip.is_loopback() || ip.is_unicast_link_local() || ip.is_multicast() || ip.is_unspecified()
        }
        Err(_) => false,
    };
    if refused {
        return Err(ApiError::bad_request("address not allowed"));
    }
    Ok(())
}

/// A port of a pod: the one named, or the first that a container declares.
pub(super) fn pod_port(reader: &dyn ObjectReader, call: &Call<'_>) -> Result<Backend, ApiError> {
    let named = split(call.name)?;
    plain_only(&named)?;
    let pod = pod(
        reader,
        &Call {
            name: named.name,
            ..*call
        },
    )?;
    let declared = || {
        items(&pod["spec"]["containers"])
            .iter()
            .find_map(|container| items(&container["ports"]).first())
            .and_then(|port| u16::try_from(port["containerPort"].as_u64()?).ok())
    };
    let port = match named.port {
        "" => declared().unwrap_or(80),
        port => number(port)?,
    };
    let host = text(&pod["status"]["podIP"]).to_owned();
    if host.is_empty() {
        return Err(ApiError::Unavailable(format!("pod {} has no IP", named.name)));
    }
    proxyable(&host)?;
    Ok(Backend {
        host,
        port,
        kubelet: false,
    })
}

/// One of the ready endpoints of a service; `pick` says which.
pub(super) fn service(reader: &dyn ObjectReader, call: &Call<'_>, pick: u64) -> Result<Backend, ApiError> {
    let named = split(call.name)?;
    plain_only(&named)?;
    let service = reader
        .get("services", call.namespace, named.name)
        .ok_or_else(|| ApiError::not_found("services", named.name))?;
    let ports = items(&service["spec"]["ports"]);
    let wanted = match named.port {
        "" => match ports {
            [one] => Some(one),
            _ => ports.iter().find(|port| text(&port["name"]).is_empty()),
        },
        asked => ports.iter().find(|port| {
            text(&port["name"]) == asked || port["port"].as_u64().is_some_and(|number| number.to_string() == asked)
        }),
    };
    let Some(wanted) = wanted else {
        return Err(ApiError::Unavailable(format!(
            "no service port {:?} found for service {:?}",
            named.port, named.name
        )));
    };
    let port_name = text(&wanted["name"]);
    let mut choices = Vec::new();
    for slice in reader.list("endpointslices.discovery.k8s.io", Some(call.namespace)) {
        if text(&slice["metadata"]["labels"]["kubernetes.io/service-name"]) != named.name {
            continue;
        }
        let Some(port) = items(&slice["ports"])
            .iter()
            .find(|port| text(&port["name"]) == port_name)
            .and_then(|port| u16::try_from(port["port"].as_u64()?).ok())
        else {
            continue;
        };
        let ready = |endpoint: &&Value| endpoint["conditions"]["ready"] != false;
        for endpoint in items(&slice["endpoints"]).iter().filter(ready) {
            for address in items(&endpoint["addresses"]) {
                choices.push((text(address).to_owned(), port));
            }
        }
    }
    choices.sort();
    let count = u64::try_from(choices.len()).unwrap_or(u64::MAX);
    let chosen = pick
        .checked_rem(count)
        .and_then(|at| usize::try_from(at).ok())
        .and_then(|at| choices.into_iter().nth(at));
    let Some((host, port)) = chosen else {
        return Err(ApiError::Unavailable(format!(
            "no endpoints available for service {:?}",
            named.name
        )));
    };
    proxyable(&host)?;
    Ok(Backend {
        host,
        port,
        kubelet: false,
    })
}
