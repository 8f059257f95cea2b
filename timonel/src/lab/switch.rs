//! The process that is the switch: it holds the namespace with the bridge, and forwards the API's port into it.
//!
//! It listens on the host's loopback before it leaves the host's network namespace. A listening socket stays where it
//! was made, so that one process can accept connections outside and open their other half inside.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use nix::sched::{CloneFlags, unshare};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::LabError;
use super::network;

/// Connections at one time. Watches hold one each where a client does not multiplex.
const MAX_CONNECTIONS: usize = 4096;

/// Becomes the switch; returns only on an error.
pub(crate) fn run(api_port: u16, target: SocketAddr) -> Result<(), LabError> {
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, api_port));
    let listener = TcpListener::bind(listen).map_err(|source| LabError::Listen {
        address: listen,
        source,
    })?;
    let failed = |act: &'static str| {
        move |errno: nix::Error| LabError::System {
            act,
            source: errno.into(),
        }
    };
    nix::unistd::setsid().map_err(failed("setsid"))?;
    unshare(CloneFlags::CLONE_NEWNET).map_err(failed("unshare the network namespace"))?;
    network::ip(
        None,
        &format!(
            "link set lo up\nlink add lab0 type bridge forward_delay 0 stp_state 0\naddr add {}/24 dev lab0\nlink set lab0 up\n",
            network::GATEWAY
        ),
        false,
    )?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| LabError::System {
            act: "start the forwarder",
            source,
        })?;
    let io = |act: &'static str| move |source| LabError::System { act, source };
    // Tells the parent that the switch is on.
    writeln!(std::io::stdout(), "ready").map_err(io("report"))?;
    runtime.block_on(async move {
        listener.set_nonblocking(true).map_err(io("listen"))?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(io("listen"))?;
        let slots = std::sync::Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let Ok(slot) = slots.clone().acquire_owned().await else {
                return Ok(());
            };
            let Ok((mut outside, _)) = listener.accept().await else {
                // Out of descriptors, most likely: others must close before we can accept again.
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                continue;
            };
            tokio::spawn(async move {
                let _slot = slot;
                let limit = std::time::Duration::from_secs(5);
                if let Ok(Ok(mut inside)) = tokio::time::timeout(limit, TcpStream::connect(target)).await {
                    let _ = outside.set_nodelay(true);
                    let _ = inside.set_nodelay(true);
                    let _ = copy_bidirectional(&mut outside, &mut inside).await;
                }
            });
        }
    })
}
