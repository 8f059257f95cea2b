//! Process 1 of a machine: keeps its units running as systemd would (`Restart=always`), reaps what is orphaned, and
//! takes orders over a socket.
//!
//! One thread, one loop: a signal, a line on the socket, or a tick of 100 ms. A unit is restarted alone, so that the
//! shims of containers (children of nobody, hence ours) live through a restart of containerd.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::LabError;

/// Where orders come in, within the machine.
pub(crate) const SOCKET: &str = "/run/timonel/init.sock";

/// A unit that ended by itself is started again after this long (systemd's default is 100 ms, with a limit on bursts
/// that we do without).
const RESTART_AFTER: Duration = Duration::from_millis(500);

/// How long a unit may take to end before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// A log that has grown beyond this is emptied when its unit starts.
const LOG_LIMIT: u64 = 64 << 20;

/// A program that is kept running.
#[derive(Debug)]
pub(crate) struct Unit {
    name: &'static str,
    command: Vec<String>,
    needs: Vec<PathBuf>,
    oneshot: bool,
    process: Option<Pid>,
    wanted: bool,
    /// The next end is on demand: start again at once.
    restarting: bool,
    kill_at: Option<Instant>,
    start_at: Option<Instant>,
    restarts: u32,
    last_end: Option<String>,
}

impl Unit {
    /// A unit that is always restarted.
    pub(crate) fn service(name: &'static str, command: &[&str]) -> Self {
        Self {
            name,
            command: command.iter().map(|&word| word.to_owned()).collect(),
            needs: Vec::new(),
            oneshot: false,
            process: None,
            wanted: true,
            restarting: false,
            kill_at: None,
            start_at: None,
            restarts: 0,
            last_end: None,
        }
    }

    /// Makes it start only once `path` exists.
    pub(crate) fn needs(mut self, path: &str) -> Self {
        self.needs.push(PathBuf::from(path));
        self
    }

    /// Makes it end for good once it succeeded.
    pub(crate) fn oneshot(mut self) -> Self {
        self.oneshot = true;
        self
    }

    fn start(&mut self) {
        if self.needs.iter().any(|path| !path.exists()) {
            return;
        }
        match self.spawn() {
            Ok(pid) => {
                self.process = Some(pid);
                self.start_at = None;
                tracing::info!(unit = self.name, pid = pid.as_raw(), "started");
            }
            Err(error) => {
                tracing::error!(unit = self.name, %error, "cannot be started");
                self.start_at = Some(Instant::now() + RESTART_AFTER);
            }
        }
    }

    fn spawn(&self) -> std::io::Result<Pid> {
        let folder = Path::new("/var/log/timonel");
        fs::create_dir_all(folder)?;
        let path = folder.join(format!("{}.log", self.name));
        let full = fs::metadata(&path).is_ok_and(|m| m.len() > LOG_LIMIT);
        let log = fs::File::options().create(true).append(true).open(&path)?;
        if full {
            log.set_len(0)?;
        }
        let (program, arguments) = self.command.split_first().ok_or(std::io::ErrorKind::InvalidInput)?;
        let child = Command::new(program)
            .args(arguments)
            .current_dir("/")
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", "/root")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        // Not waited for through `child`: the loop reaps everybody.
        i32::try_from(child.id())
            .map(Pid::from_raw)
            .map_err(std::io::Error::other)
    }

    fn ended(&mut self, how: String) {
        tracing::info!(unit = self.name, how, "ended");
        let succeeded = how == "exit 0";
        self.process = None;
        self.kill_at = None;
        self.last_end = Some(how);
        if self.oneshot && succeeded && !self.restarting {
            self.wanted = false;
            return;
        }
        self.restarts += 1;
        let pause = if self.restarting { Duration::ZERO } else { RESTART_AFTER };
        self.restarting = false;
        self.start_at = Some(Instant::now() + pause);
    }

    /// Starts what should run and kills what takes too long to end.
    fn tick(&mut self, now: Instant) {
        match self.process {
            None if self.wanted && self.start_at.is_none_or(|at| at <= now) => self.start(),
            Some(pid) if self.kill_at.is_some_and(|at| at <= now) => {
                self.kill_at = None;
                let _ = kill(pid, Signal::SIGKILL);
            }
            _ => {}
        }
    }

    fn signal(&mut self, signal: Signal) {
        if let Some(pid) = self.process {
            let _ = kill(pid, signal);
            self.kill_at = Some(Instant::now() + STOP_LIMIT);
        }
    }
}

/// What can be asked of a running machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "order")]
pub(crate) enum Order {
    /// Say how the units are.
    Status,
    /// End a unit with a signal (SIGTERM, or SIGKILL for a crash) and start it again.
    Restart {
        /// The unit.
        unit: String,
        /// Crash it instead of asking it to end.
        crash: bool,
    },
    /// End a unit and leave it.
    Stop {
        /// The unit.
        unit: String,
    },
    /// Start a unit that was stopped, or run a finished one-shot again.
    Start {
        /// The unit.
        unit: String,
    },
}

