//! A watch, read event by event with a deadline.

use std::time::Duration;

use serde_json::Value;

use crate::client::Api;

/// How long an event may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// An open watch.
pub(crate) struct Watch {
    api: Api,
    path: String,
    response: reqwest::Response,
    buffer: Vec<u8>,
}

/// One event.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    /// `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK`, `ERROR`.
    pub(crate) kind: String,
    /// What it happened to.
    pub(crate) object: Value,
}

impl Event {
    /// The object's name.
    pub(crate) fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// The object's version.
    pub(crate) fn version(&self) -> &str {
        self.object["metadata"]["resourceVersion"].as_str().unwrap_or_default()
    }
}

impl Watch {
    pub(crate) fn new(api: Api, path: String, response: reqwest::Response) -> Self {
        Self {
            api,
            path,
            response,
            buffer: Vec::new(),
        }
    }

    fn take_line(&mut self) -> Option<Event> {
        let end = self.buffer.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.buffer.drain(..=end).collect();
        let event: Value = serde_json::from_slice(&line).expect("an event is JSON");
        Some(Event {
            kind: event["type"].as_str().expect("a type").to_owned(),
            object: event["object"].clone(),
        })
    }

    /// The next event, or nothing where none comes in time or the watch has ended.
    pub(crate) fn try_next(&mut self, patience: Duration) -> Option<Event> {
        let runtime = std::sync::Arc::clone(&self.api.runtime);
        loop {
            if let Some(event) = self.take_line() {
                return Some(event);
            }
            let chunk = runtime.block_on(async { tokio::time::timeout(patience, self.response.chunk()).await });
            match chunk {
                Ok(Ok(Some(bytes))) => self.buffer.extend_from_slice(&bytes),
                Ok(Ok(None) | Err(_)) | Err(_) => return None,
            }
        }
    }

    /// The next event.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Event {
        match self.try_next(PATIENCE) {
            Some(event) => event,
            None => panic!("{}: no event within {PATIENCE:?}", self.path),
        }
    }

    /// The next event, which must be of this kind about this object.
    #[track_caller]
    pub(crate) fn expect(&mut self, kind: &str, name: &str) -> Value {
        let event = self.next();
        assert_eq!(
            (event.kind.as_str(), event.name()),
            (kind, name),
            "{}: {}",
            self.path,
            event.object
        );
        event.object
    }

    /// Reads on until an event of this kind about this object.
    #[track_caller]
    pub(crate) fn until(&mut self, kind: &str, name: &str) -> Value {
        loop {
            let event = self.next();
            if event.kind == kind && event.name() == name {
                return event.object;
            }
        }
    }

    /// Checks that nothing comes for a while.
    #[track_caller]
    pub(crate) fn quiet(&mut self) {
        if let Some(event) = self.try_next(Duration::from_millis(300)) {
            panic!("{}: unexpected {} {}", self.path, event.kind, event.object);
        }
    }
}
