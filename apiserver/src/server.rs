//! The API server as a whole: started, served, and reached from within the process.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt, stream};
use http::header::{HeaderValue, USER_AGENT};
use http::{Request, Response};
use serde_json::{Value, json};
use timonel_api::decode::Decoded;
use timonel_client::{Clock, Rng};
use timonel_store::Store;
use tokio_util::sync::CancellationToken;

use crate::audit::{Audit, LogError};
use crate::authn::{Authenticator, AuthnError};
use crate::bootstrap;
use crate::cache::{Caches, FeedError};
use crate::config::Config;
use crate::encryption::{self, EncryptionError, Transformer};
use crate::error::ApiError;
use crate::http::{Body, Front, Identity, InFlight};
use crate::identity::UserInfo;
use crate::kubelet_proxy::KubeletProxy;
use crate::pki::{KeyFile, Pki, PkiError};
use crate::reader::ObjectReader;
use crate::registry::{Caller, Registry, WriteOptions, keep_service_addresses};
use crate::security::Security;
use crate::usage::{Collector, NodeStats};

/// How often Events that are too old are looked for.
const EXPIRY: Duration = Duration::from_secs(60);
/// How often certificates are looked at. They are renewed months before they end.
const RENEWAL: Duration = Duration::from_secs(3600);

/// How many of the first objects are written at a time.
const TOGETHER: usize = 64;

/// What an API server stands on.
#[derive(Clone)]
pub struct Deps {
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Uids and names.
    pub rng: Arc<dyn Rng>,
}

impl std::fmt::Debug for Deps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deps").finish_non_exhaustive()
    }
}

