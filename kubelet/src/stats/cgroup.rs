//! Reads control groups, of version 1 and of version 2. What cannot be read is missing, never zero.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::network;
use crate::runtime::{GroupUsage, MemoryUsage};

/// How deep below a pod's group its containers' groups are looked for.
const DEPTH: usize = 3;

/// A control-group file system, mounted somewhere, and the `/proc` that goes with it.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    root: PathBuf,
    proc: PathBuf,
}

impl Default for Files {
    fn default() -> Self {
        Self {
            root: "/sys/fs/cgroup".into(),
            proc: "/proc".into(),
        }
    }
}

impl Files {
    #[cfg(test)]
    pub(crate) fn at(root: &Path, proc: &Path) -> Self {
        Self {
            root: root.to_owned(),
            proc: proc.to_owned(),
        }
    }

    fn unified(&self) -> bool {
        self.root.join("cgroup.controllers").exists()
    }

    /// Reads what a group uses; `/` is the whole machine. `None` where there is no such group.
    pub(crate) fn read(&self, group: &str, at: Timestamp) -> Option<GroupUsage> {
        let group = group.trim_matches('/');
        let usage = if self.unified() {
            self.read_v2(&self.root.join(group), at)
        } else {
            self.read_v1(group, at)
        };
        let empty = usage.cpu_nanos.is_none() && usage.memory.is_none();
        (!empty).then_some(usage)
    }

    fn read_v2(&self, dir: &Path, at: Timestamp) -> GroupUsage {
        let whole = dir == self.root;
        let cpu_nanos = text(&dir.join("cpu.stat"))
            .and_then(|text| fields(&text).get("usage_usec").copied())
            .map(|micros| micros.saturating_mul(1000));
        let stat = text(&dir.join("memory.stat"));
        let memory = match text(&dir.join("memory.current")) {
            Some(current) => memory_v2(&current, stat.as_deref(), text(&dir.join("memory.max")).as_deref()),
            // The root group of version 2 has no such file.
            None if whole => {
                text(&self.proc.join("meminfo")).and_then(|text| memory_of_machine(&text, stat.as_deref()))
            }
            None => None,
        };
        GroupUsage {
            at,
            cpu_nanos,
            memory,
            interfaces: self.interfaces(dir, whole),
            processes: text(&dir.join("pids.current")).and_then(|text| text.parse().ok()),
        }
    }

    fn read_v1(&self, group: &str, at: Timestamp) -> GroupUsage {
        let controller = |names: &[&str]| {
            let dirs = names.iter().map(|name| self.root.join(name).join(group));
            dirs.into_iter().find(|dir| dir.is_dir())
        };
        let cpu = controller(&["cpuacct", "cpu,cpuacct", "cpuacct,cpu"]);
        let memory = controller(&["memory"]);
        let pids = controller(&["pids"]);
        let cpu_nanos = cpu
            .as_ref()
            .and_then(|dir| text(&dir.join("cpuacct.usage"))?.parse().ok());
        let usage = memory.as_ref().and_then(|dir| {
            memory_v1(
                &text(&dir.join("memory.usage_in_bytes"))?,
                &text(&dir.join("memory.stat")).unwrap_or_default(),
                text(&dir.join("memory.limit_in_bytes")).as_deref(),
            )
        });
        let whole = group.is_empty();
        let interfaces = [&cpu, &memory, &pids]
            .into_iter()
            .flatten()
            .map(|dir| self.interfaces(dir, whole))
            .find(|found| !found.is_empty());
        GroupUsage {
            at,
            cpu_nanos,
            memory: usage,
            interfaces: interfaces.unwrap_or_default(),
            processes: pids.and_then(|dir| text(&dir.join("pids.current"))?.parse().ok()),
        }
    }

    /// Any process of the group sees the interfaces that all of them share.
    fn interfaces(&self, dir: &Path, whole: bool) -> Vec<crate::runtime::InterfaceUsage> {
        let process = if whole {
            Some("self".to_owned())
        } else {
            first_process(dir, DEPTH)
        };
        let counted = process.and_then(|process| text(&self.proc.join(process).join("net/dev")));
        counted.map(|text| network::parse(&text)).unwrap_or_default()
    }
}

fn text(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned())
}

/// Finds a process in a group or in one below it.
fn first_process(dir: &Path, depth: usize) -> Option<String> {
    let own = text(&dir.join("cgroup.procs")).unwrap_or_default();
    // 0 is a process of another PID namespace.
    if let Some(process) = own.lines().find(|line| !line.is_empty() && *line != "0") {
        return Some(process.to_owned());
    }
    if depth == 0 {
        return None;
    }
    let entries = std::fs::read_dir(dir).ok()?.flatten();
    let mut below: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    below.sort();
    below.iter().find_map(|dir| first_process(dir, depth - 1))
}

/// Reads lines of a name and a number.
fn fields(text: &str) -> BTreeMap<&str, u64> {
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    pairs
        .filter_map(|(name, value)| Some((name, value.trim().parse().ok()?)))
        .collect()
}

/// The working set as upstream has it: what is used without the file pages that were not touched lately.
fn working_set(usage: u64, inactive_file: u64) -> u64 {
    usage.saturating_sub(inactive_file)
}

/// Version 1 writes "no limit" as the largest number of whole pages.
const UNLIMITED: u64 = 1 << 62;

fn memory_v1(usage: &str, stat: &str, limit: Option<&str>) -> Option<MemoryUsage> {
    let usage = usage.parse().ok()?;
    let stat = fields(stat);
    let total = |name: &str| stat.get(name).copied().unwrap_or_default();
    Some(MemoryUsage {
        usage,
        working_set: working_set(usage, total("total_inactive_file")),
        rss: total("total_rss"),
        page_faults: total("total_pgfault"),
        major_page_faults: total("total_pgmajfault"),
        limit: limit
            .and_then(|text| text.parse().ok())
            .filter(|limit| *limit < UNLIMITED),
    })
}

