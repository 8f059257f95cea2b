//! What every long-running command has: a runtime, and an end in good order on SIGTERM.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::Duration;

use anyhow::Context;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Runs `job` on all processors until it ends. SIGTERM and SIGINT cancel its token; a second one ends the process.
pub(crate) fn run<F, J>(job: J) -> anyhow::Result<()>
where
    J: FnOnce(CancellationToken) -> F,
    F: Future<Output = anyhow::Result<()>>,
{
    // One crypto provider for the whole process; a second call finds it installed.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    let done = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let mut terminate = signal(SignalKind::terminate()).context("watch signals")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("watch signals")?;
        let token = shutdown.clone();
        tokio::spawn(give_back());
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("ending in good order");
            token.cancel();
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            std::process::exit(130);
        });
        job(shutdown).await
    });
    // Blocking reads (a log that is followed) must not hold the end up.
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}

/// How often the process may give memory back, and how seldom it tries while there is nothing to give.
const GIVE_BACK: Duration = Duration::from_secs(5);
const GIVE_BACK_SELDOM: Duration = Duration::from_secs(300);
/// How much is worth it.
const GIVE_BACK_PAGES: u64 = (16 << 20) / 4096;

/// Gives freed memory back to the system after a burst. glibc keeps it for itself otherwise: a few large requests, each long answered,
/// would make hundreds of megabytes resident for good.
async fn give_back() {
    let at_first = resident_pages();
    let mut pause = GIVE_BACK;
    loop {
        tokio::time::sleep(pause).await;
        let before = resident_pages();
        if before > at_first + GIVE_BACK_PAGES {
            let _ = tokio::task::spawn_blocking(trim).await;
            let given = before.saturating_sub(resident_pages());
            pause = if given > GIVE_BACK_PAGES {
                GIVE_BACK
            } else {
                (pause * 2).min(GIVE_BACK_SELDOM)
            };
        }
    }
}

/// Resident memory less what belongs to files, in pages.
fn resident_pages() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let mut fields = text.split(' ').skip(1).map(|field| field.parse::<u64>().unwrap_or(0));
    let resident = fields.next().unwrap_or(0);
    resident.saturating_sub(fields.next().unwrap_or(0))
}

#[cfg(target_env = "gnu")]
#[expect(
    unsafe_code,
    reason = "the C library's own call; it takes a number and touches only free memory"
)]
fn trim() {
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(not(target_env = "gnu"))]
fn trim() {}

/// Lets this process open as many files as it may, as Go programs do by themselves, and returns how many that are.
pub(crate) fn raise_open_files() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return 1024;
    };
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    }
}

/// Returns this host's name, which a node has by default.
pub(crate) fn host_name() -> anyhow::Result<String> {
    let name = nix::unistd::gethostname().context("ask for the host's name")?;
    Ok(name.to_string_lossy().trim().to_lowercase())
}

/// Returns the address that packets to the world would have; loopback where there is no way out.
pub(crate) fn own_address() -> Ipv4Addr {
    // Connecting a datagram socket sends nothing; it only asks the routing table.
    let asked = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        socket.local_addr()
    });
    match asked.map(|address| address.ip()) {
        Ok(IpAddr::V4(address)) => address,
        _ => Ipv4Addr::LOCALHOST,
    }
}
