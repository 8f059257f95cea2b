//! The scheduler: finds each pod a node.
//!
//! ```text
//! informers --> Cluster (nodes, placed and assumed pods) --snapshot--> decide(pod, snapshot) --> Decision
//!     |                                                     ^                 |         |
//!     +--> SchedulingQueue (active, back-off, unschedulable)+                 |         +--> event, condition
//!                 ^                                                           +--> assume, bind
//!                 +---- events that may help wake what was unschedulable
//! ```
//!
//! [`decide`] is pure: plugins look at one concern each and give every node a verdict with upstream's reasons.
//! Not here yet: dynamic resources.

pub mod account;
mod bind;
pub mod cluster;
pub mod config;
pub mod counts;
pub mod decide;
pub mod desk;
pub mod extender;
pub mod index;
pub mod node_info;
pub mod plan;
pub mod plugins;
pub mod pod_info;
pub mod preempt;
pub mod profile;
pub mod query;
pub mod queue;
pub mod resources;
mod shell;
pub mod snapshot;
pub mod symbol;
pub mod volumes;

use std::sync::Arc;

use timonel_client::leader::{self, LeaderConfig};
use timonel_client::{Clock, Rng};
use tokio_util::sync::CancellationToken;

pub use account::Account;
pub use decide::{Decision, Turn, Verdict, decide, decide_for};
pub use desk::Desk;
pub use extender::Extender;
pub use profile::Profile;
pub use queue::QueueConfig;

/// How the scheduler works.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which pods are ours, and how each of them is scheduled; one profile per `spec.schedulerName`.
    pub profiles: Vec<Arc<Profile>>,
    /// How long pods wait that could not be scheduled.
    pub queue: QueueConfig,
    /// Set where several schedulers may run: only the leader works.
    pub leader: Option<LeaderConfig>,
    /// Who is asked beside the plugins.
    pub extenders: Vec<Extender>,
    /// Where people ask what was decided, and what would be.
    pub desk: Desk,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            profiles: vec![Arc::new(Profile::default())],
            queue: QueueConfig::default(),
            leader: None,
            extenders: Vec::new(),
            desk: Desk::default(),
        }
    }
}

/// What the scheduler needs from outside.
#[derive(Clone)]
pub struct Deps {
    /// Acts as `system:kube-scheduler`.
    pub client: kube::Client,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Chooses among equally good nodes.
    pub rng: Arc<dyn Rng>,
}

/// Why the scheduler ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another scheduler leads now; this process must not go on.
    #[error("leader election lost")]
    LeaseLost,
}

/// Schedules pods until `shutdown`.
///
/// # Errors
/// When the lease is lost.
pub async fn run(config: Config, deps: Deps, shutdown: CancellationToken) -> Result<(), Error> {
    let Some(election) = config.leader.clone() else {
        shell::run(config, deps, shutdown).await;
        return Ok(());
    };
    let job = |leading| shell::run(config, deps.clone(), leading);
    let (clock, rng) = (Arc::clone(&deps.clock), Arc::clone(&deps.rng));
    match leader::lead(deps.client.clone(), clock, rng, election, shutdown, job).await {
        leader::Ended::Lost => Err(Error::LeaseLost),
        leader::Ended::Shutdown | leader::Ended::Finished => Ok(()),
    }
}
