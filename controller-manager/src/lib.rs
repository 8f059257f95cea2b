//! The controllers: each keeps one kind of promise that the API makes.
//!
//! ```text
//!  shared caches --changes--> runner of each controller: observe -> plan -> apply --> API server
//!       ^                                                                               |
//!       +-------------------------------------- watch ---------------------------------+
//! ```
//!
//! One folder per controller: `observe.rs` (a snapshot), `plan.rs` (the decision, pure), `apply.rs` (the writes).
//! Adding a controller is a folder and a line in [`controllers`]; `docs/howto/add-a-controller.md` shows how.

mod accounts;
mod attach_detach;
mod backends;
mod bootstrap_signer;
mod certificates;
mod claim;
mod context;
mod cronjob;
mod daemonset;
mod deployment;
mod disruption;
mod endpoint_slice;
mod endpoint_slice_mirroring;
mod endpoints;
mod ephemeral_volume;
mod garbage_collector;
mod hash;
mod history;
mod horizontal_pod_autoscaler;
mod job;
mod namespace;
mod node_ipam;
mod node_lifecycle;
mod owner;
mod pod_control;
mod pod_gc;
mod protection;
mod replicaset;
mod resource;
mod resource_quota;
mod role_aggregation;
mod root_ca;
mod service_account;
mod share;
mod statefulset;
mod taint_eviction;
mod template;
mod timings;
mod token_cleaner;
mod ttl;
mod ttl_after_finished;
mod volume_binder;
mod volume_expander;
mod volume_provisioner;

use std::sync::Arc;

use futures::future::BoxFuture;
use timonel_client::accounts::Accounts;
use timonel_client::leader::{self, LeaderConfig};
use timonel_client::{Clock, Rng};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use context::Context;
pub use timings::Timings;

/// How a controller starts.
type Start = fn(Context) -> BoxFuture<'static, ()>;

/// Every controller and how it starts, in no particular order.
const CONTROLLERS: &[(&str, Start)] = &[
    ("replicaset", replicaset::start),
    ("replicationcontroller", replicaset::start_replication_controllers),
    ("deployment", deployment::start),
    ("daemonset", daemonset::start),
    ("statefulset", statefulset::start),
    ("job", job::start),
    ("cronjob", cronjob::start),
    ("ttl-after-finished", ttl_after_finished::start),
    ("resourcequota", resource_quota::start),
    ("pvc-protection", protection::start_claims),
    ("pv-protection", protection::start_volumes),
    ("volumeattributesclass-protection", protection::start_classes),
    ("clusterrole-aggregation", role_aggregation::start),
    ("persistentvolume-binder", volume_binder::start),
    ("volume-provisioner", volume_provisioner::start),
    ("persistentvolume-expander", volume_expander::start),
    ("attachdetach", attach_detach::start),
    ("ephemeral-volume", ephemeral_volume::start),
    ("endpointslice", endpoint_slice::start),
    ("endpoints", endpoints::start),
    ("node-lifecycle", node_lifecycle::start),
    ("taint-eviction", taint_eviction::start),
    ("node-ipam", node_ipam::start),
    ("namespace", namespace::start),
    ("garbage-collector", garbage_collector::start),
    ("pod-garbage-collector", pod_gc::start),
    ("serviceaccount", service_account::start),
    ("root-ca-certificate-publisher", root_ca::start),
    ("certificatesigningrequest", certificates::start),
    ("disruption", disruption::start),
    ("token-cleaner", token_cleaner::start),
    ("bootstrap-signer", bootstrap_signer::start),
    ("endpointslice-mirroring", endpoint_slice_mirroring::start),
    ("ttl", ttl::start),
    ("horizontal-pod-autoscaler", horizontal_pod_autoscaler::start),
];

/// Returns the names of all controllers.
pub fn controllers() -> impl Iterator<Item = &'static str> {
    CONTROLLERS.iter().map(|(name, _)| *name)
}

