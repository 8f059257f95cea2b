//! The control plane: the API server, and beside it, through clients in the same process, scheduler and controllers.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::api::PostParams;
use timonel_apiserver::identity::UserInfo;
use timonel_apiserver::{ApiServer, Config, Deps};
use timonel_client::accounts::{self, Accounts, TokenAccounts};
use timonel_client::{Clock, OsRng, Rng, SystemClock};
use timonel_scheduler::Desk;
use timonel_scheduler::config::Election;
use timonel_store::{EmbeddedConfig, EmbeddedStore, Engine};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::args::{
    ApiserverArgs, ControllerArgs, ControllerManagerArgs, LimitArgs, SchedulerArgs, ServerArgs, StoreEngine,
};
use crate::desk::AtTheDesk;
use crate::process;

/// How long pods stay on a node that is lost, with lab timings; upstream's 300 s are the default.
const LAB_TOLERATION_SECONDS: i64 = 5;

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

fn rng() -> Arc<dyn Rng> {
    Arc::new(OsRng)
}

/// An API server that is bound to its port but does not serve yet.
struct Bound {
    server: ApiServer,
    listener: TcpListener,
    store: Arc<EmbeddedStore>,
}

/// File descriptors that are kept for everything but clients' connections: the store, kubelets, logs.
const OTHER_FILES: u64 = 512;

fn limit(config: &mut Config, args: &LimitArgs) {
    config.request_timeout = args.request_timeout;
    let limits = &mut config.limits;
    limits.requests_in_flight = args.max_requests_inflight;
    limits.mutating_requests_in_flight = args.max_mutating_requests_inflight;
    if args.http2_max_streams_per_connection > 0 {
        limits.streams_per_connection = args.http2_max_streams_per_connection;
    }
    let files = process::raise_open_files().saturating_sub(OTHER_FILES).max(OTHER_FILES);
    let possible = usize::try_from(files).unwrap_or(usize::MAX);
    limits.stall = args.stall_timeout.max(Duration::from_secs(1));
    limits.connections = args.max_connections.unwrap_or(limits.connections.min(possible));
}

/// Opens the store and starts the API server.
async fn start(args: &ApiserverArgs, lab_timings: bool, desk: Option<Desk>) -> anyhow::Result<Bound> {
    let address = SocketAddr::new(args.bind_address, args.secure_port);
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("listen on {address}"))?;
    let port = listener.local_addr().context("ask for the port")?.port();
    let advertise = args.advertise_address.unwrap_or(match args.bind_address {
        IpAddr::V4(address) if !address.is_unspecified() => address,
        _ => process::own_address(),
    });
    let mut config = Config {
        advertise_address: advertise,
        advertise_port: port,
        build: crate::build::info(),
        ..Config::default()
    };
    config.service_range = args
        .service_cluster_ip_range
        .parse()
        .context("--service-cluster-ip-range")?;
    config.pki_dir = Some(args.data_dir.clone());
    config.pki.server_url = format!("https://{advertise}:{port}");
    config.pki.cluster_domain.clone_from(&args.cluster_domain);
    let url = config.pki.server_url.clone();
    args.access.apply(&mut config, &url)?;
    let first = Ipv4Addr::from(u32::from(config.service_range.network()) + 1);
    config.pki.server_ips = vec![IpAddr::V4(advertise), IpAddr::V4(first)];
    for name in &args.tls_san {
        match name.parse::<IpAddr>() {
            Ok(ip) => config.pki.server_ips.push(ip),
            Err(_) => config.pki.server_names.push(name.clone()),
        }
    }
    limit(&mut config, &args.limits);
    config.local_path_storage = args.local_path_storage;
    if let Some(token) = &args.bootstrap_token {
        config.bootstrap_token = Some(token.parse().map_err(anyhow::Error::msg).context("--bootstrap-token")?);
    }
    config.guest = desk.map(|desk| Arc::new(AtTheDesk(desk)) as Arc<dyn timonel_apiserver::http::Guest>);
    if lab_timings {
        config.admission.not_ready_toleration_seconds = LAB_TOLERATION_SECONDS;
        config.admission.unreachable_toleration_seconds = LAB_TOLERATION_SECONDS;
    }
    let engine = match args.store_engine {
        StoreEngine::Redb => Engine::Redb,
        StoreEngine::Sled => Engine::Sled,
    };
    let folder = args.data_dir.join("store");
    let mut embedded = EmbeddedConfig::at(&folder).engine(engine);
    embedded.retention.time = Duration::from_secs(args.history_seconds);
    let store = tokio::task::spawn_blocking(move || EmbeddedStore::open(embedded))
        .await?
        .with_context(|| format!("open the store in {}", folder.display()))?;
    let store = Arc::new(store);
    let deps = Deps {
        store: Arc::clone(&store) as Arc<dyn timonel_store::Store>,
        clock: clock(),
        rng: rng(),
    };
    let server = ApiServer::start(config, deps).await.context("start the API server")?;
    tracing::info!(%advertise, port, "the API server is ready");
    Ok(Bound {
        server,
        listener,
        store,
    })
}

