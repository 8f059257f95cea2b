//! How much is taken on at a time: requests in flight, sizes, and how long whom is waited for.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::request::RequestInfo;
use crate::identity::UserInfo;

/// A request's head, its URL with it, may be so large, in bytes. Upstream allows 1 MiB; a head is held in memory before anybody
/// knows who sends it, and the largest tokens are not a tenth of this.
pub const HEAD_BYTES: usize = 256 << 10;
/// A head may have so many fields: one per group of an impersonated user, and some.
pub const HEAD_FIELDS: usize = 512;
/// A path and query may be so long, in bytes.
pub(super) const URL_BYTES: usize = 64 << 10;

/// The group whose members are always answered.
const PRIVILEGED: &str = "system:masters";
/// Whom the cluster cannot do without: nodes that go unheard are taken for dead. Upstream gives them priority levels of their own.
const NEEDED_GROUPS: [&str; 2] = ["system:nodes", "system:serviceaccounts:kube-system"];
const NEEDED_USERS: [&str; 2] = ["system:kube-controller-manager", "system:kube-scheduler"];
/// Beside the places that are free for all, one in so many is kept for those.
const KEPT_FOR_NEEDED: usize = 5;

/// What the server lets itself in for. Requests have their own limits: `body_limit`, `request_timeout`.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Requests that only read, served at a time; 0 is no limit. More mean more memory when clients storm.
    pub requests_in_flight: usize,
    /// The same for requests that change something.
    pub mutating_requests_in_flight: usize,
    /// Connections held at a time; further ones are closed at once. Should stay below the process's file descriptors.
    pub connections: usize,
    /// Requests at a time on one HTTP/2 connection. A client with many watches on one connection wants more.
    pub streams_per_connection: u32,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// How long a request's head may take from its first byte on.
    pub head: Duration,
    /// How long a connection is kept on which nothing is asked.
    pub idle: Duration,
    /// How long a client may leave what is sent to it unread.
    pub stall: Duration,
}

impl Default for Limits {
    /// Upstream's, where it has them.
    fn default() -> Self {
        Self {
            requests_in_flight: 400,
            mutating_requests_in_flight: 200,
            connections: 32 << 10,
            streams_per_connection: 100,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            idle: Duration::from_secs(90),
            stall: Duration::from_secs(60),
        }
    }
}

/// Counts requests that are being served, and says when there are too many.
#[derive(Debug)]
pub(crate) struct InFlight {
    reading: Lane,
    mutating: Lane,
}

#[derive(Debug)]
struct Lane {
    free: Option<Arc<Semaphore>>,
    /// Places that only those may take whom the cluster cannot do without, when nothing else is free.
    kept: Arc<Semaphore>,
}

impl Lane {
    fn new(limit: usize) -> Self {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        Self {
            free: (limit > 0).then(|| Arc::new(Semaphore::new(limit))),
            kept: Arc::new(Semaphore::new(limit.div_ceil(KEPT_FOR_NEEDED))),
        }
    }
}

/// Nothing more is taken on.
#[derive(Debug)]
pub(super) struct Full;

impl InFlight {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            reading: Lane::new(limits.requests_in_flight),
            mutating: Lane::new(limits.mutating_requests_in_flight),
        }
    }

    /// Takes a request on for as long as the permit is held. Long-running requests are not counted, and `system:masters` are
    /// served also beyond the limit, so that an administrator can always look and act.
    pub(super) fn admit(&self, info: &RequestInfo, user: &UserInfo) -> Result<Option<OwnedSemaphorePermit>, Full> {
        if info.is_long_running() {
            return Ok(None);
        }
        let lane = if info.reads() { &self.reading } else { &self.mutating };
        let Some(free) = &lane.free else {
            return Ok(None);
        };
        match free.clone().try_acquire_owned() {
            Ok(permit) => Ok(Some(permit)),
            Err(_) if user.is_in(PRIVILEGED) => Ok(None),
            Err(_) if is_needed(user) => lane.kept.clone().try_acquire_owned().map(Some).map_err(|_| Full),
            Err(_) => Err(Full),
        }
    }
}

fn is_needed(user: &UserInfo) -> bool {
    NEEDED_USERS.contains(&user.username.as_str()) || NEEDED_GROUPS.iter().any(|group| user.is_in(group))
}

/// How an answer goes out, for whoever sends it: an extension of the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// All of it by then.
    By(Instant),
    /// Without end, to a client that keeps reading.
    Stream,
    /// At the pace of both ends: logs and tunnels hold nothing back here, and a reader may pause.
    Relay,
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    fn info(method: Method, target: &str) -> RequestInfo {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        RequestInfo::parse(&method, path, query)
    }

    #[test]
    fn reading_and_mutating_requests_are_counted_apart_and_long_ones_not_at_all() {
        let limits = Limits {
            requests_in_flight: 1,
            mutating_requests_in_flight: 1,
            ..Limits::default()
        };
        let inflight = InFlight::new(&limits);
        let user = UserInfo::new("mallory", &[]);
        let admin = UserInfo::new("admin", &["system:masters"]);
        let list = info(Method::GET, "/api/v1/pods");
        let create = info(Method::POST, "/api/v1/namespaces/a/pods");
        let held = inflight.admit(&list, &user).expect("the first");
        assert!(inflight.admit(&list, &user).is_err(), "one is the limit");
        assert!(
            inflight.admit(&list, &admin).is_ok(),
            "system:masters are always served"
        );
        let other = inflight.admit(&create, &user).expect("another lane");
        assert!(inflight.admit(&create, &user).is_err());
        for long in [
            "/api/v1/pods?watch=true",
            "/api/v1/namespaces/a/pods/p/log",
            "/api/v1/namespaces/a/pods/p/exec",
            "/api/v1/nodes/n/proxy/metrics",
        ] {
            assert!(inflight.admit(&info(Method::GET, long), &user).is_ok(), "{long}");
        }
        drop((held, other));
        assert!(inflight.admit(&list, &user).is_ok());
    }

    #[test]
    fn nodes_have_places_that_a_storm_cannot_take() {
        let limits = Limits {
            mutating_requests_in_flight: 10,
            ..Limits::default()
        };
        let inflight = InFlight::new(&limits);
        let storm = UserInfo::new("mallory", &[]);
        let node = UserInfo::new("system:node:n1", &["system:nodes"]);
        let status = info(Method::PATCH, "/api/v1/nodes/n1/status");
        let taken: Vec<_> = (0..10).map(|_| inflight.admit(&status, &storm)).collect();
        assert!(taken.iter().all(Result::is_ok) && inflight.admit(&status, &storm).is_err());
        let kept: Vec<_> = (0..2).map(|_| inflight.admit(&status, &node)).collect();
        assert!(kept.iter().all(Result::is_ok));
        assert!(inflight.admit(&status, &node).is_err(), "their places are bounded, too");
        drop(kept);
        assert!(inflight.admit(&status, &storm).is_err() && inflight.admit(&status, &node).is_ok());
        for user in ["system:kube-controller-manager", "system:kube-scheduler"] {
            assert!(inflight.admit(&status, &UserInfo::new(user, &[])).is_ok(), "{user}");
        }
    }

    #[test]
    fn a_limit_of_zero_is_none() {
        let limits = Limits {
            requests_in_flight: 0,
            ..Limits::default()
        };
        let inflight = InFlight::new(&limits);
        let list = info(Method::GET, "/api/v1/pods");
        let user = UserInfo::new("mallory", &[]);
        assert!((0..1000).all(|_| inflight.admit(&list, &user).is_ok()));
    }
}
