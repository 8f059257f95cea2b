//! Gives orders to a machine's process 1.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::LabError;
use super::process::ProcRef;
use super::supervisor::{Order, Reply, SOCKET};

/// Sends an order and returns the answer.
///
/// # Errors
/// When the machine does not answer (it may be frozen) or refuses.
pub(crate) fn order(name: &str, machine: ProcRef, order: &Order) -> Result<Reply, LabError> {
    // The machine's own file system, seen through its process 1.
    let path = format!("/proc/{}/root{SOCKET}", machine.pid);
    let talk = || -> std::io::Result<Reply> {
        let stream = UnixStream::connect(Path::new(&path))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        writeln!(&stream, "{}", serde_json::to_string(order)?)?;
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    };
    let reply = talk().map_err(LabError::io("talk to", Path::new(&path)))?;
    match reply.error {
        Some(reason) => Err(LabError::Refused {
            name: name.to_owned(),
            reason,
        }),
        None => Ok(reply),
    }
}
