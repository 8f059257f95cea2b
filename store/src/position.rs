//! Where a record stands in the history.

use timonel_api::Revision;

/// The place of one change: its revision, and its number within that revision.
///
/// As a key of an engine it is twelve bytes, big-endian, so that byte order is history order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The revision that made the change.
    pub revision: Revision,
    /// Its place among the changes of that revision, from 0.
    pub sub: u32,
}

impl Position {
    /// Where the store keeps its own notes. No change is ever at revision 0.
    pub const META: Position = Position {
        revision: Revision::ZERO,
        sub: 0,
    };

    /// The first place that a change can have.
    pub const FIRST: Position = Position {
        revision: Revision(1),
        sub: 0,
    };

    /// Returns the key under which an engine keeps the record.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&self.revision.0.to_be_bytes());
        bytes[8..].copy_from_slice(&self.sub.to_be_bytes());
        bytes
    }

    /// Reads a key back; `None` where it is not twelve bytes long.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (revision, sub) = bytes.split_first_chunk::<8>()?;
        Some(Self {
            revision: Revision(u64::from_be_bytes(*revision)),
            sub: u32::from_be_bytes(sub.try_into().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_order_is_history_order() {
        let places = [(1, 0), (1, 7), (2, 0), (255, 1), (256, 0), (u64::MAX, u32::MAX)];
        let keys: Vec<_> = places
            .iter()
            .map(|&(revision, sub)| {
                Position {
                    revision: Revision(revision),
                    sub,
                }
                .to_bytes()
            })
            .collect();
        assert!(keys.is_sorted());
        assert_eq!(
            Position::from_bytes(&keys[1]),
            Some(Position {
                revision: Revision(1),
                sub: 7
            })
        );
        assert_eq!(Position::from_bytes(b"short"), None);
    }
}
