//! The task of one pod.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::apply::{self, Effect};
use super::relist::PodRuntime;
use super::{PodView, Shared, probing, report};
use crate::pod::{
    Action, Busy, Lifecycle, Memory, Observed, PodPlan, ProbeKind, ProbeTask, ProbeTracker, ProbeView, VolumeMemory,
    plan_pod,
};
use crate::runtime::{ContainerState, ProbeOutcome, labels};

/// What the manager tells a worker.
#[derive(Clone, Debug, Default)]
pub(super) struct Input {
    /// The pod as the API has it; `None` once it is gone.
    pub(super) pod: Option<Arc<Pod>>,
    /// The pod as the API last had it.
    pub(super) last: Option<Arc<Pod>>,
}

/// The longest a worker sleeps without looking.
const LONGEST: Duration = Duration::from_secs(60);
/// A status that could not be reported is tried again after this.
const REPORT_RETRY: Duration = Duration::from_secs(1);
/// How much of a termination message counts.
const MESSAGE_LIMIT: usize = 4096;
/// How much of a log stands in for a missing termination message.
const LOG_LIMIT: usize = 2048;

pub(super) struct PodWorker {
    shared: Arc<Shared>,
    uid: String,
    input: watch::Receiver<Input>,
    memory: Memory,
    trackers: BTreeMap<(String, ProbeKind), ProbeTracker>,
    running: BTreeMap<ProbeTask, AbortHandle>,
    probes: JoinSet<()>,
    ops: JoinSet<(Option<Busy>, Effect)>,
    found: (mpsc::Sender<probing::Found>, mpsc::Receiver<probing::Found>),
    messages: BTreeMap<String, String>,
    reporting: bool,
    /// The pod's revision when the API last took our word for its status.
    reported_at: u64,
    report_after: Option<Timestamp>,
    refreshed: Option<Timestamp>,
    seen: Option<Arc<Pod>>,
}

impl PodWorker {
    pub(super) fn new(shared: Arc<Shared>, uid: String, input: watch::Receiver<Input>) -> Self {
        Self {
            memory: Memory {
                first_seen: Some(shared.clock.now()),
                ..Memory::default()
            },
            shared,
            uid,
            input,
            trackers: BTreeMap::new(),
            running: BTreeMap::new(),
            probes: JoinSet::new(),
            ops: JoinSet::new(),
            found: mpsc::channel(64),
            messages: BTreeMap::new(),
            reporting: false,
            reported_at: 0,
            report_after: None,
            refreshed: None,
            seen: None,
        }
    }

