//! Prometheus' text form of what the node uses: `/metrics/resource` and `/metrics/cadvisor`, with upstream's names.

use std::fmt::{Display, Write as _};

use jiff::Timestamp;

use super::{ContainerUsage, Observed, PodUsage};

/// A text that grows by families of samples.
#[derive(Debug, Default)]
pub(crate) struct Text(String);

impl Text {
    /// Begins a family.
    pub(crate) fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// Adds a sample to the family that was begun last.
    pub(crate) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display, at: Option<Timestamp>) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let _ = write!(self.0, "{}{label}=\"", if index == 0 { '{' } else { ',' });
            for character in text.chars() {
                match character {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    other => self.0.push(other),
                }
            }
            self.0.push('"');
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = match at {
            Some(at) => writeln!(self.0, " {value} {}", at.as_millisecond()),
            None => writeln!(self.0, " {value}"),
        };
    }

    /// The whole text.
    pub(crate) fn finish(self) -> String {
        self.0
    }
}

/// Nanoseconds as seconds, without losing any.
fn seconds(nanos: u64) -> String {
    let (whole, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    if rest == 0 {
        return whole.to_string();
    }
    format!("{whole}.{rest:09}").trim_end_matches('0').to_owned()
}

fn since(at: Timestamp) -> String {
    let nanos = u64::try_from(at.as_nanosecond()).unwrap_or_default();
    seconds(nanos)
}

fn of_pod(pod: &PodUsage) -> [(&'static str, &str); 2] {
    [("namespace", &pod.namespace), ("pod", &pod.name)]
}

fn of_container<'a>(pod: &'a PodUsage, container: &'a ContainerUsage) -> [(&'static str, &'a str); 3] {
    [
        ("container", &container.stats.name),
        ("namespace", &pod.namespace),
        ("pod", &pod.name),
    ]
}

fn working_set(container: &ContainerUsage) -> u64 {
    let group = container.group.as_ref().and_then(|group| group.memory.as_ref());
    group.map_or(container.stats.memory_bytes, |memory| memory.working_set)
}

/// A value of something, where it was measured, and when.
type Measured<'a, T> = (&'a T, Option<(String, Timestamp)>);

/// Everything but containers that have just been made and not been measured.
fn containers(observed: &Observed) -> impl Iterator<Item = (&PodUsage, &ContainerUsage)> {
    observed
        .pods
        .iter()
        .flat_map(|pod| pod.containers.iter().map(move |container| (pod, container)))
}

/// `/metrics/resource`
pub(crate) fn resource(observed: &Observed) -> String {
    let mut text = Text::default();
    container_families(&mut text, observed);
    node_families(&mut text, observed);
    pod_families(&mut text, observed);
    let name = "resource_scrape_error";
    let help = "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise";
    text.family(name, "gauge", help);
    text.sample(name, &[], 0, None);
    text.finish()
}

/// What is answered in place of [`resource`] when the runtime does not answer.
pub(crate) fn scrape_error() -> String {
    let mut text = Text::default();
    let name = "resource_scrape_error";
    let help = "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise";
    text.family(name, "gauge", help);
    text.sample(name, &[], 1, None);
    text.finish()
}

fn container_families(text: &mut Text, observed: &Observed) {
    let name = "container_cpu_usage_seconds_total";
    let help = "[STABLE] Cumulative cpu time consumed by the container in core-seconds";
    text.family(name, "counter", help);
    for (pod, container) in containers(observed) {
        let value = seconds(container.stats.cpu_nanos);
        text.sample(name, &of_container(pod, container), value, Some(container.stats.at));
    }
    let name = "container_memory_working_set_bytes";
    let help = "[STABLE] Current working set of the container in bytes";
    text.family(name, "gauge", help);
    for (pod, container) in containers(observed) {
        let value = working_set(container);
        text.sample(name, &of_container(pod, container), value, Some(container.stats.at));
    }
    let name = "container_start_time_seconds";
    let help = "[STABLE] Start time of the container since unix epoch in seconds";
    text.family(name, "gauge", help);
    for (pod, container) in containers(observed) {
        if let Some(started) = container.started {
            text.sample(name, &of_container(pod, container), since(started), None);
        }
    }
}

fn node_families(text: &mut Text, observed: &Observed) {
    let machine = observed.machine.as_ref();
    let name = "node_cpu_usage_seconds_total";
    let help = "[STABLE] Cumulative cpu time consumed by the node in core-seconds";
    text.family(name, "counter", help);
    if let Some((machine, nanos)) = machine.and_then(|machine| Some((machine, machine.cpu_nanos?))) {
        text.sample(name, &[], seconds(nanos), Some(machine.at));
    }
    let name = "node_memory_working_set_bytes";
    let help = "[STABLE] Current working set of the node in bytes";
    text.family(name, "gauge", help);
    if let Some((machine, memory)) = machine.and_then(|machine| Some((machine, machine.memory?))) {
        text.sample(name, &[], memory.working_set, Some(machine.at));
    }
}

