//! What control groups use: the words of [`super::Runtime::group_usage`].

use jiff::Timestamp;

/// What the processes of a control group use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupUsage {
    /// When this was measured.
    pub at: Timestamp,
    /// CPU nanoseconds since the group was made.
    pub cpu_nanos: Option<u64>,
    /// Memory.
    pub memory: Option<MemoryUsage>,
    /// The network interfaces that the processes see, loopback left out.
    pub interfaces: Vec<InterfaceUsage>,
    /// How many processes there are.
    pub processes: Option<u64>,
}

/// Memory of a control group, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUsage {
    /// All that is accounted to the group, the page cache included.
    pub usage: u64,
    /// What the kernel could not take back at once.
    pub working_set: u64,
    /// Anonymous memory.
    pub rss: u64,
    /// Page faults.
    pub page_faults: u64,
    /// Page faults that had to wait for a disk.
    pub major_page_faults: u64,
    /// What the group may use; `None` where nothing limits it.
    pub limit: Option<u64>,
}

/// What went over a network interface since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceUsage {
    /// `eth0`
    pub name: String,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets that were received broken.
    pub rx_errors: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets that could not be sent.
    pub tx_errors: u64,
}
