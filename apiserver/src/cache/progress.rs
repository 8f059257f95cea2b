//! How far the caches are, and who waits for them to get further.
//!
//! Every write waits for its own revision, so many wait at once. Each is woken when its revision is reached, and not by those of others.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use timonel_api::Revision;
use tokio::sync::oneshot;

/// The caches have ended and will not get to the revision that was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended;

/// Who waits: for which revision, and who of those that wait for the same.
type Ticket = (Revision, u64);

#[derive(Debug, Default)]
struct State {
    revision: Revision,
    ended: bool,
    waiting: BTreeMap<Ticket, oneshot::Sender<()>>,
    tickets: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Progress {
    state: Mutex<State>,
}

/// Leaves the queue when whoever waits goes away.
struct Waiting<'a> {
    progress: &'a Progress,
    ticket: Ticket,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.progress.lock().waiting.remove(&self.ticket);
    }
}

impl Progress {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The revision up to which all caches are complete.
    pub(super) fn revision(&self) -> Revision {
        self.lock().revision
    }

    /// Whether they will not get any further.
    pub(super) fn ended(&self) -> bool {
        self.lock().ended
    }

    /// All caches show `revision` now.
    pub(super) fn advance(&self, revision: Revision) {
        let reached = {
            let mut state = self.lock();
            state.revision = revision;
            let further = state.waiting.split_off(&(Revision(revision.0.saturating_add(1)), 0));
            std::mem::replace(&mut state.waiting, further)
        };
        for waiter in reached.into_values() {
            // Whoever has gone needs no word.
            let _ = waiter.send(());
        }
    }

    /// They will not get any further.
    pub(super) fn end(&self) {
        let left = {
            let mut state = self.lock();
            state.ended = true;
            std::mem::take(&mut state.waiting)
        };
        // To drop the senders is to say so.
        drop(left);
    }

    /// Waits until all caches show `revision`.
    pub(super) async fn wait_for(&self, revision: Revision) -> Result<(), Ended> {
        let (told, waiting) = {
            let mut state = self.lock();
            if state.revision >= revision {
                return Ok(());
            }
            if state.ended {
                return Err(Ended);
            }
            state.tickets += 1;
            let ticket = (revision, state.tickets);
            let (teller, told) = oneshot::channel();
            state.waiting.insert(ticket, teller);
            (told, Waiting { progress: self, ticket })
        };
        let reached = told.await;
        drop(waiting);
        reached.map_err(|_| Ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn each_is_woken_by_its_own_revision() {
        let progress = Progress::default();
        let mut third = Box::pin(progress.wait_for(Revision(3)));
        let mut fifth = Box::pin(progress.wait_for(Revision(5)));
        let mut also_fifth = Box::pin(progress.wait_for(Revision(5)));
        for waiter in [&mut third, &mut fifth, &mut also_fifth] {
            assert_eq!(waiter.as_mut().now_or_never(), None);
        }
        progress.advance(Revision(4));
        assert_eq!(third.now_or_never(), Some(Ok(())));
        assert_eq!(fifth.as_mut().now_or_never(), None);
        progress.advance(Revision(5));
        assert_eq!(fifth.await, Ok(()));
        assert_eq!(also_fifth.await, Ok(()));
        assert_eq!(progress.wait_for(Revision(5)).await, Ok(()));
    }

    #[tokio::test]
    async fn whoever_goes_away_leaves_nothing_behind_and_the_end_is_told() {
        let progress = Progress::default();
        let mut gone = Box::pin(progress.wait_for(Revision(9)));
        assert_eq!(gone.as_mut().now_or_never(), None);
        drop(gone);
        assert!(progress.lock().waiting.is_empty());
        let mut left = Box::pin(progress.wait_for(Revision(9)));
        assert_eq!(left.as_mut().now_or_never(), None);
        progress.end();
        assert_eq!(left.await, Err(Ended));
        assert_eq!(progress.wait_for(Revision(1)).await, Err(Ended));
    }
}
