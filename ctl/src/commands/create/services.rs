//! Generators of services and ingresses.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::{Common, Made};
use crate::error::Failure;

/// `create service`
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Service {
    /// Create a ClusterIP service
    Clusterip(ClusterIp),
    /// Create a NodePort service
    Nodeport(NodePort),
    /// Create a LoadBalancer service
    Loadbalancer(LoadBalancer),
    /// Create an ExternalName service
    Externalname(ExternalName),
}

/// `--tcp`
#[derive(Clone, Debug, Args)]
struct Ports {
    /// PORT or PORT:TARGETPORT; may be repeated
    #[arg(long, value_delimiter = ',')]
    tcp: Vec<String>,
}

/// `create service clusterip`
#[derive(Clone, Debug, Args)]
pub(crate) struct ClusterIp {
    name: String,
    #[command(flatten)]
    ports: Ports,
    /// The address to take, or None for a headless service
    #[arg(long)]
    clusterip: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// `create service nodeport`
#[derive(Clone, Debug, Args)]
pub(crate) struct NodePort {
    name: String,
    #[command(flatten)]
    ports: Ports,
    /// The port to take on every node
    #[arg(long)]
    node_port: Option<u16>,
    #[command(flatten)]
    common: Common,
}

/// `create service loadbalancer`
#[derive(Clone, Debug, Args)]
pub(crate) struct LoadBalancer {
    name: String,
    #[command(flatten)]
    ports: Ports,
    #[command(flatten)]
    common: Common,
}

/// `create service externalname`
#[derive(Clone, Debug, Args)]
pub(crate) struct ExternalName {
    name: String,
    #[command(flatten)]
    ports: Ports,
    /// The name that the service stands for
    #[arg(long)]
    external_name: String,
    #[command(flatten)]
    common: Common,
}

impl Ports {
    fn read(&self) -> Result<Vec<Value>, Failure> {
        self.tcp.iter().map(|text| service_port(text)).collect()
    }
}

fn service_port(text: &str) -> Result<Value, Failure> {
    let number = |text: &str| {
        text.parse::<u16>()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| Failure::usage(format!("invalid port {text:?}: must be between 1 and 65535, inclusive")))
    };
    let (port, target) = match text.split_once(':') {
        Some((port, target)) => (port, target),
        None => (text, text),
    };
    let target = if target.bytes().any(|b| b.is_ascii_alphabetic()) {
        json!(target)
    } else {
        json!(number(target)?)
    };
    Ok(json!({"name": text.replace(':', "-"), "port": number(port)?, "protocol": "TCP", "targetPort": target}))
}

impl Service {
    pub(super) fn make(&self) -> Result<(Made, Common), Failure> {
        let (name, kind, ports, refused, common) = match self {
            Self::Clusterip(s) => (
                &s.name,
                "ClusterIP",
                &s.ports,
                "failed to create ClusterIP service:",
                &s.common,
            ),
            Self::Nodeport(s) => (
                &s.name,
                "NodePort",
                &s.ports,
                "failed to create NodePort service:",
                &s.common,
            ),
            Self::Loadbalancer(s) => (
                &s.name,
                "LoadBalancer",
                &s.ports,
                "failed to create LoadBalancer service:",
                &s.common,
            ),
            Self::Externalname(s) => (
                &s.name,
                "ExternalName",
                &s.ports,
                "failed to create ExternalName service:",
                &s.common,
            ),
        };
        let mut ports = ports.read()?;
        let labels = json!({"app": name});
        let mut spec = json!({"type": kind, "selector": labels});
        let mut needs_ports = true;
        match self {
            Self::Clusterip(ClusterIp {
                clusterip: Some(address),
                ..
            }) => {
                spec["clusterIP"] = json!(address);
                if address == "None" {
                    needs_ports = false;
                } else if address.parse::<std::net::IpAddr>().is_err() {
                    return Err(Failure::usage(format!(
                        "invalid clusterIP: {address:?} is neither an IP address nor None"
                    )));
                }
            }
            Self::Nodeport(NodePort {
                node_port: Some(port), ..
            }) => {
                if let [only] = ports.as_mut_slice() {
                    only["nodePort"] = json!(port);
                }
            }
            Self::Externalname(service) => {
                spec["externalName"] = json!(service.external_name);
                needs_ports = false;
            }
            _ => {}
        }
        if needs_ports && ports.is_empty() {
            return Err(Failure::usage("at least one tcp port specifier must be provided"));
        }
        if !ports.is_empty() {
            spec["ports"] = json!(ports);
        }
        let object = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "labels": labels},
            "spec": spec, "status": {"loadBalancer": {}}});
        Ok((Made::new(object, refused), common.clone()))
    }
}

