//! One pod after another is popped and decided about; people's questions are answered on the same world.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Scheduler, Written};
use crate::account::Account;
use crate::decide::{Decision, Turn, decide_for};
use crate::desk::{self, Question};
use crate::extender;
use crate::plugins::choose_volumes;
use crate::pod_info::PodInfo;
use crate::snapshot::Snapshot;

impl Scheduler {
    pub(super) async fn schedule_one(&mut self) {
        let now = Instant::now();
        let Some(key) = self.queue.pop(now) else { return };
        let pod = self.pods.get(&key).filter(|pod| self.is_ours(pod));
        let Some((pod, profile)) = pod.and_then(|pod| {
            let profile = Arc::clone(&self.profile(&pod)?.0);
            Some((pod, profile))
        }) else {
            self.queue.remove(&key);
            return;
        };
        let selector = self.owners.selector(&pod);
        let info = Arc::new(PodInfo::new(pod, selector));
        self.cluster.attend_to(&profile, &info);
        let snapshot = self.snapshot();
        let turn = Turn {
            start: self.start,
            tie: self.deps.rng.next_u64(),
            thorough: false,
        };
        let decision = if self.extenders.is_empty() {
            decide_for(&profile, &info, &snapshot, turn)
        } else {
            match extender::decide(&self.extenders, &profile, &info, &snapshot, turn).await {
                Ok(decision) => decision,
                Err(error) => return self.extender_failed(&info, &error),
            }
        };
        self.start = decision.next_start;
        match decision.node.clone() {
            Some(node) => {
                tracing::debug!(pod = %key, node, "decided");
                self.keep_account(&info, &decision, desk::NODES_PLACED, |_| {});
                let volumes = profile.volume_patience.and_then(|patience| {
                    let choice = choose_volumes(&info, &snapshot, &node)?;
                    Some((choice, patience))
                });
                // Nobody looks at that world any more: it is changed where it stands, not copied.
                drop((snapshot, decision));
                self.start_binding(info, node, volumes);
            }
            None => self.refuse(&profile, &key, &info, &snapshot, &decision).await,
        }
    }

    /// The world as a decision sees it now.
    fn snapshot(&mut self) -> Snapshot {
        let mut snapshot = self.cluster.snapshot();
        snapshot.storage = self.volumes.snapshot();
        snapshot
    }

    /// Keeps account of a decision for those who ask later.
    pub(super) fn keep_account(
        &self,
        info: &PodInfo,
        decision: &Decision,
        nodes: usize,
        add: impl FnOnce(&mut Account),
    ) {
        let mut account = Account::of(info, decision, nodes);
        account.time = Some(self.deps.clock.now().to_string());
        add(&mut account);
        self.desk.keep(account);
    }

    /// Answers what would become of pods: beside the loop, on the world as it is now.
    pub(super) fn answer(&mut self, question: Question) {
        let pods: Vec<Arc<PodInfo>> = question
            .pods
            .into_iter()
            .map(|pod| {
                let selector = self.owners.selector(&pod);
                Arc::new(PodInfo::new(Arc::new(pod), selector))
            })
            .collect();
        let profiles = self.profiles.iter();
        let profiles = profiles
            .map(|(name, (profile, _))| (name.clone(), Arc::clone(profile)))
            .collect();
        let (snapshot, budgets) = (self.snapshot(), self.budgets.list());
        self.writes.spawn_blocking(move || {
            // Who asked may have gone.
            let _ = question
                .answer
                .send(crate::plan::plan(&profiles, &snapshot, &budgets, &pods));
            Written::Reported
        });
    }
}
