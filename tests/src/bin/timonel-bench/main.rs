//! Measures any Kubernetes API server from outside, so that a peer can be measured in the same run.
//!
//! ```text
//! timonel-bench --kubeconfig FILE [--clients 32] [--seconds 10] [--objects 1000] [--padding BYTES] MEASUREMENT
//! ```
//!
//! Each measurement prints one line: how many, how fast, the 50th and 99th percentile of how long one took.
#![allow(clippy::print_stdout)]

mod cluster;
mod load;
mod ready;
mod watch;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};

use cluster::Cluster;

#[derive(Clone, Debug, Parser)]
struct Args {
    /// The server that is measured, and who measures.
    #[arg(long)]
    kubeconfig: PathBuf,
    /// How many ask at once, each over a connection of its own.
    #[arg(long, default_value_t = 32)]
    clients: usize,
    /// How long.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// How many pods there are before it begins.
    #[arg(long, default_value_t = 1000)]
    objects: usize,
    /// How many bytes are added to each pod, as an annotation.
    #[arg(long, default_value_t = 0)]
    padding: usize,
    #[command(subcommand)]
    measurement: Measurement,
}

#[derive(Clone, Debug, Subcommand)]
enum Measurement {
    /// Pods created, each durable when it is answered.
    Create,
    /// One pod read.
    Get,
    /// One pod changed by a merge patch.
    Patch,
    /// All pods read in one answer.
    List,
    /// A hundredth of the pods read, chosen by a label.
    Select,
    /// From a pod's creation until each watcher has seen it; as many watchers as clients.
    Watch,
    /// Pods deleted.
    Delete,
    /// From a pod's creation until it is Ready, for as many pods as --objects says; needs nodes.
    Ready {
        /// An image that the nodes have, with a `sleep` in it.
        #[arg(long, default_value = "docker.io/library/busybox:1.35")]
        image: String,
    },
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let time = Duration::from_secs(args.seconds);
    let cluster = Cluster::prepare(&args.kubeconfig, args.padding).await?;
    let (clients, objects) = (args.clients, args.objects);
    match args.measurement {
        Measurement::Create => load::create(&cluster, clients, time).await,
        Measurement::Get => load::get(&cluster, clients, time, objects).await,
        Measurement::Patch => load::patch(&cluster, clients, time, objects).await,
        Measurement::List => load::list(&cluster, clients, time, objects, None).await,
        Measurement::Select => load::list(&cluster, clients, time, objects, Some("group=7")).await,
        Measurement::Watch => watch::fan_out(&cluster, clients, time).await,
        Measurement::Delete => load::delete(&cluster, clients, objects).await,
        Measurement::Ready { image } => ready::measure(&cluster, objects, &image).await,
    }
}

/// Prints how long each took.
fn report(what: &str, mut times: Vec<Duration>, elapsed: Duration) {
    times.sort();
    let at = |percent: usize| {
        let last = times.len().saturating_sub(1);
        times
            .get((times.len() * percent / 100).min(last))
            .copied()
            .unwrap_or_default()
    };
    let rate = times.len() as f64 / elapsed.as_secs_f64();
    println!(
        "{what}: {} in {elapsed:.1?}, {rate:.0}/s, p50 {:.1?}, p99 {:.1?}",
        times.len(),
        at(50),
        at(99)
    );
}
