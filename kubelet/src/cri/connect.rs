//! A gRPC channel over a unix socket.

use std::path::{Path, PathBuf};

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

/// Makes a channel that connects when first used and reconnects after the other side went away.
pub(super) fn lazy(socket: &Path) -> Channel {
    let socket: PathBuf = socket.to_owned();
    // The address is only a name: the connector below goes to the socket whatever it says.
    Endpoint::from_static("http://containerd.sock").connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(socket).await?)) }
    }))
}
