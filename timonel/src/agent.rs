//! A node: kubelet, service proxy and DNS in one process, with the node's identity.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use timonel_client::{Clock, OsRng, Rng, SystemClock};
use timonel_kubelet::cri::CriRuntime;
use timonel_kubelet::node::join::{Join, join};
use timonel_proxy::{Dataplane, LinuxDataplane};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::args::{AgentArgs, DnsArgs, KubeletArgs, NodeArgs, ProxyArgs};
use crate::process;

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

fn rng() -> Arc<dyn Rng> {
    Arc::new(OsRng)
}

/// The node's name and address, as told or as found.
fn identity(args: &NodeArgs) -> anyhow::Result<(String, IpAddr)> {
    let name = match &args.node_name {
        Some(name) => name.clone(),
        None => process::host_name()?,
    };
    Ok((name, args.node_ip.unwrap_or_else(|| IpAddr::V4(process::own_address()))))
}

fn kubelet_config(args: &NodeArgs) -> anyhow::Result<timonel_kubelet::Config> {
    let (name, ip) = identity(args)?;
    let mut config = timonel_kubelet::Config::new(name, ip);
    config.root_dir.clone_from(&args.root_dir);
    config.containerd_socket.clone_from(&args.container_runtime_endpoint);
    config.cluster_dns = vec![args.cluster_dns.to_string()];
    config.cluster_domain.clone_from(&args.cluster_domain);
    config.register_taints.clone_from(&args.register_with_taints);
    for label in &args.node_labels {
        let (key, value) = label
            .split_once('=')
            .with_context(|| format!("--node-labels: {label:?} is no key=value"))?;
        config.node_labels.push((key.to_owned(), value.to_owned()));
    }
    if args.lab_timings {
        config.timings = timonel_kubelet::Timings::lab();
    }
    Ok(config)
}

/// `kubeconfig` is the node's own: its authority is also the one whose clients may use the kubelet's API.
async fn run_kubelet(
    args: NodeArgs,
    client: kube::Client,
    kubeconfig: PathBuf,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let config = kubelet_config(&args)?;
    let client_ca = timonel_client::kubeconfig::load_config(&kubeconfig).await?.root_cert;
    let runtime = CriRuntime::new(&config.containerd_socket).context("reach containerd")?;
    let deps = timonel_kubelet::Deps {
        client,
        clock: clock(),
        rng: rng(),
        runtime: Arc::new(runtime),
    };
    timonel_kubelet::run_serving(config, deps, client_ca.unwrap_or_default(), shutdown)
        .await
        .context("the kubelet")
}

async fn run_proxy(
    node_name: String,
    served_here: Vec<Ipv4Addr>,
    client: kube::Client,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let config = timonel_proxy::Config {
        node_name,
        served_here: served_here.into_iter().collect(),
        ..timonel_proxy::Config::default()
    };
    let deps = timonel_proxy::Deps {
        client,
        clock: clock(),
        rng: rng(),
        dataplane: Arc::new(LinuxDataplane),
    };
    timonel_proxy::run(config, deps, shutdown)
        .await
        .context("the service proxy")
}

async fn run_dns(
    listen: Vec<SocketAddr>,
    domain: String,
    forward: Vec<SocketAddr>,
    client: kube::Client,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let config = timonel_dns::Config {
        listen,
        domain,
        forward,
    };
    let deps = timonel_dns::Deps {
        client,
        clock: clock(),
        rng: rng(),
    };
    timonel_dns::run(config, deps, shutdown).await.context("the DNS")
}

/// Joins the cluster, trying until it works: the server may still be starting.
async fn joined(args: &AgentArgs, name: &str, shutdown: &CancellationToken) -> anyhow::Result<Option<kube::Client>> {
    let ca_pem = std::fs::read_to_string(&args.certificate_authority).context("--certificate-authority")?;
    let wish = Join {
        server: args.server.clone(),
        ca_pem,
        token: args.token.clone(),
        node_name: name.to_owned(),
        dir: args.data_dir.clone(),
    };
    let mut pause = Duration::from_millis(100);
    loop {
        let attempt = async {
            let path = join(&wish).await?;
            anyhow::Ok(timonel_client::kubeconfig::load(path, "kubelet").await?)
        };
        let outcome = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(None),
            outcome = attempt => outcome,
        };
        match outcome {
            Ok(client) => return Ok(Some(client)),
            Err(error) => tracing::warn!("cannot join yet: {error:#}"),
        }
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(None),
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}

/// `timonel agent`.
pub(crate) async fn agent(args: AgentArgs, shutdown: CancellationToken) -> anyhow::Result<()> {
    let (name, _) = identity(&args.node)?;
    std::fs::create_dir_all(&args.data_dir).with_context(|| format!("create {}", args.data_dir.display()))?;
    // The DNS answers at the service's address on every node: a pod's question never leaves its node.
    let dns = args.node.cluster_dns;
    LinuxDataplane
        .ip(&format!("addr replace {dns}/32 dev lo\n"), false)
        .await
        .context("take the DNS's address")?;
    let Some(client) = joined(&args, &name, &shutdown).await? else {
        return Ok(());
    };

    // One that fails takes the process down: whoever supervises starts it afresh, and no container is touched by that.
    let parts = shutdown.child_token();
    let mut tasks = JoinSet::new();
    tasks.spawn(run_proxy(name, vec![dns], client.clone(), parts.clone()));
    tasks.spawn(run_dns(
        vec![SocketAddr::from((dns, 53))],
        args.node.cluster_domain.clone(),
        args.dns_forward.clone(),
        client.clone(),
        parts.clone(),
    ));
    let kubeconfig = timonel_kubelet::node::join::kubeconfig_path(&args.data_dir);
    tasks.spawn(run_kubelet(args.node, client, kubeconfig, parts.clone()));
    while let Some(ended) = tasks.join_next().await {
        if !shutdown.is_cancelled() {
            parts.cancel();
            ended.context("a component panicked")??;
            anyhow::bail!("a component of the node ended");
        }
    }
    Ok(())
}

async fn load(kubeconfig: &Path, agent: &str) -> anyhow::Result<kube::Client> {
    timonel_client::kubeconfig::load(kubeconfig, agent)
        .await
        .context("--kubeconfig")
}

/// `timonel kubelet`.
pub(crate) async fn kubelet(args: KubeletArgs, shutdown: CancellationToken) -> anyhow::Result<()> {
    let client = load(&args.kubeconfig, "kubelet").await?;
    run_kubelet(args.node, client, args.kubeconfig, shutdown).await
}

/// `timonel proxy`.
pub(crate) async fn proxy(args: ProxyArgs, shutdown: CancellationToken) -> anyhow::Result<()> {
    let name = match args.node_name {
        Some(name) => name,
        None => process::host_name()?,
    };
    run_proxy(
        name,
        args.served_here,
        load(&args.kubeconfig, "kube-proxy").await?,
        shutdown,
    )
    .await
}

/// `timonel dns`.
pub(crate) async fn dns(args: DnsArgs, shutdown: CancellationToken) -> anyhow::Result<()> {
    run_dns(
        args.listen,
        args.cluster_domain,
        args.dns_forward,
        load(&args.kubeconfig, "timonel-dns").await?,
        shutdown,
    )
    .await
}
