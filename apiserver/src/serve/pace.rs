//! Who is slow, and since when: heads that trickle in, connections on which nothing is asked, answers that are not read.
//!
//! hyper asks a body for its next piece when there is room for it. A piece that was handed out and not followed by such a question for
//! long means that the client does not read, whether TCP or an HTTP/2 window is full. On HTTP/1.1 that ends the connection; on
//! HTTP/2 only the stream: each stream is a task of its own ([`Streams`]), and a task that is dropped resets its stream.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};
use tokio_rustls::server::TlsStream;

use crate::http::{Body, BoxError, Delivery};

tokio::task_local! {
    /// The pace of the answer that goes out in this task.
    static PACE: Arc<Pace>;
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What happens on a connection, seen from outside.
#[derive(Debug)]
pub(super) struct Activity(Mutex<Asked>);

#[derive(Debug)]
struct Asked {
    in_flight: usize,
    /// When the last answer had gone out.
    quiet_since: Instant,
    /// When the first byte of a head came that is not complete yet.
    head_since: Option<Instant>,
}

/// What a client took too long for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    /// The head of a request.
    Head,
    /// The next request.
    Idle,
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        let mut asked = lock(&self.0.0);
        asked.in_flight = asked.in_flight.saturating_sub(1);
        asked.quiet_since = Instant::now();
    }
}

impl Activity {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Asked {
            in_flight: 0,
            quiet_since: Instant::now(),
            head_since: None,
        }))
    }

    /// A request has begun: its head is complete.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        let mut asked = lock(&self.0);
        asked.in_flight += 1;
        asked.head_since = None;
        Busy(self.clone())
    }

    /// Bytes came.
    fn heard(&self) {
        let mut asked = lock(&self.0);
        if asked.in_flight == 0 && asked.head_since.is_none() {
            asked.head_since = Some(Instant::now());
        }
    }

    /// Waits until the client has taken too long for something; notices it within half of the shorter time.
    pub(super) async fn overdue(&self, head: Duration, idle: Duration) -> Overdue {
        loop {
            tokio::time::sleep(head.min(idle) / 2).await;
            let asked = lock(&self.0);
            if asked.head_since.is_some_and(|since| since.elapsed() >= head) {
                return Overdue::Head;
            }
            if asked.in_flight == 0 && asked.quiet_since.elapsed() >= idle {
                return Overdue::Idle;
            }
        }
    }
}

/// Whether an answer is being read.
#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<Reading>);

#[derive(Debug, Default)]
struct Reading {
    /// When a piece was handed out that the client has not made room after.
    waiting_since: Option<Instant>,
    /// When the answer must have gone out.
    deadline: Option<Instant>,
}

impl Pace {
    /// Drives what sends an answer, until it ends or the client has not read for `stall`.
    pub(super) async fn attend(self: Arc<Self>, sending: impl Future, stall: Duration) {
        let sending = PACE.scope(self.clone(), sending);
        tokio::select! {
            _ = sending => {}
            () = self.stalled(stall) => tracing::debug!("a client that does not read is left"),
        }
    }

    async fn stalled(&self, stall: Duration) {
        loop {
            tokio::time::sleep(stall / 2).await;
            let reading = lock(&self.0);
            let waits = reading.waiting_since.is_some_and(|since| since.elapsed() >= stall);
            if waits || reading.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return;
            }
        }
    }
}

/// Runs each stream of an HTTP/2 connection as a task that ends when its client does not read.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    stall: Duration,
}

impl Streams {
    pub(super) fn new(stall: Duration) -> Self {
        Self { stall }
    }
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        tokio::spawn(Arc::new(Pace::default()).attend(stream, self.stall));
    }
}

/// A body that notes how it is read.
#[derive(Debug)]
pub(super) struct Sent {
    body: Body,
    pace: Option<Arc<Pace>>,
    _busy: Busy,
}