    /// Works until nothing of the pod is left, or until shutdown (which touches no container).
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        let mut snapshots = self.shared.relist.subscribe();
        loop {
            let input = self.input.borrow_and_update().clone();
            let runtime = snapshots
                .borrow_and_update()
                .pods
                .get(&self.uid)
                .cloned()
                .unwrap_or_default();
            let observed = self.observe(&input, &runtime);
            let now = self.shared.clock.now();
            let plan = plan_pod(&observed, now);
            self.publish(&input, &plan);
            if plan.lifecycle == Lifecycle::Gone {
                return;
            }
            let wake = self.carry_out(&input, &runtime, plan, now);
            let wait = wake.map_or(LONGEST, |at| {
                Duration::try_from(at.duration_since(now)).unwrap_or_default()
            });
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                Some(done) = self.ops.join_next() => {
                    if let Ok((busy, effect)) = done {
                        self.remember(busy, effect);
                    }
                }
                Some(found) = self.found.1.recv() => self.record(&input, found),
                changed = self.input.changed() => if changed.is_err() { return },
                () = pod_changed(&mut snapshots, &self.uid, &runtime) => {}
                () = tokio::time::sleep(wait.min(LONGEST).max(Duration::from_millis(1))) => {}
            }
        }
    }

    fn observe(&mut self, input: &Input, runtime: &PodRuntime) -> Observed {
        let mut containers = runtime.containers.clone();
        for container in &mut containers {
            if let ContainerState::Exited { message, exit_code, .. } = &mut container.state
                && !self.shared.config.hollow
            {
                let failed = *exit_code != 0;
                let known = self.messages.entry(container.id.clone()).or_insert_with(|| {
                    let path = self
                        .shared
                        .volumes
                        .termination_log(&self.uid, &container.name, container.attempt);
                    let policy = container
                        .annotations
                        .get(labels::TERMINATION_POLICY)
                        .map(String::as_str);
                    last_words(
                        &path,
                        policy == Some("FallbackToLogsOnError") && failed,
                        &container.log_path,
                    )
                });
                if !known.is_empty() {
                    message.clone_from(known);
                }
            }
        }
        self.messages
            .retain(|id, _| containers.iter().any(|container| container.id == *id));
        self.trackers
            .retain(|(id, _), _| containers.iter().any(|container| container.id == *id));
        let mut probes: BTreeMap<String, ProbeView> = BTreeMap::new();
        for ((id, kind), tracker) in &self.trackers {
            let view = probes.entry(id.clone()).or_default();
            match kind {
                ProbeKind::Startup => view.startup = tracker.verdict(),
                ProbeKind::Liveness => view.liveness = tracker.verdict(),
                ProbeKind::Readiness => view.readiness = tracker.verdict(),
            }
        }
        Observed {
            pod: input.pod.clone(),
            last_pod: input.last.clone(),
            sandboxes: runtime.sandboxes.clone(),
            containers,
            probes,
            memory: self.memory.clone(),
            node: self.shared.facts(),
        }
    }

    fn publish(&self, input: &Input, plan: &PodPlan) {
        let mut pods = self.shared.pods.lock().unwrap_or_else(PoisonError::into_inner);
        if plan.lifecycle == Lifecycle::Gone {
            pods.remove(&self.uid);
            return;
        }
        let names: BTreeMap<&str, &str> = plan
            .probes
            .iter()
            .map(|task| (task.id.as_str(), task.container.as_str()))
            .collect();
        let mut view = PodView {
            pod: input.pod.clone().or_else(|| input.last.clone()),
            status: plan.status.clone(),
            because: plan.because.iter().map(ToString::to_string).collect(),
            ..PodView::default()
        };
        for ((id, kind), tracker) in &self.trackers {
            if let Some(name) = names.get(id.as_str()) {
                view.probes
                    .insert(((*name).to_owned(), *kind), tracker.kept().cloned().collect());
            }
        }
        pods.insert(self.uid.clone(), view);
    }

    /// Starts what was planned; answers when to look again.
    fn carry_out(&mut self, input: &Input, runtime: &PodRuntime, plan: PodPlan, now: Timestamp) -> Option<Timestamp> {
        let pod = input.pod.clone().or_else(|| input.last.clone());
        let mut wake = plan.requeue;
        let mut earlier = |at: Timestamp| wake = Some(wake.map_or(at, |known: Timestamp| known.min(at)));
        self.sync_probes(&plan, pod.as_ref(), runtime);
        for action in plan.actions {
            if let Action::Announce { key, event } = &action {
                self.memory.announced.insert(key.clone());
                if let Some(pod) = &pod {
                    self.shared.event(pod, event);
                }
                continue;
            }
            if let Action::StartContainer {
                container,
                backoff: Some(backoff),
                ..
            } = &action
            {
                self.memory.restart_backoff.insert(container.clone(), *backoff);
            }
            if let Action::StopContainer { id, grace, .. } = &action {
                self.memory.stop_by.insert(id.clone(), now + *grace);
            }
            self.spawn(pod.clone(), action);
        }
        if plan.lifecycle == Lifecycle::Running && self.memory.volumes == VolumeMemory::Ready {
            let changed = self.seen.as_ref().map(|seen| &seen.metadata.labels)
                != pod.as_ref().map(|pod| &pod.metadata.labels)
                || self.seen.as_ref().map(|seen| &seen.metadata.annotations)
                    != pod.as_ref().map(|pod| &pod.metadata.annotations);
            let due = *self.refreshed.get_or_insert(now) + self.shared.config.timings.volume_refresh;
            if (now >= due || changed && self.seen.is_some()) && has_rendered_volumes(pod.as_deref()) {
                self.refreshed = Some(now);
                self.refresh(pod.clone());
            } else if has_rendered_volumes(pod.as_deref()) {
                earlier(due);
            }
            self.seen.clone_from(&pod);
        }
        if let (Some(pod), Some(status)) = (&input.pod, plan.status)
            && let Some(due) = self.report(pod, status, now)
        {
            earlier(due);
        }
        wake
    }

    /// Tells the API what it does not know yet, or what somebody else wrote over. Answers when to plan again.
    fn report(&mut self, pod: &Arc<Pod>, status: PodStatus, now: Timestamp) -> Option<Timestamp> {
        let revision = report::revision(pod);
        let is_known = pod.status.as_ref() == Some(&status);
        // The informer's copy may be older than what we told; only a newer one can have been written over.
        let written_over = revision > self.reported_at && !is_known;
        if self.reporting || self.memory.reported.as_ref() == Some(&status) && !written_over {
            return None;
        }
        if let Some(at) = self.report_after.filter(|at| now < *at) {
            return Some(at);
        }
        if self.memory.reported.is_none() && is_known {
            self.memory.reported = Some(status);
            self.reported_at = revision;
            // Whoever waits for the report plans again.
            return Some(now);
        }
        self.reporting = true;
        let shared = Arc::clone(&self.shared);
        let pod = Arc::clone(pod);
        let told = self.memory.reported.clone().filter(|_| revision < self.reported_at);
        let old = told.or_else(|| pod.status.clone()).unwrap_or_default();
        self.ops.spawn(async move {
            let done = report::report(&shared, &pod, &old, &status).await;
            let done = done.map_err(|error| timonel_client::chain(&error));
            (None, Effect::Reported(Box::new(status), done))
        });
        None
    }

    fn spawn(&mut self, pod: Option<Arc<Pod>>, action: Action) {
        let busy = apply::busy(&action);
        self.memory.busy.extend(busy.clone());
        let shared = Arc::clone(&self.shared);
        let uid = self.uid.clone();
        self.ops.spawn(async move {
            let effect = apply::apply(Arc::clone(&shared), uid, pod, action).await;
            if effect.changes_runtime() {
                // Until the listing shows what was done, the planner must not plan it again.
                shared.relist.fresh().await;
            }
            (busy, effect)
        });
    }

    /// Brings configMaps, secrets, tokens up to date; what fails is tried again next time.
    fn refresh(&mut self, pod: Option<Arc<Pod>>) {
        let shared = Arc::clone(&self.shared);
        self.ops.spawn(async move {
            if let Some(pod) = pod {
                let settings = Arc::clone(&shared.settings);
                if let Err(error) = shared.volumes.set_up(&pod, &settings).await {
                    shared.say(&pod, None, true, "FailedMount", error.to_string());
                }
            }
            (None, Effect::Cleaned(false))
        });
    }

    fn remember(&mut self, busy: Option<Busy>, effect: Effect) {
        let retry = |shared: &Shared| Some(shared.clock.now() + REPORT_RETRY);
        match effect {
            Effect::Volumes(volumes) => self.memory.volumes = volumes,
            Effect::Sandbox(Ok(())) => self.memory.sandbox_failure = None,
            Effect::Sandbox(Err(message)) => self.memory.sandbox_failure = Some((message, self.shared.clock.now())),
            Effect::Image(container, image, mut backoff) => {
                if image
                    .result
                    .as_ref()
                    .is_err_and(|failure| failure.reason == "ErrImagePull")
                {
                    // The wait counts from the failure, not from when the pull began.
                    backoff.since = self.shared.clock.now();
                    self.memory.pull_backoff.insert(image.image.clone(), backoff);
                } else {
                    self.memory.pull_backoff.remove(&image.image);
                }
                self.memory.images.insert(container, image);
            }
            Effect::Started(container, failure) => match failure {
                Some(failure) => {
                    self.memory.failures.insert(container, failure);
                }
                None => {
                    self.memory.failures.remove(&container);
                }
            },
            Effect::Cleaned(done) => self.memory.cleaned |= done,
            Effect::Reported(status, done) => {
                self.reporting = false;
                match done {
                    Ok(revision) => {
                        self.report_after = None;
                        self.reported_at = self.reported_at.max(revision);
                        self.memory.reported = Some(*status);
                    }
                    Err(error) => {
                        tracing::debug!(uid = self.uid, error, "a pod's status was not reported");
                        self.report_after = retry(&self.shared);
                    }
                }
            }
            Effect::Finalized(Ok(())) => {
                // The pod will be seen to go; until then there is nothing to do.
                return;
            }
            Effect::Finalized(Err(error)) => {
                tracing::debug!(uid = self.uid, error, "a pod's deletion was not finalized");
                self.memory.reported = None;
                self.report_after = retry(&self.shared);
            }
            Effect::Nothing => {}
        }
        if let Some(busy) = busy {
            if let Busy::Stop(id) = &busy {
                self.memory.stop_by.remove(id);
            }
            self.memory.busy.remove(&busy);
        }
    }

    fn sync_probes(&mut self, plan: &PodPlan, pod: Option<&Arc<Pod>>, runtime: &PodRuntime) {
        self.running.retain(|task, handle| {
            let wanted = plan.probes.contains(task);
            if !wanted {
                handle.abort();
            }
            wanted
        });
        while self.probes.try_join_next().is_some() {}
        let Some(pod) = pod else { return };
        let spec = pod.spec.as_ref();
        for task in &plan.probes {
            if self.running.contains_key(task) {
                continue;
            }
            let all = spec
                .into_iter()
                .flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
            let Some(container) = all.into_iter().find(|container| container.name == task.container) else {
                continue;
            };
            let Some(probe) = probing::of_kind(container, task.kind) else {
                continue;
            };
            let record = runtime.containers.iter().find(|record| record.id == task.id);
            let Some(ContainerState::Running { started_at }) = record.map(|record| &record.state) else {
                continue;
            };
            self.trackers
                .entry((task.id.clone(), task.kind))
                .or_insert_with(|| ProbeTracker::new(probe));
            let work = probing::run(
                Arc::clone(&self.shared),
                Arc::clone(pod),
                container.clone(),
                task.clone(),
                *started_at,
                self.found.0.clone(),
            );
            self.running.insert(task.clone(), self.probes.spawn(work));
        }
    }

    fn record(&mut self, input: &Input, found: probing::Found) {
        let Some(tracker) = self.trackers.get_mut(&(found.task.id.clone(), found.task.kind)) else {
            return;
        };
        if !self.running.contains_key(&found.task) {
            return;
        }
        let kind = match found.task.kind {
            ProbeKind::Startup => "Startup",
            ProbeKind::Liveness => "Liveness",
            ProbeKind::Readiness => "Readiness",
        };
        let said = match &found.outcome {
            ProbeOutcome::Success { .. } => None,
            ProbeOutcome::Failure { output } => Some(format!("{kind} probe failed: {output}")),
            ProbeOutcome::Error { message } => {
                Some(format!("{kind} probe errored and resulted in unknown state: {message}"))
            }
        };
        if let (Some(message), Some(pod)) = (said, input.pod.as_ref()) {
            self.shared
                .say(pod, Some(&found.task.container), true, "Unhealthy", message);
        }
        tracker.record(found.at, found.outcome);
    }
}

