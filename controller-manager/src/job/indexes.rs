//! Sets of completion indexes, in the short form in which a Job's status keeps them: `1,3-5,7`.

use std::collections::BTreeSet;
use std::fmt;

/// Indexes as intervals: sorted, not overlapping, not touching.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Indexes(Vec<(u32, u32)>);

impl Indexes {
    /// Reads the short form. Indexes from `completions` on are left out, and so is what cannot be read.
    pub(super) fn parse(text: &str, completions: u32) -> Self {
        let mut intervals = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (Ok(first), Ok(last)) = (first.trim().parse::<u32>(), last.trim().parse::<u32>()) else {
                continue;
            };
            if first <= last && first < completions {
                intervals.push((first, last.min(completions - 1)));
            }
        }
        Self::merged(intervals)
    }

    fn merged(mut intervals: Vec<(u32, u32)>) -> Self {
        intervals.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::with_capacity(intervals.len());
        for (first, last) in intervals {
            match merged.last_mut() {
                Some(previous) if first <= previous.1.saturating_add(1) => previous.1 = previous.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Self(merged)
    }

    /// Returns these and more.
    pub(super) fn with(&self, more: impl IntoIterator<Item = u32>) -> Self {
        let more = more.into_iter().map(|index| (index, index));
        Self::merged(self.0.iter().copied().chain(more).collect())
    }

    /// Returns these and those of another set.
    pub(super) fn and(&self, other: &Self) -> Self {
        Self::merged(self.0.iter().chain(&other.0).copied().collect())
    }

    pub(super) fn has(&self, index: u32) -> bool {
        let at = self.0.partition_point(|interval| interval.1 < index);
        self.0.get(at).is_some_and(|interval| interval.0 <= index)
    }

    /// How many there are.
    pub(super) fn total(&self) -> u32 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// How many are in both sets.
    pub(super) fn common(&self, other: &Self) -> u32 {
        let mut both = 0;
        for (first, last) in &self.0 {
            let from = other.0.partition_point(|interval| interval.1 < *first);
            for (low, high) in other.0[from..].iter().take_while(|interval| interval.0 <= *last) {
                both += (*high).min(*last) - (*low).max(*first) + 1;
            }
        }
        both
    }

    /// Returns the first `count` indexes below `completions` that are not among these.
    pub(super) fn first_missing(&self, count: usize, completions: u32) -> Vec<u32> {
        let mut missing = Vec::new();
        let mut next = 0;
        for (first, last) in self.0.iter().copied().chain([(completions, completions)]) {
            let room = count - missing.len();
            missing.extend((next..first.min(completions)).take(room));
            next = last.saturating_add(1);
        }
        missing
    }
}

impl From<BTreeSet<u32>> for Indexes {
    fn from(set: BTreeSet<u32>) -> Self {
        Self::default().with(set)
    }
}

impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.0.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                1 => write!(f, "{comma}{first},{last}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_short_form_is_upstreams() {
        for (text, again) in [
            ("", ""),
            ("1", "1"),
            ("0,1", "0,1"),
            ("1,3-5,7", "1,3-5,7"),
            ("3-4,9", "3,4,9"),
        ] {
            assert_eq!(Indexes::parse(text, 10).to_string(), again);
        }
        assert_eq!(
            Indexes::parse("1,3-5,7", 5).to_string(),
            "1,3,4",
            "indexes that are too large go"
        );
        assert_eq!(
            Indexes::parse("x,2,-,9-1", 10).to_string(),
            "2",
            "nonsense is passed over"
        );
    }

    proptest! {
        #[test]
        fn intervals_are_sets(one in prop::collection::btree_set(0_u32..40, 0..30), two in prop::collection::btree_set(0_u32..40, 0..30), count in 0_usize..50) {
            let (a, b) = (Indexes::from(one.clone()), Indexes::from(two.clone()));
            prop_assert_eq!(a.total() as usize, one.len());
            prop_assert_eq!(a.common(&b) as usize, one.intersection(&two).count());
            prop_assert_eq!(a.and(&b), Indexes::from(&one | &two));
            prop_assert!((0..45).all(|index| a.has(index) == one.contains(&index)));
            prop_assert_eq!(Indexes::parse(&a.to_string(), 40), a.clone());
            let missing: Vec<u32> = (0..40).filter(|index| !one.contains(index)).take(count).collect();
            prop_assert_eq!(a.first_missing(count, 40), missing);
        }
    }
}
