//! A machine's power switch.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::LabError;
use super::cgroup;
use super::machine::{CLUSTER_CA, ORDERS, Orders};
use super::network;
use super::process::ProcRef;
use super::state::{Home, Machine, Role, SERVER, State, write_private};

/// The port of the API server within the lab.
pub(crate) const API_PORT: u16 = 6443;

/// How long a process may take to die.
const DEATH_LIMIT: Duration = Duration::from_secs(10);

/// Returns the place on the host of a path within a machine below `/var/lib`.
pub(crate) fn on_disk(home: &Home, name: &str, path: &str) -> PathBuf {
    let below = path.strip_prefix("/var/lib/").unwrap_or(path);
    home.machine(name).join("disk/var-lib").join(below)
}

/// Starts the switch where it does not run, and returns it.
pub(crate) fn switch_on(home: &Home, state: &State) -> Result<ProcRef, LabError> {
    if let Some(running) = state.switch.filter(ProcRef::alive) {
        return Ok(running);
    }
    let target = SocketAddr::from((server_address(state), API_PORT));
    let log_path = home.path().join("switch.log");
    let log = fs::File::create(&log_path).map_err(LabError::io("create", &log_path))?;
    let mut child = Command::new(home.bin().join("timonel"))
        .args([
            "lab",
            "switch",
            "--api-port",
            &state.api_port.to_string(),
            "--target",
            &target.to_string(),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .current_dir("/")
        .spawn()
        .map_err(|source| LabError::System {
            act: "start the switch",
            source,
        })?;
    let mut word = String::new();
    if let Some(stdout) = child.stdout.take() {
        let _ = BufReader::new(stdout).read_line(&mut word);
    }
    let process = i32::try_from(child.id()).ok().and_then(ProcRef::of);
    match process {
        Some(process) if word.trim() == "ready" => Ok(process),
        _ => {
            let _ = child.kill();
            let _ = child.wait();
            let said = fs::read_to_string(&log_path).unwrap_or_default();
            let reason = std::io::Error::other(said.trim().to_owned());
            Err(LabError::System {
                act: "start the switch",
                source: reason,
            })
        }
    }
}

fn server_address(state: &State) -> Ipv4Addr {
    state
        .machines
        .get(SERVER)
        .map_or(Ipv4Addr::new(10, 210, 0, 2), Machine::address)
}

/// Boots a machine from its disk and returns its process 1. A machine that runs is left alone.
pub(crate) fn on(home: &Home, state: &State, switch: ProcRef, name: &str) -> Result<ProcRef, LabError> {
    let machine = state.machine(name)?;
    if let Some(running) = machine.running() {
        return Ok(running);
    }
    cgroup::remove(name)?;
    let orders = Orders {
        role: machine.role,
        address: machine.address(),
        server: server_address(state),
        token: state.token.clone(),
        lab_timings: state.lab_timings,
        store_engine: state.store_engine.clone(),
    };
    let path = on_disk(home, name, ORDERS);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(LabError::io("create", folder))?;
    }
    let text = serde_json::to_vec_pretty(&orders).map_err(|e| LabError::io("render", &path)(e.into()))?;
    write_private(&path, &text)?;
    if machine.role == Role::Node {
        introduce(home, name)?;
    }

    let failed = || LabError::Boot {
        name: name.to_owned(),
        console: home.machine(name).join("console.log"),
    };
    let mut stage = Command::new(home.bin().join("timonel"))
        .args(["lab", "boot", name])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .current_dir("/")
        .spawn()
        .map_err(|source| LabError::System {
            act: "start a machine",
            source,
        })?;
    let mut line = String::new();
    if let Some(stdout) = stage.stdout.take() {
        let _ = BufReader::new(stdout).read_line(&mut line);
    }
    let stdin = stage.stdin.take();
    let _ = stage.wait();
    let process = line.trim().parse().ok().and_then(ProcRef::of).ok_or_else(failed)?;
    let plugged = network::plug(switch, process, machine.host, machine.address(), machine.cut);
    let told = plugged.and_then(|()| {
        stdin
            .ok_or_else(failed)?
            .write_all(b"go\n")
            .map_err(|source| LabError::System {
                act: "start a machine",
                source,
            })
    });
    if let Err(error) = told {
        let _ = process.signal(Signal::SIGKILL);
        return Err(error);
    }
    Ok(process)
}

/// Gives a node the cluster's certificate, where the server has made it; its agent starts when it is there.
pub(crate) fn introduce(home: &Home, node: &str) -> Result<bool, LabError> {
    let Ok(ca) = fs::read(on_disk(home, SERVER, "/var/lib/timonel/server/pki/ca.crt")) else {
        return Ok(false);
    };
    let path = on_disk(home, node, CLUSTER_CA);
    if fs::read(&path).is_ok_and(|old| old == ca) {
        return Ok(true);
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(LabError::io("create", folder))?;
    }
    write_private(&path, &ca)?;
    Ok(true)
}

/// Cuts a machine's power: its process 1 is killed, and its namespace with everything in it dies.
pub(crate) fn off(name: &str, machine: &Machine) -> Result<(), LabError> {
    if let Some(process) = machine.running() {
        process.signal(Signal::SIGKILL).map_err(|errno| LabError::System {
            act: "kill process 1",
            source: errno.into(),
        })?;
        if machine.frozen {
            // The frozen do not die before they thaw; all of them have their signal by then.
            cgroup::kill_all(name)?;
            cgroup::set_frozen(name, false)?;
        }
        if !process.wait_gone(DEATH_LIMIT) {
            return Err(LabError::Deadline {
                what: format!("machine {name} to die"),
            });
        }
    }
    cgroup::remove(name)
}
