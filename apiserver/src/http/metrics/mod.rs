//! Counters for `/metrics`, with upstream's names where they mean what upstream's mean.
//!
//! Labels come from what is served, never from what a client made up, so that nobody can grow the table.

mod process;
mod render;
mod text;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderMap, Response};
use tokio::time::Instant;

use super::body::Body;
use super::request::RequestInfo;
use crate::audit::until_end;
pub(super) use render::render;

/// Upstream's buckets of `apiserver_request_duration_seconds`.
const BUCKETS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
];

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Labels {
    verb: &'static str,
    dry_run: &'static str,
    group: &'static str,
    version: &'static str,
    resource: &'static str,
    subresource: &'static str,
    scope: &'static str,
}

#[derive(Clone, Debug, Default)]
struct Histogram {
    buckets: [u64; BUCKETS.len()],
    count: u64,
    sum: f64,
}

impl Histogram {
    fn observe(&mut self, value: f64) {
        if let Some(bucket) = BUCKETS.iter().position(|bound| value <= *bound) {
            self.buckets[bucket] += 1;
        }
        self.count += 1;
        self.sum += value;
    }
}

/// What is known of requests that look alike.
#[derive(Clone, Debug, Default)]
struct Series {
    durations: Histogram,
    codes: BTreeMap<u16, u64>,
    /// Those that go on for as long as the client likes.
    running: i64,
}

/// Which of upstream's counts a request belongs to while it is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    ReadOnly,
    Mutating,
    LongRunning,
}

#[derive(Debug, Default)]
struct Shared {
    requests: Mutex<BTreeMap<Labels, Series>>,
    read_only: AtomicI64,
    mutating: AtomicI64,
    authenticated: [AtomicU64; 2],
    authorized: [AtomicU64; 2],
}

impl Shared {
    fn change(&self, labels: &Labels, change: impl FnOnce(&mut Series)) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        match requests.get_mut(labels) {
            Some(series) => change(series),
            None => change(requests.entry(labels.clone()).or_default()),
        }
    }

    fn count(&self, kind: Kind, labels: &Labels, by: i64) {
        match kind {
            Kind::ReadOnly => drop(self.read_only.fetch_add(by, Ordering::Relaxed)),
            Kind::Mutating => drop(self.mutating.fetch_add(by, Ordering::Relaxed)),
            Kind::LongRunning => self.change(labels, |series| series.running += by),
        }
    }
}

/// What has been served so far.
#[derive(Debug, Default)]
pub(crate) struct Metrics(Arc<Shared>);

/// A request that is being served, until it is dropped.
#[derive(Debug)]
pub(super) struct Observed {
    shared: Arc<Shared>,
    labels: Labels,
    kind: Kind,
    started: Instant,
    answered: bool,
}

impl Metrics {
    pub(super) fn begin(&self, info: &RequestInfo, headers: &HeaderMap) -> Observed {
        let labels = labels(info, headers);
        let kind = match labels.verb {
            "WATCH" | "CONNECT" => Kind::LongRunning,
            "GET" | "LIST" | "HEAD" | "OPTIONS" => Kind::ReadOnly,
            _ => Kind::Mutating,
        };
        self.0.count(kind, &labels, 1);
        Observed {
            shared: Arc::clone(&self.0),
            labels,
            kind,
            started: Instant::now(),
            answered: false,
        }
    }

    /// The answer is there. One that goes on takes the observation along.
    pub(super) fn end(&self, mut observed: Observed, response: Response<Body>) -> Response<Body> {
        let code = response.status().as_u16();
        self.0.change(&observed.labels, |series| {
            *series.codes.entry(code).or_default() += 1;
        });
        observed.answered = true;
        if observed.kind != Kind::LongRunning {
            return response;
        }
        until_end(response, observed)
    }

    /// Somebody showed credentials, or none.
    pub(super) fn authenticated(&self, success: bool) {
        self.0.authenticated[usize::from(success)].fetch_add(1, Ordering::Relaxed);
    }

    /// It was decided whether a request may be carried out.
    pub(super) fn authorized(&self, allowed: bool) {
        self.0.authorized[usize::from(allowed)].fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        self.shared.count(self.kind, &self.labels, -1);
        if self.answered {
            let seconds = self.started.elapsed().as_secs_f64();
            self.shared
                .change(&self.labels, |series| series.durations.observe(seconds));
        }
    }
}

