//! Processes that must not be mistaken for others: a number is only half of a process's name.

use std::fs;
use std::time::Duration;

use jiff::Timestamp;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, SysconfVar, sysconf};
use serde::{Deserialize, Serialize};
use timonel_client::{Clock as _, SystemClock};

/// A process, by number and start time, so that a number that was given out again is not taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcRef {
    /// Its number on the host.
    pub(crate) pid: i32,
    /// When it started, in clock ticks since the host's boot (field 22 of `/proc/PID/stat`).
    pub(crate) started: u64,
}

impl ProcRef {
    /// Looks a process up; none where it is gone or only waits to be reaped.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        let (state, started) = stat(pid)?;
        (state != 'Z' && state != 'X').then_some(Self { pid, started })
    }

    /// Says whether it still runs.
    pub(crate) fn alive(&self) -> bool {
        Self::of(self.pid) == Some(*self)
    }

    /// When it started, on the host's clock.
    pub(crate) fn started_at(&self) -> Option<Timestamp> {
        let text = fs::read_to_string("/proc/uptime").ok()?;
        let uptime: f64 = text.split_whitespace().next()?.parse().ok()?;
        let ticks = sysconf(SysconfVar::CLK_TCK).ok()??;
        let age = uptime - self.started as f64 / ticks as f64;
        Some(SystemClock.now() - Duration::try_from_secs_f64(age.max(0.0)).ok()?)
    }

    /// Sends a signal, if it still runs.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), Errno> {
        if !self.alive() {
            return Ok(());
        }
        match kill(Pid::from_raw(self.pid), signal) {
            Err(Errno::ESRCH) => Ok(()),
            other => other,
        }
    }

    /// Waits until it is gone; says whether it went in time.
    pub(crate) fn wait_gone(&self, limit: Duration) -> bool {
        super::wait_until(limit, || !self.alive())
    }
}

/// Reads a process's state letter and start time.
fn stat(pid: i32) -> Option<(char, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name is in parentheses and may hold anything, parentheses too.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    // The state is field 3 and the start time field 22.
    let started = fields.nth(18)?.parse().ok()?;
    Some((state, started))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start_time_too() {
        let own = ProcRef::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(own.alive());
        let recycled = ProcRef {
            started: own.started + 1,
            ..own
        };
        assert!(!recycled.alive());
        assert!(recycled.signal(Signal::SIGKILL).is_ok(), "and is never signalled");
    }
}
