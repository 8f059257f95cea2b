//! `/healthz`, `/livez`, `/readyz` and their single checks.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};

use super::body::{Body, full};
use super::request::RequestInfo;
use crate::cache::Caches;
use crate::reader::ObjectReader;

/// What readiness depends on besides the caches.
#[derive(Debug, Default)]
pub(crate) struct Health {
    bootstrapped: AtomicBool,
    stopping: AtomicBool,
}

impl Health {
    /// The objects that every cluster has are there.
    pub(crate) fn bootstrapped(&self) {
        self.bootstrapped.store(true, Ordering::Release);
    }

    /// The server is ending: no longer ready, still alive.
    pub(crate) fn stopping(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Whether everything that readiness depends on is fine.
    pub(crate) fn is_ready(&self, caches: &Caches) -> bool {
        self.checks("/readyz", caches).iter().all(|(_, fine)| *fine)
    }

    fn checks(&self, path: &str, caches: &Caches) -> Vec<(&'static str, bool)> {
        let mut checks = vec![("ping", true), ("etcd", caches.is_fed())];
        if path != "/livez" {
            checks.push(("informer-sync", caches.ready()));
            checks.push(("poststarthook/bootstrap", self.bootstrapped.load(Ordering::Acquire)));
        }
        if path == "/readyz" {
            checks.push(("shutdown", !self.stopping.load(Ordering::Acquire)));
        }
        checks
    }

    pub(super) fn answer(&self, info: &RequestInfo, caches: &Caches) -> Option<Response<Body>> {
        let path = info.path.trim_end_matches('/');
        let root = ["/healthz", "/livez", "/readyz"]
            .into_iter()
            .find(|root| path == *root || path.strip_prefix(root).is_some_and(|rest| rest.starts_with('/')))?;
        let excluded = info.query.all("exclude");
        let mut checks = self.checks(root, caches);
        checks.retain(|(name, _)| !excluded.iter().any(|excluded| excluded == name));
        if let Some(one) = path[root.len()..].strip_prefix('/') {
            checks.retain(|(name, _)| *name == one);
            if checks.is_empty() {
                return None;
            }
        }
        let fine = checks.iter().all(|(_, fine)| *fine);
        let mut text = String::new();
        if fine && !info.query.flag("verbose") {
            text.push_str("ok");
        } else {
            for (name, fine) in &checks {
                let _ = if *fine {
                    writeln!(text, "[+]{name} ok")
                } else {
                    writeln!(text, "[-]{name} failed: reason withheld")
                };
            }
            let _ = writeln!(text, "{} check {}", &root[1..], if fine { "passed" } else { "failed" });
        }
        let mut response = Response::new(full(text));
        *response.status_mut() = if fine {
            StatusCode::OK
        } else {
            StatusCode::INTERNAL_SERVER_ERROR
        };
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
        Some(response)
    }
}