impl Bound {
    /// Serves until `shutdown`, or until the store may not be trusted any more.
    async fn serve(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        tokio::select! {
            biased;
            error = self.store.failure() => Err(error).context("the store failed; nothing more is served"),
            served = self.server.serve(self.listener, shutdown) => served.context("serve the API"),
        }
    }
}

/// `timonel apiserver`.
pub(crate) async fn apiserver(args: ApiserverArgs, shutdown: CancellationToken) -> anyhow::Result<()> {
    start(&args, false, None).await?.serve(shutdown).await
}

/// `timonel server`.
pub(crate) async fn server(args: ServerArgs, shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut scheduling = timonel_scheduler::Config::default();
    if let Some(path) = &args.scheduler_config {
        let election = configure(&mut scheduling, path).context("--scheduler-config")?;
        if election.leader_elect == Some(true) {
            bail!("--scheduler-config: leaderElection.leaderElect: the scheduler of a server stands for no election");
        }
    }
    let bound = start(&args.api, args.lab_timings, Some(scheduling.desk.clone())).await?;
    let api = bound.server.clone();
    let timings = if args.lab_timings {
        timonel_controller_manager::Timings::lab()
    } else {
        Default::default()
    };
    let pki = api.pki();
    let controllers = timonel_controller_manager::Config {
        timings,
        cluster_cidr: Some(args.cluster_cidr.parse().context("--cluster-cidr")?),
        root_ca_pem: Some(pki.ca_pem().to_owned()),
        signing_ca: Some(timonel_controller_manager::SigningCa {
            cert_pem: pki.ca().cert_pem.clone(),
            key_pem: pki.ca().key_pem.clone(),
        }),
        ..Default::default()
    };
    // A component that fails takes the process down with it: whoever supervises starts it afresh, from what is stored.
    let parts = shutdown.child_token();
    let manager = timonel_controller_manager::run(
        controllers,
        timonel_controller_manager::Deps {
            client: api.client(
                UserInfo::new("system:kube-controller-manager", &[]),
                "kube-controller-manager",
            ),
            accounts: accounts(&api),
            clock: clock(),
            rng: rng(),
        },
        parts.clone(),
    );
    let scheduler = timonel_scheduler::run(
        scheduling,
        timonel_scheduler::Deps {
            client: api.client(UserInfo::new("system:kube-scheduler", &[]), "kube-scheduler"),
            clock: clock(),
            rng: rng(),
        },
        parts.clone(),
    );
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move { manager.await.context("the controllers") });
    tasks.spawn(async move { scheduler.await.context("the scheduler") });
    tasks.spawn(dns_service(
        api.client(UserInfo::new("system:apiserver", &["system:masters"]), "kube-apiserver"),
        args.cluster_dns,
        parts.clone(),
    ));
    let served = bound.serve(shutdown.clone());
    tokio::pin!(served);
    loop {
        tokio::select! {
            biased;
            done = &mut served => {
                parts.cancel();
                while tasks.join_next().await.is_some() {}
                return done;
            }
            Some(ended) = tasks.join_next(), if !tasks.is_empty() => {
                if !shutdown.is_cancelled() {
                    ended.context("a component panicked")??;
                }
            }
        }
    }
}

