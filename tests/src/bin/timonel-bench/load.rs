//! Requests of one kind, over and over, from many clients. Answers are read, neither decoded nor kept: that would measure the client,
//! which has to share the machine with the server.

use std::time::Duration;

use anyhow::Result;
use futures::future::try_join_all;
use http::Method;
use http::header::{ACCEPT, CONTENT_TYPE};
use http_body_util::BodyExt as _;
use serde_json::json;
use tokio::time::Instant;

use crate::cluster::{Cluster, NAMESPACE};
use crate::report;

/// One client's part in it: which one it is, and how often it has asked.
struct Turn {
    client: kube::Client,
    worker: usize,
    count: usize,
}

/// What is sent.
struct Asks {
    method: Method,
    path: String,
    media_type: &'static str,
    body: Vec<u8>,
}

impl Asks {
    fn of(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            media_type: "application/json",
            body: Vec::new(),
        }
    }

    fn pod(method: Method, name: &str) -> Self {
        Self::of(method, format!("{}/{name}", pods()))
    }

    fn with(mut self, media_type: &'static str, body: &impl serde::Serialize) -> Result<Self> {
        self.media_type = media_type;
        self.body = serde_json::to_vec(body)?;
        Ok(self)
    }

    /// Sends it and reads the answer; returns how long that is.
    async fn send(self, client: &kube::Client) -> Result<usize> {
        let request = http::Request::builder()
            .method(self.method)
            .uri(&self.path)
            .header(CONTENT_TYPE, self.media_type)
            .header(ACCEPT, "application/json")
            .body(kube::client::Body::from(self.body))?;
        let answer = client.send(request).await?;
        anyhow::ensure!(answer.status().is_success(), "{}: {}", self.path, answer.status());
        let (mut body, mut length) = (answer.into_body(), 0);
        while let Some(frame) = body.frame().await {
            length += frame?.data_ref().map_or(0, bytes::Bytes::len);
        }
        Ok(length)
    }
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
            let asks = Asks::of(Method::POST, pods()).with("application/json", &pod)?;
            asks.send(&turn.client).await.map(drop)
        }
    };
    run(cluster, "durable creates", clients, until(time), ask).await
}

/// One pod read.
pub(crate) async fn get(cluster: &Cluster, clients: usize, time: Duration, objects: usize) -> Result<()> {
    cluster.fill(objects).await?;
    let ask = move |turn: Turn| async move {
        let asks = Asks::pod(Method::GET, &some(&turn, objects));
        asks.send(&turn.client).await.map(drop)
    };
    run(cluster, "gets", clients, until(time), ask).await
}

/// One pod changed by a merge patch.
pub(crate) async fn patch(cluster: &Cluster, clients: usize, time: Duration, objects: usize) -> Result<()> {
    cluster.fill(objects).await?;
    let ask = move |turn: Turn| async move {
        let turned = json!({"metadata": {"labels": {"turn": format!("{}-{}", turn.worker, turn.count)}}});
        let asks = Asks::pod(Method::PATCH, &some(&turn, objects)).with("application/merge-patch+json", &turned)?;
        asks.send(&turn.client).await.map(drop)
    };
    run(cluster, "durable patches", clients, until(time), ask).await
}

/// All pods read in one answer, or those that a label selects.
pub(crate) async fn list(
    cluster: &Cluster,
    clients: usize,
    time: Duration,
    objects: usize,
    selector: Option<&str>,
) -> Result<()> {
    cluster.fill(objects).await?;
    let query = selector.map_or(String::new(), |selector| format!("?labelSelector={selector}"));
    let path = format!("{}{query}", pods());
    let length = Asks::of(Method::GET, path.clone())
        .send(&cluster.connect().await?)
        .await?;
    let ask = move |turn: Turn| {
        let asks = Asks::of(Method::GET, path.clone());
        async move { asks.send(&turn.client).await.map(drop) }
    };
    let kind = if selector.is_some() { "selective lists" } else { "lists" };
    let what = format!("{kind} of {objects} pods ({:.1} MB)", length as f64 / 1e6);
    run(cluster, &what, clients, until(time), ask).await
}

/// Pods deleted, until there is none.
pub(crate) async fn delete(cluster: &Cluster, clients: usize, objects: usize) -> Result<()> {
    cluster.fill(objects).await?;
    let clients = clients.max(1);
    let ask = move |turn: Turn| async move {
        let name = format!("o-{}", turn.worker + turn.count * clients);
        let at_once = json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0});
        let asks = Asks::pod(Method::DELETE, &name).with("application/json", &at_once)?;
        asks.send(&turn.client).await.map(drop)
    };
    let more = move |turn: &Turn, _: Duration| turn.worker + turn.count * clients < objects;
    run(cluster, "durable deletes", clients, more, ask).await
}

/// Where pods are made and listed.
fn pods() -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/pods")
}

/// One of the pods that were made before, another one each time.
fn some(turn: &Turn, objects: usize) -> String {
    format!("o-{}", (turn.worker * 7919 + turn.count * 31) % objects.max(1))
}
