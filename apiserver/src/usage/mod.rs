//! metrics.k8s.io: what nodes and pods use, without anything else installed.
//!
//! ```text
//! Ready nodes --every 15 s--> NodeStats (a kubelet's /metrics/resource) --read--> Batch --store--> the last two samples
//!                                                                                                     |
//!                        GET /apis/metrics.k8s.io/v1beta1/{nodes,pods} <--answer: usage between them--+
//! ```
//!
//! It does what metrics-server does where that is installed, with its rules (`samples`) and its words; `docs/decisions/0007` says why it
//! lives in the API server. Nothing is stored: a server that starts anew knows nothing until it has asked twice.

mod answer;
mod collect;
mod exposition;
mod samples;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use timonel_api::resources::ResourceInfo;

use crate::kubelet_proxy::KubeletProxy;
pub(crate) use answer::{cpu, get, list, target};
pub(crate) use collect::Collector;
use samples::Samples;

/// The group that is answered here.
const GROUP: &str = "metrics.k8s.io";
/// The largest exposition of a node; a full one has a few thousand lines.
const LARGEST: usize = 16 << 20;

/// Whether a resource is one of those that are answered here.
pub(crate) fn measures(resource: &ResourceInfo) -> bool {
    resource.group == GROUP
}

/// Tells what a node uses.
#[async_trait]
pub trait NodeStats: Send + Sync + fmt::Debug + 'static {
    /// What the node's kubelet answers at `/metrics/resource`, in Prometheus' text form.
    ///
    /// *Errors:* why it does not, in words for the log.
    async fn resource_metrics(&self, node: &str) -> Result<String, String>;
}

#[async_trait]
impl NodeStats for KubeletProxy {
    async fn resource_metrics(&self, node: &str) -> Result<String, String> {
        let text = self.text(node, "/metrics/resource", LARGEST).await;
        text.map_err(|error| error.to_string())
    }
}

/// The last two samples of everything.
#[derive(Debug, Default)]
pub(crate) struct Usage(Mutex<Arc<Samples>>);

impl Usage {
    fn samples(&self) -> Arc<Samples> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn keep(&self, samples: Samples) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(samples);
    }
}
