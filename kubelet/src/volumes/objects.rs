//! The API objects that volumes and environments are made of, behind a port; and the cache of service-account tokens.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolume, PersistentVolumeClaim, Pod, Secret, ServiceAccount};
use kube::Api;
use kube::api::PostParams;
use timonel_client::Clock;

/// Reads what pods refer to. Errors are words for people.
#[async_trait]
pub trait Objects: Send + Sync + fmt::Debug + 'static {
    /// A ConfigMap, or `None` if there is none of that name.
    async fn config_map(&self, namespace: &str, name: &str) -> Result<Option<Arc<ConfigMap>>, String>;
    /// A Secret, or `None` if there is none of that name.
    async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Arc<Secret>>, String>;
    /// A claim, or `None` if there is none of that name.
    async fn claim(&self, namespace: &str, name: &str) -> Result<Option<PersistentVolumeClaim>, String>;
    /// A volume, or `None` if there is none of that name.
    async fn volume(&self, name: &str) -> Result<Option<PersistentVolume>, String>;
    /// A token of the pod's service account, bound to the pod; with the time it ends.
    async fn token(&self, pod: &Pod, audiences: Vec<String>, seconds: i64) -> Result<(String, Timestamp), String>;
}

/// Reads from the API server.
#[derive(Clone)]
pub struct ApiObjects {
    client: kube::Client,
}

impl fmt::Debug for ApiObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiObjects").finish_non_exhaustive()
    }
}

impl ApiObjects {
    /// Reads through `client`.
    pub fn new(client: kube::Client) -> Self {
        Self { client }
    }
}

fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => timonel_client::chain(other),
    }
}

#[async_trait]
impl Objects for ApiObjects {
    async fn config_map(&self, namespace: &str, name: &str) -> Result<Option<Arc<ConfigMap>>, String> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let found = api.get_opt(name).await.map_err(|error| words(&error))?;
        Ok(found.map(Arc::new))
    }

    async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Arc<Secret>>, String> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let found = api.get_opt(name).await.map_err(|error| words(&error))?;
        Ok(found.map(Arc::new))
    }

    async fn claim(&self, namespace: &str, name: &str) -> Result<Option<PersistentVolumeClaim>, String> {
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), namespace);
        api.get_opt(name).await.map_err(|error| words(&error))
    }

    async fn volume(&self, name: &str) -> Result<Option<PersistentVolume>, String> {
        let api: Api<PersistentVolume> = Api::all(self.client.clone());
        api.get_opt(name).await.map_err(|error| words(&error))
    }

    async fn token(&self, pod: &Pod, audiences: Vec<String>, seconds: i64) -> Result<(String, Timestamp), String> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone());
        let account = account
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| "default".to_owned());
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: Some(audiences),
                expiration_seconds: Some(seconds),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".to_owned()),
                    kind: Some("Pod".to_owned()),
                    name: pod.metadata.name.clone(),
                    uid: pod.metadata.uid.clone(),
                }),
            }),
            ..TokenRequest::default()
        };
        let answer = api
            .create_token_request(&account, &PostParams::default(), &request)
            .await
            .map_err(|error| format!("failed to fetch token: {}", words(&error)))?;
        let status = answer.status.ok_or("failed to fetch token: the answer has no status")?;
        match (status.token, status.expiration_timestamp) {
            (Some(token), Some(expires)) => Ok((token, expires.0)),
            _ => Err("failed to fetch token: the answer has no token".to_owned()),
        }
    }
}

#[derive(Clone, Debug)]
struct Token {
    text: String,
    renew_at: Timestamp,
}

/// Keeps tokens until 80 % of their life is over (or 24 hours, whichever comes first).
#[derive(Debug)]
pub struct TokenCache {
    clock: Arc<dyn Clock>,
    tokens: Mutex<BTreeMap<String, Token>>,
}

impl TokenCache {
    /// Starts empty.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            tokens: Mutex::default(),
        }
    }

    /// Answers a token that is still fresh.
    ///
    /// # Errors
    /// When a new one is needed and cannot be had.
    pub async fn token(
        &self,
        objects: &dyn Objects,
        pod: &Pod,
        audience: Option<&str>,
        seconds: i64,
    ) -> Result<String, String> {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let key = format!("{uid}/{}/{seconds}", audience.unwrap_or_default());
        let now = self.clock.now();
        let known = self
            .tokens
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
            .cloned();
        if let Some(token) = known.filter(|token| now < token.renew_at) {
            return Ok(token.text);
        }
        let audiences = audience.map(str::to_owned).into_iter().collect();
        let (text, expires) = objects.token(pod, audiences, seconds).await?;
        let life = Duration::try_from(expires.duration_since(now)).unwrap_or_default();
        let renew_at = now + life.mul_f64(0.8).min(Duration::from_secs(24 * 3600));
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.retain(|_, token| token.renew_at + Duration::from_secs(24 * 3600) > now);
        tokens.insert(
            key,
            Token {
                text: text.clone(),
                renew_at,
            },
        );
        Ok(text)
    }
}
