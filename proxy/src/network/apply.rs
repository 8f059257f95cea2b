//! Carries out a [`NetworkPlan`].

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::Ipv4Net;

use super::plan::NetworkPlan;
use crate::apply::{Dataplane, DataplaneError};

/// Routes carry this protocol number, so that we find and remove our own and nobody else's.
const ROUTE_PROTOCOL: &str = "84";

/// Where the node keeps its network's configuration.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// The file that containerd reads; change it where containerd's `conf_dir` is elsewhere.
    pub cni_file: PathBuf,
    /// The folder of the CNI plugins; `portmap` is left out where iptables is missing.
    pub cni_bin: PathBuf,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            cni_file: PathBuf::from("/etc/cni/net.d/10-timonel.conflist"),
            cni_bin: PathBuf::from("/usr/lib/cni"),
        }
    }
}

/// Turns on what routing between pods needs.
///
/// # Errors
/// When the kernel refuses to forward.
pub async fn prepare(dataplane: Arc<dyn Dataplane>) -> Result<(), DataplaneError> {
    dataplane
        .write(PathBuf::from("/proc/sys/net/ipv4/ip_forward"), "1\n".to_owned())
        .await?;
    // Answers between two pods of one bridge must pass the rules that translated the question.
    let bridged = PathBuf::from("/proc/sys/net/bridge/bridge-nf-call-iptables");
    if dataplane.exists(bridged.clone()).await {
        dataplane.write(bridged, "1\n".to_owned()).await?;
    } else {
        tracing::warn!("br_netfilter is not loaded: a pod cannot reach a service that ends on its own node");
    }
    Ok(())
}

/// The node's network as far as it has been set up.
#[derive(Debug)]
pub struct Network {
    dataplane: Arc<dyn Dataplane>,
    config: NetworkConfig,
    routes: Option<BTreeMap<Ipv4Net, Ipv4Addr>>,
    gateway: Option<Ipv4Addr>,
}

impl Network {
    /// Nothing is set up yet.
    pub fn new(dataplane: Arc<dyn Dataplane>, config: NetworkConfig) -> Self {
        Self {
            dataplane,
            config,
            routes: None,
            gateway: None,
        }
    }

    /// Makes the network what the plan says.
    ///
    /// # Errors
    /// When a file or a route cannot be set; what was done so far stays, and a next call goes on.
    pub async fn apply(&mut self, plan: &NetworkPlan) -> Result<(), DataplaneError> {
        if self.routes.as_ref() != Some(&plan.routes) {
            self.apply_routes(plan).await?;
            self.routes = Some(plan.routes.clone());
        }
        let gateway = plan.gateway();
        if gateway != self.gateway
            && let Some(address) = gateway
        {
            self.remove_foreign_bridge(address).await?;
            let port_mappings = self.dataplane.exists(PathBuf::from("/usr/sbin/iptables")).await
                && self.dataplane.exists(self.config.cni_bin.join("portmap")).await;
            if let Some(text) = plan.cni(port_mappings) {
                self.dataplane.write(self.config.cni_file.clone(), text).await?;
            }
            self.gateway = gateway;
        }
        Ok(())
    }

    async fn apply_routes(&self, plan: &NetworkPlan) -> Result<(), DataplaneError> {
        let present = self
            .dataplane
            .ip_output(&["-o", "-4", "route", "show", "proto", ROUTE_PROTOCOL])
            .await?;
        let lines = stale_routes(&present, plan);
        self.dataplane.ip(&lines, true).await?;
        let lines = wanted_routes(plan);
        self.dataplane.ip(&lines, false).await
    }

    /// A bridge with another range's address would make the CNI plugin refuse every pod.
    async fn remove_foreign_bridge(&self, gateway: Ipv4Addr) -> Result<(), DataplaneError> {
        let shown = self
            .dataplane
            .ip_output(&["-o", "-4", "addr", "show", "to", "0.0.0.0/0"])
            .await?;
        let foreign = has_foreign_address(&shown, gateway);
        if foreign {
            self.dataplane.ip("link del cni0\n", true).await?;
        }
        Ok(())
    }
}

/// Says whether `ip -o -4 addr show` shows a bridge of ours with an address that is not the gateway's.
fn has_foreign_address(shown: &str, gateway: Ipv4Addr) -> bool {
    let own = format!(" {gateway}/");
    let bridge: Vec<&str> = shown
        .lines()
        .filter(|line| line.split_whitespace().nth(1) == Some("cni0"))
        .collect();
    !bridge.is_empty() && !bridge.iter().any(|line| line.contains(&own))
}

/// Renders the removal of our routes that the plan does not have.
fn stale_routes(present: &str, plan: &NetworkPlan) -> String {
    let mut lines = String::new();
    for stale in present.lines().filter_map(|line| line.split_whitespace().next()) {
        let wanted = stale.parse::<Ipv4Net>().is_ok_and(|net| plan.routes.contains_key(&net));
        if !wanted {
            let _ = writeln!(lines, "route del {stale} proto {ROUTE_PROTOCOL}");
        }
    }
    lines
}

/// Renders the plan's routes.
fn wanted_routes(plan: &NetworkPlan) -> String {
    let mut lines = String::new();
    for (net, via) in &plan.routes {
        let _ = writeln!(lines, "route replace {net} via {via} proto {ROUTE_PROTOCOL}");
    }
    lines
}
