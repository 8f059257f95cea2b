//! What a request gets when it or its handler misbehaves.

use std::pin::Pin;
use std::task::{Context, Poll};

use http_body_util::BodyExt;
use timonel_client::{SeededRng, TokioClock};
use timonel_store::MemoryStore;

use super::*;
use crate::http::Limits;
use crate::{ApiServer, Config, Deps};

/// A request's body that does harm.
#[derive(Clone, Copy, Debug)]
enum Harm {
    Panics,
    NeverComes,
}

impl http_body::Body for Harm {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, BoxError>>> {
        match *self {
            Self::Panics => panic!("planted"),
            Self::NeverComes => Poll::Pending,
        }
    }
}

async fn front() -> Arc<Front> {
    let deps = Deps {
        store: Arc::new(MemoryStore::new()),
        clock: Arc::new(TokioClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap())),
        rng: Arc::new(SeededRng::new(1)),
    };
    let config = Config {
        limits: Limits {
            requests_in_flight: 1,
            mutating_requests_in_flight: 1,
            ..Limits::default()
        },
        ..Config::default()
    };
    ApiServer::start(config, deps).await.unwrap().front().clone()
}

fn post<B>(query: &str, body: B) -> Request<B> {
    Request::post(format!("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews{query}"))
        .body(body)
        .unwrap()
}

async fn text(response: Response<Body>) -> (u16, String) {
    let code = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (code, String::from_utf8_lossy(&bytes).into_owned())
}

fn somebody(groups: &[&str]) -> Identity {
    Identity::Settled(UserInfo::new("somebody", groups))
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_answered_and_the_next_request_too() {
    let front = front().await;
    let (code, said) = text(front.clone().handle(post("", Harm::Panics), somebody(&[])).await).await;
    assert_eq!(
        (code, said.trim()),
        (
            500,
            "This request caused apiserver to panic. Look in the logs for details."
        )
    );
    let get = Request::get("/version").body(full_body("")).unwrap();
    assert_eq!(
        text(front.handle(get, somebody(&["system:masters"])).await).await.0,
        200
    );
}

fn full_body(text: &'static str) -> Body {
    crate::http::full(text)
}

#[tokio::test(start_paused = true)]
async fn a_request_has_a_minute_or_less_where_it_asks_for_less() {
    let front = front().await;
    for (query, seconds) in [("", 60), ("?timeout=5s", 5), ("?timeout=1h", 60), ("?timeout=0s", 60)] {
        let started = Instant::now();
        let (code, said) = text(front.clone().handle(post(query, Harm::NeverComes), somebody(&[])).await).await;
        assert_eq!((code, started.elapsed().as_secs()), (504, seconds), "{query}");
        let status: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!(
            status["message"],
            "Timeout: request did not complete within the allotted timeout"
        );
    }
    let (code, said) = text(
        front
            .handle(post("?timeout=soon", Harm::NeverComes), somebody(&[]))
            .await,
    )
    .await;
    assert!(
        code == 400 && said.contains("invalid timeout specified in the request URL"),
        "{said}"
    );
}

#[tokio::test(start_paused = true)]
async fn one_request_too_many_is_told_to_come_again_in_a_second() {
    let front = front().await;
    // A stranger's request is turned away before anybody asks what he may do.
    let stranger = || Identity::Peer(None);
    let get = |agent: &str| {
        Request::get("/version")
            .header("user-agent", agent)
            .body(full_body(""))
            .unwrap()
    };
    let held = front
        .inflight
        .admit(
            &RequestInfo::parse(&http::Method::GET, "/version", ""),
            &UserInfo::anonymous(),
        )
        .unwrap();
    let response = front.clone().handle(get("one"), stranger()).await;
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(
        text(response).await,
        (429, "Too many requests, please try again later.\n".to_owned())
    );
    let ours = front.clone().handle(get("two"), somebody(&["system:masters"])).await;
    assert_eq!(ours.status(), 200);
    drop(held);
    assert_ne!(front.handle(get("three"), stranger()).await.status(), 429);
}
