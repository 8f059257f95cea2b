//! Elections over a lease that a small server keeps: versions, conflicts, outages.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use jiff::Timestamp;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Ended, LeaderConfig, lead};
use crate::{SeededRng, TokioClock};

/// Keeps one lease.
#[derive(Clone, Default)]
struct Server {
    lease: Arc<Mutex<(u64, Option<Value>)>>,
}

/// One candidate's way to the server, which can be cut.
#[derive(Clone, Default)]
struct Link {
    cut: Arc<AtomicBool>,
}

impl Server {
    fn client(&self, link: &Link) -> kube::Client {
        let (server, link) = (self.clone(), link.clone());
        let service = tower::service_fn(move |request: Request<Body>| {
            let (server, link) = (server.clone(), link.clone());
            async move {
                if link.cut.load(Ordering::SeqCst) {
                    return Ok(refuse(503, "ServiceUnavailable"));
                }
                let (parts, body) = request.into_parts();
                let body = body.collect().await?.to_bytes();
                Ok::<_, kube::Error>(server.answer(&parts.method, &body))
            }
        });
        kube::Client::new(service, "default")
    }

    fn answer(&self, method: &Method, body: &Bytes) -> Response<Full<Bytes>> {
        let mut kept = self.lease.lock().unwrap();
        let (revision, lease) = &mut *kept;
        match *method {
            Method::GET => match lease {
                Some(lease) => Response::new(Full::from(lease.to_string())),
                None => refuse(404, "NotFound"),
            },
            Method::POST if lease.is_some() => refuse(409, "AlreadyExists"),
            _ => {
                let mut new: Value = serde_json::from_slice(body).unwrap();
                let current = lease.as_ref().map(|lease| lease["metadata"]["resourceVersion"].clone());
                if *method == Method::PUT && current.as_ref() != Some(&new["metadata"]["resourceVersion"]) {
                    return refuse(409, "Conflict");
                }
                *revision += 1;
                new["metadata"]["resourceVersion"] = json!(revision.to_string());
                *lease = Some(new.clone());
                Response::new(Full::from(new.to_string()))
            }
        }
    }

    fn holder(&self) -> String {
        let kept = self.lease.lock().unwrap();
        kept.1
            .as_ref()
            .map(|lease| lease["spec"]["holderIdentity"].as_str().unwrap().to_owned())
            .unwrap_or_default()
    }

    fn transitions(&self) -> i64 {
        self.lease.lock().unwrap().1.as_ref().unwrap()["spec"]["leaseTransitions"]
            .as_i64()
            .unwrap()
    }
}

fn refuse(code: u16, reason: &str) -> Response<Full<Bytes>> {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": reason});
    Response::builder()
        .status(code)
        .body(Full::from(status.to_string()))
        .unwrap()
}

struct Candidate {
    link: Link,
    leads: Arc<AtomicBool>,
    shutdown: CancellationToken,
    task: JoinHandle<Ended>,
}

fn candidate(server: &Server, name: &str, seed: u64) -> Candidate {
    let (link, leads, shutdown) = (
        Link::default(),
        Arc::new(AtomicBool::new(false)),
        CancellationToken::new(),
    );
    let config = LeaderConfig::new("kube-system", "job", name);
    let clock = Arc::new(TokioClock::starting_at(Timestamp::UNIX_EPOCH));
    let flag = Arc::clone(&leads);
    let job = move |leading: CancellationToken| async move {
        flag.store(true, Ordering::SeqCst);
        leading.cancelled().await;
        flag.store(false, Ordering::SeqCst);
    };
    let election = lead(
        server.client(&link),
        clock,
        Arc::new(SeededRng::new(seed)),
        config,
        shutdown.clone(),
        job,
    );
    Candidate {
        task: tokio::spawn(election),
        link,
        leads,
        shutdown,
    }
}

impl Candidate {
    fn leads(&self) -> bool {
        self.leads.load(Ordering::SeqCst)
    }
}

async fn seconds(count: u64) {
    tokio::time::sleep(Duration::from_secs(count)).await;
}

#[tokio::test(start_paused = true)]
async fn one_leads_and_hands_over_at_once_when_it_stops() {
    let server = Server::default();
    let first = candidate(&server, "first", 1);
    seconds(1).await;
    let second = candidate(&server, "second", 2);
    seconds(60).await;
    assert!(first.leads() && !second.leads());
    first.shutdown.cancel();
    assert_eq!(first.task.await.unwrap(), Ended::Shutdown);
    assert_eq!(server.holder(), "");
    seconds(5).await;
    assert!(second.leads());
    assert_eq!((server.holder().as_str(), server.transitions()), ("second", 1));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cut_off_stops_before_another_starts() {
    let server = Server::default();
    let first = candidate(&server, "first", 1);
    seconds(1).await;
    let second = candidate(&server, "second", 2);
    seconds(10).await;
    first.link.cut.store(true, Ordering::SeqCst);
    let began = Instant::now();
    let mut both = false;
    while !second.leads() {
        tokio::time::sleep(Duration::from_millis(100)).await;
        both |= first.leads() && second.leads();
        assert!(began.elapsed() < Duration::from_secs(60), "nobody takes over");
    }
    assert!(!both, "two led at once");
    assert!(
        began.elapsed() >= Duration::from_secs(13),
        "the lease had not run out: {:?}",
        began.elapsed()
    );
    assert_eq!(first.task.await.unwrap(), Ended::Lost);
}
