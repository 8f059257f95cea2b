//! How many there are of something, per value.

use imbl::OrdMap;

use crate::symbol::Symbol;

/// How many per value, with what is asked of all values together kept as they change. Persistent: clones share what is equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    values: OrdMap<Symbol, i64>,
    /// How many values have a count, by count: what the least is, is asked of thousands of values.
    levels: OrdMap<i64, usize>,
    total: i64,
}

impl Counts {
    /// Returns how many there are of a value.
    pub fn get(&self, value: &Symbol) -> i64 {
        self.values.get(value).copied().unwrap_or(0)
    }

    /// Returns the symbol of a value as it stands here: finding it with that one compares no texts.
    pub fn known(&self, value: &Symbol) -> Option<&Symbol> {
        self.values.get_key_value(value).map(|(known, _)| known)
    }

    /// Returns how many values there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Tells whether there is none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Returns the sum over all values.
    pub fn total(&self) -> i64 {
        self.total
    }

    /// Returns the smallest count of any value that is there.
    pub fn least(&self) -> Option<i64> {
        self.levels.get_min().map(|(level, _)| *level)
    }

    /// Visits the values with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (&Symbol, i64)> {
        self.values.iter().map(|(value, count)| (value, *count))
    }

    /// Adds to the count of a value; one of which there is nothing any more is forgotten.
    pub fn change(&mut self, value: &Symbol, by: i64) {
        let before = self.values.get(value).copied();
        let after = before.unwrap_or(0) + by;
        self.total += by;
        if let Some(before) = before {
            self.leave(before);
        }
        if after == 0 {
            self.values.remove(value);
            return;
        }
        *self.levels.entry(after).or_insert(0) += 1;
        match self.values.get_mut(value) {
            Some(count) => *count = after,
            None => {
                self.values.insert(value.clone(), after);
            }
        }
    }

    /// Keeps a value of which there is nothing: a domain that counts although nobody is there.
    pub fn keep(&mut self, value: &Symbol) {
        if !self.values.contains_key(value) {
            self.values.insert(value.clone(), 0);
            *self.levels.entry(0).or_insert(0) += 1;
        }
    }

    fn leave(&mut self, level: i64) {
        if let Some(values) = self.levels.get_mut(&level) {
            *values -= 1;
            if *values == 0 {
                self.levels.remove(&level);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_kept_of_all_values_is_what_counting_them_gives(changes in prop::collection::vec((0u8..6, 1i64..4, any::<bool>()), 0..60)) {
            let mut counts = Counts::default();
            let mut plain: BTreeMap<u8, i64> = BTreeMap::new();
            for (value, by, away) in changes {
                let there = plain.get(&value).copied().unwrap_or(0);
                let by = if away { -by.min(there) } else { by };
                counts.change(&Symbol::new(&value.to_string()), by);
                plain.insert(value, there + by);
                plain.retain(|_, count| *count != 0);
                prop_assert_eq!(counts.least(), plain.values().copied().min());
                prop_assert_eq!(counts.total(), plain.values().sum::<i64>());
                prop_assert_eq!(counts.len(), plain.len());
                for (value, count) in &plain {
                    prop_assert_eq!(counts.get(&Symbol::new(&value.to_string())), *count);
                }
            }
        }
    }
}
