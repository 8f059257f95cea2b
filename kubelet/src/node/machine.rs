//! What the machine says about itself.

use std::path::Path;

use crate::config::{Capacity, Config};

/// Facts that do not change while the kubelet runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    pub(crate) capacity: Option<Capacity>,
    pub(crate) boot_id: String,
    pub(crate) machine_id: String,
    pub(crate) system_uuid: String,
    pub(crate) kernel: String,
    pub(crate) os_image: String,
    pub(crate) architecture: &'static str,
}

/// What there is of something that can run short.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pressure {
    pub(crate) memory_available: Option<i64>,
    pub(crate) disk_available_percent: Option<i64>,
    pub(crate) pids_left_percent: Option<i64>,
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// Reads a line such as `MemTotal:  123 kB` in bytes.
fn meminfo(field: &str) -> Option<i64> {
    let text = read("/proc/meminfo");
    let line = text.lines().find(|line| line.starts_with(field))?;
    let kib: i64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

fn disk(path: &Path) -> Option<(i64, i64)> {
    // The folder may not exist yet.
    let existing = path.ancestors().find(|path| path.exists())?;
    let stat = rustix::fs::statvfs(existing).ok()?;
    let size = |blocks: u64| i64::try_from(blocks.saturating_mul(stat.f_frsize)).unwrap_or(i64::MAX);
    Some((size(stat.f_blocks), size(stat.f_bavail)))
}

/// A file system and what is left of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Disk {
    pub(crate) capacity: u64,
    pub(crate) free: u64,
    /// Of what is free, what is not kept for the administrator.
    pub(crate) available: u64,
    pub(crate) inodes: u64,
    pub(crate) inodes_free: u64,
}

/// The file system on which pods write.
pub(crate) fn disk_of(config: &Config) -> Option<Disk> {
    if config.hollow {
        return None;
    }
    let existing = config.root_dir.ancestors().find(|path| path.exists())?;
    let stat = rustix::fs::statvfs(existing).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Some(Disk {
        capacity: bytes(stat.f_blocks),
        free: bytes(stat.f_bfree),
        available: bytes(stat.f_bavail),
        inodes: stat.f_files,
        inodes_free: stat.f_ffree,
    })
}

/// When the machine was started.
pub(crate) fn booted(config: &Config) -> Option<jiff::Timestamp> {
    if config.hollow {
        return None;
    }
    let text = read("/proc/stat");
    let seconds = text
        .lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()?;
    jiff::Timestamp::from_second(seconds).ok()
}

impl Machine {
    /// Asks the machine; a hollow node knows only what its configuration says.
    pub(crate) fn observe(config: &Config) -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        if config.hollow {
            return Self {
                capacity: config.capacity,
                kernel: "hollow".to_owned(),
                os_image: "Timonel hollow node".to_owned(),
                boot_id: format!("hollow-{}", config.node_name),
                machine_id: format!("hollow-{}", config.node_name),
                system_uuid: format!("hollow-{}", config.node_name),
                architecture,
            };
        }
        let cpus = std::thread::available_parallelism().map_or(1, |count| i64::try_from(count.get()).unwrap_or(1));
        let measured = Capacity {
            milli_cpu: cpus * 1000,
            memory: meminfo("MemTotal").unwrap_or_default(),
            disk: disk(&config.root_dir).map_or(0, |(size, _)| size),
        };
        let release = read("/etc/os-release");
        let pretty = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
        Self {
            capacity: Some(config.capacity.unwrap_or(measured)),
            boot_id: read("/proc/sys/kernel/random/boot_id"),
            machine_id: read("/etc/machine-id"),
            system_uuid: read("/sys/class/dmi/id/product_uuid"),
            kernel: read("/proc/sys/kernel/osrelease"),
            os_image: pretty.unwrap_or("Linux").trim_matches('"').to_owned(),
            architecture,
        }
    }

    /// Looks at what may run short now.
    pub(crate) fn pressure(config: &Config) -> Pressure {
        if config.hollow {
            return Pressure::default();
        }
        let pids_left_percent = (|| {
            let most: i64 = read("/proc/sys/kernel/pid_max").parse().ok()?;
            let text = read("/proc/loadavg");
            let now: i64 = text.split_whitespace().nth(3)?.split('/').nth(1)?.parse().ok()?;
            Some((most - now) * 100 / most.max(1))
        })();
        Pressure {
            memory_available: meminfo("MemAvailable"),
            disk_available_percent: disk(&config.root_dir).map(|(size, free)| free * 100 / size.max(1)),
            pids_left_percent,
        }
    }
}
