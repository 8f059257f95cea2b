//! Short names for contents: what templates and revisions are told apart by.

/// Letters and digits that cannot form words, as upstream's `SafeEncodeString`.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Hashes text and a collision count into about ten letters.
///
/// Upstream hashes Go's dump of a structure with FNV-1a; clients only compare and select by the outcome, so the text here is JSON.
pub(crate) fn letters(text: &str, collisions: i32) -> String {
    let mut bytes = text.as_bytes().to_vec();
    if collisions > 0 {
        bytes.extend_from_slice(&collisions.to_le_bytes());
    }
    let hash = bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    });
    hash.to_string()
        .bytes()
        .map(|digit| char::from(LETTERS[usize::from(digit) % LETTERS.len()]))
        .collect()
}
