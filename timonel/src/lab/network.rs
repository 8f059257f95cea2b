//! The lab's cables: a bridge in a network namespace of its own (the switch), a virtual Ethernet pair to each machine.
//!
//! ```text
//!  host loopback 127.0.0.1:PORT --forwarder--+
//!                                            |
//!  [switch namespace]   lab0 10.210.0.1/24 --+-- vserver | eth0 10.210.0.2  [server]
//!                                            +-- vnode-1 | eth0 10.210.0.11 [node-1]
//! ```
//! Nothing is added to the host's network, and the switch forwards nothing to anywhere else.

use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use super::LabError;
use super::process::ProcRef;

/// The switch's own address, every machine's default gateway.
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 210, 0, 1);

/// Runs `ip -batch -` with `lines`, in the network namespace of `inside` or in our own.
pub(crate) fn ip(inside: Option<ProcRef>, lines: &str, force: bool) -> Result<(), LabError> {
    let mut command = match inside {
        Some(process) => {
            let mut command = Command::new("nsenter");
            command.arg(format!("--net=/proc/{}/ns/net", process.pid)).arg("ip");
            command
        }
        None => Command::new("ip"),
    };
    if force {
        command.arg("-force");
    }
    let failed = |reason: String| LabError::Network {
        commands: lines.to_owned(),
        reason,
    };
    let mut child = command
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(format!("ip (is iproute2 installed?): {error}")))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin
            .write_all(lines.as_bytes())
            .map_err(|error| failed(error.to_string()))?;
    }
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() || force {
        Ok(())
    } else {
        Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }
}

/// The name of a machine's end in the switch. Interface names hold 15 bytes.
fn port(host: u8) -> String {
    format!("port{host}")
}

/// Plugs a machine in: its `eth0` gets its address and a default route.
pub(crate) fn plug(switch: ProcRef, machine: ProcRef, host: u8, address: Ipv4Addr, cut: bool) -> Result<(), LabError> {
    let port = port(host);
    // The namespace of a machine that lost power goes away a moment later, its cable with it.
    ip(Some(switch), &format!("link del {port}\n"), true)?;
    let state = if cut { "down" } else { "up" };
    // The same card after every boot, or the others would write to the old one until their caches expire.
    let card = format!("02:54:4d:00:00:{host:02x}");
    ip(
        Some(switch),
        &format!(
            "link add {port} type veth peer name eth0 address {card} netns {}\nlink set {port} master lab0 {state}\n",
            machine.pid
        ),
        false,
    )?;
    ip(
        Some(machine),
        &format!("link set lo up\naddr add {address}/24 dev eth0\nlink set eth0 up\nroute add default via {GATEWAY}\n"),
        false,
    )
}

/// Takes a machine's cable out or puts it back.
pub(crate) fn set_cut(switch: ProcRef, host: u8, cut: bool) -> Result<(), LabError> {
    let state = if cut { "down" } else { "up" };
    ip(Some(switch), &format!("link set {} {state}\n", port(host)), false)
}

/// Removes a machine's port.
pub(crate) fn unplug(switch: ProcRef, host: u8) -> Result<(), LabError> {
    ip(Some(switch), &format!("link del {}\n", port(host)), true)
}
