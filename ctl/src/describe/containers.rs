//! Containers: what they run, how they are, what they are given.

use serde_json::Value;

use super::page::Page;
use super::values::{go_list, is_true, list, number, or_none, quantities, some, text, time};

/// Adds all containers of one sort. Field references stand without their value, as kubectl shows them.
pub(super) fn containers(page: &mut Page, title: &str, all: &[Value], statuses: &[Value], space: &str) {
    let none = if all.is_empty() { " <none>" } else { "" };
    page.put(format_args!("{space}{title}:{none}\n"));
    for container in all {
        let name = text(container, "/name");
        let status = statuses.iter().find(|status| status["name"] == name);
        let name_indent = if space.is_empty() { "" } else { " " };
        page.line(1, format_args!("{name_indent}{name}:"));
        basics(page, container, status);
        words(page, "Command", list(container, "/command"));
        words(page, "Args", list(container, "/args"));
        if let Some(status) = status {
            state(page, "State", &status["state"]);
            if status["lastState"]["terminated"].is_object() {
                state(page, "Last State", &status["lastState"]);
            }
            let ready = if status["ready"] == true { "True" } else { "False" };
            page.field(2, "Ready", ready);
            page.field(2, "Restart Count", number(status, "/restartCount"));
        }
        for (title, field) in [("Limits", "limits"), ("Requests", "requests")] {
            let amounts = quantities(&container["resources"][field]);
            if !amounts.is_empty() {
                page.line(2, format_args!("{title}:"));
            }
            for (name, amount) in amounts {
                page.field(3, &name, amount);
            }
        }
        for (title, field) in [
            ("Liveness", "livenessProbe"),
            ("Readiness", "readinessProbe"),
            ("Startup", "startupProbe"),
        ] {
            if container[field].is_object() {
                page.field(2, title, probe(&container[field]));
            }
        }
        environment_sources(page, list(container, "/envFrom"));
        environment(page, container);
        mounts(page, container);
    }
}

fn basics(page: &mut Page, container: &Value, status: Option<&Value>) {
    if let Some(status) = status {
        page.field(2, "Container ID", text(status, "/containerID"));
    }
    page.field(2, "Image", text(container, "/image"));
    if let Some(status) = status {
        page.field(2, "Image ID", text(status, "/imageID"));
    }
    for (title, field) in [("Port", "/containerPort"), ("Host Port", "/hostPort")] {
        let ports: Vec<String> = list(container, "/ports")
            .iter()
            .map(|port| {
                let protocol = port["protocol"].as_str().unwrap_or("TCP");
                let shown = format!("{}/{protocol}", number(port, field));
                match text(port, "/name") {
                    "" => shown,
                    name => format!("{shown} ({name})"),
                }
            })
            .collect();
        let title = if ports.len() > 1 {
            format!("{title}s")
        } else {
            title.to_owned()
        };
        page.field(2, &title, or_none(&ports.join(", ")));
    }
    let profile = &container["securityContext"]["seccompProfile"];
    if profile.is_object() {
        page.field(2, "SeccompProfile", text(profile, "/type"));
        if profile["type"] == "Localhost" {
            page.field(3, "LocalhostProfile", text(profile, "/localhostProfile"));
        }
    }
}

fn words(page: &mut Page, title: &str, words: &[Value]) {
    if words.is_empty() {
        return;
    }
    page.line(2, format_args!("{title}:"));
    for word in words {
        for line in word.as_str().unwrap_or("").split('\n') {
            page.line(3, line);
        }
    }
}

fn state(page: &mut Page, title: &str, state: &Value) {
    if state["running"].is_object() {
        page.field(2, title, "Running");
        page.field(3, "Started", time(state, "/running/startedAt"));
    } else if let Some(ended) = state.get("terminated").filter(|ended| ended.is_object()) {
        page.field(2, title, "Terminated");
        for (title, pointer) in [("Reason", "/reason"), ("Message", "/message")] {
            let value = text(ended, pointer);
            if !value.is_empty() {
                page.field(3, title, value);
            }
        }
        page.field(3, "Exit Code", number(ended, "/exitCode"));
        if number(ended, "/signal") > 0 {
            page.field(3, "Signal", number(ended, "/signal"));
        }
        page.field(3, "Started", time(ended, "/startedAt"));
        page.field(3, "Finished", time(ended, "/finishedAt"));
    } else {
        page.field(2, title, "Waiting");
        let reason = text(state, "/waiting/reason");
        if !reason.is_empty() {
            page.field(3, "Reason", reason);
        }
    }
}

