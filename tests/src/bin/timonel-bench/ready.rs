//! How soon pods are Ready.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail};
use futures::{StreamExt, TryStreamExt};
use kube::api::{ListParams, PostParams, WatchEvent, WatchParams};
use tokio::time::Instant;

use crate::cluster::{Cluster, at_once};
use crate::report;

/// Between two pods: what one person sees, not a flood.
const PACE: Duration = Duration::from_millis(100);
/// How long pods of an earlier run may take to go.
const LEFTOVERS: Duration = Duration::from_secs(120);

pub(crate) async fn measure(cluster: &Cluster, count: usize, image: &str) -> Result<()> {
    let pods = Cluster::pods(&cluster.connect().await?);
    let deadline = Instant::now() + LEFTOVERS;
    let revision = loop {
        let list = pods.list(&ListParams::default()).await?;
        if list.items.is_empty() {
            break list.metadata.resource_version.unwrap_or_default();
        }
        if Instant::now() > deadline {
            bail!("pods of an earlier run do not go away");
        }
        tokio::time::sleep(PACE).await;
    };
    let params = WatchParams::default().timeout(290);
    let mut events = pods.watch(&params, &revision).await?.boxed();
    let start = Instant::now();
    let create = async {
        let mut created = BTreeMap::new();
        for number in 0..count {
            let name = format!("s-{number}");
            let begun = Instant::now();
            let pod = cluster.pod(&name, number, Some(image))?;
            pods.create(&PostParams::default(), &pod).await?;
            created.insert(name, begun);
            tokio::time::sleep(PACE).await;
        }
        anyhow::Ok(created)
    };
    let watch = async {
        let mut ready = BTreeMap::new();
        while ready.len() < count {
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
    pods.delete_collection(&at_once(), &ListParams::default()).await?;
    Ok(())
}
