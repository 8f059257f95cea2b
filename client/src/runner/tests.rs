//! The runner with a controller that counts, over caches that the tests fill by hand.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use timonel_api::{ObjectKey, Revision};
use tokio_util::sync::CancellationToken;

use super::{Controller, Plan, ReconcileError, RunnerConfig, Source, Writes, run};
use crate::TokioClock;
use crate::informer::Reader;

fn map(name: &str, revision: u64) -> Arc<ConfigMap> {
    Arc::new(ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.into()),
            namespace: Some("default".into()),
            resource_version: Some(revision.to_string()),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    })
}

/// Writes each key once per look, at a revision that the cache has not seen.
struct Writer {
    cache: Reader<ConfigMap>,
    looks: Arc<AtomicUsize>,
    failures: Mutex<usize>,
    writes_revision: Option<u64>,
}

#[async_trait]
impl Controller for Writer {
    type Observed = ();
    type Action = ();
    type Because = ();

    fn name(&self) -> &'static str {
        "writer"
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source::primary(&self.cache)]
    }

    fn keys(&self) -> Vec<ObjectKey> {
        self.cache.snapshot().keys().cloned().collect()
    }

    async fn observe(&self, _: &ObjectKey) -> Result<Option<()>, ReconcileError> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        Ok(Some(()))
    }

    fn plan(&self, (): &(), _: Timestamp) -> Plan<(), ()> {
        Plan::nothing()
    }

    async fn apply(
        &self,
        key: &ObjectKey,
        (): &(),
        _: &Plan<(), ()>,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        if let Some(revision) = self.writes_revision {
            writes.wrote(&self.cache, &*map(&key.name, revision));
        }
        let mut failures = self.failures.lock().unwrap();
        if *failures > 0 {
            *failures -= 1;
            return Err(ReconcileError::Again("not yet".into()));
        }
        Ok(())
    }
}

struct Running {
    cache: Reader<ConfigMap>,
    looks: Arc<AtomicUsize>,
    shutdown: CancellationToken,
}

impl Running {
    fn start(writes_revision: Option<u64>, failures: usize) -> Self {
        let cache = Reader::new();
        let objects = [(ObjectKey::new("default", "a"), map("a", 1))].into_iter().collect();
        cache.replace(objects, Revision(1), |_, _| true);
        let looks = Arc::new(AtomicUsize::new(0));
        let controller = Arc::new(Writer {
            cache: cache.clone(),
            looks: Arc::clone(&looks),
            failures: Mutex::new(failures),
            writes_revision,
        });
        let shutdown = CancellationToken::new();
        let clock = Arc::new(TokioClock::starting_at(Timestamp::UNIX_EPOCH));
        tokio::spawn(run(controller, clock, RunnerConfig::default(), shutdown.clone()));
        Self { cache, looks, shutdown }
    }

    fn change(&self, revision: u64) {
        self.cache.set(
            ObjectKey::new("default", "a"),
            map("a", revision),
            false,
            Revision(revision),
        );
    }

    async fn looks_after(&self, millis: u64) -> usize {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        self.looks.load(Ordering::SeqCst)
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_is_not_looked_at_again_before_the_caches_have_seen_its_writes() {
    let running = Running::start(Some(10), 0);
    assert_eq!(running.looks_after(100).await, 1);
    running.change(5);
    assert_eq!(
        running.looks_after(100).await,
        1,
        "our write at 10 has not come back yet"
    );
    running.change(10);
    assert_eq!(running.looks_after(100).await, 2, "now it has");
    running.shutdown.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_hangs_delays_a_key_but_not_for_ever() {
    let running = Running::start(Some(10), 0);
    running.looks_after(100).await;
    running.change(5);
    assert_eq!(running.looks_after(59_000).await, 1);
    assert_eq!(running.looks_after(2_000).await, 2);
}

#[tokio::test(start_paused = true)]
async fn failures_back_off_until_they_succeed() {
    let running = Running::start(None, 3);
    assert_eq!(running.looks_after(2).await, 1);
    assert_eq!(running.looks_after(100).await, 4, "after 5, 10 and 20 ms");
    assert_eq!(running.looks_after(10_000).await, 4);
}
