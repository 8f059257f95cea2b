//! `expose` and `autoscale`: a Service, or an autoscaler, for what is there.

use clap::Args;
use serde_json::{Value, json};

use crate::commands::create::Common;
use crate::error::Failure;
use crate::output;
use crate::resolve;
use crate::session::Session;

/// `expose`'s flags.
#[derive(Clone, Debug, Args)]
pub(crate) struct Expose {
    /// TYPE NAME or TYPE/NAME: a pod, service, deployment, replica set or replication controller
    words: Vec<String>,
    /// The service's port; those of the containers without
    #[arg(long)]
    port: Option<u16>,
    /// The containers' port, as a number or a name
    #[arg(long)]
    target_port: Option<String>,
    /// TCP, UDP or SCTP
    #[arg(long, default_value = "TCP")]
    protocol: String,
    /// The service's name
    #[arg(long)]
    name: Option<String>,
    /// ClusterIP, NodePort, LoadBalancer or ExternalName
    #[arg(long = "type")]
    kind: Option<String>,
    /// The service's address, or None
    #[arg(long)]
    cluster_ip: Option<String>,
    /// An address of another that leads here
    #[arg(long)]
    external_ip: Option<String>,
    /// KEY=VALUE pairs that choose the pods
    #[arg(long, value_delimiter = ',')]
    selector: Vec<String>,
    /// KEY=VALUE pairs, separated by commas
    #[arg(short, long, value_delimiter = ',')]
    labels: Vec<String>,
    /// None or ClientIP
    #[arg(long)]
    session_affinity: Option<String>,
    #[command(flatten)]
    common: Common,
}

fn map(pairs: &[String]) -> Result<Value, Failure> {
    let mut map = serde_json::Map::new();
    for pair in pairs {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(Failure::usage(format!("{pair:?} is not KEY=VALUE")));
        };
        map.insert(key.to_owned(), json!(value));
    }
    Ok(Value::Object(map))
}

async fn find(session: &Session, words: &[String]) -> Result<Value, Failure> {
    let targets = resolve::targets(session, words).await?;
    let [target] = &targets[..] else {
        return Err(Failure::usage("name exactly one object"));
    };
    let Some(name) = &target.name else {
        return Err(Failure::usage("resource name may not be empty"));
    };
    session.get(&session.object(&target.resource, name)).await
}

impl Expose {
    fn service(&self, object: &Value) -> Result<Value, Failure> {
        let kind = object["kind"].as_str().unwrap_or("");
        let selector = if self.selector.is_empty() {
            match kind {
                "Pod" => object["metadata"]["labels"].clone(),
                "Service" | "ReplicationController" => object["spec"]["selector"].clone(),
                "Deployment" | "ReplicaSet" => {
                    let expressions = object["spec"]["selector"]["matchExpressions"].as_array();
                    if expressions.is_some_and(|all| !all.is_empty()) {
                        return Err(Failure::usage(
                            "couldn't convert expressions to a map: name the pods with --selector",
                        ));
                    }
                    object["spec"]["selector"]["matchLabels"].clone()
                }
                kind => return Err(Failure::usage(format!("cannot expose a {kind}"))),
            }
        } else {
            map(&self.selector)?
        };
        if selector.as_object().is_none_or(serde_json::Map::is_empty) {
            return Err(Failure::usage(
                "the object has no labels or selector and cannot be exposed",
            ));
        }
        let mut ports: Vec<(Value, Value)> = Vec::new();
        match self.port {
            Some(port) => ports.push((json!(port), json!(self.protocol))),
            None if kind == "Service" => {
                let own = object["spec"]["ports"].as_array().into_iter().flatten();
                ports.extend(own.map(|port| (port["port"].clone(), port["protocol"].clone())));
            }
            None => {
                let spec = if kind == "Pod" {
                    &object["spec"]
                } else {
                    &object["spec"]["template"]["spec"]
                };
                let containers = spec["containers"].as_array().into_iter().flatten();
                let own = containers.flat_map(|c| c["ports"].as_array().into_iter().flatten());
                ports.extend(own.map(|port| {
                    let protocol = port.get("protocol").cloned().unwrap_or_else(|| json!("TCP"));
                    (port["containerPort"].clone(), protocol)
                }));
            }
        }
        if ports.is_empty() {
            return Err(Failure::usage("couldn't find port via --port flag or introspection"));
        }
        let many = ports.len() > 1;
        let ports: Vec<Value> = ports
            .into_iter()
            .enumerate()
            .map(|(index, (port, protocol))| {
                let target = match &self.target_port {
                    Some(text) => text.parse::<u16>().map_or_else(|_| json!(text), |number| json!(number)),
                    None => port.clone(),
                };
                let mut entry = json!({"port": port, "protocol": protocol, "targetPort": target});
                if many {
                    entry["name"] = json!(format!("port-{}", index + 1));
                }
                entry
            })
            .collect();
        let name = self.name.as_deref().or_else(|| object["metadata"]["name"].as_str());
        let mut service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"ports": ports, "selector": selector}, "status": {"loadBalancer": {}}});
        let labels = if self.labels.is_empty() {
            object["metadata"]["labels"].clone()
        } else {
            map(&self.labels)?
        };
        if labels.is_object() {
            service["metadata"]["labels"] = labels;
        }
        for (field, value) in [
            ("type", &self.kind),
            ("clusterIP", &self.cluster_ip),
            ("sessionAffinity", &self.session_affinity),
        ] {
            if let Some(value) = value {
                service["spec"][field] = json!(value);
            }
        }
        if let Some(address) = &self.external_ip {
            service["spec"]["externalIPs"] = json!([address]);
        }
        Ok(service)
    }

    /// Carries the command out.
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let object = find(session, &self.words).await?;
        let mut service = self.service(&object)?;
        service["metadata"]["namespace"] = json!(session.namespace);
        let collection = format!("/api/v1/namespaces/{}/services", session.namespace);
        let common = Common {
            field_manager: "kubectl-expose".to_owned(),
            ..self.common
        };
        let made = common.send(session, &collection, service).await?;
        output::report(&made, "exposed", common.output.output.as_ref(), &common.dry_run)
    }
}

