//! `DELETE /timonel/local-path/FOLDER`: removes the folder of a `local-path` volume whose claim is gone.
//!
//! Upstream's kubelet has no such path; provisioners start a pod on the node to remove a folder, for which they need an image there.
//! It is reached as `nodes/proxy` and needs the permission to delete that (docs/decisions/0006).

use std::path::Path;
use std::sync::Arc;

use axum::extract::{Path as Parameter, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use timonel_api::storage::LOCAL_PATH_ROOT;

use crate::volumes::local_path;
use crate::worker::Shared;

/// Answers when the folder is gone.
pub(super) async fn remove(State(shared): State<Arc<Shared>>, Parameter(folder): Parameter<String>) -> Response {
    if shared.config.hollow {
        // A hollow node has no disk: there is no folder, which is what was asked for.
        return StatusCode::OK.into_response();
    }
    let removed = tokio::task::spawn_blocking(move || local_path::remove(Path::new(LOCAL_PATH_ROOT), &folder)).await;
    match removed {
        Ok(Ok(())) => StatusCode::OK.into_response(),
        Ok(Err(why)) => (StatusCode::CONFLICT, why).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
