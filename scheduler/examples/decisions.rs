//! Measures decisions in process, on hollow nodes, without a server: snapshot, decide, assume, for one pod after another.
//!
//! ```text
//! cargo run --release -p timonel-scheduler --example decisions -- [--nodes 5000] [--pods 10000] [--init 1000] [--shape plain]
//! ```
//!
//! Shapes: `plain` (pods of Deployments with requests), `anti-affinity` (each on a host of its own, against those before), `affinity`
//! (all in one zone), `spread` (required, over zones and hosts), `full` (no node has room: the reasons of all nodes).
#![allow(clippy::print_stdout, missing_docs)]

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use timonel_api::selector::LabelSelector;
use timonel_scheduler::cluster::Cluster;
use timonel_scheduler::pod_info::PodInfo;
use timonel_scheduler::{Profile, Turn, decide_for};
use tokio::time::Instant;

type Failure = Box<dyn std::error::Error>;

struct Args {
    nodes: usize,
    pods: usize,
    init: usize,
    shape: String,
}

fn args() -> Result<Args, Failure> {
    let mut args = Args {
        nodes: 5000,
        pods: 10_000,
        init: 1000,
        shape: "plain".to_owned(),
    };
    let mut words = std::env::args().skip(1);
    while let Some(flag) = words.next() {
        let value = words.next().ok_or_else(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--nodes" => args.nodes = value.parse()?,
            "--pods" => args.pods = value.parse()?,
            "--init" => args.init = value.parse()?,
            "--shape" => args.shape = value,
            _ => return Err(format!("unknown flag {flag}").into()),
        }
    }
    Ok(args)
}

/// A node as a cloud makes them: a dozen labels, ten images, three zones.
fn node(at: usize) -> Result<k8s_openapi::api::core::v1::Node, Failure> {
    let name = format!("node-{at:05}");
    let images: Vec<Value> = (0..10)
        .map(
            |image| json!({"names": [format!("registry.example/image-{image}:1.{}", at % 3)], "sizeBytes": 50_000_000}),
        )
        .collect();
    let labels = json!({
        "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
        "beta.kubernetes.io/os": "linux", "beta.kubernetes.io/arch": "amd64", "node.kubernetes.io/instance-type": "m8",
        "topology.kubernetes.io/region": "r", "topology.kubernetes.io/zone": format!("zone-{}", at % 3),
    });
    Ok(serde_json::from_value(json!({
        "metadata": {"name": name, "labels": labels},
        "status": {
            "allocatable": {"cpu": "4", "memory": "32Gi", "pods": "110", "ephemeral-storage": "100Gi"}, "images": images,
        },
    }))?)
}

fn pod(at: usize, shape: &str) -> Result<PodInfo, Failure> {
    let group = format!("app-{}", at % 20);
    let mut spec = json!({"containers": [{
        "name": "c", "image": "registry.example/image-3:1.0", "resources": {"requests": {"cpu": "100m", "memory": "500Mi"}},
    }]});
    let mut labels = json!({"app": group});
    let term = |key: &str| json!([{"labelSelector": {"matchLabels": {"color": "green"}}, "topologyKey": key}]);
    match shape {
        "plain" => {}
        "anti-affinity" => {
            labels["color"] = "green".into();
            spec["affinity"] = json!({"podAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": term("kubernetes.io/hostname"),
            }});
        }
        "affinity" => {
            labels["color"] = "green".into();
            spec["affinity"] = json!({"podAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": term("topology.kubernetes.io/zone"),
            }});
        }
        "spread" => {
            labels["color"] = "green".into();
            let constraint = |key: &str, skew| {
                json!({
                    "maxSkew": skew, "topologyKey": key, "whenUnsatisfiable": "DoNotSchedule",
                    "labelSelector": {"matchLabels": {"color": "green"}},
                })
            };
            spec["topologySpreadConstraints"] = json!([
                constraint("topology.kubernetes.io/zone", 1),
                constraint("kubernetes.io/hostname", 5)
            ]);
        }
        "full" => spec["containers"][0]["resources"]["requests"]["cpu"] = "5".into(),
        _ => return Err(format!("unknown shape {shape}").into()),
    }
    let pod = json!({
        "metadata": {"name": format!("p-{at}"), "namespace": "bench", "uid": format!("uid-{at:06}"), "labels": labels},
        "spec": spec,
    });
    let selector = LabelSelector::parse(&format!("app={group}"))?;
    Ok(PodInfo::new(Arc::new(serde_json::from_value(pod)?), Some(selector)))
}

fn resident() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kilobytes.map_or_else(|| "unknown".to_owned(), |kilobytes| format!("{} MB", kilobytes / 1024))
}

fn main() -> Result<(), Failure> {
    let args = args()?;
    let mut cluster = Cluster::default();
    for at in 0..args.nodes {
        cluster.set_node(Arc::new(node(at)?));
    }
    let profile = Profile::default();
    let (mut start, mut placed, mut random) = (0, 0, 1u64);
    let mut times = Vec::with_capacity(args.pods);
    let begun = Instant::now();
    let mut elapsed = Duration::ZERO;
    for at in 0..args.init + args.pods {
        // The pod as the informer has it; working it out is part of what is measured.
        let raw = Arc::clone(&pod(at, if at < args.init { "plain" } else { &args.shape })?.pod);
        let selector = LabelSelector::parse(&format!("app=app-{}", at % 20))?;
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let before = Instant::now();
        let info = Arc::new(PodInfo::new(raw, Some(selector)));
        cluster.attend_to(&profile, &info);
        let snapshot = cluster.snapshot();
        let turn = Turn {
            start,
            tie: random >> 33,
            thorough: false,
        };
        let decision = decide_for(&profile, &info, &snapshot, turn);
        start = decision.next_start;
        if let Some(node) = decision.node.clone() {
            drop((snapshot, decision));
            cluster.assume(info, &node);
            placed += usize::from(at >= args.init);
        } else {
            std::hint::black_box(decision.message());
        }
        if at >= args.init {
            times.push(before.elapsed());
            elapsed += before.elapsed();
        }
    }
    times.sort();
    let at = |percent: usize| {
        times
            .get((times.len() * percent / 100).min(times.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    };
    println!(
        "decisions, {}, {} nodes: {} of {} placed, {:.0}/s, p50 {:.1?}, p99 {:.1?}, {} resident, {:.1?} in all",
        args.shape,
        args.nodes,
        placed,
        times.len(),
        times.len() as f64 / elapsed.as_secs_f64(),
        at(50),
        at(99),
        resident(),
        begun.elapsed(),
    );
    Ok(())
}
