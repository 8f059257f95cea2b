//! Serves the API from memory, for trying clients against it: `serve DIR PORT` writes `DIR/admin.kubeconfig`.

use std::path::PathBuf;
use std::sync::Arc;

use timonel_apiserver::{ApiServer, Config, Deps};
use timonel_client::{OsRng, SystemClock};
use timonel_store::MemoryStore;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().ok_or("usage: serve DIR PORT")?);
    let port: u16 = arguments.next().ok_or("usage: serve DIR PORT")?.parse()?;
    let mut config = Config {
        pki_dir: Some(dir),
        advertise_port: port,
        ..Config::default()
    };
    config.pki.server_url = format!("https://127.0.0.1:{port}");
    let deps = Deps {
        store: Arc::new(MemoryStore::new()),
        clock: Arc::new(SystemClock),
        rng: Arc::new(OsRng),
    };
    let started = tokio::time::Instant::now();
    let server = ApiServer::start(config, deps).await?;
    eprintln!("ready after {:?}", started.elapsed());
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    let shutdown = tokio_util::sync::CancellationToken::new();
    let stop = shutdown.clone();
    tokio::spawn(async move {
        let _ = tokio::signal::ctrl_c().await;
        stop.cancel();
    });
    server.serve(listener, shutdown).await?;
    Ok(())
}