/// `create ingress`
#[derive(Clone, Debug, Args)]
pub(crate) struct Ingress {
    name: String,
    /// HOST/PATH=SERVICE:PORT[,tls[=SECRET]]; a path that ends in * is a prefix; may be repeated
    #[arg(long)]
    rule: Vec<String>,
    /// SERVICE:PORT for what no rule matches
    #[arg(long)]
    default_backend: Option<String>,
    /// The ingress class
    #[arg(long)]
    class: Option<String>,
    /// KEY=VALUE to annotate with; may be repeated
    #[arg(long)]
    annotation: Vec<String>,
    #[command(flatten)]
    pub(super) common: Common,
}

fn backend(text: &str) -> Option<Value> {
    let (service, port) = text.split_once(':')?;
    let port = match port.parse::<u16>() {
        Ok(number) => json!({ "number": number }),
        Err(_) => json!({ "name": port }),
    };
    Some(json!({"service": {"name": service, "port": port}}))
}

impl Ingress {
    pub(super) fn make(&self) -> Result<Made, Failure> {
        if self.rule.is_empty() && self.default_backend.is_none() {
            return Err(Failure::usage(
                "not enough information provided: every ingress has to either specify a default-backend (which catches all traffic) or a list of rules (which catch specific paths)",
            ));
        }
        let mut spec = Map::new();
        let (mut rules, mut tls): (Vec<Value>, Vec<Value>) = (Vec::new(), Vec::new());
        for text in &self.rule {
            let wrong = || {
                Failure::usage(format!(
                    "rule {text} is invalid and should be in format host/path=svcname:svcport[,tls[=secret]]"
                ))
            };
            let mut parts = text.split(',');
            let (place, target) = parts.next().and_then(|p| p.split_once('=')).ok_or_else(wrong)?;
            let slash = place.find('/').ok_or_else(wrong)?;
            let (host, path) = place.split_at(slash);
            let (path, kind) = match path.strip_suffix('*') {
                Some(prefix) => (prefix, "Prefix"),
                None => (path, "Exact"),
            };
            let path = json!({"path": path, "pathType": kind, "backend": backend(target).ok_or_else(wrong)?});
            let known = rules
                .iter_mut()
                .find(|rule| rule["host"].as_str().unwrap_or("") == host);
            match known.and_then(|rule| rule["http"]["paths"].as_array_mut()) {
                Some(paths) => paths.push(path),
                None if host.is_empty() => rules.push(json!({"http": {"paths": [path]}})),
                None => rules.push(json!({"host": host, "http": {"paths": [path]}})),
            }
            for part in parts {
                let (word, secret) = part.split_once('=').unwrap_or((part, ""));
                if word != "tls" {
                    return Err(wrong());
                }
                let mut entry = Map::new();
                if !host.is_empty() {
                    entry.insert("hosts".to_owned(), json!([host]));
                }
                if !secret.is_empty() {
                    entry.insert("secretName".to_owned(), json!(secret));
                }
                let entry = Value::Object(entry);
                if !tls.contains(&entry) {
                    tls.push(entry);
                }
            }
        }
        if let Some(text) = &self.default_backend {
            let wrong = || Failure::usage("default-backend should be in format servicename:serviceport");
            spec.insert("defaultBackend".to_owned(), backend(text).ok_or_else(wrong)?);
        }
        if let Some(class) = &self.class {
            spec.insert("ingressClassName".to_owned(), json!(class));
        }
        if !rules.is_empty() {
            spec.insert("rules".to_owned(), json!(rules));
        }
        if !tls.is_empty() {
            spec.insert("tls".to_owned(), json!(tls));
        }
        let mut metadata = json!({"name": self.name});
        for annotation in &self.annotation {
            let Some((key, value)) = annotation.split_once('=') else {
                return Err(Failure::usage(format!(
                    "annotation {annotation} is invalid and should be in format key=[value]"
                )));
            };
            metadata["annotations"][key] = json!(value);
        }
        let object = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata,
            "spec": spec, "status": {"loadBalancer": {}}});
        Ok(Made::new(object, "failed to create ingress:"))
    }
}
