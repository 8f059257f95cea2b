//! Addresses and ranges in fields that are older than strict rules: what is refused, and which addresses lead nowhere.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use serde_json::Value;
use timonel_api::{FieldError, Path};

use super::common::wrong;

const IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// Reads an address as leniently as old servers did: IPv4 with leading zeros.
pub(crate) fn sloppy(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let octets: Option<Vec<u8>> = text
        .split('.')
        .map(|part| {
            let digits = (1..=16).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
            let number = part.trim_start_matches('0');
            digits
                .then(|| if number.is_empty() { Ok(0) } else { number.parse() })?
                .ok()
        })
        .collect();
    let octets: [u8; 4] = octets?.try_into().ok()?;
    Some(Ipv4Addr::from(octets).into())
}

/// Checks an address as upstream's strict rule does (`IsValidIPForLegacyField`).
pub(crate) fn address(text: &str) -> Vec<String> {
    let sentence = match sloppy(text) {
        None => IP,
        Some(_) if text.parse::<IpAddr>().is_err() => "must not have leading 0s",
        Some(IpAddr::V6(address)) if address.to_ipv4_mapped().is_some() => "must not be an IPv4-mapped IPv6 address",
        Some(_) => return Vec::new(),
    };
    vec![sentence.to_owned()]
}

/// Checks a range as upstream's strict rule does (`IsValidCIDRForLegacyField`).
pub(crate) fn range(text: &str) -> Vec<String> {
    let read = text.split_once('/').and_then(|(address, bits)| {
        let digits = (1..=3).contains(&bits.len()) && bits.bytes().all(|b| b.is_ascii_digit());
        let bits = digits.then(|| bits.parse::<u8>().ok())??;
        IpNet::new(sloppy(address)?, bits).ok()
    });
    let plain = text.split_once('/').is_some_and(|(address, bits)| {
        let padded = bits.len() > 1 && bits.starts_with('0');
        address.parse::<IpAddr>().is_ok() && !padded
    });
    let sentence = match read {
        None => CIDR,
        Some(_) if !plain => "must not have leading 0s in IP or prefix length",
        Some(IpNet::V6(net)) if net.addr().to_ipv4_mapped().is_some() => "must not have an IPv4-mapped IPv6 address",
        Some(net) if net.addr() != net.network() => "must not have bits set beyond the prefix length",
        Some(_) => return Vec::new(),
    };
    vec![sentence.to_owned()]
}

/// Checks a field that holds a list of addresses. What an object had before may stay.
pub(crate) fn listed(
    texts: &[Value],
    old: &[Value],
    path: &Path,
    check: fn(&str) -> Vec<String>,
    errors: &mut Vec<FieldError>,
) {
    for (index, value) in texts.iter().enumerate() {
        if let Some(text) = value.as_str().filter(|_| !old.contains(value)) {
            wrong(&path.index(index), text, check(text), errors);
        }
    }
}

/// Addresses that lead nowhere, or back to whoever asks.
pub(crate) fn special(ip: IpAddr) -> Vec<String> {
    let (link_local, link_multicast) = match ip {
        IpAddr::V4(ip) => (ip.is_link_local(), ip.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(ip) => (ip.segments()[0] & 0xffc0 == 0xfe80, ip.segments()[0] == 0xff02),
    };
    [
        (ip.is_unspecified(), format!("may not be unspecified ({ip})")),
        (
            ip.is_loopback(),
            "may not be in the loopback range (127.0.0.0/8, ::1/128)".to_owned(),
        ),
        (
            link_local,
            "may not be in the link-local range (169.254.0.0/16, fe80::/10)".to_owned(),
        ),
        (
            link_multicast,
            "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".to_owned(),
        ),
    ]
    .into_iter()
    .filter(|(applies, _)| *applies)
    .map(|(_, words)| words)
    .collect()
}

/// Checks an address, and that it leads somewhere else.
pub(crate) fn ordinary(text: &str) -> Vec<String> {
    let wrong = address(text);
    match sloppy(text) {
        Some(ip) if wrong.is_empty() => special(ip),
        _ => wrong,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_ranges_are_read_strictly() {
        let said = |sentences: Vec<String>| sentences.join("; ");
        for (text, wrong) in [
            ("10.0.0.1", ""),
            ("FE80:0:0:0:0:0:0:0abc", ""),
            ("", IP),
            ("myhost", IP),
            ("10.0.0.0/8", IP),
            ("1.1.1.01", "must not have leading 0s"),
            ("::ffff:1.1.1.1", "must not be an IPv4-mapped IPv6 address"),
        ] {
            assert_eq!(said(address(text)), wrong, "{text}");
        }
        for (text, wrong) in [
            ("10.0.0.0/8", ""),
            ("0.0.0.0/0", ""),
            ("::/0", ""),
            ("10.0.0.0", CIDR),
            ("10.0.0.0/33", CIDR),
            ("10.0.0.0/+8", CIDR),
            ("010.0.0.0/8", "must not have leading 0s in IP or prefix length"),
            ("10.0.0.0/08", "must not have leading 0s in IP or prefix length"),
            ("::ffff:10.0.0.0/120", "must not have an IPv4-mapped IPv6 address"),
            ("10.1.2.3/8", "must not have bits set beyond the prefix length"),
        ] {
            assert_eq!(said(range(text)), wrong, "{text}");
        }
        assert_eq!(
            ordinary("127.0.0.1"),
            ["may not be in the loopback range (127.0.0.0/8, ::1/128)"]
        );
    }
}