/// Why an API server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Keys and certificates could not be read or made.
    #[error("cannot set up keys and certificates")]
    Pki(#[from] PkiError),
    /// Secrets could not be kept secret.
    #[error("cannot set up encryption at rest")]
    Encryption(#[from] EncryptionError),
    /// Nobody could be recognised.
    #[error("cannot set up authentication")]
    Authn(#[from] AuthnError),
    /// What is done could not be logged.
    #[error("cannot open the audit log")]
    Audit(#[from] LogError),
    /// The caches could not be filled.
    #[error("cannot fill the caches")]
    Feed(#[from] FeedError),
    /// The objects that every cluster has could not be made.
    #[error("cannot make {what}")]
    Bootstrap {
        /// Which object.
        what: String,
        /// Why not.
        source: ApiError,
    },
}

/// A running API server. It ends when the last clone is dropped and [`ApiServer::stop`] has been called.
#[derive(Clone, Debug)]
pub struct ApiServer {
    front: Arc<Front>,
    pki: Arc<Pki>,
    stop: CancellationToken,
}

impl ApiServer {
    /// Fills the caches from the store, and makes what every cluster has.
    pub async fn start(config: Config, deps: Deps) -> Result<Self, StartError> {
        let Deps { store, clock, rng } = deps;
        let pki = match &config.pki_dir {
            Some(dir) => Pki::load_or_create(dir, &config.pki, &clock, &rng)?,
            None => Pki::in_memory(&config.pki, &clock, &rng)?,
        };
        let stop = CancellationToken::new();
        let transformer = Transformer::new(pki.encryption_keys(), &["secrets"], rng.clone())?;
        let caches = Arc::new(Caches::new(store, transformer));
        let reader: Arc<dyn ObjectReader> = caches.clone();
        let config = Arc::new(config);
        let registry = Arc::new(Registry {
            caches: caches.clone(),
            security: Arc::new(Security::new(config.admission.clone(), &reader, &clock, &rng)),
            config: config.clone(),
            clock: clock.clone(),
            rng: rng.clone(),
        });
        let audit = match &config.audit {
            Some(audit) => Some(Audit::start(audit.clone(), clock.clone())?),
            None => None,
        };
        let front = Arc::new(Front {
            audit,
            proxy: Arc::new(KubeletProxy::new(&pki, reader.clone(), rng.clone())?),
            usage: Arc::default(),
            authenticator: Authenticator::new(config.authn.clone(), &pki, reader, clock, rng)?,
            registry,
            health: Default::default(),
            metrics: Default::default(),
            inflight: InFlight::new(&config.limits),
            stop: stop.child_token(),
        });
        caches.start(stop.clone()).await?;
        let server = Self {
            front,
            pki: Arc::new(pki),
            stop,
        };
        server.bootstrap().await?;
        server.front.health.bootstrapped();
        tokio::spawn(renew_certificates(server.clone(), server.stop.clone()));
        if let Some(dir) = &server.front.registry.config.pki_dir {
            let (file, caches) = (KeyFile::of(dir), server.front.caches().clone());
            tokio::spawn(encryption::follow(file, caches, server.stop.clone()));
        }
        tokio::spawn(server.collector().run(server.stop.clone()));
        tokio::spawn(expire_events(server.front.registry.clone(), server.stop.clone()));
        tokio::spawn(keep_service_addresses(
            server.front.registry.clone(),
            server.stop.clone(),
        ));
        Ok(server)
    }

    /// A client within this process that acts as `user`. Authorization and admission run as for everybody. `agent` is the
    /// `User-Agent`, by which its writes are recorded.
    pub fn client(&self, user: UserInfo, agent: &'static str) -> kube::Client {
        let service = InProcess {
            front: self.front.clone(),
            user,
            agent: HeaderValue::from_static(agent),
        };
        kube::Client::new(service, "default")
    }

    /// The cluster's keys and certificates.
    pub fn pki(&self) -> &Arc<Pki> {
        &self.pki
    }

    /// Reads the newest objects.
    pub fn reader(&self) -> Arc<dyn ObjectReader> {
        self.front.caches().clone()
    }

    /// Whether requests are answered as they should be.
    pub fn ready(&self) -> bool {
        self.front.health.is_ready(self.front.caches())
    }

    /// Ends watches and background work. Requests in flight finish.
    pub fn stop(&self) {
        self.front.health.stopping();
        self.stop.cancel();
    }

    fn collector(&self) -> Collector {
        let (front, registry) = (&self.front, &self.front.registry);
        let kubelets: Arc<dyn NodeStats> = front.proxy.clone();
        Collector {
            usage: front.usage.clone(),
            stats: registry.config.node_stats.clone().unwrap_or(kubelets),
            reader: self.reader(),
            clock: registry.clock.clone(),
        }
    }

    pub(crate) fn front(&self) -> &Arc<Front> {
        &self.front
    }

    /// Tells whether nothing was ever made in this cluster.
    fn is_new_cluster(&self) -> Result<bool, StartError> {
        let registry = &self.front.registry;
        let found = timonel_api::resources::by_kind("", "v1", "Namespace")
            .ok_or(ApiError::NoSuchPath)
            .and_then(|info| registry.target(info, None, "", "kube-system"))
            .and_then(|target| registry.current(&target));
        match found {
            Ok(_) => Ok(false),
            Err(ApiError::NotFound { .. }) => Ok(true),
            Err(source) => Err(StartError::Bootstrap {
                what: "Namespace kube-system".to_owned(),
                source,
            }),
        }
    }

    async fn bootstrap(&self) -> Result<(), StartError> {
        let registry = &self.front.registry;
        let config = &registry.config;
        let user = UserInfo::new("system:apiserver", &["system:masters"]);
        let caller = Caller::new(user, registry.clock.now(), "kube-apiserver");
        let wanted = bootstrap::BootstrapConfig {
            ca_pem: self.pki.ca_pem().to_owned(),
            server_url: config.pki.server_url.clone(),
            service_cidrs: vec![config.service_range.to_string()],
            token: config.bootstrap_token.clone(),
        };
        let mut objects = bootstrap::objects(&wanted);
        objects.extend(own_service(config));
        let is_namespace = |object: &Value| object["kind"] == "Namespace";
        let (namespaces, others): (Vec<_>, Vec<_>) = objects.into_iter().partition(is_namespace);
        // Before the namespace that tells that the cluster is not new any more.
        let class = config.local_path_storage && self.is_new_cluster()?;
        let class = class.then(bootstrap::default_storage_class).into_iter().collect();
        for group in [class, namespaces, others] {
            let mut writes = Vec::with_capacity(group.len());
            for object in group {
                writes.push(ensure(registry, object, &caller));
            }
            // Together, so that they share the store's commits.
            stream::iter(writes)
                .buffer_unordered(TOGETHER)
                .try_collect::<()>()
                .await?;
        }
        Ok(())
    }
}

/// Creates an object, or brings the one that is there up to date.
async fn ensure(registry: &Registry, object: Value, caller: &Caller) -> Result<(), StartError> {
    let what = format!("{} {}", object["kind"], object["metadata"]["name"]);
    create_or_update(registry, object, caller)
        .await
        .map_err(|source| StartError::Bootstrap { what, source })
}

async fn create_or_update(registry: &Registry, object: Value, caller: &Caller) -> Result<(), ApiError> {
    let api_version = object["apiVersion"].as_str().unwrap_or_default();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let kind = object["kind"].as_str().unwrap_or_default();
    let info = timonel_api::resources::by_kind(group, version, kind).ok_or(ApiError::NoSuchPath)?;
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let target = registry.target(info, None, namespace, name)?;
    let body = |value| Decoded {
        value,
        duplicates: Vec::new(),
    };
    let options = WriteOptions::default();
    let result = match registry.current(&target) {
        Ok(present) => match reconciled(&present.value(), &object) {
            Some(next) => registry
                .update(&target, body(next), &options, caller)
                .await
                .map(|(_, answer)| answer),
            None => return Ok(()),
        },
        Err(_) => {
            registry
                .create(&target.with_name(""), body(object), &options, caller)
                .await
        }
    };
    match result {
        Ok(_) | Err(ApiError::AlreadyExists { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// What an object that is there should become. Where this server is reached may have changed since the last start.
fn reconciled(present: &Value, wanted: &Value) -> Option<Value> {
    if !matches!(wanted["kind"].as_str(), Some("Endpoints" | "EndpointSlice")) {
        return bootstrap::reconcile(present, wanted);
    }
    let mut next = present.clone();
    for field in ["subsets", "endpoints", "ports"] {
        if let Some(value) = wanted.get(field) {
            next[field] = value.clone();
        }
    }
    (next != *present).then_some(next)
}

/// The Service under which everything in the cluster reaches this server, and where it leads.
fn own_service(config: &Config) -> Vec<Value> {
    let mut objects = Vec::new();
    let first = u32::from(config.service_range.network()) + 1;
    let labels = json!({"component": "apiserver", "provider": "kubernetes"});
    objects.push(json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": labels},
        "spec": {
            "clusterIP": std::net::Ipv4Addr::from(first).to_string(),
            "sessionAffinity": "None",
            "type": "ClusterIP",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": config.advertise_port}],
        },
    }));
    objects.extend(endpoints(config));
    objects
}

/// Where the `kubernetes` Service leads: an address that a pod can reach, so none on loopback.
fn endpoints(config: &Config) -> Vec<Value> {
    let (address, port) = (config.advertise_address, config.advertise_port);
    if address.is_loopback() || address.is_unspecified() {
        return Vec::new();
    }
    vec![
        json!({
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": {
                "name": "kubernetes",
                "namespace": "default",
                "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
            },
            "subsets": [{
                "addresses": [{"ip": address.to_string()}],
                "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
            }],
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "kubernetes",
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": "kubernetes"},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address.to_string()], "conditions": {"ready": true}}],
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
        }),
    ]
}

/// Issues certificates anew before they end.
async fn renew_certificates(server: ApiServer, stop: CancellationToken) {
    let registry = &server.front.registry;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RENEWAL) => {}
        }
        match server.pki.renew(registry.clock.as_ref(), registry.rng.as_ref()) {
            Ok(renewed) if renewed.is_empty() => {}
            Ok(renewed) => tracing::info!(?renewed, "certificates were renewed"),
            Err(problem) => {
                tracing::error!(
                    problem = timonel_client::chain(&problem),
                    "certificates could not be renewed; tried again in an hour"
                );
            }
        }
    }
}

/// Deletes Events that nobody has touched for their time to live.
async fn expire_events(registry: Arc<Registry>, stop: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EXPIRY) => {}
        }
        let Some(slot) = registry.caches.slot("events") else {
            return;
        };
        let limit = registry.clock.now() - registry.config.event_ttl;
        let old: Vec<_> = slot
            .cache
            .snapshot(timonel_api::Revision::ZERO)
            .objects
            .iter()
            .filter(|(_, object)| last_seen(&object.value()).is_some_and(|seen| seen < limit))
            .map(|(key, _)| key.clone())
            .collect();
        for keys in old.chunks(256) {
            if let Err(problem) = registry.expire(slot, keys).await {
                tracing::warn!(%problem, "old events could not be deleted");
                break;
            }
        }
    }
}

fn last_seen(event: &Value) -> Option<jiff::Timestamp> {
    [
        &event["series"]["lastObservedTime"],
        &event["lastTimestamp"],
        &event["eventTime"],
        &event["metadata"]["creationTimestamp"],
    ]
    .into_iter()
    .filter_map(|time| time.as_str()?.parse().ok())
    .max()
}

/// The transport of clients in this process.
#[derive(Clone, Debug)]
struct InProcess {
    front: Arc<Front>,
    user: UserInfo,
    agent: HeaderValue,
}

impl tower::Service<Request<kube::client::Body>> for InProcess {
    type Response = Response<Body>;
    type Error = std::convert::Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<kube::client::Body>) -> Self::Future {
        let front = self.front.clone();
        let headers = request.headers_mut();
        headers.entry(USER_AGENT).or_insert_with(|| self.agent.clone());
        let identity = Identity::Settled(self.user.clone());
        Box::pin(async move { Ok(front.handle(request, identity).await) })
    }
}
