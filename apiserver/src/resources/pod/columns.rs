//! The columns of `get pods`: the one-word status that upstream's printer distils from a pod (`printers/internalversion`).

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::cells::{age, human_duration, name};
use super::super::strategy::Column;
use super::super::value::{at, flag, has, int, list, text};

pub(super) const COLUMNS: &[Column] = &[
    Column::name(),
    Column::new("Ready"),
    Column::new("Status"),
    Column::new("Restarts"),
    Column::new("Age"),
    Column::wide("IP"),
    Column::wide("Node"),
    Column::wide("Nominated Node"),
    Column::wide("Readiness Gates"),
];

pub(super) fn row(pod: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (at(pod, "spec"), at(pod, "status"));
    let summary = Summary::of(pod);
    let or_none = |value: &str| json!(if value.is_empty() { "<none>" } else { value });
    let restarts = match summary.last_restart {
        Some(then) if summary.restarts > 0 => {
            format!(
                "{} ({} ago)",
                summary.restarts,
                human_duration(now.as_second() - then.as_second())
            )
        }
        _ => summary.restarts.to_string(),
    };
    let pod_ip = list(status, "podIPs")
        .first()
        .map_or_else(|| text(status, "podIP"), |ip| text(ip, "ip"));
    vec![
        name(pod),
        json!(format!("{}/{}", summary.ready, summary.total)),
        json!(summary.reason),
        json!(restarts),
        age(pod, now),
        or_none(pod_ip),
        or_none(text(spec, "nodeName")),
        or_none(text(status, "nominatedNodeName")),
        json!(readiness_gates(pod)),
    ]
}

fn readiness_gates(pod: &Value) -> String {
    let gates = list(at(pod, "spec"), "readinessGates");
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let conditions = list(at(pod, "status"), "conditions");
    let passed = gates
        .iter()
        .filter(|gate| {
            conditions
                .iter()
                .any(|c| text(c, "type") == text(gate, "conditionType") && text(c, "status") == "True")
        })
        .count();
    format!("{passed}/{}", gates.len())
}

struct Summary {
    ready: usize,
    total: usize,
    reason: String,
    restarts: i64,
    last_restart: Option<Timestamp>,
}

impl Summary {
    fn of(pod: &Value) -> Self {
        let (spec, status) = (at(pod, "spec"), at(pod, "status"));
        let mut summary = Summary {
            ready: 0,
            total: list(spec, "containers").len(),
            reason: [text(status, "reason"), text(status, "phase")]
                .into_iter()
                .find(|r| !r.is_empty())
                .unwrap_or("")
                .to_owned(),
            restarts: 0,
            last_restart: None,
        };
        if list(status, "conditions")
            .iter()
            .any(|c| text(c, "type") == "PodScheduled" && text(c, "reason") == "SchedulingGated")
        {
            summary.reason = "SchedulingGated".to_owned();
        }
        let initialising = summary.init_containers(spec, status);
        if !initialising || initialized_condition(status) {
            summary.containers(status);
        }
        if has(at(pod, "metadata"), "deletionTimestamp") {
            if text(status, "reason") == "NodeLost" {
                summary.reason = "Unknown".to_owned();
            } else if !matches!(text(status, "phase"), "Succeeded" | "Failed") {
                summary.reason = "Terminating".to_owned();
            }
        }
        summary
    }

    fn saw_restart(&mut self, container: &Value) {
        self.restarts += int(container, "restartCount").unwrap_or(0);
        let finished = at(at(at(container, "lastState"), "terminated"), "finishedAt");
        if let Some(then) = finished.as_str().and_then(|text| text.parse().ok()) {
            self.last_restart = self.last_restart.max(Some(then));
        }
    }

