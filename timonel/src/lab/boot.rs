//! Powering a machine on: from a plain process to process 1 of a set of namespaces with a disk of its own.
//!
//! ```text
//! lab up --spawns--> lab boot NAME              joins the machine's control groups, unshares, spawns, goes
//!                      +--spawns--> lab init NAME     process 1: waits for its cable, mounts, becomes the supervisor
//! ```

use std::fs;
use std::io::{BufRead, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::sethostname;

use super::LabError;
use super::cgroup::{self, Hierarchy};
use super::state::Home;

/// Where the machine finds the copy of this program that the host keeps up to date.
pub(crate) const BIN: &str = "/run/timonel/bin";
/// Where the machine finds the image archives.
pub(crate) const IMAGES: &str = "/run/timonel/images";

/// First stage: makes the namespaces and starts process 1 in them. Prints its number (the host's) and returns.
pub(crate) fn boot(name: &str) -> Result<(), LabError> {
    let failed = |act: &'static str| {
        move |errno: nix::Error| LabError::System {
            act,
            source: errno.into(),
        }
    };
    nix::unistd::setsid().map_err(failed("setsid"))?;
    cgroup::create(name)?;
    cgroup::join(name)?;
    unshare(
        CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWCGROUP,
    )
    .map_err(failed("unshare the machine's namespaces"))?;
    let folder = Home::default().machine(name);
    fs::create_dir_all(&folder).map_err(LabError::io("create", &folder))?;
    let console = folder.join("console.log");
    let log = fs::File::options()
        .create(true)
        .append(true)
        .open(&console)
        .map_err(LabError::io("open", &console))?;
    let log_too = log.try_clone().map_err(LabError::io("open", &console))?;
    // The first process that is spawned after unsharing is process 1 of the new namespace.
    let child = Command::new("/proc/self/exe")
        .args(["lab", "init", name])
        .stdin(Stdio::inherit())
        .stdout(log)
        .stderr(log_too)
        .current_dir("/")
        .spawn()
        .map_err(|source| LabError::System {
            act: "start process 1",
            source,
        })?;
    writeln!(std::io::stdout(), "{}", child.id()).map_err(|source| LabError::System { act: "report", source })
}

