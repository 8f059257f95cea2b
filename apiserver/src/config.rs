//! The API server's settings.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::Ipv4Net;

use crate::admission::AdmissionConfig;
use crate::audit::AuditConfig;
use crate::authn::AuthnConfig;
use crate::bootstrap::BootstrapToken;
use crate::http::Limits;
use crate::pki::PkiConfig;
use crate::usage::NodeStats;

/// What one may want to change about an API server.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where Services get their addresses. Must not overlap pod or node networks. The first address is the API server's own.
    pub service_range: Ipv4Net,
    /// Where Services get their node ports.
    pub node_ports: RangeInclusive<u16>,
    /// The address at which clients inside the cluster reach this server: what the `kubernetes` Service leads to.
    pub advertise_address: Ipv4Addr,
    /// The port beside it.
    pub advertise_port: u16,
    /// How long Events are kept.
    pub event_ttl: Duration,
    /// How long a request may take that is no watch and no stream.
    pub request_timeout: Duration,
    /// Who else in this process answers below [`crate::http::MOUNT`].
    pub guest: Option<Arc<dyn crate::http::Guest>>,
    /// The largest request body.
    pub body_limit: usize,
    /// How much is taken on at a time, and how long whom is waited for.
    pub limits: Limits,
    /// How long requests in flight may go on after shutdown has begun.
    pub grace: Duration,
    /// Where keys and certificates lie; in memory only without.
    pub pki_dir: Option<PathBuf>,
    /// What the certificates must say.
    pub pki: PkiConfig,
    /// Whether a new cluster gets the class `local-path`, as the default one.
    pub local_path_storage: bool,
    /// With which nodes may join.
    pub bootstrap_token: Option<BootstrapToken>,
    /// How tokens are issued and accepted.
    pub authn: AuthnConfig,
    /// What is written to the audit log; no log without.
    pub audit: Option<AuditConfig>,
    /// How admission behaves.
    pub admission: AdmissionConfig,
    /// Who tells what nodes use; their kubelets, over HTTPS, where it is `None`.
    pub node_stats: Option<Arc<dyn NodeStats>>,
    /// From what the program was built: what `/version` tells.
    pub build: BuildInfo,
}

/// From what a program was built.
#[derive(Clone, Debug)]
pub struct BuildInfo {
    /// The commit, in hexadecimal digits; empty where it was built outside of a repository.
    pub commit: String,
    /// `clean`, `dirty` where files differed from the commit, `archive` where there was no repository.
    pub tree_state: String,
    /// When the commit was made, or the build where its maker says so. RFC 3339.
    pub date: String,
    /// `rustc 1.95.0`
    pub compiler: String,
}

impl Default for BuildInfo {
    fn default() -> Self {
        Self {
            commit: String::new(),
            tree_state: "archive".to_owned(),
            date: "1970-01-01T00:00:00Z".to_owned(),
            compiler: "rustc".to_owned(),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        let service_range = Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 12);
        Self {
            service_range,
            node_ports: 30000..=32767,
            advertise_address: Ipv4Addr::LOCALHOST,
            advertise_port: 6443,
            event_ttl: Duration::from_secs(3600),
            request_timeout: Duration::from_secs(60),
            guest: None,
            body_limit: timonel_api::decode::MAX_BYTES,
            limits: Limits::default(),
            grace: Duration::from_secs(10),
            pki_dir: None,
            pki: PkiConfig::default(),
            local_path_storage: false,
            bootstrap_token: None,
            authn: AuthnConfig::default(),
            audit: None,
            admission: AdmissionConfig::default(),
            node_stats: None,
            build: BuildInfo::default(),
        }
    }
}
