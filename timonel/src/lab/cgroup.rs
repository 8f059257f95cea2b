//! Each machine's own subtree in every control-group hierarchy, be they of version 1, 2 or both.
//!
//! The subtree lets a machine be frozen as one (containers included), and a cgroup namespace makes it the root of
//! what the machine sees, so that its containerd works as on a machine of its own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::LabError;

/// The folder in each hierarchy under which the machines' folders are.
const PARENT: &str = "timonel-lab";

/// A mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// Where it is mounted.
    pub(crate) mount: PathBuf,
    /// The version-1 mount options that name it; none for version 2.
    pub(crate) controllers: Option<String>,
}

impl Hierarchy {
    fn is(&self, controller: &str) -> bool {
        self.controllers
            .as_deref()
            .is_some_and(|all| all.split(',').any(|c| c == controller))
    }

    fn machine(&self, name: &str) -> PathBuf {
        self.mount.join(PARENT).join(name)
    }
}

/// Finds the hierarchies in `/proc/self/mountinfo`.
pub(crate) fn hierarchies() -> Result<Vec<Hierarchy>, LabError> {
    let path = Path::new("/proc/self/mountinfo");
    let text = fs::read_to_string(path).map_err(LabError::io("read", path))?;
    Ok(parse(&text))
}

fn parse(mountinfo: &str) -> Vec<Hierarchy> {
    // Options of the superblock that are not the hierarchy's name.
    const COMMON: &[&str] = &[
        "rw",
        "ro",
        "relatime",
        "xattr",
        "clone_children",
        "nsdelegate",
        "memory_recursiveprot",
    ];
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else {
            continue;
        };
        let (Some(root), Some(mount)) = (left.split(' ').nth(3), left.split(' ').nth(4)) else {
            continue;
        };
        let mut right = right.split(' ');
        let (kind, options) = (right.next(), right.nth(1).unwrap_or(""));
        // Seen from a cgroup namespace, the host's root is above our own.
        if !root.split('/').all(|part| part.is_empty() || part == "..") {
            continue;
        }
        let controllers = match kind {
            Some("cgroup2") => None,
            Some("cgroup") => Some(
                options
                    .split(',')
                    .filter(|o| !COMMON.contains(o) && !o.starts_with("release_agent="))
                    .collect::<Vec<_>>()
                    .join(","),
            ),
            _ => continue,
        };
        let hierarchy = Hierarchy {
            mount: PathBuf::from(mount),
            controllers,
        };
        if !found.iter().any(|h| h.controllers == hierarchy.controllers) {
            found.push(hierarchy);
        }
    }
    found
}

/// Creates the machine's folders.
pub(crate) fn create(name: &str) -> Result<(), LabError> {
    for hierarchy in hierarchies()? {
        let (parent, own) = (hierarchy.mount.join(PARENT), hierarchy.machine(name));
        for folder in [&parent, &own] {
            fs::create_dir_all(folder).map_err(LabError::io("create", folder))?;
            if hierarchy.is("cpuset") {
                // A version-1 cpuset is unusable until it names its processors.
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    let above = folder.parent().unwrap_or(folder).join(file);
                    let value = fs::read(&above).map_err(LabError::io("read", &above))?;
                    let file = folder.join(file);
                    fs::write(&file, value).map_err(LabError::io("write", &file))?;
                }
                let inherit = folder.join("cgroup.clone_children");
                fs::write(&inherit, "1").map_err(LabError::io("write", &inherit))?;
            }
            if hierarchy.is("memory") {
                let count_below = folder.join("memory.use_hierarchy");
                // Newer kernels always do, and some refuse the write.
                let _ = fs::write(&count_below, "1");
            }
        }
        if hierarchy.controllers.is_none() {
            delegate(&hierarchy.mount);
            delegate(&parent);
        }
    }
    Ok(())
}