/// Second stage, as process 1: waits until the host has plugged the network in, then makes the machine's own world.
pub(crate) fn furnish(name: &str) -> Result<(), LabError> {
    let mut word = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut word)
        .map_err(|source| LabError::System {
            act: "wait for the host",
            source,
        })?;
    if word.trim() != "go" {
        return Err(LabError::System {
            act: "wait for the host",
            source: std::io::Error::other("the host gave up before the machine was plugged in"),
        });
    }
    let home = Home::default();
    let machine = home.machine(name);
    let groups = cgroup::hierarchies()?;
    let disk = |part: &str| -> Result<PathBuf, LabError> {
        let path = machine.join("disk").join(part);
        fs::create_dir_all(&path).map_err(LabError::io("create", &path))?;
        Ok(path)
    };

    // Nothing that is mounted from here on is seen outside, and nothing from outside comes in.
    attach(None, Path::new("/"), None, MsFlags::MS_PRIVATE | MsFlags::MS_REC, None)?;

    attach(
        Some("tmpfs"),
        Path::new("/run"),
        Some("tmpfs"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Some("mode=755"),
    )?;
    for (from, to) in [(home.bin(), BIN), (home.images(), IMAGES)] {
        fs::create_dir_all(to).map_err(LabError::io("create", Path::new(to)))?;
        bind(&from, Path::new(to))?;
    }
    fs::create_dir_all("/run/lock").map_err(LabError::io("create", Path::new("/run/lock")))?;

    // /etc is the host's with the machine's own files on top: its name, its resolver, its CNI configuration.
    let (upper, work) = (disk("etc")?, disk("etc-work")?);
    let options = format!("lowerdir=/etc,upperdir={},workdir={}", upper.display(), work.display());
    attach(
        Some("overlay"),
        Path::new("/etc"),
        Some("overlay"),
        MsFlags::empty(),
        Some(&options),
    )?;
    let tmp = disk("tmp")?;
    fs::set_permissions(&tmp, fs::Permissions::from_mode(0o1777)).map_err(LabError::io("protect", &tmp))?;
    bind(&tmp, Path::new("/tmp"))?;
    bind(&disk("var-log")?, Path::new("/var/log"))?;
    // Last, because it hides the lab's own folder.
    bind(&disk("var-lib")?, Path::new("/var/lib"))?;

    attach(
        Some("proc"),
        Path::new("/proc"),
        Some("proc"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
        None,
    )?;
    attach(
        Some("sysfs"),
        Path::new("/sys"),
        Some("sysfs"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
        None,
    )?;
    if Path::new("/dev/shm").is_dir() {
        attach(
            Some("tmpfs"),
            Path::new("/dev/shm"),
            Some("tmpfs"),
            MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
            None,
        )?;
    }
    mount_groups(&groups)?;
    // kubelet and containerd hand mounts on to containers, within the machine.
    attach(None, Path::new("/"), None, MsFlags::MS_SHARED | MsFlags::MS_REC, None)?;

    name_it(name)
}

/// Mounts the control groups as the host has them; the namespace makes the machine's own folder the root of each.
fn mount_groups(groups: &[Hierarchy]) -> Result<(), LabError> {
    let top = Path::new("/sys/fs/cgroup");
    if !groups.iter().any(|g| g.mount == top) {
        attach(
            Some("tmpfs"),
            top,
            Some("tmpfs"),
            MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
            Some("mode=755"),
        )?;
    }
    for group in groups {
        fs::create_dir_all(&group.mount).map_err(LabError::io("create", &group.mount))?;
        match group.controllers.as_deref() {
            None => attach(Some("cgroup2"), &group.mount, Some("cgroup2"), MsFlags::empty(), None)?,
            Some(named) if named.starts_with("name=") => {
                attach(
                    Some("cgroup"),
                    &group.mount,
                    Some("cgroup"),
                    MsFlags::empty(),
                    Some(&format!("none,{named}")),
                )?;
            }
            Some(controllers) => {
                attach(
                    Some("cgroup"),
                    &group.mount,
                    Some("cgroup"),
                    MsFlags::empty(),
                    Some(controllers),
                )?;
            }
        }
        if group.controllers.is_none() && group.mount == top {
            // Version 2 wants processes in leaves only.
            let init = top.join("init");
            fs::create_dir_all(&init).map_err(LabError::io("create", &init))?;
            let procs = init.join("cgroup.procs");
            fs::write(&procs, "0").map_err(LabError::io("join", &procs))?;
            cgroup::delegate(top);
        }
    }
    Ok(())
}

/// Gives the machine its name, its hosts file, a resolver that asks nobody, and an identity that lasts.
fn name_it(name: &str) -> Result<(), LabError> {
    sethostname(name).map_err(|errno| LabError::System {
        act: "set the host name",
        source: errno.into(),
    })?;
    for (path, text) in [
        ("/etc/hostname", format!("{name}\n")),
        (
            "/etc/hosts",
            format!("127.0.0.1 localhost\n127.0.1.1 {name}\n::1 localhost ip6-localhost\n"),
        ),
        (
            "/etc/resolv.conf",
            "# Nothing outside the lab is reached from here.\noptions timeout:1 attempts:1\n".to_owned(),
        ),
    ] {
        let path = Path::new(path);
        // Written anew, not through: a link would lead to the host's file.
        let _ = fs::remove_file(path);
        fs::write(path, text).map_err(LabError::io("write", path))?;
    }
    let id = Path::new("/etc/machine-id");
    let own = Path::new("/var/lib/machine-id");
    if !own.exists() {
        let random = fs::read_to_string("/proc/sys/kernel/random/uuid").map_err(LabError::io("read", own))?;
        fs::write(own, random.replace('-', "")).map_err(LabError::io("write", own))?;
    }
    let _ = fs::remove_file(id);
    fs::copy(own, id).map_err(LabError::io("write", id))?;
    Ok(())
}

fn bind(from: &Path, to: &Path) -> Result<(), LabError> {
    mount(
        Some(from),
        to,
        None::<&str>,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        None::<&str>,
    )
    .map_err(|errno| LabError::io("mount", to)(errno.into()))
}

fn attach(
    source: Option<&str>,
    to: &Path,
    kind: Option<&str>,
    flags: MsFlags,
    options: Option<&str>,
) -> Result<(), LabError> {
    mount(source, to, kind, flags, options).map_err(|errno| LabError::io("mount", to)(errno.into()))
}
