use std::convert::Infallible;
use std::sync::Mutex;

use http_body_util::BodyExt as _;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::*;
use crate::TokioClock;

/// A server that knows one account, gives out numbered tokens, and says who asked for what.
#[derive(Default)]
struct Server {
    there: bool,
    tokens: u32,
    good: u32,
    log: Vec<String>,
}

impl Server {
    fn answer(&mut self, who: &str, method: &str, path: &str, now: Timestamp) -> (u16, Value) {
        self.log.push(format!("{who} {method} {path}"));
        let failure = |code: u16| {
            (
                code,
                json!({"kind": "Status", "status": "Failure", "code": code, "message": "no", "reason": "no"}),
            )
        };
        if path.ends_with("/token") {
            if !self.there {
                return failure(404);
            }
            self.tokens += 1;
            self.good = self.tokens;
            let ends = now + SignedDuration::from_secs(3600);
            let status = json!({"token": self.tokens.to_string(), "expirationTimestamp": ends.to_string()});
            return (
                201,
                json!({"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": {"audiences": []}, "status": status}),
            );
        }
        if path.ends_with("/serviceaccounts") {
            self.there = true;
            return (
                201,
                json!({"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "x"}}),
            );
        }
        if who != format!("Bearer {}", self.good) {
            return failure(401);
        }
        (
            200,
            json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p"}}),
        )
    }
}

fn client(server: &Arc<Mutex<Server>>, clock: &Arc<dyn Clock>, who: &'static str) -> kube::Client {
    let (server, clock) = (Arc::clone(server), Arc::clone(clock));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (server, clock) = (Arc::clone(&server), Arc::clone(&clock));
        async move {
            let (parts, body) = request.into_parts();
            drop(body.collect().await);
            let shown = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
            let shown = shown.unwrap_or(who).to_owned();
            let (code, value) =
                server
                    .lock()
                    .unwrap()
                    .answer(&shown, parts.method.as_str(), parts.uri.path(), clock.now());
            let body = Body::from(value.to_string().into_bytes());
            Ok::<_, Infallible>(Response::builder().status(code).body(body).unwrap())
        }
    });
    kube::Client::new(service, "default")
}

fn world() -> (Arc<Mutex<Server>>, Api<Pod>) {
    let clock: Arc<dyn Clock> = Arc::new(TokioClock::starting_at(Timestamp::UNIX_EPOCH));
    let server = Arc::new(Mutex::new(Server::default()));
    let (root, nobody) = (client(&server, &clock, "root"), client(&server, &clock, "nobody"));
    let accounts = TokenAccounts::new(root, nobody, clock);
    (
        server,
        Api::namespaced(accounts.client("deployment-controller"), "demo"),
    )
}

#[tokio::test(start_paused = true)]
async fn an_account_is_made_and_its_token_asked_for_once_and_renewed_before_it_ends() {
    let (server, pods) = world();
    pods.get("p").await.unwrap();
    pods.get("p").await.unwrap();
    tokio::time::advance(Duration::from_secs(2879)).await;
    pods.get("p").await.unwrap();
    tokio::time::advance(Duration::from_secs(2)).await;
    pods.get("p").await.unwrap();
    let token = "root POST /api/v1/namespaces/kube-system/serviceaccounts/deployment-controller/token";
    let pod = |number: u32| format!("Bearer {number} GET /api/v1/namespaces/demo/pods/p");
    assert_eq!(
        server.lock().unwrap().log,
        [
            token,
            "root POST /api/v1/namespaces/kube-system/serviceaccounts",
            token,
            &pod(1),
            &pod(1),
            &pod(1),
            token,
            &pod(2),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_refused_is_asked_for_anew() {
    let (server, pods) = world();
    pods.get("p").await.unwrap();
    server.lock().unwrap().good = 99;
    pods.get("p").await.unwrap_err();
    pods.get("p").await.unwrap();
    assert_eq!(server.lock().unwrap().tokens, 2);
}
