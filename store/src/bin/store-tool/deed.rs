//! What the writer that is to be killed does, as a pure function: shared with the torture, which must know what should be there.

use bytes::Bytes;
use timonel_store::Op;

const KEYS: u64 = 12;

/// What task `task` does as its `number`th operation: mostly puts of up to 12 KiB, some deletions.
pub(crate) fn deed(seed: u64, task: u64, number: u64) -> Op {
    let mix = mix(seed ^ (task << 56) ^ number);
    let key = format!("/torture/{task}/{}", mix % KEYS);
    if mix >> 8 & 7 == 0 {
        return Op::Delete(key);
    }
    let len = usize::try_from((mix >> 16) % 12_288).unwrap_or(0);
    let mut value = format!("{seed} {task} {number} ").into_bytes();
    value.resize(value.len() + len, (mix >> 40 & 0xff).to_le_bytes()[0]);
    Op::Put(key, Bytes::from(value))
}

fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