/// Waits until the runtime shows something else for a pod.
async fn pod_changed(
    snapshots: &mut watch::Receiver<Arc<super::relist::Snapshot>>,
    uid: &str,
    known: &Arc<PodRuntime>,
) {
    loop {
        if snapshots.changed().await.is_err() {
            return std::future::pending().await;
        }
        let now = snapshots.borrow_and_update().pods.get(uid).cloned().unwrap_or_default();
        if now != *known {
            return;
        }
    }
}

fn has_rendered_volumes(pod: Option<&Pod>) -> bool {
    let volumes = pod
        .and_then(|pod| pod.spec.as_ref())
        .and_then(|spec| spec.volumes.as_ref());
    volumes.is_some_and(|volumes| {
        volumes.iter().any(|volume| {
            volume.config_map.is_some()
                || volume.secret.is_some()
                || volume.projected.is_some()
                || volume.downward_api.is_some()
        })
    })
}

/// What a container left in its termination message, or else the end of its log.
fn last_words(path: &std::path::Path, fall_back: bool, log: &str) -> String {
    let read = std::fs::read(path).unwrap_or_default();
    if !read.is_empty() {
        return String::from_utf8_lossy(&read[..read.len().min(MESSAGE_LIMIT)]).into_owned();
    }
    if !fall_back {
        return String::new();
    }
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(80).collect();
    let mut words: Vec<&str> = lines
        .iter()
        .rev()
        .map(|line| line.splitn(4, ' ').nth(3).unwrap_or_default())
        .collect();
    while words.iter().map(|line| line.len() + 1).sum::<usize>() > LOG_LIMIT && words.len() > 1 {
        words.remove(0);
    }
    let mut tail = words.join("\n");
    if !tail.is_empty() {
        tail.push('\n');
    }
    tail
}
