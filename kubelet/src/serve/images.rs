//! `POST /images/load`: an archive of images (OCI, or of `docker save`) goes from the request's body into containerd.
//!
//! Upstream's kubelet has no such path; an archive is brought to a node by other means there. Timonel's users often have no
//! registry. It is reached as `nodes/proxy`, so `kubectl create --raw /api/v1/nodes/NAME/proxy/images/load -f FILE` does it too.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures::TryStreamExt;
use http::StatusCode;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::worker::Shared;

/// An archive that takes longer is given up.
const LIMIT: Duration = Duration::from_secs(15 * 60);
/// The largest archive.
const LARGEST: usize = 16 << 30;

/// Answers with what containerd's own client says about each image.
pub(super) async fn load(State(shared): State<Arc<Shared>>, body: Body) -> Response {
    if shared.config.hollow {
        return (StatusCode::NOT_IMPLEMENTED, "this node runs no containers").into_response();
    }
    match tokio::time::timeout(LIMIT, import(&shared, body)).await {
        Ok(Ok(said)) => (StatusCode::OK, said).into_response(),
        Ok(Err(refusal)) => refusal.into_response(),
        Err(_) => (StatusCode::GATEWAY_TIMEOUT, "the archive was not imported in time").into_response(),
    }
}

async fn import(shared: &Shared, body: Body) -> Result<String, (StatusCode, String)> {
    let broken = |error: std::io::Error| (StatusCode::INTERNAL_SERVER_ERROR, format!("run ctr: {error}"));
    let mut ctr = Command::new("ctr")
        .arg("--address")
        .arg(&shared.config.containerd_socket)
        .args(["--namespace", "k8s.io", "images", "import", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(broken)?;
    let input = ctr.stdin.take();
    let feed = async {
        let Some(mut input) = input else { return Ok(()) };
        let body = http_body_util::Limited::new(body, LARGEST);
        let mut chunks = Body::new(body).into_data_stream();
        while let Some(chunk) = chunks
            .try_next()
            .await
            .map_err(|error| (StatusCode::BAD_REQUEST, format!("read the archive: {error}")))?
        {
            // containerd may have seen enough, or refused; its own words follow.
            if input.write_all(&chunk).await.is_err() {
                break;
            }
        }
        Ok(())
    };
    let (fed, output) = tokio::join!(feed, ctr.wait_with_output());
    let output = output.map_err(broken)?;
    fed?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err((StatusCode::UNPROCESSABLE_ENTITY, said))
    }
}