/// How a unit is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UnitStatus {
    /// Its name.
    pub(crate) name: String,
    /// Its process number within the machine, where it runs.
    pub(crate) pid: Option<i32>,
    /// How often it was started again.
    pub(crate) restarts: u32,
    /// It did what it had to.
    pub(crate) done: bool,
    /// How it ended last.
    pub(crate) last_end: Option<String>,
}

/// The answer to an [`Order`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Reply {
    /// Why the order was refused.
    pub(crate) error: Option<String>,
    /// The units.
    pub(crate) units: Vec<UnitStatus>,
}

/// Runs the units until SIGTERM.
///
/// # Errors
/// Only before the loop begins.
pub(crate) fn run(mut units: Vec<Unit>) -> Result<(), LabError> {
    let failed = |act: &'static str| {
        move |errno: Errno| LabError::System {
            act,
            source: errno.into(),
        }
    };
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals.thread_block().map_err(failed("block signals"))?;
    let inbox = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(failed("watch signals"))?;
    let socket = UnixListener::bind(SOCKET).map_err(LabError::io("listen on", Path::new(SOCKET)))?;
    loop {
        let now = Instant::now();
        for unit in &mut units {
            unit.tick(now);
        }
        let (signalled, called) = {
            let mut watched = [
                PollFd::new(inbox.as_fd(), PollFlags::POLLIN),
                PollFd::new(socket.as_fd(), PollFlags::POLLIN),
            ];
            let _ = poll(&mut watched, PollTimeout::from(100u16));
            (watched[0].any().unwrap_or(false), watched[1].any().unwrap_or(false))
        };
        if signalled {
            while let Ok(Some(info)) = inbox.read_signal() {
                let child = i32::try_from(info.ssi_signo) == Ok(Signal::SIGCHLD as i32);
                if !child {
                    power_off(&mut units);
                    return Ok(());
                }
            }
        }
        reap(&mut units);
        if called
            && let Ok((stream, _)) = socket.accept()
            && let Err(error) = answer(stream, &mut units)
        {
            tracing::warn!(%error, "an order could not be answered");
        }
    }
}

/// Collects every child that has ended, ours or inherited.
fn reap(units: &mut [Unit]) {
    loop {
        let (pid, how) = match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => (pid, format!("exit {code}")),
            Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, format!("signal {signal}")),
            Ok(WaitStatus::StillAlive) | Err(_) => return,
            Ok(_) => continue,
        };
        if let Some(unit) = units.iter_mut().find(|unit| unit.process == Some(pid)) {
            unit.ended(how);
        }
    }
}

fn answer(stream: UnixStream, units: &mut [Unit]) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.set_write_timeout(Some(Duration::from_secs(1)))?;
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line)?;
    let error = match serde_json::from_str::<Order>(&line) {
        Ok(order) => carry_out(&order, units).err(),
        Err(error) => Some(error.to_string()),
    };
    let reply = Reply {
        error,
        units: units.iter().map(status).collect(),
    };
    writeln!(&stream, "{}", serde_json::to_string(&reply)?)
}

fn status(unit: &Unit) -> UnitStatus {
    UnitStatus {
        name: unit.name.to_owned(),
        pid: unit.process.map(Pid::as_raw),
        restarts: unit.restarts,
        done: unit.oneshot && !unit.wanted,
        last_end: unit.last_end.clone(),
    }
}

fn carry_out(order: &Order, units: &mut [Unit]) -> Result<(), String> {
    let names: Vec<&str> = units.iter().map(|unit| unit.name).collect();
    let name = match order {
        Order::Status => return Ok(()),
        Order::Restart { unit, .. } | Order::Stop { unit } | Order::Start { unit } => unit,
    };
    let known = names.join(", ");
    let unit = units
        .iter_mut()
        .find(|unit| unit.name == name)
        .ok_or(format!("no unit {name:?} here; there are {known}"))?;
    match order {
        Order::Status => {}
        Order::Restart { crash, .. } => {
            unit.wanted = true;
            unit.restarting = true;
            unit.start_at = None;
            unit.signal(if *crash { Signal::SIGKILL } else { Signal::SIGTERM });
        }
        Order::Stop { .. } => {
            unit.wanted = false;
            unit.signal(Signal::SIGTERM);
        }
        Order::Start { .. } => {
            unit.wanted = true;
            unit.start_at = None;
        }
    }
    Ok(())
}

/// Ends the units, last first, then everything else; the namespace ends with us.
fn power_off(units: &mut [Unit]) {
    for at in (0..units.len()).rev() {
        units[at].wanted = false;
        units[at].signal(Signal::SIGTERM);
        let deadline = Instant::now() + STOP_LIMIT;
        while units[at].process.is_some() && Instant::now() < deadline {
            reap(units);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    // Everybody in this namespace but us.
    let _ = kill(Pid::from_raw(-1), Signal::SIGTERM);
    std::thread::sleep(Duration::from_millis(200));
    let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
    reap(units);
}