/// `exec [cat /x] delay=0s timeout=1s period=10s successThreshold=1 failureThreshold=3`
fn probe(probe: &Value) -> String {
    let attributes = format!(
        "delay={}s timeout={}s period={}s successThreshold={} failureThreshold={}",
        number(probe, "/initialDelaySeconds"),
        number(probe, "/timeoutSeconds"),
        number(probe, "/periodSeconds"),
        number(probe, "/successThreshold"),
        number(probe, "/failureThreshold")
    );
    let port = |handler: &Value| some(handler, "/port").unwrap_or_else(|| "0".to_owned());
    if probe["exec"].is_object() {
        format!("exec {} {attributes}", go_list(list(probe, "/exec/command")))
    } else if let Some(get) = probe.get("httpGet") {
        let scheme = text(get, "/scheme").to_lowercase();
        let scheme = if scheme.is_empty() {
            String::new()
        } else {
            format!("{scheme}:")
        };
        let (host, path) = (text(get, "/host"), text(get, "/path"));
        let slash = if path.is_empty() || path.starts_with('/') {
            ""
        } else {
            "/"
        };
        format!(
            "http-get {scheme}//{host}:{}{slash}{} {attributes}",
            port(get),
            escaped(path)
        )
    } else if let Some(socket) = probe.get("tcpSocket") {
        format!("tcp-socket {}:{} {attributes}", text(socket, "/host"), port(socket))
    } else if let Some(grpc) = probe.get("grpc") {
        format!("grpc <pod>:{} {} {attributes}", port(grpc), text(grpc, "/service"))
    } else {
        format!("unknown {attributes}")
    }
}

fn environment_sources(page: &mut Page, sources: &[Value]) {
    if sources.is_empty() {
        return;
    }
    page.line(2, "Environment Variables from:");
    for source in sources {
        let (kind, reference) = if source["configMapRef"].is_object() {
            ("ConfigMap", &source["configMapRef"])
        } else {
            ("Secret", &source["secretRef"])
        };
        let prefix = match text(source, "/prefix") {
            "" => String::new(),
            prefix => format!(" with prefix '{prefix}'"),
        };
        page.line(
            3,
            format_args!(
                "{}\t{kind}{prefix}\tOptional: {}",
                text(reference, "/name"),
                is_true(reference, "/optional")
            ),
        );
    }
}

fn environment(page: &mut Page, container: &Value) {
    let variables = list(container, "/env");
    if variables.is_empty() {
        page.line(2, "Environment:\t<none>");
        return;
    }
    page.line(2, "Environment:");
    for variable in variables {
        let (name, from) = (text(variable, "/name"), &variable["valueFrom"]);
        if let Some(field) = from.get("fieldRef") {
            let path = text(field, "/fieldPath");
            let version = field["apiVersion"].as_str().unwrap_or("v1");
            page.line(3, format_args!("{name}:\t ({version}:{path})"));
        } else if let Some(field) = from.get("resourceFieldRef") {
            let resource = text(field, "/resource");
            page.line(3, format_args!("{name}:\t{} ({resource})", amount(container, resource)));
        } else if let Some(key) = from.get("secretKeyRef") {
            page.line(3, reference(name, key, "in secret"));
        } else if let Some(key) = from.get("configMapKeyRef") {
            page.line(3, reference(name, key, "of config map"));
        } else {
            let mut lines = text(variable, "/value").split('\n');
            page.line(3, format_args!("{name}:\t{}", lines.next().unwrap_or("")));
            for line in lines {
                page.line(3, format_args!("\t{line}"));
            }
        }
    }
}

fn reference(name: &str, key: &Value, place: &str) -> String {
    format!(
        "{name}:\t<set to the key '{}' {place} '{}'>\tOptional: {}",
        text(key, "/key"),
        text(key, "/name"),
        is_true(key, "/optional")
    )
}

/// A path as it stands in a URL, with Go's idea of what needs no escape.
fn escaped(path: &str) -> String {
    let mut out = String::new();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out += &format!("%{byte:02X}");
        }
    }
    out
}

/// A resource of the container, in whole units, rounded up, as the kubelet passes it.
fn amount(container: &Value, resource: &str) -> String {
    let pointer = format!("/resources/{}", resource.replacen('.', "/", 1));
    let set = some(container, &pointer).and_then(|text| timonel_api::quantity::Quantity::parse(&text).ok());
    match set {
        Some(quantity) => quantity.value().to_string(),
        None if resource == "limits.cpu" || resource == "limits.memory" => "node allocatable".to_owned(),
        None => "0".to_owned(),
    }
}

fn mounts(page: &mut Page, container: &Value) {
    let mut mounts: Vec<&Value> = list(container, "/volumeMounts").iter().collect();
    mounts.sort_by_key(|mount| text(mount, "/mountPath"));
    page.line(
        2,
        if mounts.is_empty() {
            "Mounts:\t<none>"
        } else {
            "Mounts:"
        },
    );
    for mount in mounts {
        let mut flags = if is_true(mount, "/readOnly") { "ro" } else { "rw" }.to_owned();
        let path = text(mount, "/subPath");
        if !path.is_empty() {
            flags += &format!(",path={path:?}");
        }
        page.line(
            3,
            format_args!("{} from {} ({flags})", text(mount, "/mountPath"), text(mount, "/name")),
        );
    }
    let devices = list(container, "/volumeDevices");
    if !devices.is_empty() {
        page.line(2, "Devices:");
        for device in devices {
            page.line(
                3,
                format_args!("{} from {}", text(device, "/devicePath"), text(device, "/name")),
            );
        }
    }
}
