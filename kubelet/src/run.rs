//! Puts the parts together.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::Api;
use timonel_client::events::Recorder;
use timonel_client::informer::{self, Selection};
use timonel_client::{Clock, Rng};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::node::{self, Machine};
use crate::runtime::{Runtime, RuntimeError};
use crate::spec::{NodeSettings, dns};
use crate::volumes::Volumes;
use crate::volumes::objects::{ApiObjects, Objects};
use crate::worker::relist::Relister;
use crate::worker::{self, Shared};

/// What a kubelet needs from outside.
#[derive(Clone)]
pub struct Deps {
    /// The way to the API server, as `system:node:<name>`.
    pub client: kube::Client,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Arc<dyn Rng>,
    /// Whatever runs containers.
    pub runtime: Arc<dyn Runtime>,
}

impl fmt::Debug for Deps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deps")
            .field("runtime", &self.runtime)
            .finish_non_exhaustive()
    }
}

/// Why a kubelet could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers behind the runtime's port.
    #[error("the container runtime does not answer")]
    Runtime(#[from] RuntimeError),
}

/// A kubelet that has been put together and is ready to run. Its [`Shared`] part is what the HTTPS API serves from.
#[derive(Debug)]
pub struct Kubelet {
    shared: Arc<Shared>,
    machine: Machine,
    shutdown: CancellationToken,
}

/// How long to wait for the runtime's first answer before saying that one waits.
const PATIENCE: std::time::Duration = std::time::Duration::from_millis(200);

impl Kubelet {
    /// Waits for the runtime and puts the parts together.
    ///
    /// # Errors
    /// When shutdown comes before the runtime answers.
    pub async fn new(config: Config, deps: Deps, shutdown: CancellationToken) -> Result<Self, Error> {
        let version = loop {
            match deps.runtime.version().await {
                Ok(version) => break version,
                Err(error) => {
                    tracing::info!(%error, "waiting for the container runtime");
                    tokio::select! {
                        biased;
                        () = shutdown.cancelled() => return Err(error.into()),
                        () = tokio::time::sleep(PATIENCE) => {}
                    }
                }
            }
        };
        let machine = Machine::observe(&config);
        let capacity = machine.capacity;
        let objects: Arc<dyn Objects> = Arc::new(ApiObjects::new(deps.client.clone()));
        let host_dns = if config.hollow {
            String::new()
        } else {
            tokio::fs::read_to_string(&config.resolv_conf).await.unwrap_or_default()
        };
        let allocatable = capacity.map_or_else(BTreeMap::new, |capacity| {
            BTreeMap::from([
                ("cpu".to_owned(), format!("{}m", capacity.milli_cpu)),
                ("memory".to_owned(), capacity.memory.to_string()),
                ("ephemeral-storage".to_owned(), capacity.disk.to_string()),
            ])
        });
        let settings = NodeSettings {
            node_name: config.node_name.clone(),
            node_ips: vec![config.node_ip.to_string()],
            cluster_dns: config.cluster_dns.clone(),
            cluster_domain: config.cluster_domain.clone(),
            cgroup_root: config.cgroup_root.clone(),
            pod_logs: config.pod_log_dir.clone(),
            allocatable,
            host_dns: dns::parse(&host_dns),
        };
        let recorder = Recorder::start(
            deps.client.clone(),
            Arc::clone(&deps.clock),
            "kubelet",
            config.node_name.clone(),
            shutdown.clone(),
        );
        let services: Api<Service> = Api::all(deps.client.clone());
        let shared = Shared {
            volumes: Volumes::new(
                config.root_dir.clone(),
                config.hollow,
                Arc::clone(&objects),
                Arc::clone(&deps.clock),
            ),
            services: informer::start_with(services, Selection::all(), Arc::clone(&deps.rng), shutdown.clone()),
            relist: Relister::new(),
            settings: Arc::new(settings),
            memory_bytes: capacity.map_or(0, |capacity| capacity.memory),
            runtime_name: version.name,
            pods: Mutex::default(),
            usage: crate::stats::Memory::default(),
            config,
            client: deps.client,
            clock: deps.clock,
            rng: deps.rng,
            runtime: deps.runtime,
            objects,
            recorder,
        };
        Ok(Self {
            shared: Arc::new(shared),
            machine,
            shutdown,
        })
    }

