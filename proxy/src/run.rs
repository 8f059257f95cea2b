//! The thin shell: watches, and hands what changed to the planners and the kernel.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use timonel_client::informer::{self, Changes, Reader, Selection};
use timonel_client::{Clock, Rng};
use tokio_util::sync::CancellationToken;

use crate::apply::{Dataplane, DataplaneError};
use crate::network::{self, Network, NetworkConfig};
use crate::observe::Observed;
use crate::plan::{RuleSet, plan};
use crate::render::{render_all, render_changes};

/// Changes that come within this time are loaded together.
const GATHER: Duration = Duration::from_millis(10);
/// After a refusal by the kernel, try again this much later.
const RETRY: Duration = Duration::from_secs(1);
/// Even when nothing changed, the table is loaded afresh this often, in case somebody else removed it.
const RESYNC: Duration = Duration::from_secs(300);

/// How the proxy is set up.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// This node's name; endpoints and routes are judged by it.
    pub node_name: String,
    /// Service addresses that the node serves itself (its DNS): no rule may catch them.
    pub served_here: BTreeSet<Ipv4Addr>,
    /// Where the pod network's configuration goes.
    pub network: NetworkConfig,
}

/// What the proxy works with.
#[derive(Clone)]
pub struct Deps {
    /// A client that may list and watch services, endpoint slices and nodes.
    pub client: kube::Client,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Jitter.
    pub rng: Arc<dyn Rng>,
    /// The kernel.
    pub dataplane: Arc<dyn Dataplane>,
}

/// Why the proxy cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The node cannot forward packets.
    #[error("prepare the node's network")]
    Prepare(#[source] DataplaneError),
}

struct Caches {
    services: Reader<Service>,
    slices: Reader<EndpointSlice>,
    nodes: Reader<Node>,
}

impl Caches {
    fn observe(&self, config: &Config) -> Observed {
        Observed {
            node_name: config.node_name.clone(),
            services: self.services.list(),
            slices: self.slices.list(),
            nodes: self.nodes.list(),
            served_here: config.served_here.clone(),
        }
    }
}

/// Keeps the node's rules and routes up to date until `shutdown`. What is loaded then stays loaded.
///
/// # Errors
/// Only where the node cannot be prepared; later refusals are logged and tried again.
pub async fn run(config: Config, deps: Deps, shutdown: CancellationToken) -> Result<(), Error> {
    let client = &deps.client;
    let rng = || Arc::clone(&deps.rng);
    let caches = Caches {
        services: informer::start_with(Api::all(client.clone()), Selection::all(), rng(), shutdown.clone()),
        slices: informer::start_with(Api::all(client.clone()), Selection::all(), rng(), shutdown.clone()),
        nodes: informer::start_with(Api::all(client.clone()), Selection::all(), rng(), shutdown.clone()),
    };
    let mut services = caches.services.changes();
    let mut slices = caches.slices.changes();
    let mut nodes = caches.nodes.changes();

    let mut network = Network::new(Arc::clone(&deps.dataplane), config.network.clone());
    network::prepare(Arc::clone(&deps.dataplane))
        .await
        .map_err(Error::Prepare)?;

    // The pod network does not wait for services: the node is not Ready before its pods have addresses.
    let mut loaded: Option<RuleSet> = None;
    loop {
        let mut failed = false;
        let observed = caches.observe(&config);
        if caches.nodes.has_synced() {
            if let Err(error) = network.apply(&network::plan(&observed)).await {
                tracing::error!(
                    error = timonel_client::chain(&error),
                    "the pod network cannot be set up"
                );
                failed = true;
            }
            // With half of the caches filled, rules that still serve would be taken away.
            if caches.services.has_synced() && caches.slices.has_synced() {
                failed |= !load(&deps.dataplane, &mut loaded, plan(&observed)).await;
            }
        }
        let pause = if failed { RETRY } else { RESYNC };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            _ = services.next() => {}
            _ = slices.next() => {}
            _ = nodes.next() => {}
            () = tokio::time::sleep(pause) => {
                if !failed {
                    loaded = None;
                }
            }
        }
        tokio::time::sleep(GATHER).await;
        drain(&mut services);
        drain(&mut slices);
        drain(&mut nodes);
    }
}

fn drain<K>(changes: &mut Changes<K>) {
    while changes.next().now_or_never().is_some() {}
}

/// Loads the difference, or everything where that is refused or nothing is known; says whether it worked.
async fn load(dataplane: &Arc<dyn Dataplane>, loaded: &mut Option<RuleSet>, wanted: RuleSet) -> bool {
    if let Some(old) = loaded {
        let script = render_changes(old, &wanted);
        if script.is_empty() {
            *loaded = Some(wanted);
            return true;
        }
        match dataplane.load_rules(&script).await {
            Ok(()) => {
                *loaded = Some(wanted);
                return true;
            }
            Err(error) => tracing::warn!(error = timonel_client::chain(&error), "the table is loaded afresh"),
        }
    }
    match dataplane.load_rules(&render_all(&wanted)).await {
        Ok(()) => {
            *loaded = Some(wanted);
            true
        }
        Err(error) => {
            *loaded = None;
            tracing::error!(error = timonel_client::chain(&error), "services cannot be loaded");
            false
        }
    }
}
