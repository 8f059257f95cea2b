//! Counters for `/metrics`, in Prometheus' text form.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use tokio::time::Instant;

use super::body::{Body, full};
use super::limits::InFlight;
use super::request::RequestInfo;
use crate::cache::Caches;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Labels {
    verb: &'static str,
    group: String,
    resource: String,
    subresource: String,
    code: u16,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    count: u64,
    seconds: f64,
}

/// What has been served so far.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    requests: Mutex<BTreeMap<Labels, Sum>>,
}

/// A request that is being served.
#[derive(Debug)]
pub(super) struct Observed {
    labels: Labels,
    started: Instant,
}

impl Metrics {
    pub(super) fn begin(&self, info: &RequestInfo) -> Observed {
        // Only names that are served become labels, or any client could grow this table.
        let known = info.resource_info();
        let text = |text: &str| {
            if known.is_some() {
                text.to_owned()
            } else {
                String::new()
            }
        };
        let subresource = known
            .and_then(|known| info.subresource_info(known))
            .map_or("", |sub| sub.name);
        Observed {
            labels: Labels {
                verb: info.verb,
                group: text(&info.group),
                resource: text(&info.resource),
                subresource: subresource.to_owned(),
                code: 0,
            },
            started: Instant::now(),
        }
    }

    pub(super) fn end(&self, observed: Observed, code: u16) {
        let elapsed: Duration = observed.started.elapsed();
        let labels = Labels {
            code,
            ..observed.labels
        };
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = requests.entry(labels).or_default();
        sum.count += 1;
        sum.seconds += elapsed.as_secs_f64();
    }

    pub(super) fn render(&self, caches: &Caches, inflight: &InFlight) -> Response<Body> {
        let mut text = String::new();
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let _ = writeln!(text, "# TYPE apiserver_request_total counter");
        let label = |l: &Labels| {
            format!(
                "verb={:?},group={:?},resource={:?},subresource={:?},code=\"{}\"",
                l.verb.to_uppercase(),
                l.group,
                l.resource,
                l.subresource,
                l.code
            )
        };
        for (labels, sum) in &requests {
            let _ = writeln!(text, "apiserver_request_total{{{}}} {}", label(labels), sum.count);
        }
        let _ = writeln!(text, "# TYPE apiserver_request_duration_seconds summary");
        for (labels, sum) in &requests {
            let labels = label(labels);
            let _ = writeln!(
                text,
                "apiserver_request_duration_seconds_sum{{{labels}}} {}",
                sum.seconds
            );
            let _ = writeln!(
                text,
                "apiserver_request_duration_seconds_count{{{labels}}} {}",
                sum.count
            );
        }
        let _ = writeln!(text, "# TYPE apiserver_current_inflight_requests gauge");
        for (kind, taken) in inflight.taken() {
            let _ = writeln!(
                text,
                "apiserver_current_inflight_requests{{request_kind={kind:?}}} {taken}"
            );
        }
        let _ = writeln!(text, "# TYPE apiserver_storage_objects gauge");
        for slot in caches.slots() {
            let _ = writeln!(
                text,
                "apiserver_storage_objects{{resource={:?}}} {}",
                slot.group_resource,
                slot.cache.len()
            );
        }
        let _ = writeln!(
            text,
            "# TYPE timonel_applied_revision gauge\ntimonel_applied_revision {}",
            caches.applied()
        );
        let mut response = Response::new(full(text));
        let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    }
}