    /// Looks at init containers; says whether the pod is still initialising.
    fn init_containers(&mut self, spec: &Value, status: &Value) -> bool {
        let specs = list(spec, "initContainers");
        let restartable = |name: &str| {
            specs
                .iter()
                .any(|c| text(c, "name") == name && text(c, "restartPolicy") == "Always")
        };
        self.total += specs.iter().filter(|c| text(c, "restartPolicy") == "Always").count();
        for (index, container) in list(status, "initContainerStatuses").iter().enumerate() {
            let sidecar = restartable(text(container, "name"));
            self.saw_restart(container);
            let state = at(container, "state");
            let terminated = at(state, "terminated");
            if has(state, "terminated") && int(terminated, "exitCode") == Some(0) {
                continue;
            }
            if sidecar && flag(container, "started") {
                if flag(container, "ready") {
                    self.ready += 1;
                }
                continue;
            }
            self.reason = if has(state, "terminated") {
                format!("Init:{}", terminated_reason(terminated))
            } else {
                match text(at(state, "waiting"), "reason") {
                    "" | "PodInitializing" => format!("Init:{index}/{}", specs.len()),
                    reason => format!("Init:{reason}"),
                }
            };
            return true;
        }
        false
    }

    fn containers(&mut self, status: &Value) {
        let mut running = false;
        for container in list(status, "containerStatuses").iter().rev() {
            self.saw_restart(container);
            let state = at(container, "state");
            let waiting = text(at(state, "waiting"), "reason");
            if !waiting.is_empty() {
                self.reason = waiting.to_owned();
            } else if has(state, "terminated") {
                self.reason = terminated_reason(at(state, "terminated"));
            } else if flag(container, "ready") && has(state, "running") {
                running = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" && running {
            let ready = list(status, "conditions")
                .iter()
                .any(|c| text(c, "type") == "Ready" && text(c, "status") == "True");
            self.reason = if ready { "Running" } else { "NotReady" }.to_owned();
        }
    }
}

fn initialized_condition(status: &Value) -> bool {
    list(status, "conditions")
        .iter()
        .any(|c| text(c, "type") == "Initialized" && text(c, "status") == "True")
}

fn terminated_reason(terminated: &Value) -> String {
    match (text(terminated, "reason"), int(terminated, "signal").unwrap_or(0)) {
        ("", 0) => format!("ExitCode:{}", int(terminated, "exitCode").unwrap_or(0)),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pod: Value, ready: &str, status: &str, restarts: &str) {
        let now: Timestamp = "2026-01-01T00:10:00Z".parse().unwrap();
        let row = row(&pod, now);
        assert_eq!(row[1..4], [json!(ready), json!(status), json!(restarts)]);
    }

    #[test]
    fn a_crash_loop_shows_its_waiting_reason_and_when_it_last_restarted() {
        let pod = json!({
            "metadata": {"name": "a"}, "spec": {"containers": [{"name": "a"}]},
            "status": {"phase": "Running", "containerStatuses": [{
                "name": "a", "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:09:00Z"}}}]}});
        check(pod, "0/1", "CrashLoopBackOff", "3 (60s ago)");
    }

    #[test]
    fn an_init_container_shows_its_place() {
        let pod = json!({
            "metadata": {"name": "a"}, "spec": {"initContainers": [{"name": "i"}, {"name": "j"}], "containers": [{"name": "a"}]},
            "status": {"phase": "Pending", "initContainerStatuses": [
                {"name": "i", "state": {"terminated": {"exitCode": 0}}}, {"name": "j", "state": {"running": {}}}],
                "containerStatuses": [{"name": "a", "state": {"waiting": {"reason": "PodInitializing"}}}]}});
        check(pod, "0/1", "Init:1/2", "0");
    }

    #[test]
    fn deletion_shows_terminating() {
        let pod = json!({
            "metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"containers": [{"name": "a"}]},
            "status": {"phase": "Running", "containerStatuses": [{"name": "a", "ready": true, "state": {"running": {}}}]}});
        check(pod, "1/1", "Terminating", "0");
    }
}
