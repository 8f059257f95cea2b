//! Informers: a local, ordered copy of one resource, kept fresh by list and watch.
//!
//! ```text
//! list (pages) --> objects, revision --> watch from revision --event--> objects --> Changes (bounded)
//!      ^                                      |  bookmark: revision moves on
//!      +------------ 410 Gone ----------------+  stream ends or breaks: watch again from the last revision
//! ```
//!
//! *Guarantees.* A [`Reader`] never goes back in time: its revision only grows. Every subscriber of [`Reader::changes`]
//! either sees every change in order or is told [`Change::Resynced`], after which it reads the whole list again.

mod reader;
mod watch;

use std::fmt::Debug;
use std::sync::Arc;

use kube::core::PartialObjectMeta;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

pub use reader::{Change, Changes, Expectation, Reader, Watermark};

use crate::{Rng, SeededRng};

/// Which objects of a resource an informer holds.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// A label selector in its string form; `None` takes all.
    pub labels: Option<String>,
    /// A field selector in its string form; `None` takes all.
    pub fields: Option<String>,
}

impl Selection {
    /// Takes every object.
    pub fn all() -> Self {
        Self::default()
    }

    /// Takes the objects that a field selector matches.
    pub fn fields(selector: impl Into<String>) -> Self {
        Self {
            labels: None,
            fields: Some(selector.into()),
        }
    }

    /// Takes the objects that a label selector matches.
    pub fn labels(selector: impl Into<String>) -> Self {
        Self {
            labels: Some(selector.into()),
            fields: None,
        }
    }
}

/// Lists and watches `api` in a task of its own until `shutdown`.
///
/// The jitter of its back-off comes from a generator seeded by the resource and the selection, so that a simulation
/// replays. Where many machines watch the same selection, use [`start_with`] and a generator of the machine's own.
pub fn start<K>(api: Api<K>, selection: Selection, shutdown: CancellationToken) -> Reader<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let seed = format!("{}?{selection:?}", api.resource_url())
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    start_with(api, selection, Arc::new(SeededRng::new(seed)), shutdown)
}

/// Like [`start`], with a given source of jitter.
pub fn start_with<K>(api: Api<K>, selection: Selection, rng: Arc<dyn Rng>, shutdown: CancellationToken) -> Reader<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let reader = Reader::new();
    let source = watch::Whole(api);
    tokio::spawn(watch::keep(source, selection, rng, reader.clone(), shutdown));
    reader
}

/// Like [`start`], but asks the server for metadata only: enough for the garbage collector, and far smaller.
pub fn start_metadata<K>(
    api: Api<K>,
    selection: Selection,
    rng: Arc<dyn Rng>,
    shutdown: CancellationToken,
) -> Reader<PartialObjectMeta<K>>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let reader = Reader::new();
    let source = watch::MetadataOnly(api);
    tokio::spawn(watch::keep(source, selection, rng, reader.clone(), shutdown));
    reader
}

#[cfg(test)]
mod tests;
