//! Events about objects, as people read them with `kubectl get events` and `describe`.
//!
//! Recording never blocks and never fails its caller: a full queue drops events. A background task correlates them as
//! client-go's recorder does (equal events become one with a count, floods of similar ones are combined, spam is dropped).

mod correlate;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::Clock;
use correlate::{Correlator, Verdict};

/// Events that wait to be written. client-go's broadcaster queues 1000.
const QUEUE: usize = 1000;
/// A write that hangs is given up.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// The two types of event there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventType {
    /// Informs.
    Normal,
    /// Something may need attention.
    Warning,
}

impl EventType {
    /// Returns the word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// One thing that happened to an object.
#[derive(Clone, Debug)]
pub(crate) struct Occurrence {
    pub(crate) about: ObjectReference,
    pub(crate) kind: EventType,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) at: Timestamp,
}

/// Records events. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Recorder {
    clock: Arc<dyn Clock>,
    queue: mpsc::Sender<Occurrence>,
}

impl Recorder {
    /// Starts the background task, which ends with `shutdown`. `component` is who reports (`kubelet`,
    /// `deployment-controller`), `host` the node it runs on, empty for the control plane.
    pub fn start(
        client: kube::Client,
        clock: Arc<dyn Clock>,
        component: impl Into<String>,
        host: impl Into<String>,
        shutdown: CancellationToken,
    ) -> Self {
        let (queue, occurrences) = mpsc::channel(QUEUE);
        let writer = Writer {
            client,
            component: component.into(),
            host: host.into(),
            last_nanos: 0,
            correlator: Correlator::default(),
        };
        tokio::spawn(writer.run(occurrences, shutdown));
        Self { clock, queue }
    }

    /// Makes a recorder that drops everything: for tests of what is not about events.
    pub fn silent(clock: Arc<dyn Clock>) -> Self {
        let (queue, _) = mpsc::channel(1);
        Self { clock, queue }
    }

    /// Records that something happened to what `about` refers to.
    pub fn event(&self, about: &ObjectReference, kind: EventType, reason: &str, message: impl Into<String>) {
        let occurrence = Occurrence {
            about: about.clone(),
            kind,
            reason: reason.to_owned(),
            message: message.into(),
            at: self.clock.now(),
        };
        if let Err(mpsc::error::TrySendError::Full(lost)) = self.queue.try_send(occurrence) {
            tracing::debug!(reason = lost.reason, "event queue is full, dropping an event");
        }
    }

    /// Records that something happened to `object`.
    pub fn publish<K>(&self, object: &K, kind: EventType, reason: &str, message: impl Into<String>)
    where
        K: kube::Resource<DynamicType = ()>,
    {
        self.event(&reference_to(object), kind, reason, message);
    }
}

/// Makes the reference to an object that an event carries.
pub fn reference_to<K: kube::Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
    let meta = object.meta();
    ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: None,
    }
}

struct Writer {
    client: kube::Client,
    component: String,
    host: String,
    last_nanos: i128,
    correlator: Correlator,
}

impl Writer {
    async fn run(mut self, mut occurrences: mpsc::Receiver<Occurrence>, shutdown: CancellationToken) {
        loop {
            let occurrence = tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                occurrence = occurrences.recv() => occurrence,
            };
            let Some(occurrence) = occurrence else { return };
            let write = self.write(occurrence);
            match tokio::time::timeout(WRITE_TIMEOUT, write).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(error = crate::chain(&error), "an event was not recorded"),
                Err(_) => tracing::debug!("recording an event timed out"),
            }
        }
    }

    async fn write(&mut self, occurrence: Occurrence) -> kube::Result<()> {
        let namespace = occurrence
            .about
            .namespace
            .clone()
            .filter(|namespace| !namespace.is_empty())
            .unwrap_or_else(|| "default".to_owned());
        let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        let (key, message, verdict) = self.correlator.judge(&occurrence);
        match verdict {
            Verdict::Spam => return Ok(()),
            Verdict::Again { name, count, first } => {
                let patch = json!({
                    "count": count,
                    "firstTimestamp": Time(first),
                    "lastTimestamp": Time(occurrence.at),
                    "message": message,
                });
                match api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await {
                    Ok(_) => {
                        self.correlator.written(key, name, count, first);
                        return Ok(());
                    }
                    // It expired meanwhile: record it anew.
                    Err(kube::Error::Api(status)) if status.code == 404 => {}
                    Err(error) => return Err(error),
                }
            }
            Verdict::New => {}
        }
        let event = self.render(&occurrence, &namespace, message);
        let name = event.metadata.name.clone().unwrap_or_default();
        api.create(&PostParams::default(), &event).await?;
        self.correlator.written(key, name, 1, occurrence.at);
        Ok(())
    }

    fn render(&mut self, occurrence: &Occurrence, namespace: &str, message: String) -> Event {
        // Named after the time, as client-go does; a paused clock must not make two equal names.
        let nanos = occurrence.at.as_nanosecond().max(self.last_nanos + 1);
        self.last_nanos = nanos;
        let about = occurrence.about.name.clone().unwrap_or_default();
        let at = Time(occurrence.at);
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{about}.{nanos:x}")),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            involved_object: occurrence.about.clone(),
            reason: Some(occurrence.reason.clone()),
            message: Some(message),
            type_: Some(occurrence.kind.as_str().to_owned()),
            count: Some(1),
            first_timestamp: Some(at.clone()),
            last_timestamp: Some(at),
            source: Some(EventSource {
                component: Some(self.component.clone()),
                host: Some(self.host.clone()).filter(|host| !host.is_empty()),
            }),
            reporting_component: Some(self.component.clone()),
            reporting_instance: Some(self.host.clone()),
            ..Event::default()
        }
    }
}
