//! Extenders: programs of somebody else's that are asked over HTTP which nodes will do, which are better, who has to leave, and to
//! bind pods.
//!
//! ```text
//! plugins filter --> extenders filter, one after another --> plugins score, extenders score --> the best node
//! candidates of preemption --> extenders take some away, one after another --> the best candidate
//! ```
//!
//! What is asked and answered is in `wire`, pure; `consult` leads the conversation; [`Caller`] is the port to the network, which
//! `http` implements. Upstream: `pkg/scheduler/extender.go`, `k8s.io/kube-scheduler/extender/v1`.

mod consult;
mod http;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Container;

use crate::pod_info::PodInfo;

pub(crate) use consult::{bind, decide, preempt};
pub use http::connect;

/// What rejected a node, where an extender did.
pub const NAME: &str = "Extender";

/// How an extender is reached and what it is asked: an entry of `extenders` in a KubeSchedulerConfiguration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Where it is; a verb is appended for each call.
    pub url_prefix: String,
    /// Set where it filters nodes.
    pub filter_verb: String,
    /// Set where it is asked about victims.
    pub preempt_verb: String,
    /// Set where it scores nodes.
    pub prioritize_verb: String,
    /// Set where it binds pods.
    pub bind_verb: String,
    /// How much its scores count.
    pub weight: i64,
    /// Without authorities of one's own its certificate is not checked then, as upstream.
    pub enable_https: bool,
    /// Whom to trust and who we are.
    pub tls: Tls,
    /// How long it may take to answer.
    pub timeout: Duration,
    /// It knows nodes and pods itself: names do.
    pub node_cache_capable: bool,
    /// Only pods that ask for one of these are its concern; empty for all pods.
    pub managed_resources: BTreeSet<String>,
    /// Where it does not answer, scheduling goes on without it.
    pub ignorable: bool,
}

/// PEM text, or the file that it is in; the text comes first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pem {
    /// The text.
    pub data: Option<Vec<u8>>,
    /// The file.
    pub file: Option<PathBuf>,
}

/// `tlsConfig` of an extender.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The server's certificate is not checked.
    pub insecure: bool,
    /// The name that its certificate has to have, if not that of the URL.
    pub server_name: Option<String>,
    /// Our certificate.
    pub cert: Pem,
    /// Its key.
    pub key: Pem,
    /// Who may have signed the server's certificate.
    pub ca: Pem,
}

/// Why an extender could not be asked, or said nothing of use.
#[derive(Debug, thiserror::Error)]
pub enum ExtenderError {
    /// It could not be set up.
    #[error("cannot call the extender at {url}: {reason}")]
    Setup {
        /// Where it is.
        url: String,
        /// Why not.
        reason: String,
    },
    /// What it is to be asked could not be put into words.
    #[error("cannot encode what the extender at {url} is asked")]
    Encode {
        /// What was to be called.
        url: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// It could not be reached.
    #[error("cannot call the extender at {url}")]
    Call {
        /// What was called.
        url: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It took too long.
    #[error("the extender at {url} gave no answer within {timeout:?}")]
    Timeout {
        /// What was called.
        url: String,
        /// How long it had.
        timeout: Duration,
    },
    /// It refused; in upstream's words.
    #[error("failed {verb} with extender at URL {url}, code {code}")]
    Status {
        /// What was asked.
        verb: String,
        /// What was called.
        url: String,
        /// The answer's status.
        code: u16,
    },
    /// Its answer cannot be read.
    #[error("cannot read the answer of the extender at {url}: {reason}")]
    Answer {
        /// What was called.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// What it says itself.
    #[error("{0}")]
    Said(String),
    /// It knows a node that it was not asked about; in upstream's words.
    #[error("extender {url:?} claims a filtered node {node:?} which is not found in the input node list")]
    UnknownNode {
        /// Where it is.
        url: String,
        /// The node.
        node: String,
    },
    /// It names a node that is not there.
    #[error("nodeinfo not found for node name {node:?}")]
    NoNode {
        /// The node.
        node: String,
    },
    /// It names a victim that is not there; in upstream's words.
    #[error(
        "extender: {url} claims to preempt pod (UID: &{{{uid}}}) on node: {node}, but the pod is not found on that node"
    )]
    NoVictim {
        /// Where it is.
        url: String,
        /// The victim.
        uid: String,
        /// The node.
        node: String,
    },
    /// It names a node without anybody who has to leave; in upstream's words.
    #[error("expected at least one victim pod on node {node:?}")]
    NobodyLeaves {
        /// The node.
        node: String,
    },
}

/// Carries a question to an extender and brings the answer: the network in production.
#[async_trait]
pub trait Caller: Send + Sync + Debug {
    /// Posts a body to a verb and returns the body of the answer.
    ///
    /// # Errors
    /// When there is no answer, or one that is no success.
    async fn call(&self, verb: &str, body: Vec<u8>) -> Result<Vec<u8>, ExtenderError>;
}

/// An extender that can be asked.
#[derive(Clone, Debug)]
pub struct Extender {
    /// What it is asked.
    pub settings: Settings,
    /// How it is reached.
    pub caller: Arc<dyn Caller>,
}

impl Extender {
    /// Tells whether a pod is its concern.
    fn is_interested(&self, pod: &PodInfo) -> bool {
        let managed = &self.settings.managed_resources;
        let asks = |container: &Container| {
            let resources = container.resources.as_ref();
            let requests = resources.and_then(|resources| resources.requests.as_ref());
            let limits = resources.and_then(|resources| resources.limits.as_ref());
            let mut names = requests.into_iter().chain(limits).flat_map(|amounts| amounts.keys());
            names.any(|name| managed.contains(name))
        };
        managed.is_empty()
            || pod.spec().is_some_and(|spec| {
                let containers = spec.containers.iter();
                containers.chain(spec.init_containers.iter().flatten()).any(asks)
            })
    }
}
