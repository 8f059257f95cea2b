//! Listens to a body as it passes, and notices where one ends.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// What has passed so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard(Arc<Mutex<Vec<u8>>>);

impl Heard {
    pub(super) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A body that somebody may be listening to.
#[derive(Debug)]
pub(crate) struct Tapped<B> {
    body: Pin<Box<B>>,
    heard: Option<Heard>,
    limit: usize,
}

impl<B> Tapped<B> {
    /// Keeps up to `limit` bytes of what passes for `heard`; over that, nothing.
    pub(super) fn new(body: B, heard: Option<Heard>, limit: usize) -> Self {
        Self {
            body: Box::pin(body),
            heard,
            limit,
        }
    }
}

impl<B: Body<Data = Bytes>> Body for Tapped<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let polled = self.body.as_mut().poll_frame(context);
        if let (Some(heard), Poll::Ready(Some(Ok(frame)))) = (&self.heard, &polled)
            && let Some(data) = frame.data_ref()
        {
            let mut kept = heard.0.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() + data.len() <= self.limit {
                kept.extend_from_slice(data);
            } else {
                kept.clear();
                drop(kept);
                self.heard = None;
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A body that takes something along, which is dropped with it.
pub(crate) struct Carrying<B, T> {
    body: Pin<Box<B>>,
    _until_end: T,
}

impl<B, T> Carrying<B, T> {
    pub(crate) fn new(body: B, until_end: T) -> Self {
        Self {
            body: Box::pin(body),
            _until_end: until_end,
        }
    }
}

impl<B: Body<Data = Bytes>, T: Unpin> Body for Carrying<B, T> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        self.body.as_mut().poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
