//! Leader election over a Lease: of several processes that would do a job, one does it.
//!
//! The rules are client-go's: a candidate trusts only its own clock and takes over when it has *seen* no renewal for a whole
//! lease duration; a leader that cannot renew before the renew deadline stops its work before anybody else may start.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, PostParams};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{Clock, Rng};

/// How to elect.
#[derive(Clone, Debug)]
pub struct LeaderConfig {
    /// The Lease's namespace: `kube-system` for the control plane.
    pub namespace: String,
    /// The Lease's name: the component's.
    pub name: String,
    /// Who we are; must differ between candidates (upstream: host name, underscore, uuid).
    pub identity: String,
    /// How long the others wait without seeing a renewal. Upstream: 15 s.
    pub lease_duration: Duration,
    /// How long a leader keeps trying to renew before it gives up. Upstream: 10 s.
    pub renew_deadline: Duration,
    /// Between attempts. Upstream: 2 s.
    pub retry_period: Duration,
}

impl LeaderConfig {
    /// Takes upstream's timings.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>, identity: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            identity: identity.into(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

/// How a term ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The process is to stop; the Lease was given back if we held it.
    Shutdown,
    /// The Lease could not be renewed in time. The job was stopped; upstream's components exit now.
    Lost,
    /// The job returned by itself.
    Finished,
}

/// What we saw of the Lease, and when by our own clock.
struct Seen {
    lease: Option<Lease>,
    at: Instant,
}

/// Waits until this process leads, then runs `job` with a token that is cancelled when it leads no longer.
pub async fn lead<F, Fut>(
    client: kube::Client,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    config: LeaderConfig,
    shutdown: CancellationToken,
    job: F,
) -> Ended
where
    F: FnOnce(CancellationToken) -> Fut,
    Fut: Future<Output = ()> + Send,
{
    let api: Api<Lease> = Api::namespaced(client, &config.namespace);
    let mut seen = Seen {
        lease: None,
        at: Instant::now(),
    };
    loop {
        let attempt = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ended::Shutdown,
            attempt = tokio::time::timeout(config.renew_deadline, acquire_or_renew(&api, &*clock, &config, &mut seen)) => attempt,
        };
        match attempt {
            Ok(Ok(true)) => break,
            Ok(Ok(false)) => {}
            Ok(Err(error)) => tracing::warn!(
                lease = config.name,
                error = crate::chain(&error),
                "cannot acquire the lease"
            ),
            Err(_) => tracing::warn!(lease = config.name, "acquiring the lease timed out"),
        }
        // client-go's JitterFactor is 1.2.
        let pause = config.retry_period.mul_f64(1.0 + 1.2 * rng.unit());
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ended::Shutdown,
            () = tokio::time::sleep(pause) => {}
        }
    }
    tracing::info!(lease = config.name, identity = config.identity, "became leader");
    let leading = shutdown.child_token();
    let job = job(leading.clone());
    tokio::pin!(job);
    let mut renewed = Instant::now();
    let ended = loop {
        let deadline = renewed + config.renew_deadline;
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break Ended::Shutdown,
            () = &mut job => break Ended::Finished,
            () = tokio::time::sleep(config.retry_period) => {}
        }
        let renewal =
            async { tokio::time::timeout_at(deadline, acquire_or_renew(&api, &*clock, &config, &mut seen)).await };
        let renewal = tokio::select! {
            biased;
            () = shutdown.cancelled() => break Ended::Shutdown,
            () = &mut job => break Ended::Finished,
            renewal = renewal => renewal,
        };
        match renewal {
            Ok(Ok(true)) => renewed = Instant::now(),
            Ok(Ok(false)) => break Ended::Lost,
            Ok(Err(error)) => {
                tracing::warn!(
                    lease = config.name,
                    error = crate::chain(&error),
                    "cannot renew the lease"
                );
                if Instant::now() >= deadline {
                    break Ended::Lost;
                }
            }
            Err(_) => break Ended::Lost,
        }
    };
    leading.cancel();
    match ended {
        Ended::Finished => {}
        // The job has seen its token; it gets a moment to come to an end in good order.
        Ended::Shutdown | Ended::Lost => {
            if tokio::time::timeout(Duration::from_secs(3), &mut job).await.is_err() {
                tracing::warn!(
                    lease = config.name,
                    "the leader's job did not stop in time and is dropped"
                );
            }
        }
    }
    if ended == Ended::Lost {
        tracing::warn!(lease = config.name, "lost the lease");
    } else {
        // So that the next leader need not wait for the lease to run out.
        let _ = tokio::time::timeout(Duration::from_secs(2), release(&api, &*clock, &config, &seen)).await;
    }
    ended
}

fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs().max(1)).unwrap_or(i32::MAX)
}

/// Tries once; tells whether we hold the Lease now.
async fn acquire_or_renew(
    api: &Api<Lease>,
    clock: &dyn Clock,
    config: &LeaderConfig,
    seen: &mut Seen,
) -> kube::Result<bool> {
    let now = MicroTime(clock.now());
    let mine = |acquired: MicroTime, transitions: i32| LeaseSpec {
        holder_identity: Some(config.identity.clone()),
        lease_duration_seconds: Some(seconds(config.lease_duration)),
        acquire_time: Some(acquired),
        renew_time: Some(now.clone()),
        lease_transitions: Some(transitions),
        ..LeaseSpec::default()
    };
    let Some(mut lease) = api.get_opt(&config.name).await? else {
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(config.name.clone()),
                namespace: Some(config.namespace.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(mine(now.clone(), 0)),
        };
        return match api.create(&PostParams::default(), &lease).await {
            Ok(created) => {
                note(seen, created);
                Ok(true)
            }
            // Somebody else was faster.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        };
    };
    note(seen, lease.clone());
    let spec = lease.spec.clone().unwrap_or_default();
    let holder = spec.holder_identity.clone().unwrap_or_default();
    let transitions = spec.lease_transitions.unwrap_or(0);
    lease.spec = Some(if holder == config.identity {
        mine(spec.acquire_time.unwrap_or_else(|| now.clone()), transitions)
    } else {
        if !holder.is_empty() && seen.at.elapsed() < config.lease_duration {
            return Ok(false);
        }
        mine(now.clone(), transitions + 1)
    });
    match api.replace(&config.name, &PostParams::default(), &lease).await {
        Ok(written) => {
            note(seen, written);
            Ok(true)
        }
        Err(kube::Error::Api(status)) if status.code == 409 && holder != config.identity => Ok(false),
        Err(error) => Err(error),
    }
}

/// Keeps what the Lease says, and the time at which it was first seen to say so.
fn note(seen: &mut Seen, lease: Lease) {
    if seen.lease.as_ref().and_then(|old| old.spec.as_ref()) != lease.spec.as_ref() {
        seen.at = Instant::now();
    }
    seen.lease = Some(lease);
}

async fn release(api: &Api<Lease>, clock: &dyn Clock, config: &LeaderConfig, seen: &Seen) {
    let Some(mut lease) = seen.lease.clone() else { return };
    let now = MicroTime(clock.now());
    lease.spec = Some(LeaseSpec {
        holder_identity: Some(String::new()),
        lease_duration_seconds: Some(1),
        acquire_time: Some(now.clone()),
        renew_time: Some(now),
        lease_transitions: lease.spec.and_then(|spec| spec.lease_transitions),
        ..LeaseSpec::default()
    });
    if let Err(error) = api.replace(&config.name, &PostParams::default(), &lease).await {
        tracing::debug!(
            lease = config.name,
            error = crate::chain(&error),
            "could not give the lease back"
        );
    }
}

#[cfg(test)]
mod tests;