    /// What the HTTPS API serves from.
    pub fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Runs until shutdown. No container is touched by that: a kubelet that starts later finds them.
    pub async fn run(self) {
        let (shared, shutdown) = (self.shared, self.shutdown);
        let mine = Selection::fields(format!("spec.nodeName={}", shared.config.node_name));
        let api: Api<Pod> = Api::all(shared.client.clone());
        let pods = informer::start_with(api, mine, Arc::clone(&shared.rng), shutdown.clone());
        let relist = {
            let (relister, runtime, clock) = (
                shared.relist.clone(),
                Arc::clone(&shared.runtime),
                Arc::clone(&shared.clock),
            );
            let (period, shutdown) = (shared.config.timings.relist, shutdown.clone());
            async move { relister.run(runtime, clock, period, shutdown).await }
        };
        tokio::join!(
            relist,
            worker::manager::run(Arc::clone(&shared), pods, shutdown.clone()),
            node::run_status(Arc::clone(&shared), self.machine, shutdown.clone()),
            node::run_lease(Arc::clone(&shared), shutdown.clone()),
            async {
                if !shared.config.hollow {
                    worker::rotate::run(Arc::clone(&shared), shutdown.clone()).await;
                }
            },
        );
    }
}

/// Runs a kubelet without its HTTPS API until shutdown.
///
/// # Errors
/// When shutdown comes before the runtime answers.
pub async fn run(config: Config, deps: Deps, shutdown: CancellationToken) -> Result<(), Error> {
    Kubelet::new(config, deps, shutdown).await?.run().await;
    Ok(())
}

/// Between two attempts to get a serving certificate.
const SERVING_RETRY: std::time::Duration = std::time::Duration::from_secs(1);

/// Runs a kubelet with its HTTPS API until shutdown. `client_ca` are the authorities (DER) whose client certificates the
/// API believes: those of the node's own kubeconfig.
///
/// Pods do not wait for the API: it comes up when its certificate has been signed.
///
/// # Errors
/// When shutdown comes before the runtime answers.
pub async fn run_serving(
    config: Config,
    deps: Deps,
    client_ca: Vec<Vec<u8>>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let kubelet = Kubelet::new(config, deps, shutdown.clone()).await?;
    let api = serve_api(kubelet.shared(), client_ca, shutdown);
    tokio::join!(kubelet.run(), api);
    Ok(())
}

async fn serve_api(shared: Arc<Shared>, client_ca: Vec<Vec<u8>>, shutdown: CancellationToken) {
    let name = shared.config.node_name.clone();
    let names = [name.clone(), shared.config.node_ip.to_string()];
    let dir = shared.config.root_dir.join("pki");
    loop {
        let attempt = async {
            let identity = node::join::serving(&shared.client, &name, &names, &dir).await?;
            // All addresses of the node: the API server comes from outside, people on the node from inside.
            let listener = tokio::net::TcpListener::bind(("0.0.0.0", shared.config.port)).await?;
            tracing::info!(port = shared.config.port, "the kubelet's API is served");
            crate::serve::serve(Arc::clone(&shared), &identity, &client_ca, listener, shutdown.clone()).await?;
            Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
        };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            outcome = attempt => match outcome {
                Ok(()) => return,
                Err(error) => tracing::warn!(error = timonel_client::chain(error.as_ref()), "the kubelet's API is not served yet"),
            }
        }
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(SERVING_RETRY) => {}
        }
    }
}
