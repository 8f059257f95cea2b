//! Where people ask the scheduler: what it last decided about a pod, and what it would do about pods that are not there yet.
//!
//! The desk outlives the loop that answers at it: while another scheduler leads, or before the caches are whole, it says so.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use timonel_api::ObjectKey;
use tokio::sync::{mpsc, oneshot};

use crate::account::Account;

/// Pods whose last decision is kept.
const KEPT: usize = 512;
/// Verdicts that are kept of one decision that found no node.
pub(crate) const NODES_REFUSED: usize = 100;
/// Verdicts that are kept of one decision that found a node.
pub(crate) const NODES_PLACED: usize = 5;
/// Questions that may wait.
const QUESTIONS: usize = 8;
/// Pods that may be planned at once.
pub const PODS: usize = 1000;

/// A question: where would these pods go?
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) pods: Vec<Pod>,
    pub(crate) answer: oneshot::Sender<Vec<Account>>,
}

/// Why a question is not answered.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DeskError {
    /// This scheduler is not at work.
    #[error("this scheduler does not schedule now: it starts, or another one leads")]
    Away,
    /// There are many questions already.
    #[error("the scheduler has {QUESTIONS} plans to make already")]
    Busy,
    /// There are too many pods.
    #[error("at most {PODS} pods can be planned at once, not {given}")]
    TooMany {
        /// How many were given.
        given: usize,
    },
}

#[derive(Debug, Default)]
struct Kept {
    accounts: BTreeMap<ObjectKey, Account>,
    /// Oldest first.
    order: VecDeque<ObjectKey>,
    questions: Option<mpsc::Sender<Question>>,
}

/// The desk. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Desk(Arc<Mutex<Kept>>);

impl Desk {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        // What is kept is whole after every step; a panic elsewhere does not make it wrong.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the desk: questions come out here.
    pub(crate) fn open(&self) -> mpsc::Receiver<Question> {
        let (sender, receiver) = mpsc::channel(QUESTIONS);
        self.kept().questions = Some(sender);
        receiver
    }

    /// Keeps what was decided about a pod; the oldest account makes room.
    pub(crate) fn keep(&self, account: Account) {
        let key = ObjectKey::new(account.namespace.clone(), account.name.clone());
        let mut kept = self.kept();
        if kept.accounts.insert(key.clone(), account).is_none() {
            kept.order.push_back(key);
        }
        while kept.accounts.len() > KEPT {
            let Some(oldest) = kept.order.pop_front() else { return };
            kept.accounts.remove(&oldest);
        }
    }

    /// Forgets a pod that is gone.
    pub(crate) fn forget(&self, key: &ObjectKey) {
        let mut kept = self.kept();
        if kept.accounts.remove(key).is_some() {
            kept.order.retain(|other| other != key);
        }
    }

    /// Returns the last decision about a pod, where it is still kept.
    pub fn account(&self, namespace: &str, name: &str) -> Option<Account> {
        let key = ObjectKey::new(namespace, name);
        self.kept().accounts.get(&key).cloned()
    }

    /// Asks what would become of pods, were they created now.
    ///
    /// # Errors
    /// When nobody is there to answer, or too much is asked.
    pub async fn plan(&self, pods: Vec<Pod>) -> Result<Vec<Account>, DeskError> {
        if pods.len() > PODS {
            return Err(DeskError::TooMany { given: pods.len() });
        }
        let sender = self.kept().questions.clone().ok_or(DeskError::Away)?;
        let (answer, answered) = oneshot::channel();
        sender
            .try_send(Question { pods, answer })
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => DeskError::Busy,
                mpsc::error::TrySendError::Closed(_) => DeskError::Away,
            })?;
        answered.await.map_err(|_| DeskError::Away)
    }
}
