//! Listens to a body as it passes, and notices where an answer ends: with its body, or with the tunnel that it opens.

use std::any::Any;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;

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

/// A connection that leaves HTTP with its answer: an extension of that answer. Whoever copies bytes on the connection holds another
/// clone; what is taken along is dropped with the last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tunnel(Arc<Mutex<Vec<Box<dyn Any + Send>>>>);

/// Lets an answer take something along, which is dropped when it has ended.
pub(crate) fn until_end<T: Any + Send + Unpin>(
    response: Response<crate::http::Body>,
    thing: T,
) -> Response<crate::http::Body> {
    if let Some(Tunnel(taken)) = response.extensions().get() {
        taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Box::new(thing));
        return response;
    }
    response.map(|body| Carrying::new(body, thing).boxed_unsync())
}

/// A body that takes something along, which is dropped with it.
struct Carrying<B, T> {
    body: Pin<Box<B>>,
    _until_end: T,
}

impl<B, T> Carrying<B, T> {
    fn new(body: B, until_end: T) -> Self {
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
