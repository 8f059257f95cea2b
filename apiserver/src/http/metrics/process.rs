//! What the system knows of this process, from `/proc/self`.

use std::fs;

use super::text::Text;

/// `USER_HZ`, in which Linux tells times to programs, whatever the kernel's own.
const TICKS: f64 = 100.0;

/// A line `NAME: 123 kB` of `/proc/self/status`, in bytes.
fn kilobytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = line.trim_start_matches(':').split_whitespace().next()?.parse().ok()?;
    Some(number * 1024)
}

/// The fields of `/proc/self/stat` after the command's name, which may hold anything.
fn stat() -> Option<Vec<f64>> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    Some(
        rest.split_whitespace()
            .map(|field| field.parse().unwrap_or(0.0))
            .collect(),
    )
}

fn booted() -> Option<f64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()
}

fn max_files() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/limits").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Adds what can be found out; a system without `/proc` adds nothing.
pub(super) fn render(text: &mut Text) {
    if let Ok(status) = fs::read_to_string("/proc/self/status") {
        let sizes = [
            (
                "process_resident_memory_bytes",
                "VmRSS",
                "Resident memory size in bytes.",
            ),
            (
                "process_virtual_memory_bytes",
                "VmSize",
                "Virtual memory size in bytes.",
            ),
        ];
        for (name, line, help) in sizes {
            if let Some(bytes) = kilobytes(&status, line) {
                text.one(name, "gauge", help, bytes);
            }
        }
    }
    if let Some(fields) = stat() {
        // utime and stime are the 14th and 15th field of the file, starttime is the 22nd; the state, the third, is our first.
        if let (Some(user), Some(system)) = (fields.get(11), fields.get(12)) {
            let help = "Total user and system CPU time spent in seconds.";
            text.one("process_cpu_seconds_total", "counter", help, (user + system) / TICKS);
        }
        if let (Some(started), Some(booted)) = (fields.get(19), booted()) {
            let help = "Start time of the process since unix epoch in seconds.";
            text.one("process_start_time_seconds", "gauge", help, booted + started / TICKS);
        }
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        let help = "Number of open file descriptors.";
        // One of them reads the folder.
        text.one("process_open_fds", "gauge", help, open.count().saturating_sub(1));
    }
    if let Some(max) = max_files() {
        let help = "Maximum number of open file descriptors.";
        text.one("process_max_fds", "gauge", help, max);
    }
}