fn memory_v2(current: &str, stat: Option<&str>, max: Option<&str>) -> Option<MemoryUsage> {
    let usage = current.parse().ok()?;
    let stat = fields(stat.unwrap_or_default());
    let total = |name: &str| stat.get(name).copied().unwrap_or_default();
    Some(MemoryUsage {
        usage,
        working_set: working_set(usage, total("inactive_file")),
        rss: total("anon"),
        page_faults: total("pgfault"),
        major_page_faults: total("pgmajfault"),
        limit: max.and_then(|text| text.parse().ok()),
    })
}

/// The memory of the whole machine, from `/proc/meminfo`.
fn memory_of_machine(meminfo: &str, stat: Option<&str>) -> Option<MemoryUsage> {
    let bytes = |name: &str| -> Option<u64> {
        let line = meminfo
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
        kib.checked_mul(1024)
    };
    let usage = bytes("MemTotal")?.saturating_sub(bytes("MemFree")?);
    let stat = fields(stat.unwrap_or_default());
    let total = |name: &str| stat.get(name).copied().unwrap_or_default();
    Some(MemoryUsage {
        usage,
        working_set: working_set(usage, bytes("Inactive(file)").unwrap_or_default()),
        rss: bytes("AnonPages").unwrap_or_default(),
        page_faults: total("pgfault"),
        major_page_faults: total("pgmajfault"),
        limit: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, format!("{content}\n")).unwrap();
        }
        dir
    }

    const DEV: &str = "Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0
  eth0:    1500      12    3    0    0     0          0         0      700       9    4    0    0     0       0          0";

    #[test]
    fn version_1_is_read_from_its_controllers() {
        let dir = tree(&[
            ("cg/cpuacct/kubepods/podx/cpuacct.usage", "12345678901"),
            ("cg/cpuacct/kubepods/podx/c1/cgroup.procs", "0\n42"),
            ("cg/memory/kubepods/podx/memory.usage_in_bytes", "1000000"),
            (
                "cg/memory/kubepods/podx/memory.stat",
                "inactive_file 1\ntotal_rss 300000\ntotal_inactive_file 400000\ntotal_pgfault 7\ntotal_pgmajfault 2",
            ),
            ("cg/memory/kubepods/podx/memory.limit_in_bytes", "9223372036854771712"),
            ("cg/pids/kubepods/podx/pids.current", "5"),
            ("proc/42/net/dev", DEV),
        ]);
        let files = Files::at(&dir.path().join("cg"), &dir.path().join("proc"));
        let usage = files.read("/kubepods/podx", Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(usage.cpu_nanos, Some(12_345_678_901));
        assert_eq!(usage.processes, Some(5));
        assert_eq!(
            usage.memory,
            Some(MemoryUsage {
                usage: 1_000_000,
                working_set: 600_000,
                rss: 300_000,
                page_faults: 7,
                major_page_faults: 2,
                limit: None,
            })
        );
        let [eth0] = usage.interfaces.as_slice() else {
            panic!("{:?}", usage.interfaces)
        };
        assert_eq!(
            (
                eth0.name.as_str(),
                eth0.rx_bytes,
                eth0.rx_errors,
                eth0.tx_bytes,
                eth0.tx_errors
            ),
            ("eth0", 1500, 3, 700, 4)
        );
        assert_eq!(files.read("/kubepods/gone", Timestamp::UNIX_EPOCH), None);
    }

    #[test]
    fn version_2_is_read_from_one_folder() {
        let dir = tree(&[
            ("cg/cgroup.controllers", "cpu memory pids"),
            (
                "cg/kubepods/podx/cpu.stat",
                "usage_usec 5000001\nuser_usec 1\nsystem_usec 2",
            ),
            ("cg/kubepods/podx/memory.current", "100"),
            ("cg/kubepods/podx/memory.max", "4096"),
            (
                "cg/kubepods/podx/memory.stat",
                "anon 30\nfile 60\ninactive_file 120\npgfault 9\npgmajfault 1",
            ),
        ]);
        let files = Files::at(&dir.path().join("cg"), &dir.path().join("proc"));
        let usage = files.read("kubepods/podx", Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(usage.cpu_nanos, Some(5_000_001_000));
        let memory = usage.memory.unwrap();
        assert_eq!((memory.usage, memory.working_set, memory.rss), (100, 0, 30));
        assert_eq!((memory.limit, memory.page_faults), (Some(4096), 9));
        assert!(usage.interfaces.is_empty() && usage.processes.is_none());
    }

    #[test]
    fn the_machine_itself_is_asked_where_the_root_group_keeps_no_account() {
        let dir = tree(&[
            ("cg/cgroup.controllers", "cpu memory pids"),
            ("cg/cpu.stat", "usage_usec 7"),
            ("cg/memory.stat", "pgfault 11"),
            (
                "proc/meminfo",
                "MemTotal:       1000 kB\nMemFree:         200 kB\nInactive(file):  300 kB\nAnonPages:       100 kB",
            ),
            ("proc/self/net/dev", DEV),
        ]);
        let files = Files::at(&dir.path().join("cg"), &dir.path().join("proc"));
        let usage = files.read("/", Timestamp::UNIX_EPOCH).unwrap();
        let memory = usage.memory.unwrap();
        assert_eq!((memory.usage, memory.working_set), (800 << 10, 500 << 10));
        assert_eq!((memory.rss, memory.page_faults), (100 << 10, 11));
        assert_eq!(usage.cpu_nanos, Some(7000));
        assert_eq!(usage.interfaces.len(), 1);
    }
}
