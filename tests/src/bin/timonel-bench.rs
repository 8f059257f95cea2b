//! Measures a running cluster from outside: durable creates, lists, and how soon pods are Ready. `make bench` calls it.
//!
//! ```text
//! timonel-bench creates KUBECONFIG CLIENTS SECONDS
//! timonel-bench lists KUBECONFIG PODS SECONDS
//! timonel-bench pods KUBECONFIG COUNT IMAGE
//! ```
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, DeleteParams, ListParams, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::json;
use tokio::time::Instant;

const NAMESPACE: &str = "bench";

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let text = |index: usize| {
        args.get(index)
            .map(String::as_str)
            .context("an argument is missing; the source says which")
    };
    let number = |index: usize| text(index).and_then(|text| text.parse::<u64>().context("not a number"));
    let kubeconfig = Path::new(text(1)?);
    prepare(&connect(kubeconfig).await?).await?;
    match text(0)? {
        "creates" => creates(kubeconfig, number(2)?, Duration::from_secs(number(3)?)).await,
        "lists" => lists(kubeconfig, number(2)?, Duration::from_secs(number(3)?)).await,
        "pods" => pods(kubeconfig, number(2)?, text(3)?).await,
        other => bail!("no such measurement: {other}"),
    }
}

async fn connect(kubeconfig: &Path) -> Result<kube::Client> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(kube::Client::try_from(config)?)
}

/// Makes an empty namespace. Without controllers its service account is made here, as admission asks for one.
async fn prepare(client: &kube::Client) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = serde_json::from_value(json!({"metadata": {"name": NAMESPACE}}))?;
    drop(namespaces.create(&PostParams::default(), &namespace).await);
    let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> = Api::namespaced(client.clone(), NAMESPACE);
    let account = serde_json::from_value(json!({"metadata": {"name": "default"}}))?;
    drop(accounts.create(&PostParams::default(), &account).await);
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    pods.delete_collection(&DeleteParams::default().grace_period(0), &ListParams::default())
        .await?;
    Ok(())
}

/// A pod of 2 to 3 KiB once it is stored, as an ordinary Deployment's are.
fn pod(name: &str, image: &str) -> Result<Pod> {
    Ok(serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"app": "bench"}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [{
            "name": "main", "image": image, "command": ["sleep", "100000"],
            "resources": {"requests": {"cpu": "1m", "memory": "4Mi"}}}]}}))?)
}

fn report(what: &str, mut times: Vec<Duration>, elapsed: Duration) {
    times.sort();
    let at = |percent: usize| {
        times
            .get((times.len() * percent / 100).min(times.len().saturating_sub(1)))
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

async fn creates(kubeconfig: &Path, clients: u64, time: Duration) -> Result<()> {
    let (start, kubeconfig) = (Instant::now(), kubeconfig.to_owned());
    let workers = (0..clients)
        .map(|worker| (worker, kubeconfig.clone()))
        .map(|(worker, kubeconfig)| async move {
            // A client of its own, so a connection of its own.
            let pods: Api<Pod> = Api::namespaced(connect(&kubeconfig).await?, NAMESPACE);
            let mut times = Vec::new();
            while start.elapsed() < time {
                let pod = pod(&format!("p-{worker}-{}", times.len()), "unschedulable:1")?;
                let before = Instant::now();
                pods.create(&PostParams::default(), &pod).await?;
                times.push(before.elapsed());
            }
            anyhow::Ok(times)
        });
    let times = try_join_all(workers.map(tokio::spawn))
        .await?
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    report(
        &format!("durable creates, {clients} clients"),
        times.into_iter().flatten().collect(),
        start.elapsed(),
    );
    Ok(())
}

async fn lists(kubeconfig: &Path, count: u64, time: Duration) -> Result<()> {
    let client = connect(kubeconfig).await?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let all = futures::stream::iter((0..count).map(Ok::<_, anyhow::Error>));
    all.try_for_each_concurrent(64, |number| {
        let pods = pods.clone();
        async move {
            Ok(pods
                .create(&PostParams::default(), &pod(&format!("l-{number}"), "unschedulable:1")?)
                .await
                .map(drop)?)
        }
    })
    .await?;
    let (start, mut times, mut bytes) = (Instant::now(), Vec::new(), 0);
    while start.elapsed() < time {
        let before = Instant::now();
        let request = http::Request::get(format!("/api/v1/namespaces/{NAMESPACE}/pods")).body(Vec::new())?;
        bytes = client.request_text(request).await?.len();
        times.push(before.elapsed());
    }
    report(
        &format!("lists of {count} pods ({:.1} MB)", bytes as f64 / 1e6),
        times,
        start.elapsed(),
    );
    Ok(())
}

async fn pods(kubeconfig: &Path, count: u64, image: &str) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(connect(kubeconfig).await?, NAMESPACE);
    let deadline = Instant::now() + Duration::from_secs(120);
    while !pods.list(&ListParams::default()).await?.items.is_empty() {
        if Instant::now() > deadline {
            bail!("pods of an earlier run do not go away");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let revision = pods
        .list(&ListParams::default())
        .await?
        .metadata
        .resource_version
        .unwrap_or_default();
    let mut events = pods
        .watch(&WatchParams::default().timeout(200), &revision)
        .await?
        .boxed();
    let start = Instant::now();
    let create = async {
        let mut created = BTreeMap::new();
        for number in 0..count {
            let name = format!("s-{number}");
            let begun = Instant::now();
            pods.create(&PostParams::default(), &pod(&name, image)?).await?;
            created.insert(name, begun);
            // One at a time, a little apart: what one person sees, not a flood.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        anyhow::Ok(created)
    };
    let watch = async {
        let mut ready = BTreeMap::new();
        while (ready.len() as u64) < count {
            let Some(event) = events.try_next().await? else {
                bail!("the watch ended early")
            };
            if let WatchEvent::Added(pod) | WatchEvent::Modified(pod) = event
                && timonel_api::pod::is_ready(&pod)
            {
                ready
                    .entry(pod.metadata.name.unwrap_or_default())
                    .or_insert_with(Instant::now);
            }
        }
        anyhow::Ok(ready)
    };
    let (created, ready) = tokio::try_join!(create, watch)?;
    let times = created
        .iter()
        .filter_map(|(name, begun)| Some(ready.get(name)?.duration_since(*begun)))
        .collect();
    report("pods from create to Ready", times, start.elapsed());
    pods.delete_collection(&DeleteParams::default().grace_period(0), &ListParams::default())
        .await?;
    Ok(())
}
