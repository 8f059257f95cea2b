//! The thin shell: watches, and serves the zone that the planner computes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use kube::Api;
use timonel_client::informer::{self, Changes, Selection};
use timonel_client::{Clock, Rng};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::serve::{self, Responder};
use crate::zone::{Observed, plan};

/// Changes that come within this time are taken together.
const GATHER: Duration = Duration::from_millis(10);

/// How the DNS is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen, over UDP and TCP.
    pub listen: Vec<SocketAddr>,
    /// The cluster's domain.
    pub domain: String,
    /// Resolvers for names outside the cluster; without any, such questions are refused.
    pub forward: Vec<SocketAddr>,
}

/// What the DNS works with.
#[derive(Clone)]
pub struct Deps {
    /// A client that may list and watch namespaces, services and endpoint slices.
    pub client: kube::Client,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Jitter.
    pub rng: Arc<dyn Rng>,
}

/// Why the DNS cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An address cannot be listened on.
    #[error("listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// Serves the cluster's names until `shutdown`.
///
/// # Errors
/// When an address cannot be listened on.
pub async fn run(config: Config, deps: Deps, shutdown: CancellationToken) -> Result<(), Error> {
    let (publish, zone) = watch::channel(None);
    let responder = Responder {
        zone,
        forward: config.forward.clone().into(),
    };
    for &address in &config.listen {
        let failed = |source| Error::Listen { address, source };
        let socket = UdpSocket::bind(address).await.map_err(failed)?;
        tokio::spawn(serve::udp(socket, responder.clone(), shutdown.clone()));
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        tokio::spawn(serve::tcp(listener, responder.clone(), shutdown.clone()));
    }

    let rng = || Arc::clone(&deps.rng);
    let client = || deps.client.clone();
    let namespaces = informer::start_with(Api::all(client()), Selection::all(), rng(), shutdown.clone());
    let services = informer::start_with(Api::all(client()), Selection::all(), rng(), shutdown.clone());
    let slices = informer::start_with(Api::all(client()), Selection::all(), rng(), shutdown.clone());
    let mut namespace_changes = namespaces.changes();
    let mut service_changes = services.changes();
    let mut slice_changes = slices.changes();
    loop {
        if namespaces.has_synced() && services.has_synced() && slices.has_synced() {
            let observed = Observed {
                namespaces: namespaces.list(),
                services: services.list(),
                slices: slices.list(),
            };
            publish.send_replace(Some(Arc::new(plan(&observed, &config.domain))));
        }
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            _ = namespace_changes.next() => {}
            _ = service_changes.next() => {}
            _ = slice_changes.next() => {}
        }
        tokio::time::sleep(GATHER).await;
        drain(&mut namespace_changes);
        drain(&mut service_changes);
        drain(&mut slice_changes);
    }
}

fn drain<K>(changes: &mut Changes<K>) {
    while changes.next().now_or_never().is_some() {}
}