/// Makes sure that the cluster's DNS has a Service: it holds the address and shows up in lists. Each node answers there
/// itself, so the Service selects no pods.
async fn dns_service(client: kube::Client, address: Ipv4Addr, shutdown: CancellationToken) -> anyhow::Result<()> {
    let services: Api<Service> = Api::namespaced(client, "kube-system");
    let wanted: Service = serde_json::from_value(serde_json::json!({
        "metadata": { "name": "kube-dns", "labels": { "k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS" } },
        "spec": {
            "clusterIP": address,
            "ports": [
                { "name": "dns", "port": 53, "protocol": "UDP" },
                { "name": "dns-tcp", "port": 53, "protocol": "TCP" },
            ],
        },
    }))?;
    loop {
        match services.create(&PostParams::default(), &wanted).await {
            Ok(_) => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == 409 || status.code == 422 => return Ok(()),
            Err(error) => tracing::warn!(
                error = timonel_client::chain(&error),
                "the Service of the DNS cannot be made"
            ),
        }
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
}

/// Lets each controller in this process act as its own service account.
fn accounts(api: &ApiServer) -> Arc<dyn Accounts> {
    let api = api.clone();
    Arc::new(move |account: &str| {
        let user = UserInfo::service_account(accounts::NAMESPACE, account);
        api.client(user, "kube-controller-manager")
    })
}

fn leader(namespace: &str, name: &str, wanted: bool) -> anyhow::Result<Option<timonel_client::leader::LeaderConfig>> {
    if !wanted {
        return Ok(None);
    }
    let identity = format!("{}_{}", process::host_name()?, OsRng.uuid());
    Ok(Some(timonel_client::leader::LeaderConfig::new(
        namespace, name, identity,
    )))
}

async fn client(args: &ControllerArgs, agent: &str) -> anyhow::Result<kube::Client> {
    timonel_client::kubeconfig::load(&args.kubeconfig, agent)
        .await
        .context("--kubeconfig")
}

/// Takes in a KubeSchedulerConfiguration; what it says of leader election is the caller's.
fn configure(config: &mut timonel_scheduler::Config, path: &Path) -> anyhow::Result<Election> {
    let text = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
    let file = timonel_scheduler::config::File::parse(&text)?;
    config.profiles = file.profiles;
    config.queue = file.queue;
    let extenders = file.extenders.into_iter().map(timonel_scheduler::extender::connect);
    config.extenders = extenders.collect::<Result<_, _>>()?;
    Ok(file.election)
}

/// `timonel scheduler`.
pub(crate) async fn scheduler(args: SchedulerArgs, shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut config = timonel_scheduler::Config::default();
    let mut elect = args.common.leader_elect;
    let (mut namespace, mut name) = ("kube-system".to_owned(), "kube-scheduler".to_owned());
    if let Some(path) = &args.config {
        let election = configure(&mut config, path).context("--config")?;
        elect = election.leader_elect.unwrap_or(elect);
        (namespace, name) = (election.namespace, election.name);
    }
    config.leader = leader(&namespace, &name, elect)?;
    let deps = timonel_scheduler::Deps {
        client: client(&args.common, "kube-scheduler").await?,
        clock: clock(),
        rng: rng(),
    };
    Ok(timonel_scheduler::run(config, deps, shutdown).await?)
}

/// `timonel controller-manager`.
pub(crate) async fn controller_manager(args: ControllerManagerArgs, shutdown: CancellationToken) -> anyhow::Result<()> {
    let signing_ca = match (&args.cluster_signing_cert_file, &args.cluster_signing_key_file) {
        (Some(cert), Some(key)) => {
            Some(timonel_controller_manager::SigningCa::load(cert, key).context("read the signing certificate")?)
        }
        (None, None) => None,
        _ => bail!("--cluster-signing-cert-file and --cluster-signing-key-file belong together"),
    };
    let root_ca_pem = match &args.root_ca_file {
        Some(path) => Some(std::fs::read_to_string(path).context("--root-ca-file")?),
        None => None,
    };
    let config = timonel_controller_manager::Config {
        timings: if args.lab_timings {
            timonel_controller_manager::Timings::lab()
        } else {
            Default::default()
        },
        cluster_cidr: Some(args.cluster_cidr.parse().context("--cluster-cidr")?),
        root_ca_pem,
        signing_ca,
        leader: leader("kube-system", "kube-controller-manager", args.common.leader_elect)?,
        ..Default::default()
    };
    let client = client(&args.common, "kube-controller-manager").await?;
    let accounts = TokenAccounts::load(
        &args.common.kubeconfig,
        "kube-controller-manager",
        client.clone(),
        clock(),
    );
    let deps = timonel_controller_manager::Deps {
        client,
        accounts: Arc::new(accounts.await.context("--kubeconfig")?),
        clock: clock(),
        rng: rng(),
    };
    Ok(timonel_controller_manager::run(config, deps, shutdown).await?)
}