impl Sent {
    /// To be called in the task that sends the answer.
    pub(super) fn new(body: Body, delivery: Delivery, busy: Busy) -> Self {
        let pace = match delivery {
            Delivery::Relay => None,
            Delivery::By(_) | Delivery::Stream => PACE.try_with(Arc::clone).ok(),
        };
        if let (Some(pace), Delivery::By(deadline)) = (&pace, delivery) {
            lock(&pace.0).deadline = Some(deadline);
        }
        Self {
            body,
            pace,
            _busy: busy,
        }
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        if let Some(pace) = &self.pace {
            *lock(&pace.0) = Reading::default();
        }
    }
}

impl http_body::Body for Sent {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Some(pace) = &self.pace {
            let handed_out = matches!(polled, Poll::Ready(Some(Ok(_))));
            lock(&pace.0).waiting_since = handed_out.then(Instant::now);
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

/// How long bytes are still taken, and thrown away, after our side has closed.
const LINGER: Duration = Duration::from_millis(500);

/// The encrypted connection; tells an HTTP/1.1 connection's `Activity` when bytes come, and keeps its place among all.
///
/// It closes slowly: TCP takes an answer back that is closed over unread bytes, and a client that was told that its body is too large
/// would only see a broken connection.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TlsStream<TcpStream>,
    linger: Option<Pin<Box<Sleep>>>,
    activity: Option<Arc<Activity>>,
    _place: OwnedSemaphorePermit,
}

impl Wire {
    pub(super) fn new(
        stream: TlsStream<TcpStream>,
        activity: Option<Arc<Activity>>,
        place: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            stream,
            linger: None,
            activity,
            _place: place,
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Some(activity) = &self.activity
            && buf.filled().len() > before
        {
            activity.heard();
        }
        polled
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        }
        let linger = this.linger.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        let mut scratch = [0; 8192];
        while linger.as_mut().poll(cx).is_pending() {
            let mut scratch = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(this.stream.get_mut().0).poll_read(cx, &mut scratch)) {
                Ok(()) if !scratch.filled().is_empty() => {}
                Ok(()) | Err(_) => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::http::full;

    const STALL: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_head_that_trickles_in_and_an_idle_connection_are_overdue() {
        let (head, idle) = (Duration::from_secs(10), Duration::from_secs(90));
        let started = Instant::now();
        let activity = Arc::new(Activity::new());
        activity.heard();
        assert_eq!(activity.overdue(head, idle).await, Overdue::Head);
        assert!(started.elapsed() <= head + head / 2);
        let started = Instant::now();
        drop(activity.begin());
        assert_eq!(activity.overdue(head, idle).await, Overdue::Idle);
        assert!(started.elapsed() >= idle);
        let busy = activity.begin();
        activity.heard();
        let patient = tokio::time::timeout(idle * 10, activity.overdue(head, idle)).await;
        assert!(
            patient.is_err(),
            "a request may take its time, and bytes in it are no head"
        );
        drop(busy);
    }

    async fn sends(delivery: Delivery, reads: bool) -> bool {
        let activity = Arc::new(Activity::new());
        let sending = async move {
            let mut body = Sent::new(full("text"), delivery, activity.begin());
            if reads {
                while body.frame().await.is_some() {}
            } else {
                let _ = body.frame().await;
            }
            std::future::pending::<()>().await;
        };
        let attended = Arc::new(Pace::default()).attend(sending, STALL);
        tokio::time::timeout(STALL * 10, attended).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_is_left() {
        assert!(!sends(Delivery::Stream, false).await, "a piece stays unread");
        assert!(
            sends(Delivery::Stream, true).await,
            "all is read; there is just no more"
        );
        assert!(sends(Delivery::Relay, false).await, "the reader of a log may pause");
        let deadline = Instant::now() + STALL;
        assert!(!sends(Delivery::By(deadline), true).await, "it must have ended by then");
    }
}
