//! The faulty way between a component and the API server.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use kube::client::Body;
use timonel_client::Rng;

use super::tap::{self, Tap};

/// How often, in thousandths, and how badly a link misbehaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Requests that never arrive.
    pub lost_requests: u64,
    /// Requests that take effect and whose answer never arrives.
    pub lost_answers: u64,
    /// Watch frames after which the stream breaks.
    pub cut_watches: u64,
    /// The longest that an ordinary request or answer takes.
    pub delay: Duration,
    /// The longest that watch frames are held back: caches behind this link are stale.
    pub stale: Duration,
    /// A planted bug: watch frames that are swallowed although the stream goes on. Never part of chaos.
    pub swallowed_frames: u64,
}

/// What all links of a world note together.
#[derive(Debug, Default)]
pub struct Log(Mutex<Noted>);

#[derive(Debug, Default)]
struct Noted {
    unanswered: usize,
    /// The store's key to who asked for its object's deletion first, and last: the kubelet has the last word on every pod.
    deleters: BTreeMap<String, [&'static str; 2]>,
    /// What the server's authorization refused.
    refused: BTreeSet<String>,
}

impl Log {
    fn with<T>(&self, act: impl FnOnce(&mut Noted) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many pods were made and ReplicaSets written without the writer being told so.
    pub fn unanswered(&self) -> usize {
        self.with(|noted| noted.unanswered)
    }

    /// What the server's authorization refused, in its words.
    pub fn refused(&self) -> Vec<String> {
        self.with(|noted| noted.refused.iter().cloned().collect())
    }

    /// The component that asked for the deletion of what is under a key: first, or last where it is gone.
    pub fn deleter(&self, key: &str, gone: bool) -> Option<&'static str> {
        self.with(|noted| noted.deleters.get(key).map(|asked| asked[usize::from(gone)]))
    }
}

/// Why a request failed.
#[derive(Debug)]
pub struct LinkError(&'static str);

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for LinkError {}

/// What comes back over a link.
pub type Answer = UnsyncBoxBody<Bytes, LinkError>;

/// Where a link leads to: as whom its component asks, and as whom its accounts ask.
#[derive(Clone)]
pub struct Way {
    own: kube::Client,
    account: Arc<dyn Fn(&str) -> kube::Client + Send + Sync>,
}

impl Way {
    /// A way for one identity.
    pub fn of(own: kube::Client) -> Self {
        let same = own.clone();
        Self::with_accounts(own, move |_| same.clone())
    }

    /// A way for a component whose parts ask under identities of their own.
    pub fn with_accounts(own: kube::Client, account: impl Fn(&str) -> kube::Client + Send + Sync + 'static) -> Self {
        let account = Arc::new(account);
        Self { own, account }
    }
}

struct State {
    /// `None` while nobody listens on the other side.
    server: Option<Way>,
    /// The clients of accounts that were needed so far.
    accounts: BTreeMap<String, kube::Client>,
    faults: Faults,
    /// A severed link carries nothing ever again: its component has crashed.
    severed: bool,
    /// A cut link carries nothing for now.
    cut: bool,
    tap: Option<Arc<Tap>>,
}

impl State {
    fn reach(&mut self, account: Option<&str>) -> Option<kube::Client> {
        let way = self.server.as_ref().filter(|_| !self.cut)?;
        let Some(account) = account else {
            return Some(way.own.clone());
        };
        let client = self
            .accounts
            .entry(account.to_owned())
            .or_insert_with(|| (way.account)(account));
        Some(client.clone())
    }
}

/// One component's way to the server. Clones share their state.
#[derive(Clone)]
pub struct Link {
    state: Arc<Mutex<State>>,
    rng: Arc<dyn Rng>,
    agent: &'static str,
    log: Arc<Log>,
    /// As whom requests go out; the component itself without.
    account: Option<String>,
}

impl Link {
    /// Makes a link without faults from `agent` to a server.
    pub fn new(server: Option<Way>, rng: Arc<dyn Rng>, agent: &'static str, log: Arc<Log>) -> Self {
        let state = State {
            server,
            accounts: BTreeMap::new(),
            faults: Faults::default(),
            severed: false,
            cut: false,
            tap: None,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            rng,
            agent,
            log,
            account: None,
        }
    }

    /// Lets a tap see and disturb what goes over the link.
    pub fn set_tap(&self, tap: Option<Arc<Tap>>) {
        self.with(|state| state.tap = tap);
    }

    fn tap(&self) -> Option<Arc<Tap>> {
        self.with(|state| state.tap.clone())
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The client that a component gets.
    pub fn client(&self) -> kube::Client {
        kube::Client::new(self.clone(), "default")
    }

    /// The client that a part of the component gets, which asks as one of its accounts, over the same link.
    pub fn client_of(&self, account: &str) -> kube::Client {
        let account = Some(account.to_owned());
        kube::Client::new(
            Self {
                account,
                ..self.clone()
            },
            "default",
        )
    }

    /// Sets who listens on the other side.
    pub fn connect(&self, server: Option<Way>) {
        self.with(|state| {
            state.accounts.clear();
            state.server = server;
        });
    }

    /// Changes how the link misbehaves.
    pub fn set_faults(&self, faults: Faults) {
        self.with(|state| state.faults = faults);
    }

    /// Cuts the link, or joins it again.
    pub fn set_cut(&self, cut: bool) {
        self.with(|state| state.cut = cut);
    }

    /// Ends the link for good: nothing that its component still does reaches anybody.
    pub fn sever(&self) {
        self.with(|state| state.severed = true);
    }

    fn happens(&self, thousandths: u64) -> bool {
        thousandths > 0 && self.rng.next_u64() % 1000 < thousandths
    }

    async fn pause(&self, longest: Duration) {
        if !longest.is_zero() {
            tokio::time::sleep(longest.mul_f64(self.rng.unit())).await;
        }
    }

    async fn carry(self, request: Request<Body>) -> Result<Response<Answer>, LinkError> {
        let faults = self.with(|state| state.faults);
        self.pause(faults.delay).await;
        let server = self.reachable().await?;
        if self.happens(faults.lost_requests) {
            return Err(LinkError("simulated: the request was lost"));
        }
        let tap = self.tap();
        let (request, crash) = match &tap {
            Some(tap) => tap.request(request).await,
            None => (request, tap::Crash::No),
        };
        if crash == tap::Crash::Before {
            self.sever();
            self.reachable().await?;
        }
        let path = request.uri().path().to_owned();
        let is_watch = tap::is_watch(request.uri());
        let method = request.method().clone();
        let metadata_only = tap::is_metadata_only(&request);
        let answer = server.send(request).await;
        if method == http::Method::DELETE {
            self.log.with(|noted| {
                let asked = noted.deleters.entry(tap::store_key(&path)).or_insert([self.agent; 2]);
                asked[1] = self.agent;
            });
        }
        if crash == tap::Crash::After {
            self.sever();
            self.reachable().await?;
        }
        let answer = answer.map_err(|_| LinkError("simulated: the server went away"));
        let answer = match answer {
            Ok(answer) if answer.status() == http::StatusCode::FORBIDDEN => Ok(self.note(answer).await?),
            answer => answer,
        };
        let answer = match answer {
            Ok(answer) if is_watch && answer.status().is_success() => {
                let stream = tap.filter(|_| !metadata_only).map(|tap| (tap, path));
                return Ok(answer.map(|body| self.watch(body, stream)));
            }
            Ok(answer) => self.bring_back(answer, faults).await,
            Err(error) => Err(error),
        };
        let counts = match method {
            http::Method::POST => path.ends_with("/pods"),
            http::Method::PUT | http::Method::PATCH => path.contains("/replicasets/"),
            _ => false,
        };
        if counts && answer.is_err() {
            self.log.with(|noted| noted.unanswered += 1);
        }
        let answer = answer?;
        let answer = match tap {
            Some(tap) => tap.answer(&method, &path, answer).await,
            None => answer,
        };
        Ok(answer.map(|body| {
            body.map_err(|_| LinkError("simulated: the answer broke off"))
                .boxed_unsync()
        }))
    }

    /// Notes what authorization refused; admission, which says no too, speaks otherwise.
    async fn note(&self, answer: Response<Body>) -> Result<Response<Body>, LinkError> {
        let (parts, body) = answer.into_parts();
        let body = body.collect().await;
        let body = body
            .map_err(|_| LinkError("simulated: the answer broke off"))?
            .to_bytes();
        let text = String::from_utf8_lossy(&body);
        let refused = ["is forbidden: User ", "is forbidden: user not permitted to "];
        if refused.iter().any(|words| text.contains(words)) {
            self.log.with(|noted| noted.refused.insert(text.into_owned()));
        }
        Ok(Response::from_parts(parts, Body::from(body.to_vec())))
    }

    async fn bring_back<T>(&self, answer: T, faults: Faults) -> Result<T, LinkError> {
        self.pause(faults.delay).await;
        self.reachable().await?;
        if self.happens(faults.lost_answers) {
            return Err(LinkError("simulated: the answer was lost"));
        }
        Ok(answer)
    }

    /// The server, if there is a way to it. A crashed component waits here for ever, as the dead do.
    async fn reachable(&self) -> Result<kube::Client, LinkError> {
        if self.with(|state| state.severed) {
            std::future::pending::<()>().await;
        }
        self.with(|state| state.reach(self.account.as_deref()))
            .ok_or(LinkError("simulated: connection refused"))
    }

    /// Lets a watch's frames through, late or not at all.
    fn watch(self, body: Body, tap: Option<(Arc<Tap>, String)>) -> Answer {
        let frames = tap::Frames::new(body.into_data_stream(), tap);
        let stream = futures::stream::unfold((self, frames), |(link, mut frames)| async move {
            loop {
                let frame = frames.next().await?;
                let faults = link.with(|state| state.faults);
                link.pause(faults.stale).await;
                if link.reachable().await.is_err() || link.happens(faults.cut_watches) {
                    return None;
                }
                if link.happens(faults.swallowed_frames) {
                    continue;
                }
                let frame = frame
                    .map(http_body::Frame::data)
                    .map_err(|_| LinkError("simulated: the stream broke"));
                return Some((frame, (link, frames)));
            }
        });
        StreamBody::new(stream).boxed_unsync()
    }
}

impl tower::Service<Request<Body>> for Link {
    type Response = Response<Answer>;
    type Error = LinkError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().carry(request))
    }
}
