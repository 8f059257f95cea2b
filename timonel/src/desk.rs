//! The scheduler's desk behind the API server's door: `/debug/scheduler/pods/NAMESPACE/NAME` tells what was last decided about a
//! pod, and a PodList that is posted to `/debug/scheduler/plan` is answered with what would become of its pods.

use async_trait::async_trait;
use bytes::Bytes;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use timonel_apiserver::http::Guest;
use timonel_scheduler::Desk;
use timonel_scheduler::desk::DeskError;

const PODS: &str = "/debug/scheduler/pods/";
const PLAN: &str = "/debug/scheduler/plan";

/// Answers for the scheduler.
#[derive(Debug)]
pub(crate) struct AtTheDesk(pub(crate) Desk);

fn status(code: u16, reason: &str, message: impl Into<String>) -> (u16, Value) {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "reason": reason, "message": message.into(), "code": code,
    });
    (code, body)
}

impl AtTheDesk {
    fn account(&self, rest: &str) -> (u16, Value) {
        let Some((namespace, name)) = rest.split_once('/') else {
            return status(404, "NotFound", "the server could not find the requested resource");
        };
        match self.0.account(namespace, name) {
            Some(account) => (200, json!(account)),
            None => status(
                404,
                "NotFound",
                format!("no decision about pod {namespace}/{name} is kept: none was made, or many others since"),
            ),
        }
    }

    async fn plan(&self, body: &Bytes) -> (u16, Value) {
        let pods = match read(body) {
            Ok(pods) => pods,
            Err(why) => return status(400, "BadRequest", why),
        };
        match self.0.plan(pods).await {
            Ok(accounts) => (200, json!({"pods": accounts})),
            Err(error @ DeskError::Busy) => status(429, "TooManyRequests", error.to_string()),
            Err(error @ DeskError::Away) => status(503, "ServiceUnavailable", error.to_string()),
            Err(error @ DeskError::TooMany { .. }) => status(400, "BadRequest", error.to_string()),
        }
    }
}

fn read(body: &Bytes) -> Result<Vec<Pod>, String> {
    let decoded = timonel_api::decode::yaml(body).map_err(|error| format!("cannot decode the pods: {error}"))?;
    let Value::Array(items) = decoded.value["items"].clone() else {
        return Err("a PodList is wanted: items are missing".to_owned());
    };
    let pod = |(at, item): (usize, Value)| {
        let mut pod: Pod =
            serde_json::from_value(item).map_err(|error| format!("cannot decode items[{at}]: {error}"))?;
        // Each pod of a plan is somebody else, whatever their uids say.
        pod.metadata.uid = Some(format!("plan-{at}"));
        Ok(pod)
    };
    items.into_iter().enumerate().map(pod).collect()
}

#[async_trait]
impl Guest for AtTheDesk {
    async fn answer(&self, verb: &str, path: &str, body: Bytes) -> Option<(u16, Value)> {
        if let Some(rest) = path.strip_prefix(PODS) {
            return Some(match verb {
                "get" => self.account(rest),
                _ => status(405, "MethodNotAllowed", "a decision can only be read"),
            });
        }
        if path == PLAN {
            return Some(match verb {
                "post" => self.plan(&body).await,
                _ => status(405, "MethodNotAllowed", "a PodList is to be posted here"),
            });
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_desk_at_which_nobody_works_says_so() {
        let desk = AtTheDesk(Desk::default());
        let body = Bytes::from_static(br#"{"kind": "PodList", "items": []}"#);
        let (code, answer) = desk.answer("post", PLAN, body).await.unwrap();
        assert_eq!(code, 503, "{answer}");
        let (code, answer) = desk
            .answer("get", "/debug/scheduler/pods/a/b", Bytes::new())
            .await
            .unwrap();
        assert_eq!((code, &answer["reason"]), (404, &json!("NotFound")));
        let (code, _) = desk.answer("post", PLAN, Bytes::from_static(b"{}")).await.unwrap();
        assert_eq!(code, 400);
        assert!(desk.answer("get", "/debug/pprof", Bytes::new()).await.is_none());
    }
}