/// Upstream's word for what a request does.
fn verb(info: &RequestInfo, headers: &HeaderMap) -> &'static str {
    if info.is_resource
        && matches!(
            info.subresource.as_str(),
            "attach" | "exec" | "portforward" | "proxy" | "log"
        )
    {
        return if info.subresource == "log" { "GET" } else { "CONNECT" };
    }
    let media_type = headers.get(http::header::CONTENT_TYPE);
    match info.verb {
        "get" => "GET",
        "list" => "LIST",
        "watch" => "WATCH",
        "create" | "post" => "POST",
        "update" | "put" => "PUT",
        "patch" if media_type.is_some_and(|kind| kind.as_bytes().starts_with(b"application/apply-patch")) => "APPLY",
        "patch" => "PATCH",
        "delete" => "DELETE",
        "deletecollection" => "DELETECOLLECTION",
        "head" => "HEAD",
        "options" => "OPTIONS",
        _ => "other",
    }
}

fn labels(info: &RequestInfo, headers: &HeaderMap) -> Labels {
    let plain = Labels {
        verb: verb(info, headers),
        dry_run: if info.query.get("dryRun") == "All" { "All" } else { "" },
        ..Labels::default()
    };
    let Some(known) = info.resource_info().filter(|_| info.is_resource) else {
        const PATHS: [&str; 5] = ["/healthz", "/livez", "/readyz", "/metrics", "/version"];
        let path = PATHS.into_iter().find(|path| info.path.starts_with(path));
        return Labels {
            subresource: path.unwrap_or_default(),
            ..plain
        };
    };
    Labels {
        group: known.group,
        version: known.version,
        resource: known.plural,
        subresource: info.subresource_info(known).map_or("", |sub| sub.name),
        scope: if info.named || info.verb == "create" {
            "resource"
        } else if known.namespaced && !info.namespace.is_empty() {
            "namespace"
        } else {
            "cluster"
        },
        ..plain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: &str, target: &str) -> Labels {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let info = RequestInfo::parse(&method.parse().unwrap(), path, query);
        labels(&info, &HeaderMap::new())
    }

    #[test]
    fn labels_are_upstreams_and_never_what_a_client_made_up() {
        let labels = of("POST", "/api/v1/namespaces/demo/pods/web/exec?dryRun=x");
        assert_eq!(
            (labels.verb, labels.subresource, labels.dry_run),
            ("CONNECT", "exec", "")
        );
        let labels = of("GET", "/apis/apps/v1/namespaces/demo/deployments?watch=1");
        assert_eq!(
            (labels.verb, labels.group, labels.resource, labels.scope),
            ("WATCH", "apps", "deployments", "namespace")
        );
        assert_eq!(of("GET", "/api/v1/nodes").scope, "cluster");
        let labels = of("GET", "/apis/made-up.example/v1/things");
        assert_eq!((labels.group, labels.resource, labels.version), ("", "", ""));
        assert_eq!(of("BREW", "/api/v1/pods").verb, "other");
        assert_eq!(of("GET", "/livez/ping").subresource, "/livez");
    }

    #[test]
    fn requests_that_end_without_an_answer_leave_no_trace_in_the_gauges() {
        let metrics = Metrics::default();
        let info = RequestInfo::parse(&http::Method::GET, "/api/v1/pods", "watch=1");
        let observed = metrics.begin(&info, &HeaderMap::new());
        let running = || {
            metrics
                .0
                .requests
                .lock()
                .unwrap()
                .values()
                .map(|series| series.running)
                .sum::<i64>()
        };
        assert_eq!(running(), 1);
        drop(observed);
        assert_eq!(running(), 0);
        let observed = metrics.begin(&info, &HeaderMap::new());
        let response = metrics.end(observed, Response::new(super::super::body::empty()));
        assert_eq!(running(), 1, "the watch goes on while its body does");
        drop(response);
        assert_eq!(running(), 0);
    }

    #[test]
    fn histograms_are_counted_by_upstreams_buckets() {
        let mut histogram = Histogram::default();
        for value in [0.004, 0.05, 0.3, 100.0] {
            histogram.observe(value);
        }
        assert_eq!((histogram.count, histogram.buckets.iter().sum::<u64>()), (4, 3));
        assert_eq!(
            (histogram.buckets[0], histogram.buckets[2], histogram.buckets[5]),
            (1, 1, 1)
        );
    }
}
