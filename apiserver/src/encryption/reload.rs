//! Takes up a key that was added to the file while the server runs.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::cache::Caches;
use crate::pki::KeyFile;

/// How often the file is looked at. It is some hundred bytes; `timonel secrets reencrypt` waits for this.
const EVERY: Duration = Duration::from_secs(2);

/// Follows the file until `stop`. A file that is damaged, or that gives a known name to another key, changes nothing but the log.
pub(crate) async fn follow(file: KeyFile, caches: Arc<Caches>, stop: CancellationToken) {
    let mut seen = None;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        let reading = file.clone();
        let Ok(read) = tokio::task::spawn_blocking(move || reading.read()).await else {
            continue;
        };
        let now = match &read {
            Ok(keys) => Ok(keys.iter().map(|key| key.id.clone()).collect::<Vec<_>>()),
            Err(problem) => Err(timonel_client::chain(problem)),
        };
        if seen.as_ref() == Some(&now) {
            continue;
        }
        let outcome = match read {
            Ok(keys) => caches.adopt_keys(&keys).map_err(|problem| problem.to_string()),
            Err(problem) => Err(timonel_client::chain(&problem)),
        };
        match (outcome, &now) {
            (Ok(()), Ok(ids)) => {
                if seen.is_some() {
                    tracing::info!(sealing = ids.first().map_or("", String::as_str), keys = ?ids, "the encryption keys were read again");
                }
                for (id, count) in caches.ledger().counts() {
                    if !id.is_empty() && !ids.contains(&id) {
                        tracing::error!(
                            key = id,
                            count,
                            "Secrets still need an encryption key that is gone from the file: put it back, or they are lost at the next start"
                        );
                    }
                }
            }
            (Err(problem), _) => tracing::error!(problem, "the encryption keys stay as they were"),
            (Ok(()), Err(_)) => {}
        }
        seen = Some(now);
    }
}
