//! Lifecycle hooks, and what they share with probes: asking a container something by command or over its network.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, HTTPGetAction, LifecycleHandler, Pod, TCPSocketAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Shared;
use crate::runtime::{NetworkProbe, ProbeOutcome, RuntimeError};

/// Finds a port by number or by name.
pub(super) fn port(container: &Container, port: &IntOrString) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let ports = container.ports.iter().flatten();
            let found = ports
                .into_iter()
                .find(|candidate| candidate.name.as_deref() == Some(name));
            match found {
                Some(found) => found.container_port,
                None => name
                    .parse()
                    .map_err(|_| format!("couldn't find port: {name} in {}", container.name))?,
            }
        }
    };
    u16::try_from(number)
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(|| format!("invalid port number: {number}"))
}

/// Turns an `httpGet` into a question.
pub(super) fn http(container: &Container, action: &HTTPGetAction, ip: &str) -> Result<NetworkProbe, String> {
    let headers = action.http_headers.iter().flatten();
    Ok(NetworkProbe::Http {
        scheme: action.scheme.as_deref().unwrap_or("HTTP").to_lowercase(),
        host: action
            .host
            .clone()
            .filter(|host| !host.is_empty())
            .unwrap_or_else(|| ip.to_owned()),
        port: port(container, &action.port)?,
        path: action.path.clone().unwrap_or_else(|| "/".to_owned()),
        headers: headers
            .map(|header| (header.name.clone(), header.value.clone()))
            .collect(),
    })
}

/// Turns a `tcpSocket` into a question.
pub(super) fn tcp(container: &Container, action: &TCPSocketAction, ip: &str) -> Result<NetworkProbe, String> {
    Ok(NetworkProbe::Tcp {
        host: action
            .host
            .clone()
            .filter(|host| !host.is_empty())
            .unwrap_or_else(|| ip.to_owned()),
        port: port(container, &action.port)?,
    })
}

/// Runs a command as a probe does.
pub(super) async fn exec(shared: &Shared, id: &str, command: &[String], timeout: Duration) -> ProbeOutcome {
    match shared.runtime.exec_sync(id, command, timeout).await {
        Ok(result) => {
            let mut output = result.stdout;
            output.extend(result.stderr);
            let output = String::from_utf8_lossy(&output).into_owned();
            if result.exit_code == 0 {
                ProbeOutcome::Success { output }
            } else {
                ProbeOutcome::Failure { output }
            }
        }
        Err(RuntimeError::Timeout(_)) => ProbeOutcome::Failure {
            output: format!(
                "command timed out: \"{}\" timed out after {}s",
                command.join(" "),
                timeout.as_secs()
            ),
        },
        Err(error) => ProbeOutcome::Error {
            message: error.to_string(),
        },
    }
}

/// Runs a hook; answers what went wrong.
///
/// # Errors
/// In words for an event.
pub(super) async fn run(
    shared: &Shared,
    pod: &Pod,
    container: &Container,
    id: &str,
    handler: &LifecycleHandler,
    limit: Duration,
) -> Result<(), String> {
    let name = &container.name;
    let ip = || {
        shared
            .pod_ip(pod)
            .ok_or_else(|| "failed to find networking container".to_owned())
    };
    let ask = async {
        if let Some(action) = &handler.exec {
            let command = action.command.clone().unwrap_or_default();
            let result = shared.runtime.exec_sync(id, &command, limit).await;
            return match result {
                Ok(result) if result.exit_code == 0 => Ok(()),
                Ok(result) => Err(format!(
                    "Exec lifecycle hook ({command:?}) for Container {name:?} in Pod {:?} failed - error: command '{}' exited with {}: {}, message: {:?}",
                    crate::pod::pod_key(pod),
                    command.join(" "),
                    result.exit_code,
                    String::from_utf8_lossy(&result.stderr),
                    String::from_utf8_lossy(&result.stdout),
                )),
                Err(error) => Err(error.to_string()),
            };
        }
        if let Some(action) = &handler.sleep {
            tokio::time::sleep(Duration::from_secs(u64::try_from(action.seconds).unwrap_or_default())).await;
            return Ok(());
        }
        let question = if let Some(action) = &handler.http_get {
            http(container, action, &ip()?)?
        } else if let Some(action) = &handler.tcp_socket {
            tcp(container, action, &ip()?)?
        } else {
            return Err("invalid handler: it says nothing".to_owned());
        };
        match shared.runtime.probe_network(id, &question, limit).await {
            ProbeOutcome::Success { .. } => Ok(()),
            ProbeOutcome::Failure { output } | ProbeOutcome::Error { message: output } => Err(output),
        }
    };
    match tokio::time::timeout(limit, ask).await {
        Ok(result) => result,
        Err(_) => Err(format!("the hook did not end within {}s", limit.as_secs())),
    }
}

impl Shared {
    /// The pod's main address as the runtime has it.
    pub(crate) fn pod_ip(&self, pod: &Pod) -> Option<String> {
        if pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true) {
            return Some(self.config.node_ip.to_string());
        }
        let snapshot = self.relist.latest();
        let known = snapshot.pods.get(pod.metadata.uid.as_deref().unwrap_or_default())?;
        known.sandboxes.first().and_then(|sandbox| sandbox.ips.first().cloned())
    }

    pub(crate) fn pod_ips(&self, pod: &Pod) -> Vec<String> {
        if pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true) {
            return vec![self.config.node_ip.to_string()];
        }
        let snapshot = self.relist.latest();
        let known = snapshot.pods.get(pod.metadata.uid.as_deref().unwrap_or_default());
        known
            .and_then(|pod| pod.sandboxes.first().map(|sandbox| sandbox.ips.clone()))
            .unwrap_or_default()
    }
}
