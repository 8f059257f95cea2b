//! Asks every Ready node what it uses, again and again.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use serde_json::Value;
use timonel_client::Clock;
use tokio_util::sync::CancellationToken;

use super::samples::{Batch, RESOLUTION};
use super::{NodeStats, Usage, exposition};
use crate::reader::ObjectReader;

/// How many nodes are asked at a time.
const TOGETHER: usize = 32;
/// A node that has not answered by then is passed over; metrics-server's `--kubelet-request-timeout`.
const PATIENCE: Duration = Duration::from_secs(10);

/// Fills [`Usage`].
pub(crate) struct Collector {
    pub(crate) usage: Arc<Usage>,
    pub(crate) stats: Arc<dyn NodeStats>,
    pub(crate) reader: Arc<dyn ObjectReader>,
    pub(crate) clock: Arc<dyn Clock>,
}

fn is_ready(node: &Value) -> bool {
    let conditions = node["status"]["conditions"].as_array().map(Vec::as_slice);
    conditions
        .unwrap_or_default()
        .iter()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

impl Collector {
    /// Asks until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(RESOLUTION);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let round = async {
                ticks.tick().await;
                self.round().await;
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = round => {}
            }
        }
    }

    async fn round(&self) {
        let ready = self.reader.list("nodes", None);
        let names: Vec<String> = ready
            .iter()
            .filter(|node| is_ready(node))
            .filter_map(|node| node["metadata"]["name"].as_str().map(str::to_owned))
            .collect();
        let asked = stream::iter(names.into_iter().map(|name| self.ask(name)));
        let told: Vec<_> = asked.buffer_unordered(TOGETHER).collect().await;
        let mut batch = Batch::default();
        for (node, asked, text) in told.into_iter().flatten() {
            exposition::read(&text, &node, asked, &mut batch);
        }
        self.usage.keep(self.usage.samples().next(batch));
    }

    async fn ask(&self, node: String) -> Option<(String, jiff::Timestamp, String)> {
        let asked = self.clock.now();
        match tokio::time::timeout(PATIENCE, self.stats.resource_metrics(&node)).await {
            Ok(Ok(text)) => Some((node, asked, text)),
            Ok(Err(error)) => {
                tracing::debug!(node, error, "a node does not tell what it uses");
                None
            }
            Err(_) => {
                tracing::debug!(node, "a node takes too long to tell what it uses");
                None
            }
        }
    }
}
