//! The task behind an informer: list, then watch, for ever.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use imbl::OrdMap;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::{ObjectList, PartialObjectMeta};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use timonel_api::{ObjectKey, Revision};
use tokio_util::sync::CancellationToken;

use super::{Reader, Selection};
use crate::Rng;
use crate::backoff::Backoff;

/// Objects per page of a list, as client-go's pager.
const PAGE: u32 = 500;
/// A list page that takes longer is given up, so that a dead connection does not hang the informer.
const LIST_TIMEOUT: Duration = Duration::from_secs(60);
/// The server is asked to end a watch after this long; it is renewed from where it was.
const WATCH_SECONDS: u32 = 290;
/// A watch that outlives what it asked for by this much hangs on a dead connection.
const WATCH_GRACE: Duration = Duration::from_secs(10);

/// Where an informer takes its objects from.
#[async_trait]
pub(super) trait Source: Send + Sync + 'static {
    type Object: Resource + Clone + Send + Sync + 'static;
    async fn list(&self, params: &ListParams) -> kube::Result<ObjectList<Self::Object>>;
    async fn watch(
        &self,
        params: &WatchParams,
        revision: &str,
    ) -> kube::Result<BoxStream<'static, kube::Result<WatchEvent<Self::Object>>>>;
    fn resource(&self) -> String;
}

/// Whole objects.
pub(super) struct Whole<K>(pub(super) Api<K>);

#[async_trait]
impl<K> Source for Whole<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    type Object = K;

    async fn list(&self, params: &ListParams) -> kube::Result<ObjectList<K>> {
        self.0.list(params).await
    }

    async fn watch(
        &self,
        params: &WatchParams,
        revision: &str,
    ) -> kube::Result<BoxStream<'static, kube::Result<WatchEvent<K>>>> {
        Ok(self.0.watch(params, revision).await?.boxed())
    }

    fn resource(&self) -> String {
        self.0.resource_url().to_owned()
    }
}

/// Metadata only.
pub(super) struct MetadataOnly<K>(pub(super) Api<K>);

#[async_trait]
impl<K> Source for MetadataOnly<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    PartialObjectMeta<K>: Resource,
{
    type Object = PartialObjectMeta<K>;

    async fn list(&self, params: &ListParams) -> kube::Result<ObjectList<Self::Object>> {
        self.0.list_metadata(params).await
    }

    async fn watch(
        &self,
        params: &WatchParams,
        revision: &str,
    ) -> kube::Result<BoxStream<'static, kube::Result<WatchEvent<Self::Object>>>> {
        Ok(self.0.watch_metadata(params, revision).await?.boxed())
    }

    fn resource(&self) -> String {
        self.0.resource_url().to_owned()
    }
}

/// Why a list or watch ended.
enum Ended {
    /// The server ended the watch in good order: watch again from the last revision.
    Normally,
    /// The revision is too old: list again.
    Gone,
    /// It broke: wait, then go on from the last revision.
    Broken(String),
}

impl From<kube::Error> for Ended {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 410 => Self::Gone,
            other => Self::Broken(crate::chain(&other)),
        }
    }
}

/// Keeps `reader` fresh until `shutdown`.
pub(super) async fn keep<S: Source>(
    source: S,
    selection: Selection,
    rng: Arc<dyn Rng>,
    reader: Reader<S::Object>,
    shutdown: CancellationToken,
) {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    let work = async {
        let mut listed = false;
        loop {
            let began = tokio::time::Instant::now();
            let ended = if listed {
                watch(&source, &selection, &reader, &mut backoff).await
            } else {
                match list(&source, &selection, &reader).await {
                    Ok(()) => {
                        listed = true;
                        continue;
                    }
                    Err(ended) => ended,
                }
            };
            let pause = match ended {
                // A server that ends watches at once must not be asked in a tight loop.
                Ended::Normally if began.elapsed() < Duration::from_secs(1) => backoff.next(&*rng),
                Ended::Normally => Duration::ZERO,
                Ended::Gone => {
                    listed = false;
                    backoff.next(&*rng)
                }
                Ended::Broken(why) => {
                    tracing::debug!(resource = source.resource(), why, "list or watch broke");
                    backoff.next(&*rng)
                }
            };
            tokio::time::sleep(pause).await;
        }
    };
    tokio::select! {
        biased;
        () = shutdown.cancelled() => {}
        () = work => {}
    }
}

async fn list<S: Source>(source: &S, selection: &Selection, reader: &Reader<S::Object>) -> Result<(), Ended> {
    let mut params = ListParams {
        label_selector: selection.labels.clone(),
        field_selector: selection.fields.clone(),
        limit: Some(PAGE),
        ..ListParams::default()
    };
    let mut objects = OrdMap::new();
    loop {
        let page = tokio::time::timeout(LIST_TIMEOUT, source.list(&params))
            .await
            .map_err(|_| Ended::Broken("list timed out".into()))??;
        for object in page.items {
            objects.insert(key_of(&object), Arc::new(object));
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => {
                let revision = page.metadata.resource_version.unwrap_or_default();
                let revision = revision
                    .parse()
                    .map_err(|_| Ended::Broken(format!("list has resourceVersion {revision:?}")))?;
                reader.replace(objects, revision, |one, two| {
                    one.meta().resource_version == two.meta().resource_version && one.meta().uid == two.meta().uid
                });
                return Ok(());
            }
        }
    }
}

async fn watch<S: Source>(
    source: &S,
    selection: &Selection,
    reader: &Reader<S::Object>,
    backoff: &mut Backoff,
) -> Ended {
    let params = WatchParams {
        label_selector: selection.labels.clone(),
        field_selector: selection.fields.clone(),
        timeout: Some(WATCH_SECONDS),
        bookmarks: true,
        send_initial_events: false,
    };
    let from = reader.revision().to_string();
    let mut stream = match tokio::time::timeout(LIST_TIMEOUT, source.watch(&params, &from)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return error.into(),
        Err(_) => return Ended::Broken("watch timed out before it began".into()),
    };
    let limit = Duration::from_secs(u64::from(WATCH_SECONDS)) + WATCH_GRACE;
    let deadline = tokio::time::Instant::now() + limit;
    loop {
        let event = match tokio::time::timeout_at(deadline, stream.next()).await {
            Ok(Some(Ok(event))) => event,
            Ok(Some(Err(error))) => return error.into(),
            Ok(None) => return Ended::Normally,
            Err(_) => return Ended::Broken("watch hangs".into()),
        };
        backoff.reset();
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                let Some(revision) = revision_of(&object) else {
                    return Ended::Broken("watch event without resourceVersion".into());
                };
                reader.set(key_of(&object), Arc::new(object), false, revision);
            }
            WatchEvent::Deleted(object) => {
                let revision = revision_of(&object).unwrap_or_default();
                reader.set(key_of(&object), Arc::new(object), true, revision);
            }
            WatchEvent::Bookmark(bookmark) => {
                if let Ok(revision) = bookmark.metadata.resource_version.parse() {
                    reader.bookmark(revision);
                }
            }
            WatchEvent::Error(status) if status.code == 410 => return Ended::Gone,
            WatchEvent::Error(status) => return Ended::Broken(status.to_string()),
        }
    }
}

fn key_of<K: Resource>(object: &K) -> ObjectKey {
    let meta = object.meta();
    ObjectKey::new(
        meta.namespace.clone().unwrap_or_default(),
        meta.name.clone().unwrap_or_default(),
    )
}

fn revision_of<K: Resource>(object: &K) -> Option<Revision> {
    object.meta().resource_version.as_deref()?.parse().ok()
}