/// `autoscale`'s flags.
#[derive(Clone, Debug, Args)]
pub(crate) struct Autoscale {
    /// TYPE NAME or TYPE/NAME
    words: Vec<String>,
    /// The least replicas
    #[arg(long)]
    min: Option<u32>,
    /// The most replicas
    #[arg(long)]
    max: u32,
    /// The CPU to aim at, as 80% of what is requested, or as an amount
    #[arg(long)]
    cpu: Option<String>,
    /// The memory to aim at, as 80% of what is requested, or as an amount
    #[arg(long)]
    memory: Option<String>,
    /// The CPU to aim at, in percent of what is requested
    #[arg(long, conflicts_with = "cpu")]
    cpu_percent: Option<u32>,
    /// The autoscaler's name
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    common: Common,
}

impl Autoscale {
    /// Carries the command out.
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let object = find(session, &self.words).await?;
        let cpu = self
            .cpu
            .clone()
            .or_else(|| self.cpu_percent.map(|percent| format!("{percent}%")));
        let mut metrics = Vec::new();
        for (name, target) in [("cpu", cpu), ("memory", self.memory.clone())] {
            let Some(target) = target else { continue };
            let target = match target.strip_suffix('%') {
                Some(percent) => {
                    let percent: u32 = percent
                        .parse()
                        .map_err(|_| Failure::usage(format!("invalid --{name} {target:?}")))?;
                    json!({"type": "Utilization", "averageUtilization": percent})
                }
                None => {
                    let amount = timonel_api::quantity::canonical(&target)
                        .map_err(|error| Failure::usage(format!("invalid --{name} {target:?}: {error}")))?;
                    json!({"type": "AverageValue", "averageValue": amount})
                }
            };
            metrics.push(json!({"type": "Resource", "resource": {"name": name, "target": target}}));
        }
        let name = self.name.as_deref().or_else(|| object["metadata"]["name"].as_str());
        let mut spec = json!({"maxReplicas": self.max, "scaleTargetRef": {
            "apiVersion": object["apiVersion"], "kind": object["kind"], "name": object["metadata"]["name"]}});
        if let Some(min) = self.min {
            spec["minReplicas"] = json!(min);
        }
        if !metrics.is_empty() {
            spec["metrics"] = json!(metrics);
        }
        let scaler = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": name, "namespace": session.namespace}, "spec": spec});
        let common = Common {
            field_manager: "kubectl-autoscale".to_owned(),
            ..self.common
        };
        let collection = format!(
            "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers",
            session.namespace
        );
        let made = common.send(session, &collection, scaler).await?;
        output::report(&made, "autoscaled", common.output.output.as_ref(), &common.dry_run)
    }
}
