//! What simulated containers use: a script's rate, summed up over the time that it held.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::State;
use crate::runtime::{ContainerState, GroupUsage, MemoryUsage};

/// What a simulated machine holds besides its containers.
const MACHINE_BYTES: u64 = 64 << 20;

/// Counters by container id, and the node's, which goes on when containers end.
#[derive(Debug, Default)]
pub(super) struct Meters {
    each: BTreeMap<String, Meter>,
    total: u64,
}

#[derive(Clone, Copy, Debug)]
struct Meter {
    at: Timestamp,
    cpu_nanos: u64,
}

impl Meters {
    /// Counts on for the containers that run: id, since when, thousandths of a CPU. What does not run any more is forgotten.
    pub(super) fn advance(&mut self, running: Vec<(String, Timestamp, u64)>, now: Timestamp) {
        let before = std::mem::take(&mut self.each);
        for (id, started, milli_cpu) in running {
            let from = before.get(&id).filter(|meter| meter.at >= started);
            let meter = from.copied().unwrap_or(Meter {
                at: started,
                cpu_nanos: 0,
            });
            let passed = u64::try_from(now.duration_since(meter.at).as_nanos()).unwrap_or_default();
            let used = (passed / 1000).saturating_mul(milli_cpu);
            self.total = self.total.saturating_add(used);
            let cpu_nanos = meter.cpu_nanos.saturating_add(used);
            self.each.insert(id, Meter { at: now, cpu_nanos });
        }
    }

    pub(super) fn cpu_nanos(&self, id: &str) -> u64 {
        self.each.get(id).map_or(0, |meter| meter.cpu_nanos)
    }
}

impl State {
    /// What a control group would use if there were any: `/` holds everything, `.../podUID` a pod, `.../ID` a container.
    pub(super) fn group_usage(&self, group: &str, at: Timestamp) -> Option<GroupUsage> {
        let last = group.rsplit('/').next().unwrap_or_default();
        let members: Vec<_> = self
            .containers
            .values()
            .filter(|container| matches!(container.state, ContainerState::Running { .. }))
            .filter(|container| {
                last.is_empty() || container.id == last || last.strip_prefix("pod") == Some(container.pod_uid.as_str())
            })
            .collect();
        if members.is_empty() && !last.is_empty() {
            return None;
        }
        let each = members.iter().map(|container| self.meters.cpu_nanos(&container.id));
        let cpu_nanos = if last.is_empty() { self.meters.total } else { each.sum() };
        let bytes: u64 = members
            .iter()
            .map(|container| self.behaviour(container).memory_bytes)
            .sum();
        let bytes = if last.is_empty() { bytes + MACHINE_BYTES } else { bytes };
        Some(GroupUsage {
            at,
            cpu_nanos: Some(cpu_nanos),
            memory: Some(MemoryUsage {
                usage: bytes,
                working_set: bytes,
                rss: bytes,
                ..MemoryUsage::default()
            }),
            interfaces: Vec::new(),
            processes: u64::try_from(members.len()).ok(),
        })
    }
}
