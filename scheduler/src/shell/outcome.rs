//! What follows from a decision: the pod is assumed and bound, or room is made and the reasons are told; and how the writes end.

use std::sync::Arc;
use std::time::Duration;

use timonel_api::{ObjectKey, pod};
use timonel_client::events::EventType;
use tokio::time::Instant;

use super::{Scheduler, WAITS, Written};
use crate::bind::{self, Nomination};
use crate::decide::Decision;
use crate::desk;
use crate::extender::{self, ExtenderError};
use crate::plugins::{Choice, ClusterEvent};
use crate::pod_info::PodInfo;
use crate::preempt::Preemption;
use crate::profile::Profile;
use crate::snapshot::Snapshot;

impl Scheduler {
    pub(super) fn start_binding(&mut self, info: Arc<PodInfo>, node: String, volumes: Option<(Choice, Duration)>) {
        if volumes.is_some() && self.waits.len() >= WAITS {
            self.queue.failed(&info.key, Instant::now());
            return;
        }
        self.cluster.assume(Arc::clone(&info), &node);
        let (client, extenders) = (self.deps.client.clone(), Arc::clone(&self.extenders));
        if let Some((choice, patience)) = volumes {
            let volumes = self.volumes.reserve(&info, &node, &choice, patience);
            let (pods, nodes) = (self.pods.clone(), self.nodes.clone());
            self.waits.spawn(async move {
                let result = match volumes.carry_out(pods, nodes).await {
                    Ok(()) => bind::bind(&client, &extenders, &info, &node).await,
                    Err(source) => Err(bind::WriteError::Volumes {
                        pod: info.key.clone(),
                        source: Box::new(source),
                    }),
                };
                Written::Bound { info, node, result }
            });
            return;
        }
        self.writes.spawn(async move {
            let result = bind::bind(&client, &extenders, &info, &node).await;
            Written::Bound { info, node, result }
        });
    }

    pub(super) async fn refuse(
        &mut self,
        profile: &Profile,
        key: &ObjectKey,
        info: &Arc<PodInfo>,
        snapshot: &Snapshot,
        decision: &Decision,
    ) {
        self.queue
            .unschedulable(key, Some(Arc::clone(info)), decision.rejected_by(), Instant::now());
        let mut message = decision.message();
        let mut add = |why: &str| {
            if decision.nodes > 0 && !why.is_empty() {
                message = format!("{message} {why}");
            }
        };
        let (mut victims, mut displaced) = (Vec::new(), Vec::new());
        let (budgets, offset) = (self.budgets.list(), self.deps.rng.next_u64());
        let preemption = extender::preempt(&self.extenders, profile, info, snapshot, decision, &budgets, offset).await;
        let nomination = match preemption {
            Preemption::Failed(why) => {
                add(&why);
                Nomination::Keep
            }
            Preemption::NotEligible(why) => {
                add(why);
                Nomination::Keep
            }
            Preemption::Nothing(why) => {
                add(&why);
                self.cluster.withdraw(&info.uid);
                Nomination::Clear
            }
            Preemption::Evict {
                node,
                victims: leaving,
                displaced: others,
            } => {
                (victims, displaced) = (leaving, others);
                self.cluster.nominate(Arc::clone(info), &node);
                Nomination::Node(node)
            }
        };
        self.keep_account(info, decision, desk::NODES_REFUSED, |account| {
            account.message = Some(message.clone());
            account.victims = victims
                .iter()
                .map(|victim: &Arc<PodInfo>| victim.key.to_string())
                .collect();
            if let Nomination::Node(node) = &nomination {
                account.nominated_node = Some(node.clone());
            }
        });
        for other in &displaced {
            self.cluster.withdraw(&other.uid);
        }
        let warning = EventType::Warning;
        self.publish(&info.pod, &info.pod, warning, "FailedScheduling", message.clone());
        if let Nomination::Node(node) = &nomination {
            for victim in &victims {
                let text = format!("Preempted by pod {} on node {node}", info.uid);
                self.publish(&info.pod, &victim.pod, EventType::Normal, "Preempted", text);
            }
        }
        let (client, clock, pod) = (
            self.deps.client.clone(),
            Arc::clone(&self.deps.clock),
            Arc::clone(&info.pod),
        );
        let key = key.clone();
        self.writes.spawn(async move {
            for victim in victims.iter().filter(|victim| !victim.is_terminating()) {
                if let Err(error) = bind::evict(&client, &*clock, &victim.pod, &pod).await {
                    tracing::warn!(victim = %victim.key, error = timonel_client::chain(&error), "cannot preempt");
                }
            }
            for other in &displaced {
                if let Err(error) = bind::displace(&client, &other.pod).await {
                    tracing::debug!(pod = %other.key, error = timonel_client::chain(&error), "cannot take a nomination back");
                }
            }
            if let Err(error) = bind::report(&client, &*clock, &pod, "Unschedulable", &message, &nomination).await {
                tracing::debug!(pod = %key, error = timonel_client::chain(&error), "cannot report the condition");
            }
            Written::Reported
        });
    }

