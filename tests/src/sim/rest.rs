//! At rest: nobody writes any more, heartbeats aside. After Anvil (OSDI'24): the desired state is reached, and it stays.

use std::time::Duration;

use serde_json::Value;

use super::invariants::Violation;
use super::world::{World, Write};

/// How often the store is looked at.
const PERIOD: Duration = Duration::from_secs(1);

/// What a cluster at rest goes on to write: leases, events, the times in nodes' conditions, and the server's own book-keeping.
fn is_heartbeat(write: &Write) -> bool {
    let endless = [
        "/registry/coordination.k8s.io/leases/",
        "/registry/core/events/",
        "/registry/timonel-",
    ];
    if endless.iter().any(|prefix| write.key.starts_with(prefix)) {
        return true;
    }
    // The kubelet reports its node every now and then.
    let node = write
        .key
        .strip_prefix("/registry/core/nodes/")
        .and(write.value.as_deref());
    node.and_then(|value| serde_json::from_str::<Value>(value).ok())
        .is_some_and(|node| {
            let conditions = node["status"]["conditions"].as_array();
            conditions
                .into_iter()
                .flatten()
                .any(|one| one["type"] == "Ready" && one["status"] == "True")
                && node["spec"]["taints"].is_null()
        })
}

/// Follows the store and says since when nothing was written that matters.
#[derive(Debug)]
pub struct Quiet {
    seen: timonel_api::Revision,
    since: tokio::time::Instant,
    last: String,
}

impl Quiet {
    /// Starts to listen.
    pub fn listen(world: &World) -> Self {
        Self {
            seen: world.revision(),
            since: tokio::time::Instant::now(),
            last: "nothing".to_owned(),
        }
    }

    /// How long it has been quiet.
    pub async fn lasts(&mut self, world: &World) -> Duration {
        for write in world.writes_after(self.seen).await {
            self.seen = write.revision;
            if !is_heartbeat(&write) {
                self.since = tokio::time::Instant::now();
                self.last = write.key;
            }
        }
        self.since.elapsed()
    }

    /// What was written last.
    pub fn last(&self) -> &str {
        &self.last
    }
}

/// Waits until nothing was written for so long.
///
/// # Errors
/// When that does not come to pass in time: what is written again and again.
pub async fn wait(world: &World, quiet_for: Duration, within: Duration) -> Result<(), Violation> {
    let deadline = tokio::time::Instant::now() + within;
    let mut quiet = Quiet::listen(world);
    while quiet.lasts(world).await < quiet_for {
        if tokio::time::Instant::now() > deadline {
            return Err(format!(
                "not at rest after {within:?}: {} was written last",
                quiet.last()
            ));
        }
        world.pass(PERIOD).await;
    }
    Ok(())
}
