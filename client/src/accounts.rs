//! Clients under identities of their own: each controller acts as a service account that may do its work and no more.
//!
//! In one process the server's connector attaches the identity ([`Accounts`] is any function from a name to a client). Over HTTPS a
//! token is asked for ([`TokenAccounts`]), as upstream's `--use-service-account-credentials` does it
//! (`k8s.io/controller-manager/pkg/clientbuilder`): the account is made where it is missing, its token lives an hour and is
//! renewed while a fifth of that is left, and an answer of 401 throws it away.

use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::header::{AUTHORIZATION, HeaderValue};
use http::{Request, Response, StatusCode};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, PostParams};
use kube::client::Body;
use tokio::sync::Mutex;
use tower::Service;

use crate::Clock;
use crate::kubeconfig::KubeconfigError;
use crate::reload::Reloading;

/// Where the controllers' accounts are.
pub const NAMESPACE: &str = "kube-system";
/// How long a token lives; upstream's.
const LIFE: Duration = Duration::from_secs(3600);
/// Which part of its life is left when a token is renewed.
const LEFT: i32 = 5;

/// Gives out clients that act as service accounts of `kube-system`.
pub trait Accounts: Send + Sync {
    /// A client that acts as the account of this name.
    fn client(&self, account: &str) -> kube::Client;
}

impl<F: Fn(&str) -> kube::Client + Send + Sync> Accounts for F {
    fn client(&self, account: &str) -> kube::Client {
        self(account)
    }
}

/// Why no token could be had.
#[derive(Debug, thiserror::Error)]
enum TokenError {
    #[error("cannot make the service account {account}")]
    Create {
        account: String,
        #[source]
        source: Box<kube::Error>,
    },
    #[error("cannot get a token for the service account {account}")]
    Request {
        account: String,
        #[source]
        source: Box<kube::Error>,
    },
    #[error("the answer holds no token for the service account {account}")]
    Unusable { account: String },
}

/// Accounts whose tokens are asked for through the API.
pub struct TokenAccounts {
    /// May make service accounts and ask for their tokens.
    root: kube::Client,
    /// Goes the same way, but proves nothing: the token does.
    nobody: kube::Client,
    clock: Arc<dyn Clock>,
}

impl TokenAccounts {
    /// Goes to the server of a kubeconfig. `root` is a client of the same server that may ask for tokens.
    ///
    /// # Errors
    /// When the file cannot be read, is not a kubeconfig, or is insecure.
    pub async fn load(
        path: &Path,
        agent: &str,
        root: kube::Client,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, KubeconfigError> {
        let nobody = Reloading::start_anonymous(path.to_path_buf(), agent).await?;
        Ok(Self::new(root, nobody, clock))
    }

    /// Goes the way of `nobody`, with tokens that `root` asks for.
    pub fn new(root: kube::Client, nobody: kube::Client, clock: Arc<dyn Clock>) -> Self {
        Self { root, nobody, clock }
    }
}

impl Accounts for TokenAccounts {
    fn client(&self, account: &str) -> kube::Client {
        let transport = WithToken {
            account: account.into(),
            root: self.root.clone(),
            nobody: self.nobody.clone(),
            clock: Arc::clone(&self.clock),
            token: Arc::default(),
            refused: Arc::default(),
        };
        kube::Client::new(transport, "default")
    }
}

#[derive(Clone)]
struct Token {
    header: HeaderValue,
    renew: Timestamp,
    ends: Timestamp,
}

/// The transport of one account: every request carries its token.
#[derive(Clone)]
struct WithToken {
    account: Arc<str>,
    root: kube::Client,
    nobody: kube::Client,
    clock: Arc<dyn Clock>,
    token: Arc<Mutex<Option<Token>>>,
    /// The token that the server last refused.
    refused: Arc<std::sync::Mutex<Option<HeaderValue>>>,
}

impl WithToken {
    /// The token to use now. While another request renews it, the others wait for its outcome.
    async fn current(&self) -> Result<HeaderValue, TokenError> {
        let mut held = self.token.lock().await;
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner).take();
        if held
            .as_ref()
            .is_some_and(|token| Some(&token.header) == refused.as_ref())
        {
            *held = None;
        }
        let now = self.clock.now();
        if let Some(token) = held.as_ref().filter(|token| now < token.renew) {
            return Ok(token.header.clone());
        }
        match self.request(now).await {
            Ok(token) => Ok(held.insert(token).header.clone()),
            // One that is still good for a while is better than none.
            Err(error) => match held.as_ref().filter(|token| now < token.ends) {
                Some(token) => {
                    tracing::warn!(error = crate::chain(&error), "a token is not renewed yet");
                    Ok(token.header.clone())
                }
                None => Err(error),
            },
        }
    }

    async fn request(&self, now: Timestamp) -> Result<Token, TokenError> {
        let account = self.account.to_string();
        let api: Api<ServiceAccount> = Api::namespaced(self.root.clone(), NAMESPACE);
        let wanted = TokenRequest {
            spec: Some(TokenRequestSpec {
                expiration_seconds: i64::try_from(LIFE.as_secs()).ok(),
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let params = PostParams::default();
        let ask = || api.create_token_request(&account, &params, &wanted);
        let answer = match ask().await {
            Err(kube::Error::Api(status)) if status.code == 404 => {
                self.create(&api).await?;
                ask().await
            }
            answer => answer,
        };
        let answer = answer.map_err(|source| TokenError::Request {
            account: account.clone(),
            source: Box::new(source),
        })?;
        let said = answer.status.and_then(|status| {
            let header = HeaderValue::try_from(format!("Bearer {}", status.token?)).ok()?;
            Some((header, status.expiration_timestamp?.0))
        });
        let (mut header, ends) = said.ok_or(TokenError::Unusable { account })?;
        header.set_sensitive(true);
        let left = ends.duration_since(now).max(SignedDuration::ZERO) / LEFT;
        Ok(Token {
            header,
            renew: ends.checked_sub(left).unwrap_or(ends),
            ends,
        })
    }

    async fn create(&self, api: &Api<ServiceAccount>) -> Result<(), TokenError> {
        let mut account = ServiceAccount::default();
        account.metadata.name = Some(self.account.to_string());
        account.metadata.namespace = Some(NAMESPACE.to_owned());
        match api.create(&PostParams::default(), &account).await {
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            Err(source) => Err(TokenError::Create {
                account: self.account.to_string(),
                source: Box::new(source),
            }),
            Ok(_) => Ok(()),
        }
    }
}

impl Service<Request<Body>> for WithToken {
    type Response = Response<Body>;
    type Error = tower::BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let header = this.current().await?;
            request.headers_mut().insert(AUTHORIZATION, header.clone());
            let answer = this.nobody.send(request).await.map_err(tower::BoxError::from)?;
            if answer.status() == StatusCode::UNAUTHORIZED {
                *this.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(header);
            }
            Ok(answer)
        })
    }
}

#[cfg(test)]
mod tests;
