//! The time that a commit is noted with. The store depends on no other crate's clock; whoever opens it passes one in.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

/// Tells the time of a commit. It only serves to find revisions by time and to keep history for a while; order comes
/// from revisions alone, so a clock that jumps does no harm.
#[derive(Clone)]
pub struct CommitClock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl CommitClock {
    /// Takes the time from a function.
    pub fn from_fn(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// Returns the machine's clock.
    #[expect(
        clippy::disallowed_methods,
        reason = "the store's port for time in production; simulations pass their own"
    )]
    pub fn system() -> Self {
        Self::from_fn(SystemTime::now)
    }

    /// Returns the time now.
    pub fn now(&self) -> SystemTime {
        (self.0)()
    }
}

impl fmt::Debug for CommitClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CommitClock")
    }
}
