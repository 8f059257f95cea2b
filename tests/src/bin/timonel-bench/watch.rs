//! Watch fan-out: one writes, many see it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail};
use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt};
use kube::api::{ListParams, PostParams, WatchEvent, WatchParams};
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::report;

/// Between two writes.
const PACE: Duration = Duration::from_millis(20);

/// From just before a pod's creation until each watcher has seen it.
pub(crate) async fn fan_out(cluster: &Cluster, watchers: usize, time: Duration) -> Result<()> {
    let client = cluster.connect().await?;
    let pods = Cluster::pods(&client);
    let list = pods.list(&ListParams::default().limit(1)).await?;
    let revision = list.metadata.resource_version.unwrap_or_default();
    let count = usize::try_from(time.as_millis() / PACE.as_millis())?.max(1);
    let open = (0..watchers).map(|_| async {
        let pods = Cluster::pods(&cluster.connect().await?);
        let params = WatchParams::default().timeout(290);
        anyhow::Ok(pods.watch(&params, &revision).await?.boxed())
    });
    let watches = try_join_all(open).await?;
    let start = Instant::now();
    let seen = watches.into_iter().map(|mut events| {
        tokio::spawn(async move {
            let mut seen = BTreeMap::new();
            while seen.len() < count {
                match events.try_next().await? {
                    Some(WatchEvent::Added(pod)) => {
                        seen.insert(pod.metadata.name.unwrap_or_default(), Instant::now());
                    }
                    Some(WatchEvent::Error(error)) => bail!("the watch failed: {error:?}"),
                    Some(_) => {}
                    None => bail!("the watch ended early"),
                }
            }
            Ok(seen)
        })
    });
    let write = async {
        let mut written = BTreeMap::new();
        for number in 0..count {
            let name = format!("w-{number}");
            let pod = cluster.pod(&name, number, None)?;
            written.insert(name, Instant::now());
            pods.create(&PostParams::default(), &pod).await?;
            tokio::time::sleep(PACE).await;
        }
        anyhow::Ok(written)
    };
    let seen = async { Ok(try_join_all(seen).await?) };
    let (written, seen) = tokio::try_join!(write, seen)?;
    let seen = seen.into_iter().collect::<Result<Vec<_>>>()?;
    let times = seen
        .iter()
        .flatten()
        .filter_map(|(name, at)| Some(at.duration_since(*written.get(name)?)))
        .collect();
    let what = format!("events seen by {watchers} watchers, {count} pods created");
    report(&what, times, start.elapsed());
    Ok(())
}