fn pod_families(text: &mut Text, observed: &Observed) {
    let cpu = |pod: &PodUsage| {
        let group = pod.group.as_ref()?;
        Some((seconds(group.cpu_nanos?), group.at))
    };
    let memory = |pod: &PodUsage| {
        let group = pod.group.as_ref()?;
        Some((group.memory?.working_set.to_string(), group.at))
    };
    let mut family = |name: &str, kind: &str, help: &str, values: Vec<Measured<'_, PodUsage>>| {
        text.family(name, kind, help);
        for (pod, value) in values {
            if let Some((value, at)) = value {
                text.sample(name, &of_pod(pod), value, Some(at));
            }
        }
    };
    family(
        "pod_cpu_usage_seconds_total",
        "counter",
        "[STABLE] Cumulative cpu time consumed by the pod in core-seconds",
        observed.pods.iter().map(|pod| (pod, cpu(pod))).collect(),
    );
    family(
        "pod_memory_working_set_bytes",
        "gauge",
        "[STABLE] Current working set of the pod in bytes",
        observed.pods.iter().map(|pod| (pod, memory(pod))).collect(),
    );
}

/// `/metrics/cadvisor`, those families that can be told from what is measured here. Labels are cAdvisor's, but for `id` and `name`,
/// which hold the container's id.
pub(crate) fn cadvisor(observed: &Observed) -> String {
    let mut text = Text::default();
    let mut family = |name: &str, kind: &str, help: &str, value: &dyn Fn(&ContainerUsage) -> Option<String>| {
        text.family(name, kind, help);
        for (pod, container) in containers(observed) {
            let Some(value) = value(container) else { continue };
            let mut labels = vec![("container", container.stats.name.as_str())];
            if name == "container_cpu_usage_seconds_total" {
                labels.push(("cpu", "total"));
            }
            labels.extend([
                ("id", container.stats.id.as_str()),
                ("image", container.image.as_str()),
                ("name", container.stats.id.as_str()),
            ]);
            labels.extend(of_pod(pod));
            text.sample(name, &labels, value, Some(container.stats.at));
        }
    };
    let memory = |container: &ContainerUsage| container.group.as_ref().and_then(|group| group.memory);
    family(
        "container_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed in seconds.",
        &|container| Some(seconds(container.stats.cpu_nanos)),
    );
    family(
        "container_memory_usage_bytes",
        "gauge",
        "Current memory usage in bytes, including all memory regardless of when it was accessed",
        &|container| memory(container).map(|memory| memory.usage.to_string()),
    );
    family(
        "container_memory_working_set_bytes",
        "gauge",
        "Current working set in bytes.",
        &|container| Some(working_set(container).to_string()),
    );
    family("container_memory_rss", "gauge", "Size of RSS in bytes.", &|container| {
        memory(container).map(|memory| memory.rss.to_string())
    });
    family(
        "container_fs_usage_bytes",
        "gauge",
        "Number of bytes that are consumed by the container on this filesystem.",
        &|container| Some(container.stats.disk_bytes.to_string()),
    );
    network(&mut text, observed);
    text.finish()
}

fn network(text: &mut Text, observed: &Observed) {
    type Counter = fn(&crate::runtime::InterfaceUsage) -> u64;
    let families: [(&str, &str, Counter); 4] = [
        (
            "container_network_receive_bytes_total",
            "Cumulative count of bytes received",
            |one| one.rx_bytes,
        ),
        (
            "container_network_receive_errors_total",
            "Cumulative count of errors encountered while receiving",
            |one| one.rx_errors,
        ),
        (
            "container_network_transmit_bytes_total",
            "Cumulative count of bytes transmitted",
            |one| one.tx_bytes,
        ),
        (
            "container_network_transmit_errors_total",
            "Cumulative count of errors encountered while transmitting",
            |one| one.tx_errors,
        ),
    ];
    for (name, help, counter) in families {
        text.family(name, "counter", help);
        for pod in observed.pods.iter().filter(|pod| !pod.host_network) {
            let Some(group) = &pod.group else { continue };
            for interface in &group.interfaces {
                let mut labels = vec![("interface", interface.name.as_str())];
                labels.extend(of_pod(pod));
                text.sample(name, &labels, counter(interface), Some(group.at));
            }
        }
    }
}
