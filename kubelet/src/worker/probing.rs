//! Runs probes: one task per container and kind, which only asks and reports; thresholds are counted by the worker.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use tokio::sync::mpsc;

use super::{Shared, hooks};
use crate::pod::{ProbeKind, ProbeTask};
use crate::runtime::{NetworkProbe, ProbeOutcome};

/// What a probe task found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) task: ProbeTask,
    pub(super) at: Timestamp,
    pub(super) outcome: ProbeOutcome,
}

/// The probe of a kind.
pub(super) fn of_kind(container: &Container, kind: ProbeKind) -> Option<&Probe> {
    match kind {
        ProbeKind::Startup => container.startup_probe.as_ref(),
        ProbeKind::Liveness => container.liveness_probe.as_ref(),
        ProbeKind::Readiness => container.readiness_probe.as_ref(),
    }
}

/// A number of seconds with its default.
fn seconds(value: Option<i32>, default: u64) -> Duration {
    Duration::from_secs(
        value
            .and_then(|v| u64::try_from(v).ok())
            .filter(|v| *v > 0)
            .unwrap_or(default),
    )
}

/// Asks again and again until it is dropped.
pub(super) async fn run(
    shared: Arc<Shared>,
    pod: Arc<Pod>,
    container: Container,
    task: ProbeTask,
    started_at: Timestamp,
    found: mpsc::Sender<Found>,
) {
    let Some(probe) = of_kind(&container, task.kind).cloned() else {
        return;
    };
    let delay = Duration::from_secs(
        probe
            .initial_delay_seconds
            .and_then(|v| u64::try_from(v).ok())
            .unwrap_or(0),
    );
    let age = Duration::try_from(shared.clock.now().duration_since(started_at)).unwrap_or_default();
    tokio::time::sleep(delay.saturating_sub(age)).await;
    let mut ticker = tokio::time::interval(seconds(probe.period_seconds, 10));
    ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticker.tick().await;
        let outcome = ask(&shared, &pod, &container, &task.id, &probe).await;
        let at = shared.clock.now();
        let report = Found {
            task: task.clone(),
            at,
            outcome,
        };
        if found.send(report).await.is_err() {
            return;
        }
    }
}

async fn ask(shared: &Shared, pod: &Pod, container: &Container, id: &str, probe: &Probe) -> ProbeOutcome {
    let timeout = seconds(probe.timeout_seconds, 1);
    if let Some(action) = &probe.exec {
        let command = action.command.clone().unwrap_or_default();
        return hooks::exec(shared, id, &command, timeout).await;
    }
    let Some(ip) = shared.pod_ip(pod) else {
        return ProbeOutcome::Error {
            message: "the pod has no address".to_owned(),
        };
    };
    let question = if let Some(action) = &probe.http_get {
        hooks::http(container, action, &ip)
    } else if let Some(action) = &probe.tcp_socket {
        hooks::tcp(container, action, &ip)
    } else if let Some(action) = &probe.grpc {
        u16::try_from(action.port)
            .map(|port| NetworkProbe::Grpc {
                host: ip,
                port,
                service: action.service.clone().unwrap_or_default(),
            })
            .map_err(|_| format!("invalid port number: {}", action.port))
    } else {
        Err("missing probe handler".to_owned())
    };
    match question {
        Ok(question) => shared.runtime.probe_network(id, &question, timeout).await,
        Err(message) => ProbeOutcome::Error { message },
    }
}
