//! What the writer of an object knows of it already, so that the feed does not have to read the object again.
//!
//! A write announces the value that it hands to the store. The store hands the very same bytes to the feed, which finds the announcement
//! by where they lie. What nobody has announced, or what comes from the disk, is parsed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde_json::Value;

use super::object::{Known, Object, ObjectError, Shape};
use timonel_api::Revision;

#[derive(Debug)]
struct Announcement {
    /// Kept, so that nothing else comes to lie there.
    sealed: Bytes,
    plain: Bytes,
    known: Known,
}

/// The announcements of all writes that are under way, by the address of what the store was given.
#[derive(Debug, Default)]
pub(super) struct Announced {
    pending: Mutex<HashMap<usize, Announcement>>,
}

/// Takes its announcement back when the write is over.
#[derive(Debug)]
pub struct Announcing {
    announced: Arc<Announced>,
    address: usize,
}

impl Drop for Announcing {
    fn drop(&mut self) {
        self.announced.lock().remove(&self.address);
    }
}

impl Announced {
    fn lock(&self) -> MutexGuard<'_, HashMap<usize, Announcement>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that `sealed` is `value`, whose JSON is `plain`.
    pub(super) fn announce(
        self: &Arc<Self>,
        value: &Value,
        plain: &Bytes,
        sealed: &Bytes,
        shape: &dyn Shape,
    ) -> Announcing {
        let address = sealed.as_ptr().addr();
        let announcement = Announcement {
            sealed: sealed.clone(),
            plain: plain.clone(),
            known: Known::of(value, shape),
        };
        self.lock().insert(address, announcement);
        Announcing {
            announced: self.clone(),
            address,
        }
    }

    /// The object that `sealed` was announced to be.
    pub(super) fn object(&self, sealed: &Bytes, revision: Revision) -> Option<Result<Object, ObjectError>> {
        let address = sealed.as_ptr().addr();
        let mut pending = self.lock();
        let announcement = pending.remove(&address)?;
        drop(pending);
        // An empty value has no place of its own.
        if announcement.sealed.len() != sealed.len() || sealed.is_empty() {
            return None;
        }
        Some(Object::from_known(&announcement.plain, revision, announcement.known))
    }
}
