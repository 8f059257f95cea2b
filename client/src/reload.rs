//! A client whose kubeconfig may change under it: certificates are renewed while everything runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::{Request, Response};
use kube::client::Body;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tower::Service;

use crate::kubeconfig::{self, KubeconfigError};

/// How often, when there are requests, the file is looked at. Certificates are renewed months before they end.
const EVERY: Duration = Duration::from_secs(30);

struct State {
    client: kube::Client,
    text: Vec<u8>,
    looked: Instant,
}

/// The transport of a client that follows its kubeconfig. A file that is not understood changes nothing but the log.
#[derive(Clone)]
pub(crate) struct Reloading {
    path: Arc<PathBuf>,
    agent: Arc<str>,
    /// Whether requests prove who sends them, as the file says.
    proves: bool,
    state: Arc<Mutex<State>>,
}

impl Reloading {
    /// Connects as the file says now.
    pub(crate) async fn start(path: PathBuf, agent: &str) -> Result<kube::Client, KubeconfigError> {
        Self::begin(path, agent, true).await
    }

    /// Connects to the server that the file names, without its credentials.
    pub(crate) async fn start_anonymous(path: PathBuf, agent: &str) -> Result<kube::Client, KubeconfigError> {
        Self::begin(path, agent, false).await
    }

    async fn begin(path: PathBuf, agent: &str, proves: bool) -> Result<kube::Client, KubeconfigError> {
        let text = tokio::fs::read(&path).await.unwrap_or_default();
        let (client, namespace) = kubeconfig::load_once(&path, agent, proves).await?;
        let reloading = Self {
            path: Arc::new(path),
            agent: agent.into(),
            proves,
            state: Arc::new(Mutex::new(State {
                client,
                text,
                looked: Instant::now(),
            })),
        };
        Ok(kube::Client::new(reloading, namespace))
    }

    async fn current(&self) -> kube::Client {
        let mut state = self.state.lock().await;
        if state.looked.elapsed() >= EVERY {
            state.looked = Instant::now();
            self.look(&mut state).await;
        }
        state.client.clone()
    }

    async fn look(&self, state: &mut State) {
        let Ok(text) = tokio::fs::read(&*self.path).await else {
            return;
        };
        if text == state.text {
            return;
        }
        match kubeconfig::load_once(&self.path, &self.agent, self.proves).await {
            Ok((client, _)) => {
                tracing::info!(path = %self.path.display(), "the kubeconfig was read again");
                (state.client, state.text) = (client, text);
            }
            Err(error) => tracing::warn!(
                error = crate::chain(&error),
                "the kubeconfig has changed and cannot be used"
            ),
        }
    }
}

impl Service<Request<Body>> for Reloading {
    type Response = Response<Body>;
    type Error = tower::BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let client = this.current().await;
            client.send(request).await.map_err(tower::BoxError::from)
        })
    }
}
