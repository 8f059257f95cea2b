//! Requests of one kind, over and over, from many clients.

use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::try_join_all;
use http_body_util::BodyExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::time::Instant;

use crate::cluster::{Cluster, NAMESPACE, at_once};
use crate::report;

/// One client's part in it: which one it is, and how often it has asked.
struct Turn {
    client: kube::Client,
    pods: Api<Pod>,
    worker: usize,
    count: usize,
}

/// Lets each client ask until `more` says no, and reports.
async fn run<F>(
    cluster: &Cluster,
    what: &str,
    clients: usize,
    more: impl Fn(&Turn, Duration) -> bool + Clone + Send + 'static,
    ask: impl Fn(Turn) -> F + Clone + Send + 'static,
) -> Result<()>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let connected = try_join_all((0..clients).map(|_| cluster.connect())).await?;
    let start = Instant::now();
    let workers = connected.into_iter().enumerate().map(|(worker, client)| {
        let (more, ask) = (more.clone(), ask.clone());
        tokio::spawn(async move {
            let mut times = Vec::new();
            loop {
                let turn = Turn {
                    pods: Cluster::pods(&client),
                    client: client.clone(),
                    worker,
                    count: times.len(),
                };
                if !more(&turn, start.elapsed()) {
                    return anyhow::Ok(times);
                }
                let before = Instant::now();
                ask(turn).await?;
                times.push(before.elapsed());
            }
        })
    });
    let times = try_join_all(workers)
        .await?
        .into_iter()
        .collect::<Result<Vec<_>>>()?
        .concat();
    report(&format!("{what}, {clients} clients"), times, start.elapsed());
    Ok(())
}

fn until(time: Duration) -> impl Fn(&Turn, Duration) -> bool + Clone + Send + 'static {
    move |_, elapsed| elapsed < time
}

/// Pods created, each durable when it is answered.
pub(crate) async fn create(cluster: &Cluster, clients: usize, time: Duration) -> Result<()> {
    let maker = cluster.clone();
    let ask = move |turn: Turn| {
        let maker = maker.clone();
        async move {
            let pod = maker.pod(&format!("p-{}-{}", turn.worker, turn.count), turn.count, None)?;
            turn.pods.create(&PostParams::default(), &pod).await?;
            Ok(())
        }
    };
    run(cluster, "durable creates", clients, until(time), ask).await
}

/// One pod read.
pub(crate) async fn get(cluster: &Cluster, clients: usize, time: Duration, objects: usize) -> Result<()> {
    cluster.fill(objects).await?;
    let ask = move |turn: Turn| async move {
        turn.pods.get(&some(&turn, objects)).await?;
        Ok(())
    };
    run(cluster, "gets", clients, until(time), ask).await
}

/// One pod changed by a merge patch.
pub(crate) async fn patch(cluster: &Cluster, clients: usize, time: Duration, objects: usize) -> Result<()> {
    cluster.fill(objects).await?;
    let ask = move |turn: Turn| async move {
        let turned = json!({"metadata": {"labels": {"turn": format!("{}-{}", turn.worker, turn.count)}}});
        let params = PatchParams::default();
        turn.pods
            .patch(&some(&turn, objects), &params, &Patch::Merge(turned))
            .await?;
        Ok(())
    };
    run(cluster, "durable patches", clients, until(time), ask).await
}

/// All pods read in one answer, or those that a label selects. The answer is read, neither decoded nor kept: that would measure the
/// client.
pub(crate) async fn list(
    cluster: &Cluster,
    clients: usize,
    time: Duration,
    objects: usize,
    selector: Option<&str>,
) -> Result<()> {
    cluster.fill(objects).await?;
    let query = selector.map_or(String::new(), |selector| format!("?labelSelector={selector}"));
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods{query}");
    let read = move |client: kube::Client| {
        let request = http::Request::get(&path).body(kube::client::Body::empty());
        async move {
            let answer = client.send(request?).await?;
            anyhow::ensure!(answer.status().is_success(), "{}", answer.status());
            let (mut body, mut length) = (answer.into_body(), 0);
            while let Some(frame) = body.frame().await {
                length += frame?.data_ref().map_or(0, bytes::Bytes::len);
            }
            Ok(length)
        }
    };
    let megabytes = read(cluster.connect().await?).await? as f64 / 1e6;
    let ask = move |turn: Turn| {
        let answer = read(turn.client);
        async move { answer.await.map(drop) }
    };
    let kind = if selector.is_some() { "selective lists" } else { "lists" };
    let what = format!("{kind} of {objects} pods ({megabytes:.1} MB)");
    run(cluster, &what, clients, until(time), ask).await
}

/// Pods deleted, until there is none.
pub(crate) async fn delete(cluster: &Cluster, clients: usize, objects: usize) -> Result<()> {
    cluster.fill(objects).await?;
    let clients = clients.max(1);
    let ask = move |turn: Turn| async move {
        let name = format!("o-{}", turn.worker + turn.count * clients);
        turn.pods.delete(&name, &at_once()).await.context(name)?;
        Ok(())
    };
    let more = move |turn: &Turn, _: Duration| turn.worker + turn.count * clients < objects;
    run(cluster, "durable deletes", clients, more, ask).await
}

/// One of the pods that were made before, another one each time.
fn some(turn: &Turn, objects: usize) -> String {
    format!("o-{}", (turn.worker * 7919 + turn.count * 31) % objects.max(1))
}