    /// Puts a pod back about which an extender had to be asked that failed.
    pub(super) fn extender_failed(&mut self, info: &Arc<PodInfo>, error: &ExtenderError) {
        let why = timonel_client::chain(error);
        tracing::warn!(pod = %info.key, why, "an extender failed");
        self.queue.failed(&info.key, Instant::now());
        self.report_failure(info, why);
    }

    /// Tells why a pod could not be bound because of its volumes.
    fn volumes_failed(&mut self, info: &Arc<PodInfo>, error: &crate::volumes::VolumeError) {
        let why = timonel_client::chain(error);
        self.report_failure(info, format!("running PreBind plugin \"VolumeBinding\": {why}"));
    }

    /// Says in an event and in the pod's status what went wrong.
    fn report_failure(&mut self, info: &Arc<PodInfo>, message: String) {
        self.publish(
            &info.pod,
            &info.pod,
            EventType::Warning,
            "FailedScheduling",
            message.clone(),
        );
        let (client, clock, pod) = (
            self.deps.client.clone(),
            Arc::clone(&self.deps.clock),
            Arc::clone(&info.pod),
        );
        self.writes.spawn(async move {
            let keep = Nomination::Keep;
            if let Err(error) = bind::report(&client, &*clock, &pod, "SchedulerError", &message, &keep).await {
                tracing::debug!(error = timonel_client::chain(&error), "cannot report the condition");
            }
            Written::Reported
        });
    }

    pub(super) fn written(&mut self, written: Written) {
        let Written::Bound { info, node, result } = written else {
            return;
        };
        self.volumes.release(&info.uid);
        match result {
            Ok(()) => {
                self.queue.remove(&info.key);
                let key = &info.key;
                let text = format!("Successfully assigned {}/{} to {node}", key.namespace, key.name);
                self.publish(&info.pod, &info.pod, EventType::Normal, "Scheduled", text);
            }
            Err(error) => {
                tracing::warn!(error = timonel_client::chain(&error), "binding failed");
                let there = self
                    .pods
                    .get(&info.key)
                    .filter(|pod| pod.metadata.uid == info.pod.metadata.uid);
                if let bind::WriteError::Volumes { source, .. } = &error
                    && there.is_some()
                {
                    self.volumes_failed(&info, source);
                }
                self.cluster.forget(&info.uid);
                if let Some(node) = info.nominated() {
                    self.cluster.nominate(Arc::clone(&info), node);
                }
                let now = Instant::now();
                self.queue.failed(&info.key, now);
                self.queue.happened(ClusterEvent::PodGone, now);
                // It may be gone or bound by now; the watch has said so, or will.
                if self
                    .pods
                    .get(&info.key)
                    .is_none_or(|pod| !self.is_ours(&pod) || pod::is_scheduled(&pod))
                {
                    self.queue.remove(&info.key);
                    self.cluster.withdraw(&info.uid);
                }
            }
        }
    }
}
