//! Reads `/proc/PID/net/dev`.

use crate::runtime::InterfaceUsage;

/// Reads the counters of all interfaces but loopback.
pub(crate) fn parse(text: &str) -> Vec<InterfaceUsage> {
    let mut found: Vec<InterfaceUsage> = text.lines().filter_map(interface).collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

fn interface(line: &str) -> Option<InterfaceUsage> {
    let (name, counters) = line.split_once(':')?;
    let name = name.trim();
    if name == "lo" {
        return None;
    }
    let counters: Vec<u64> = counters
        .split_whitespace()
        .map_while(|number| number.parse().ok())
        .collect();
    let [rx_bytes, _, rx_errors, _, _, _, _, _, tx_bytes, _, tx_errors, ..] = counters.as_slice() else {
        return None;
    };
    Some(InterfaceUsage {
        name: name.to_owned(),
        rx_bytes: *rx_bytes,
        rx_errors: *rx_errors,
        tx_bytes: *tx_bytes,
        tx_errors: *tx_errors,
    })
}
