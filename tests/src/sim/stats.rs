//! How the simulated API server asks the simulated kubelets what they use: without a network.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use timonel_apiserver::usage::NodeStats;
use timonel_kubelet::stats;
use timonel_kubelet::worker::Shared;

/// The kubelets that run, by their nodes.
#[derive(Clone, Default)]
pub struct Kubelets(Arc<Mutex<BTreeMap<String, Arc<Shared>>>>);

impl fmt::Debug for Kubelets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_set().entries(running.keys()).finish()
    }
}

impl Kubelets {
    /// A kubelet answers from now on.
    pub fn serve(&self, node: &str, kubelet: Arc<Shared>) {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        running.insert(node.to_owned(), kubelet);
    }

    /// A kubelet answers no more.
    pub fn end(&self, node: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(node);
    }
}

#[async_trait]
impl NodeStats for Kubelets {
    async fn resource_metrics(&self, node: &str) -> Result<String, String> {
        let kubelet = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(node).cloned();
        let kubelet = kubelet.ok_or_else(|| format!("dial tcp {node}:10250: connect: connection refused"))?;
        stats::resource_metrics(&kubelet)
            .await
            .map_err(|error| error.to_string())
    }
}
