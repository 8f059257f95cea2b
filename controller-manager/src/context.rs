//! What every controller gets: the client, the ports, the shared caches, the timings.

use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, ReplicationController, Secret,
    Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, DynamicObject};
use serde::de::DeserializeOwned;
use timonel_api::resources::ResourceInfo;
use timonel_client::events::Recorder;
use timonel_client::informer::{self, Reader, Selection};
use timonel_client::queue::QueueConfig;
use timonel_client::runner::{self, Controller, RunnerConfig};
use timonel_client::{Clock, Rng};
use tokio_util::sync::CancellationToken;

use crate::resource::{self, Metadata};
use crate::{Config, Timings};

/// Copies of what more than one controller reads.
#[derive(Clone, Debug)]
pub(crate) struct Caches {
    pub(crate) pods: Reader<Pod>,
    pub(crate) nodes: Reader<Node>,
    pub(crate) namespaces: Reader<Namespace>,
    pub(crate) replica_sets: Reader<ReplicaSet>,
    pub(crate) deployments: Reader<Deployment>,
    pub(crate) replication_controllers: Reader<ReplicationController>,
    pub(crate) daemon_sets: Reader<DaemonSet>,
    pub(crate) stateful_sets: Reader<StatefulSet>,
    pub(crate) revisions: Reader<ControllerRevision>,
    pub(crate) claims: Reader<PersistentVolumeClaim>,
    pub(crate) jobs: Reader<Job>,
    pub(crate) volumes: Reader<PersistentVolume>,
    pub(crate) services: Reader<Service>,
    pub(crate) service_accounts: Reader<ServiceAccount>,
    /// Only those called `kube-root-ca.crt`.
    pub(crate) root_cas: Reader<ConfigMap>,
    /// Only those of nodes.
    pub(crate) node_leases: Reader<Lease>,
    pub(crate) endpoint_slices: Reader<EndpointSlice>,
    pub(crate) endpoints: Reader<Endpoints>,
    pub(crate) budgets: Reader<PodDisruptionBudget>,
    pub(crate) signing_requests: Reader<CertificateSigningRequest>,
    /// Only those of `kube-system`.
    pub(crate) system_secrets: Reader<Secret>,
    /// Only the metadata, of everything that can be watched and deleted.
    pub(crate) metadata: Arc<[(&'static ResourceInfo, Reader<Metadata>)]>,
}

/// What a controller is made from. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) client: kube::Client,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) rng: Arc<dyn Rng>,
    pub(crate) config: Arc<Config>,
    pub(crate) caches: Caches,
    pub(crate) shutdown: CancellationToken,
}

impl Context {
    pub(crate) fn new(config: Arc<Config>, deps: &crate::Deps, shutdown: CancellationToken) -> Self {
        let start = Start {
            client: deps.client.clone(),
            rng: Arc::clone(&deps.rng),
            shutdown: shutdown.clone(),
        };
        let caches = Caches {
            pods: start.all(),
            nodes: start.all(),
            namespaces: start.all(),
            replica_sets: start.all(),
            deployments: start.all(),
            replication_controllers: start.all(),
            daemon_sets: start.all(),
            stateful_sets: start.all(),
            revisions: start.all(),
            claims: start.all(),
            jobs: start.all(),
            volumes: start.all(),
            services: start.all(),
            service_accounts: start.all(),
            root_cas: start.from(
                Api::all(deps.client.clone()),
                Selection::fields("metadata.name=kube-root-ca.crt"),
            ),
            node_leases: start.from(
                Api::namespaced(deps.client.clone(), "kube-node-lease"),
                Selection::all(),
            ),
            endpoint_slices: start.all(),
            endpoints: start.all(),
            budgets: start.all(),
            signing_requests: start.all(),
            system_secrets: start.from(Api::namespaced(deps.client.clone(), "kube-system"), Selection::all()),
            metadata: start.all_metadata(),
        };
        Self {
            client: deps.client.clone(),
            clock: Arc::clone(&deps.clock),
            rng: Arc::clone(&deps.rng),
            config,
            caches,
            shutdown,
        }
    }

    pub(crate) fn timings(&self) -> &Timings {
        &self.config.timings
    }

    /// Starts a recorder under a controller's name.
    pub(crate) fn recorder(&self, component: &str) -> Recorder {
        Recorder::start(
            self.client.clone(),
            Arc::clone(&self.clock),
            component,
            "",
            self.shutdown.clone(),
        )
    }

    /// Runs a controller with a number of workers until shutdown.
    pub(crate) async fn run<C: Controller>(self, controller: C, workers: usize) {
        let config = RunnerConfig {
            workers,
            queue: QueueConfig {
                cap: self.timings().max_backoff,
                ..QueueConfig::default()
            },
        };
        runner::run(
            Arc::new(controller),
            Arc::clone(&self.clock),
            config,
            self.shutdown.clone(),
        )
        .await;
    }
}

struct Start {
    client: kube::Client,
    rng: Arc<dyn Rng>,
    shutdown: CancellationToken,
}

impl Start {
    fn all<K>(&self) -> Reader<K>
    where
        K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    {
        self.from(Api::all(self.client.clone()), Selection::all())
    }

    fn all_metadata(&self) -> Arc<[(&'static ResourceInfo, Reader<Metadata>)]> {
        let start = |resource: &'static ResourceInfo| {
            let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource::describe(resource));
            let (rng, shutdown) = (Arc::clone(&self.rng), self.shutdown.clone());
            (resource, informer::start_metadata(api, Selection::all(), rng, shutdown))
        };
        resource::deletable()
            .filter(|resource| resource.has_verb("watch"))
            .map(start)
            .collect()
    }

    fn from<K>(&self, api: Api<K>, selection: Selection) -> Reader<K>
    where
        K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    {
        informer::start_with(api, selection, Arc::clone(&self.rng), self.shutdown.clone())
    }
}