/// How the controllers work.
#[derive(Clone, Debug)]
pub struct Config {
    /// How long things take; upstream's defaults.
    pub timings: Timings,
    /// From where nodes get their pod networks; none are given out without.
    pub cluster_cidr: Option<ipnet::IpNet>,
    /// How large a node's pod network is.
    pub node_cidr_mask: u8,
    /// The certificate that pods verify the API server by (PEM), published as `kube-root-ca.crt` everywhere.
    pub root_ca_pem: Option<String>,
    /// Certificate and key (PEM) that sign certificate requests; none are signed without.
    pub signing_ca: Option<SigningCa>,
    /// Set where several controller managers may run: only the leader works.
    pub leader: Option<LeaderConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            timings: Timings::default(),
            cluster_cidr: None,
            node_cidr_mask: 24,
            root_ca_pem: None,
            signing_ca: None,
            leader: None,
        }
    }
}

/// The authority that signs certificate requests.
#[derive(Clone)]
pub struct SigningCa {
    /// The certificate, in PEM.
    pub cert_pem: String,
    /// Its private key, in PEM.
    pub key_pem: String,
}

impl std::fmt::Debug for SigningCa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningCa(..)")
    }
}

impl SigningCa {
    /// Reads certificate and key from files.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn load(cert: &std::path::Path, key: &std::path::Path) -> std::io::Result<Self> {
        Ok(Self {
            cert_pem: std::fs::read_to_string(cert)?,
            key_pem: std::fs::read_to_string(key)?,
        })
    }
}

/// What the controllers need from outside.
#[derive(Clone)]
pub struct Deps {
    /// Acts as `system:kube-controller-manager`: fills the shared caches and holds the lease.
    pub client: kube::Client,
    /// Gives each controller the identity under which it reads and writes on its own.
    pub accounts: Arc<dyn Accounts>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness, for jitter.
    pub rng: Arc<dyn Rng>,
}

/// Why the controllers ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another controller manager leads now; this process must not go on.
    #[error("leader election lost")]
    LeaseLost,
    /// A controller's task ended although nobody asked it to.
    #[error("controller {name} ended unexpectedly")]
    Ended {
        /// Which.
        name: &'static str,
    },
}

/// Runs all controllers until `shutdown`.
///
/// # Errors
/// When the lease is lost or a controller ends unexpectedly.
pub async fn run(config: Config, deps: Deps, shutdown: CancellationToken) -> Result<(), Error> {
    let Some(election) = config.leader.clone() else {
        return run_all(config, deps, shutdown).await;
    };
    let mut result = Ok(());
    let job = |leading| {
        let (deps, result) = (deps.clone(), &mut result);
        async move { *result = run_all(config, deps, leading).await }
    };
    let (clock, rng) = (Arc::clone(&deps.clock), Arc::clone(&deps.rng));
    let ended = leader::lead(deps.client.clone(), clock, rng, election, shutdown, job).await;
    match ended {
        leader::Ended::Lost => Err(Error::LeaseLost),
        leader::Ended::Shutdown | leader::Ended::Finished => result,
    }
}

async fn run_all(config: Config, deps: Deps, shutdown: CancellationToken) -> Result<(), Error> {
    let context = Context::new(Arc::new(config), &deps, shutdown.clone());
    let mut running = JoinSet::new();
    for (name, start) in CONTROLLERS {
        let mut context = context.clone();
        if let Some(account) = accounts::of(name) {
            context.client = deps.accounts.client(account);
        }
        let controller = start(context);
        running.spawn(async move {
            controller.await;
            *name
        });
    }
    let ended = tokio::select! {
        biased;
        () = shutdown.cancelled() => None,
        ended = running.join_next() => ended,
    };
    running.shutdown().await;
    match ended {
        Some(Ok(name)) if !shutdown.is_cancelled() => Err(Error::Ended { name }),
        Some(Err(_)) => Err(Error::Ended { name: "(panicked)" }),
        _ => Ok(()),
    }
}
