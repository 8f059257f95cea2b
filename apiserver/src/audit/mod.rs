//! The audit log: who did what, when, and what came of it, as `audit.k8s.io/v1` events, one JSON line each
//! (<https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/>).
//!
//! ```text
//! request --Record::open--> authenticated --policy.rs decides the level--> RequestReceived
//!                               |                                              |
//!         bodies are tapped where the level asks for them                      v
//!                               |                                      log.rs: queue --> file, rotated
//! response --Record::close--> ResponseStarted (long-running), ResponseComplete --^
//! ```
//!
//! Without a policy there is no audit log. A request never waits for the log: what does not fit the queue, or does not fit on the disk, is
//! counted (`apiserver_audit_error_total`) and complained about.

mod event;
mod log;
mod policy;
mod record;
mod tap;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use timonel_client::Clock;

pub use log::{LogConfig, LogError};
pub use policy::{Level, Policy, PolicyError, Stage};
pub(crate) use record::{PeerAddress, Record};
pub(crate) use tap::{Tunnel, until_end};

/// What is audited, and where it is written.
#[derive(Clone, Debug)]
pub struct AuditConfig {
    /// Which requests are logged, and how much of them.
    pub policy: Policy,
    /// The file, and when it is rotated.
    pub log: LogConfig,
}

/// The audit log of a server.
#[derive(Debug)]
pub(crate) struct Audit {
    policy: Policy,
    log: log::Log,
    clock: Arc<dyn Clock>,
    events: AtomicU64,
    levels: Mutex<BTreeMap<Level, u64>>,
}

/// What `/metrics` says of it.
#[derive(Debug, Default)]
pub(crate) struct AuditCounts {
    pub(crate) events: u64,
    pub(crate) errors: u64,
    pub(crate) levels: BTreeMap<Level, u64>,
}

impl Audit {
    /// Opens the log.
    pub(crate) fn start(config: AuditConfig, clock: Arc<dyn Clock>) -> Result<Arc<Self>, LogError> {
        Ok(Arc::new(Self {
            log: log::Log::start(config.log, Arc::clone(&clock))?,
            policy: config.policy,
            clock,
            events: AtomicU64::new(0),
            levels: Mutex::default(),
        }))
    }

    fn emit(&self, line: Vec<u8>) {
        self.events.fetch_add(1, Ordering::Relaxed);
        self.log.write(line);
    }

    fn count_level(&self, level: Level) {
        let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        *levels.entry(level).or_default() += 1;
    }

    pub(crate) fn counts(&self) -> AuditCounts {
        AuditCounts {
            events: self.events.load(Ordering::Relaxed),
            errors: self.log.lost(),
            levels: self.levels.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Waits until everything that was logged before is written.
    pub(crate) async fn drain(&self) {
        self.log.drain().await;
    }
}

#[cfg(test)]
mod tests;