/// Lets children of a version-2 group use every controller that it has.
pub(crate) fn delegate(folder: &Path) {
    let Ok(controllers) = fs::read_to_string(folder.join("cgroup.controllers")) else {
        return;
    };
    for controller in controllers.split_whitespace() {
        // One that cannot be delegated (a real-time process in the way, say) must not keep the others back.
        let _ = fs::write(folder.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

/// Moves the calling process into the machine's folders.
pub(crate) fn join(name: &str) -> Result<(), LabError> {
    for hierarchy in hierarchies()? {
        let procs = hierarchy.machine(name).join("cgroup.procs");
        fs::write(&procs, "0").map_err(LabError::io("join", &procs))?;
    }
    Ok(())
}

/// Stops the machine's clock, or lets it run again. Returns when the kernel says that it is so.
pub(crate) fn set_frozen(name: &str, frozen: bool) -> Result<(), LabError> {
    let all = hierarchies()?;
    let (folder, file, value, proof, settled) = match all.iter().find(|h| h.is("freezer")) {
        Some(v1) => {
            let word = if frozen { "FROZEN" } else { "THAWED" };
            (
                v1.machine(name),
                "freezer.state",
                word,
                "freezer.state",
                word.to_owned(),
            )
        }
        None => {
            let v2 = all
                .iter()
                .find(|h| h.controllers.is_none())
                .ok_or(LabError::NoCgroups)?;
            let word = if frozen { "1" } else { "0" };
            (
                v2.machine(name),
                "cgroup.freeze",
                word,
                "cgroup.events",
                format!("frozen {word}"),
            )
        }
    };
    let (file, proof) = (folder.join(file), folder.join(proof));
    fs::write(&file, value).map_err(LabError::io("write", &file))?;
    let done = super::wait_until(Duration::from_secs(10), || {
        fs::read_to_string(&proof).is_ok_and(|text| text.lines().any(|line| line == settled))
    });
    if done {
        Ok(())
    } else {
        Err(LabError::Deadline {
            what: format!("machine {name} to be {value}"),
        })
    }
}

/// Kills whatever is left in the machine's groups and removes them.
pub(crate) fn remove(name: &str) -> Result<(), LabError> {
    // A frozen process does not even die.
    let _ = set_frozen(name, false);
    for hierarchy in hierarchies()? {
        let own = hierarchy.machine(name);
        let gone = super::wait_until(Duration::from_secs(10), || match remove_tree(&own) {
            Ok(()) => true,
            Err(_) => {
                kill_tree(&own);
                false
            }
        });
        if !gone {
            return Err(LabError::Deadline {
                what: format!("control group {} to be empty", own.display()),
            });
        }
        // Succeeds with the last machine.
        let _ = fs::remove_dir(hierarchy.mount.join(PARENT));
    }
    Ok(())
}

fn remove_tree(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(folder)
}

/// Sends SIGKILL to every process in the groups below and including `folder`.
fn kill_tree(folder: &Path) {
    for pid in fs::read_to_string(folder.join("cgroup.procs"))
        .unwrap_or_default()
        .lines()
    {
        if let Ok(pid) = pid.parse::<i32>()
            && pid > 1
        {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            kill_tree(&entry.path());
        }
    }
}

/// Kills every process of the machine, frozen ones included.
pub(crate) fn kill_all(name: &str) -> Result<(), LabError> {
    for hierarchy in hierarchies()? {
        kill_tree(&hierarchy.machine(name));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_of_both_versions_are_found() {
        let text = "\
30 24 0:26 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct
31 24 0:27 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
32 24 0:28 /sub /sys/fs/cgroup/bound rw - cgroup cgroup rw,memory
33 24 0:29 /../.. /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
";
        let found = parse(text);
        assert_eq!(
            found.iter().map(|h| h.controllers.as_deref()).collect::<Vec<_>>(),
            [Some("cpu,cpuacct"), Some("name=systemd"), None]
        );
    }
}
