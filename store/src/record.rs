//! How a change is written down, and how it is told from a damaged one.
//!
//! ```text
//! 0  format (1)          8  value length u32      28 time, ms since 1970 u64    40 key
//! 1  flags (1: deletion) 12 create revision u64   36 head crc u32               .. value
//! 4  key length u32      20 version u64                                         .. value crc u32
//! ```
//!
//! Numbers are big-endian. The head's CRC-32C covers the record's position too, so that a record in the wrong place is
//! noticed; the value's starts from the head's, so that a value cannot change owners. With two sums a damaged value
//! still tells whose it was.

use std::time::{Duration, SystemTime};

use bytes::{BufMut as _, Bytes};
use timonel_api::Revision;

use crate::draft::Change;
use crate::index::Version;
use crate::position::Position;

const FORMAT: u8 = 1;
const DELETION: u8 = 1;
const HEAD: usize = 40;
const SUM: usize = 4;

/// What a record says, but for the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) key: String,
    pub(crate) version: Version,
    pub(crate) time: SystemTime,
    value_at: usize,
    value_len: usize,
    sum: u32,
}

/// How a record is damaged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Corrupt {
    /// Not even the key can be trusted.
    #[error("its head is damaged")]
    Head,
    /// The key is known, the value is not whole.
    #[error("the value of {key} is damaged")]
    Value {
        /// Whose value.
        key: String,
    },
}

/// Writes a change down.
pub(crate) fn encode(change: &Change, time: SystemTime) -> Vec<u8> {
    let value = change.value.as_deref().unwrap_or_default();
    encode_parts(&change.key, change.version, value, time)
}

pub(crate) fn encode_parts(key: &str, version: Version, value: &[u8], time: SystemTime) -> Vec<u8> {
    let mut record = Vec::with_capacity(HEAD + key.len() + value.len() + SUM);
    record.put_slice(&[FORMAT, if version.live { 0 } else { DELETION }, 0, 0]);
    // Both lengths are bounded when a transaction is decided.
    record.put_u32(u32::try_from(key.len()).unwrap_or(u32::MAX));
    record.put_u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
    record.put_u64(version.create_revision.0);
    record.put_u64(version.version);
    record.put_u64(to_millis(time));
    let sum = head_sum(version.position, &record, key.as_bytes());
    record.put_u32(sum);
    record.put_slice(key.as_bytes());
    record.put_slice(value);
    record.put_u32(crc32c::crc32c_append(sum, value));
    record
}

/// Reads the head and checks it.
pub(crate) fn head(position: Position, record: &[u8]) -> Result<Head, Corrupt> {
    let (fixed, rest) = record.split_at_checked(HEAD).ok_or(Corrupt::Head)?;
    let key = rest.get(..number32(fixed, 4) as usize).ok_or(Corrupt::Head)?;
    let sum = number32(fixed, 36);
    if fixed[0] != FORMAT || sum != head_sum(position, &fixed[..36], key) {
        return Err(Corrupt::Head);
    }
    Ok(Head {
        key: String::from_utf8(key.to_vec()).map_err(|_| Corrupt::Head)?,
        version: Version {
            position,
            create_revision: Revision(number64(fixed, 12)),
            version: number64(fixed, 20),
            live: fixed[1] & DELETION == 0,
        },
        time: from_millis(number64(fixed, 28)),
        value_at: HEAD + key.len(),
        value_len: number32(fixed, 8) as usize,
        sum,
    })
}

impl Head {
    /// Checks the value and returns where it is in the record.
    pub(crate) fn value(&self, record: &[u8]) -> Result<std::ops::Range<usize>, Corrupt> {
        let range = self.value_at..self.value_at + self.value_len;
        let whole = record
            .get(range.clone())
            .zip(record.get(range.end..))
            .is_some_and(|(value, sum)| sum == crc32c::crc32c_append(self.sum, value).to_be_bytes());
        if whole {
            Ok(range)
        } else {
            Err(Corrupt::Value { key: self.key.clone() })
        }
    }
}

/// Reads and checks a whole record.
pub(crate) fn decode(position: Position, record: Vec<u8>) -> Result<(Head, Bytes), (Corrupt, Vec<u8>)> {
    let checked = head(position, &record).and_then(|head| head.value(&record).map(|range| (head, range)));
    match checked {
        Ok((head, range)) => Ok((head, Bytes::from(record).slice(range))),
        Err(corrupt) => Err((corrupt, record)),
    }
}

/// The store's own note, at [`Position::META`]: how far the history reaches. It outlives the records that say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) oldest: Revision,
    pub(crate) current: Revision,
}

impl Meta {
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut bytes = vec![FORMAT];
        bytes.put_u64(self.oldest.0);
        bytes.put_u64(self.current.0);
        bytes.put_u32(crc32c::crc32c(&bytes));
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, sum) = bytes.split_at_checked(17)?;
        if body[0] != FORMAT || sum != crc32c::crc32c(body).to_be_bytes() {
            return None;
        }
        Some(Self {
            oldest: Revision(number64(body, 1)),
            current: Revision(number64(body, 9)),
        })
    }
}

fn head_sum(position: Position, fixed: &[u8], key: &[u8]) -> u32 {
    let sum = crc32c::crc32c(&position.to_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(sum, fixed), key)
}

pub(crate) fn number32(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..)
        .and_then(<[u8]>::first_chunk)
        .map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

pub(crate) fn number64(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at..)
        .and_then(<[u8]>::first_chunk)
        .map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

fn to_millis(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn from_millis(millis: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_millis(millis))
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (Position, Vec<u8>) {
        let position = Position {
            revision: Revision(7),
            sub: 1,
        };
        let version = Version {
            position,
            create_revision: Revision(5),
            version: 2,
            live: true,
        };
        (
            position,
            encode_parts("/registry/pods/a", version, b"value", from_millis(1234)),
        )
    }

    #[test]
    fn a_record_reads_back() {
        let (position, record) = sample();
        let (head, value) = decode(position, record).unwrap();
        assert_eq!((head.key.as_str(), &value[..]), ("/registry/pods/a", &b"value"[..]));
        assert_eq!(head.version.create_revision, Revision(5));
        assert_eq!(head.time, from_millis(1234));
    }

    #[test]
    fn every_flipped_bit_and_every_missing_tail_is_noticed() {
        let (position, record) = sample();
        for bit in 0..record.len() * 8 {
            let mut damaged = record.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(position, damaged).is_err(), "bit {bit}");
        }
        for len in 0..record.len() {
            assert!(decode(position, record[..len].to_vec()).is_err(), "length {len}");
        }
        assert!(decode(Position { sub: 2, ..position }, record).is_err());
    }

    #[test]
    fn a_note_reads_back() {
        let meta = Meta {
            oldest: Revision(3),
            current: Revision(9),
        };
        assert_eq!(Meta::decode(&meta.encode()), Some(meta));
        assert_eq!(Meta::decode(b"nonsense"), None);
    }
}
