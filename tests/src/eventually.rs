//! Waiting for a condition, with a deadline and an explanation.

use std::time::Duration;

/// How often a condition is looked at.
const PERIOD: Duration = Duration::from_millis(200);

/// Waits until `condition` answers `Ok`. When time runs out, panics with its last explanation and with what `evidence` gathers.
#[track_caller]
pub fn eventually<T>(
    what: &str,
    within: Duration,
    mut condition: impl FnMut() -> Result<T, String>,
    evidence: impl FnOnce() -> String,
) -> T {
    let deadline = tokio::time::Instant::now() + within;
    loop {
        match condition() {
            Ok(value) => return value,
            Err(last) if tokio::time::Instant::now() > deadline => {
                panic!("{what}: not within {within:?}; last seen: {last}\n{}", evidence());
            }
            Err(_) => std::thread::sleep(PERIOD),
        }
    }
}
