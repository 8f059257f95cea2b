//! HorizontalPodAutoscalers: as many replicas as the metrics ask for.
//!
//! ```text
//! scale, pods, metrics --observe--> evaluate (replicas: what does each metric ask for?) --> normalize (not too fast, not too far)
//!                                                                                                |
//!                                            scale's replicas, conditions, events <--apply-- plan
//! ```
//!
//! Upstream: `pkg/controller/podautoscaler`. Each autoscaler is looked at every 15 seconds, whatever changes. What was recommended lately
//! is remembered in this process only, as upstream: after a restart the first recommendation is the current size.

mod apply;
mod evaluate;
mod metrics;
mod normalize;
mod observe;
mod plan;
mod replicas;
mod status;
mod target;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use timonel_api::ObjectKey;
use timonel_api::selector::LabelSelector;
use timonel_client::events::Recorder;
use timonel_client::informer::{self, Reader, Selection};
use timonel_client::runner::{Controller, Plan, ReconcileError, Source, Writes};

use crate::context::Context;
use normalize::Memory;
use observe::Observed;
use plan::{Action, Because, plan};

/// The name under which upstream's controller runs and reports.
const NAME: &str = "horizontal-pod-autoscaler";

pub(crate) struct Autoscalers {
    context: Context,
    autoscalers: Reader<HorizontalPodAutoscaler>,
    recorder: Recorder,
    memories: Mutex<BTreeMap<ObjectKey, Memory>>,
    /// Which pods each autoscaler's target meant when it was last looked at.
    selectors: Mutex<BTreeMap<ObjectKey, LabelSelector>>,
}

/// Runs the controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, ()> {
    let api: Api<HorizontalPodAutoscaler> = Api::all(context.client.clone());
    let controller = Autoscalers {
        autoscalers: informer::start_with(
            api,
            Selection::all(),
            Arc::clone(&context.rng),
            context.shutdown.clone(),
        ),
        recorder: context.recorder(NAME),
        memories: Mutex::default(),
        selectors: Mutex::default(),
        context: context.clone(),
    };
    Box::pin(context.run(controller, 5))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Autoscalers {
    fn remembered(&self, key: &ObjectKey) -> Memory {
        lock(&self.memories).get(key).cloned().unwrap_or_default()
    }

    fn remember(&self, key: &ObjectKey, memory: &Memory) {
        lock(&self.memories).insert(key.clone(), memory.clone());
    }

    fn forget(&self, key: &ObjectKey) {
        lock(&self.memories).remove(key);
        lock(&self.selectors).remove(key);
    }

    /// Notes which pods an autoscaler means; returns everyone who means any of them.
    fn claim(&self, key: &ObjectKey, selector: Option<LabelSelector>, pods: &[Arc<Pod>]) -> Vec<String> {
        let mut selectors = lock(&self.selectors);
        match selector {
            Some(selector) => selectors.insert(key.clone(), selector),
            None => selectors.remove(key),
        };
        let means = |selector: &LabelSelector| {
            let mut pods = pods.iter();
            pods.any(|pod| selector.matches_optional(pod.metadata.labels.as_ref()))
        };
        let rivals = selectors
            .iter()
            .filter(|(other, selector)| other.namespace == key.namespace && means(selector));
        rivals.map(|(other, _)| other.to_string()).collect()
    }
}

#[async_trait]
impl Controller for Autoscalers {
    type Observed = Observed;
    type Action = Action;
    type Because = Because;

    fn name(&self) -> &'static str {
        NAME
    }

    fn sources(&self) -> Vec<Source> {
        // The status is our own; who is looked at anew at each change of it never rests.
        let matters = |old: Option<&HorizontalPodAutoscaler>, new: Option<&HorizontalPodAutoscaler>| {
            old.map(|old| &old.spec) != new.map(|new| &new.spec)
        };
        vec![
            Source::filtered(&self.autoscalers, matters, |autoscaler: &HorizontalPodAutoscaler| {
                vec![timonel_client::runner::key_of(autoscaler)]
            }),
            Source::looked_into(&self.context.caches.pods),
        ]
    }

    fn keys(&self) -> Vec<ObjectKey> {
        self.autoscalers.snapshot().keys().cloned().collect()
    }

    async fn observe(&self, key: &ObjectKey) -> Result<Option<Observed>, ReconcileError> {
        Ok(self.look(key).await)
    }

    fn plan(&self, observed: &Observed, now: Timestamp) -> Plan<Action, Because> {
        plan(observed, now)
    }

    async fn apply(
        &self,
        key: &ObjectKey,
        observed: &Observed,
        plan: &Plan<Action, Because>,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        self.carry_out(key, observed, plan, writes).await
    }
}
