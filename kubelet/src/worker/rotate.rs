//! Rotates container logs: at 10 MiB a log is moved aside and the runtime writes a new one; five files are kept.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Shared;
use crate::runtime::ContainerState;

/// Upstream's `containerLogMaxSize`.
const MOST_BYTES: u64 = 10 << 20;
/// Upstream's `containerLogMaxFiles`.
const MOST_FILES: usize = 5;
/// Upstream's `containerLogMonitorInterval`.
const PERIOD: Duration = Duration::from_secs(10);

/// Rotates until shutdown.
pub(crate) async fn run(shared: Arc<Shared>, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(PERIOD) => {}
        }
        let snapshot = shared.relist.latest();
        let running = snapshot.pods.values().flat_map(|pod| &pod.containers);
        for container in running.filter(|container| matches!(container.state, ContainerState::Running { .. })) {
            let path = PathBuf::from(&container.log_path);
            let big = tokio::fs::metadata(&path)
                .await
                .is_ok_and(|meta| meta.len() >= MOST_BYTES);
            if !big {
                continue;
            }
            let stamp = shared.clock.now().strftime("%Y%m%d-%H%M%S").to_string();
            let aside = PathBuf::from(format!("{}.{stamp}", path.display()));
            if let Err(error) = tokio::fs::rename(&path, &aside).await {
                tracing::warn!(path = %path.display(), %error, "cannot rotate a log");
                continue;
            }
            if let Err(error) = shared.runtime.reopen_log(&container.id).await {
                tracing::warn!(path = %path.display(), %error, "the runtime does not open a new log");
                // It still writes to the old file: give that its name back.
                let _ = tokio::fs::rename(&aside, &path).await;
                continue;
            }
            remove_oldest(&path).await;
        }
    }
}

/// The stamps sort by age, so the oldest come first.
async fn remove_oldest(path: &Path) {
    let (Some(dir), Some(name)) = (
        path.parent(),
        path.file_name().map(|name| name.to_string_lossy().into_owned()),
    ) else {
        return;
    };
    let Ok(mut entries) = tokio::fs::read_dir(dir).await else {
        return;
    };
    let mut rotated = Vec::new();
    while let Ok(Some(entry)) = entries.next_entry().await {
        if entry.file_name().to_string_lossy().starts_with(&format!("{name}.")) {
            rotated.push(entry.path());
        }
    }
    rotated.sort();
    let surplus = (rotated.len() + 1).saturating_sub(MOST_FILES);
    for old in &rotated[..surplus.min(rotated.len())] {
        let _ = tokio::fs::remove_file(old).await;
    }
}
