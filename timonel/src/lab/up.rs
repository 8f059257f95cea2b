//! `timonel lab up`: from nothing, or from whatever is there, to a lab as the flags say.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use timonel_client::{OsRng, Rng};
use tokio::time::Instant;

use super::LabError;
use super::args::UpOptions;
use super::images;
use super::power;
use super::process::ProcRef;
use super::progress::{Progress, say};
use super::ready;
use super::state::{Home, Machine, Role, SERVER, State};

/// Programs that the lab runs, and the Debian packages that have them.
const PROGRAMS: &[(&str, &str)] = &[
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("nft", "nftables"),
];

/// Brings the lab up.
pub(crate) fn up(options: &UpOptions) -> Result<(), LabError> {
    let began = Instant::now();
    check_host()?;
    let home = Home::default();
    let _lock = home.lock()?;
    let progress = Progress::start();
    progress.step("preparing images");
    for folder in [home.bin(), home.images()] {
        fs::create_dir_all(&folder).map_err(LabError::io("create", &folder))?;
    }
    install_program(&home)?;
    images::collect(&home, options.images.as_deref())?;

    let mut state = match home.load()? {
        Some(state) => state,
        None => fresh(options),
    };
    state.lab_timings = options.lab_timings || state.lab_timings;
    for at in 1..=options.nodes {
        let host = state.free_host(10 + at);
        state
            .machines
            .entry(format!("node-{at}"))
            .or_insert_with(|| machine(Role::Node, host));
    }
    home.save(&state)?;

    progress.step("starting the switch");
    let switch = power::switch_on(&home, &state)?;
    state.switch = Some(switch);
    home.save(&state)?;

    progress.step(format!("starting {} machines", state.machines.len()));
    start_all(&home, &mut state, switch)?;
    if options.no_wait {
        return Ok(());
    }
    let limit = Duration::from_secs(options.timeout);
    ready::finish(&home, &state, &progress, limit)?;
    drop(progress);
    let nodes = state.machines.values().filter(|m| m.role == Role::Node).count();
    say(&format!(
        "The lab is up: 1 server, {nodes} nodes, all Ready, after {:.1} s.",
        began.elapsed().as_secs_f64()
    ));
    say(&format!("export KUBECONFIG={}", home.kubeconfig().display()));
    Ok(())
}

fn check_host() -> Result<(), LabError> {
    for &(program, package) in PROGRAMS {
        let found = [
            "/usr/sbin",
            "/usr/bin",
            "/sbin",
            "/bin",
            "/usr/local/sbin",
            "/usr/local/bin",
        ]
        .iter()
        .any(|folder| Path::new(folder).join(program).exists());
        if !found {
            return Err(LabError::MissingProgram { program, package });
        }
    }
    if !Path::new("/usr/lib/cni/bridge").exists() {
        return Err(LabError::MissingProgram {
            program: "/usr/lib/cni/bridge",
            package: "containernetworking-plugins",
        });
    }
    Ok(())
}

fn machine(role: Role, host: u8) -> Machine {
    Machine {
        role,
        host,
        process: None,
        cut: false,
        frozen: false,
    }
}

fn fresh(options: &UpOptions) -> State {
    State {
        api_port: options.api_port,
        lab_timings: options.lab_timings,
        store_engine: options.store_engine.clone(),
        token: bootstrap_token(),
        switch: None,
        machines: BTreeMap::from([(SERVER.to_owned(), machine(Role::Server, 2))]),
    }
}

/// Makes a bootstrap token: `[a-z0-9]{6}.[a-z0-9]{16}`.
fn bootstrap_token() -> String {
    const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let word = |length: usize| -> String {
        (0..length)
            .map(|_| {
                usize::try_from(OsRng.next_u64() % ALPHABET.len() as u64).map_or('a', |at| char::from(ALPHABET[at]))
            })
            .collect()
    };
    format!("{}.{}", word(6), word(16))
}

/// Puts the running program where the machines take it from; running copies keep the old one until they restart.
fn install_program(home: &Home) -> Result<(), LabError> {
    let own = std::env::current_exe().map_err(LabError::io("find", Path::new("/proc/self/exe")))?;
    let to = home.bin().join("timonel");
    if own == to {
        return Ok(());
    }
    let same = match (fs::metadata(&own), fs::metadata(&to)) {
        (Ok(a), Ok(b)) => a.len() == b.len() && a.modified().ok() == b.modified().ok(),
        _ => false,
    };
    if same {
        return Ok(());
    }
    let new = to.with_extension("new");
    fs::copy(&own, &new).map_err(LabError::io("copy", &own))?;
    if let Ok(time) = fs::metadata(&own).and_then(|m| m.modified()) {
        let _ = fs::File::options()
            .write(true)
            .open(&new)
            .and_then(|file| file.set_modified(time));
    }
    fs::rename(&new, &to).map_err(LabError::io("rename", &to))
}

/// Powers every machine on that is off, all at once, and remembers them.
fn start_all(home: &Home, state: &mut State, switch: ProcRef) -> Result<(), LabError> {
    let names: Vec<String> = state.machines.keys().cloned().collect();
    let started: Vec<(String, Result<ProcRef, LabError>)> = std::thread::scope(|scope| {
        let state = &*state;
        let running: Vec<_> = names
            .iter()
            .map(|name| (name.clone(), scope.spawn(move || power::on(home, state, switch, name))))
            .collect();
        running
            .into_iter()
            .map(|(name, thread)| {
                let result = thread.join().unwrap_or_else(|_| {
                    Err(LabError::System {
                        act: "start a machine",
                        source: std::io::Error::other("the thread panicked"),
                    })
                });
                (name, result)
            })
            .collect()
    });
    let mut failure = None;
    for (name, result) in started {
        match result {
            Ok(process) => state.machine_mut(&name)?.process = Some(process),
            Err(error) => failure = Some(error),
        }
    }
    home.save(state)?;
    failure.map_or(Ok(()), Err)
}
