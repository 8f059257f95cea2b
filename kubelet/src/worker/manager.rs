//! One worker for every pod of this node, and for every pod that the runtime still holds though the API has forgotten it.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use timonel_client::Reader;
use timonel_client::informer::Change;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::pod::{Input, PodWorker};

struct Manager {
    shared: Arc<Shared>,
    workers: BTreeMap<String, watch::Sender<Input>>,
    tasks: JoinSet<String>,
    shutdown: CancellationToken,
}

/// Runs workers until shutdown. Containers are left running.
pub async fn run(shared: Arc<Shared>, pods: Reader<Pod>, shutdown: CancellationToken) {
    let mut changes = pods.changes();
    let mut snapshots = shared.relist.subscribe();
    tokio::select! {
        biased;
        () = shutdown.cancelled() => return,
        () = async {
            // Without both, a running container might look like an orphan, or a pod like one that never ran.
            pods.wait_synced().await;
            let _ = snapshots.wait_for(|snapshot| snapshot.at.is_some()).await;
        } => {}
    }
    let mut manager = Manager {
        shared,
        workers: BTreeMap::new(),
        tasks: JoinSet::new(),
        shutdown: shutdown.clone(),
    };
    manager.resync(&pods);
    manager.adopt(&pods).await;
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            change = changes.next() => match change {
                Change::Applied(pod) => manager.applied(&pod),
                Change::Deleted(pod) => manager.deleted(&pod),
                Change::Resynced => manager.resync(&pods),
            },
            Some(done) = manager.tasks.join_next() => {
                if let Ok(uid) = done {
                    manager.workers.remove(&uid);
                }
            }
            _ = snapshots.changed() => manager.orphans(&pods),
        }
    }
    // Workers end with the token; what they had begun is cut off, and found again at the next start.
    while manager.tasks.join_next().await.is_some() {}
}

fn uid_of(pod: &Pod) -> String {
    pod.metadata.uid.clone().unwrap_or_default()
}

impl Manager {
    fn worker(&mut self, uid: &str) -> &watch::Sender<Input> {
        let (shared, shutdown, tasks) = (&self.shared, &self.shutdown, &mut self.tasks);
        self.workers.entry(uid.to_owned()).or_insert_with(|| {
            let (sender, receiver) = watch::channel(Input::default());
            let worker = PodWorker::new(Arc::clone(shared), uid.to_owned(), receiver);
            let (uid, shutdown) = (uid.to_owned(), shutdown.clone());
            tasks.spawn(async move {
                worker.run(shutdown).await;
                uid
            });
            sender
        })
    }

    fn applied(&mut self, pod: &Arc<Pod>) {
        let uid = uid_of(pod);
        if pod
            .metadata
            .annotations
            .as_ref()
            .is_some_and(|all| all.contains_key("kubernetes.io/config.mirror"))
        {
            return;
        }
        self.worker(&uid).send_modify(|input| {
            input.pod = Some(Arc::clone(pod));
            input.last = Some(Arc::clone(pod));
        });
    }

    fn deleted(&mut self, pod: &Arc<Pod>) {
        if let Some(worker) = self.workers.get(&uid_of(pod)) {
            worker.send_modify(|input| {
                input.pod = None;
                input.last = Some(Arc::clone(pod));
            });
        }
    }

    fn resync(&mut self, pods: &Reader<Pod>) {
        let all = pods.list();
        for pod in &all {
            self.applied(pod);
        }
        for (uid, worker) in &self.workers {
            if !all.iter().any(|pod| uid_of(pod) == *uid) {
                worker.send_modify(|input| input.pod = None);
            }
        }
    }

    /// Takes up what the runtime holds and the API does not.
    fn orphans(&mut self, pods: &Reader<Pod>) {
        let snapshot = self.shared.relist.latest();
        let strangers: Vec<String> = snapshot
            .pods
            .keys()
            .filter(|uid| !self.workers.contains_key(*uid))
            .cloned()
            .collect();
        if strangers.is_empty() {
            return;
        }
        let known = pods.list();
        for uid in strangers {
            if !known.iter().any(|pod| uid_of(pod) == uid) {
                tracing::info!(uid, "the API has no such pod; removing what is left of it");
                let _ = self.worker(&uid);
            }
        }
    }

    /// Takes up folders of pods that went while no kubelet ran.
    async fn adopt(&mut self, pods: &Reader<Pod>) {
        self.orphans(pods);
        let known = pods.list();
        for uid in self.shared.volumes.pods_on_disk().await {
            if !self.workers.contains_key(&uid) && !known.iter().any(|pod| uid_of(pod) == uid) {
                let _ = self.worker(&uid);
            }
        }
    }
}
