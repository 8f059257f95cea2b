//! The page itself.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};

use super::text::Text;
use super::{BUCKETS, Labels, Metrics, Series, process};
use crate::http::body::{Body, full};
use crate::http::handler::Front;

/// Answers `/metrics`.
pub(in crate::http) fn render(front: &Front) -> Response<Body> {
    let mut text = Text::default();
    requests(&mut text, &front.metrics);
    access(&mut text, &front.metrics);
    audit(&mut text, front);
    storage(&mut text, front);
    process::render(&mut text);
    let mut response = Response::new(full(text.0));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn pairs(labels: &Labels) -> [(&'static str, &'static str); 8] {
    [
        ("component", "apiserver"),
        ("dry_run", labels.dry_run),
        ("group", labels.group),
        ("resource", labels.resource),
        ("scope", labels.scope),
        ("subresource", labels.subresource),
        ("verb", labels.verb),
        ("version", labels.version),
    ]
}

fn requests(text: &mut Text, metrics: &Metrics) {
    let all: Vec<(Labels, Series)> = {
        let requests = metrics.0.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.iter().map(|(l, s)| (l.clone(), s.clone())).collect()
    };
    let name = "apiserver_request_total";
    text.family(
        name,
        "counter",
        "Requests by verb, dry run, group, version, resource, scope and code of the answer.",
    );
    for (labels, series) in &all {
        for (code, count) in &series.codes {
            let code = code.to_string();
            let mut labels = pairs(labels).to_vec();
            labels.insert(0, ("code", &code));
            text.sample(name, &labels, count);
        }
    }
    let name = "apiserver_request_duration_seconds";
    text.family(
        name,
        "histogram",
        "How long answers took, in seconds; of watches and connections, how long they went on.",
    );
    for (labels, series) in all.iter().filter(|(_, series)| series.durations.count > 0) {
        let labels = pairs(labels);
        let mut below = 0;
        for (bound, count) in BUCKETS.iter().zip(series.durations.buckets) {
            below += count;
            let bound = bound.to_string();
            let mut labels = labels.to_vec();
            labels.push(("le", &bound));
            text.sample("apiserver_request_duration_seconds_bucket", &labels, below);
        }
        let mut infinite = labels.to_vec();
        infinite.push(("le", "+Inf"));
        text.sample(
            "apiserver_request_duration_seconds_bucket",
            &infinite,
            series.durations.count,
        );
        text.sample("apiserver_request_duration_seconds_sum", &labels, series.durations.sum);
        text.sample(
            "apiserver_request_duration_seconds_count",
            &labels,
            series.durations.count,
        );
    }
    let name = "apiserver_longrunning_requests";
    text.family(name, "gauge", "Watches and connections that are open.");
    for (labels, series) in all
        .iter()
        .filter(|(labels, _)| matches!(labels.verb, "WATCH" | "CONNECT"))
    {
        text.sample(name, &pairs(labels), series.running);
    }
    let name = "apiserver_current_inflight_requests";
    text.family(
        name,
        "gauge",
        "Requests that are being answered, without those that go on for long.",
    );
    let (reading, writing) = (&metrics.0.read_only, &metrics.0.mutating);
    text.sample(name, &[("request_kind", "mutating")], writing.load(Ordering::Relaxed));
    text.sample(name, &[("request_kind", "readOnly")], reading.load(Ordering::Relaxed));
}

fn access(text: &mut Text, metrics: &Metrics) {
    let name = "authentication_attempts";
    text.family(
        name,
        "counter",
        "Requests over the network by whether somebody could be found behind them.",
    );
    for (result, count) in ["failure", "success"].into_iter().zip(&metrics.0.authenticated) {
        text.sample(name, &[("result", result)], count.load(Ordering::Relaxed));
    }
    let name = "authorization_attempts_total";
    text.family(name, "counter", "Requests by whether they were allowed.");
    for (result, count) in ["no-opinion", "allowed"].into_iter().zip(&metrics.0.authorized) {
        text.sample(name, &[("result", result)], count.load(Ordering::Relaxed));
    }
}

fn audit(text: &mut Text, front: &Front) {
    let counts = front.audit.as_ref().map(|audit| audit.counts()).unwrap_or_default();
    text.one(
        "apiserver_audit_event_total",
        "counter",
        "Events for the audit log.",
        counts.events,
    );
    let name = "apiserver_audit_error_total";
    text.family(
        name,
        "counter",
        "Events that the audit log has lost: the queue was full, or they could not be written.",
    );
    text.sample(name, &[("plugin", "log")], counts.errors);
    let name = "apiserver_audit_requests_rejected_total";
    text.one(
        name,
        "counter",
        "Requests refused because of the audit log; it never does that.",
        0,
    );
    let name = "apiserver_audit_level_total";
    text.family(name, "counter", "Requests by how much of them the audit policy logs.");
    for (level, count) in counts.levels {
        text.sample(name, &[("level", level.name())], count);
    }
}

fn storage(text: &mut Text, front: &Front) {
    let caches = front.caches();
    let name = "apiserver_storage_objects";
    text.family(name, "gauge", "Objects by resource.");
    for slot in caches.slots() {
        text.sample(name, &[("resource", &slot.group_resource)], slot.cache.len());
    }
    let name = "timonel_encryption_values";
    text.family(
        name,
        "gauge",
        "Values of sealed resources by the key they lie under, none for those that are not sealed.",
    );
    let sealing = caches.sealing_key().unwrap_or_default();
    let mut counts = caches.ledger().counts();
    counts.entry(sealing.clone()).or_default();
    for (key, count) in counts {
        let seals = if key == sealing { "true" } else { "false" };
        text.sample(name, &[("key", &key), ("seals", seals)], count);
    }
    let name = "timonel_applied_revision";
    text.one(name, "gauge", "The revision that the caches show.", caches.applied());
}
