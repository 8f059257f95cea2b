//! CPU rates: what was used between two samples.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

/// Two samples that lie closer tell little; the rate before them stays.
const LEAST: Duration = Duration::from_secs(5);

/// A counter at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) at: Timestamp,
    pub(crate) cpu_nanos: u64,
}

/// The sample that the next rate starts from, and the last rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) from: Sample,
    /// Thousand millionths of a core.
    pub(crate) nano_cores: Option<u64>,
}

/// Rates by what they are of: a container's id, a group's name.
pub(crate) type Rates = BTreeMap<String, Rate>;

/// Goes on with a new sample.
pub(crate) fn next(before: Option<Rate>, sample: Sample) -> Rate {
    let fresh = Rate {
        from: sample,
        nano_cores: None,
    };
    let Some(before) = before else { return fresh };
    // A counter that goes back belongs to something else of that name.
    let Some(used) = sample.cpu_nanos.checked_sub(before.from.cpu_nanos) else {
        return fresh;
    };
    let passed = sample.at.duration_since(before.from.at);
    if passed < jiff::SignedDuration::try_from(LEAST).unwrap_or_default() {
        return before;
    }
    let nano_cores = i128::from(used) * 1_000_000_000 / passed.as_nanos().max(1);
    Rate {
        from: sample,
        nano_cores: u64::try_from(nano_cores).ok(),
    }
}

/// Goes on with all new samples; what is not sampled any more is forgotten.
pub(crate) fn advance(before: &Rates, samples: impl IntoIterator<Item = (String, Sample)>) -> Rates {
    samples
        .into_iter()
        .map(|(name, sample)| {
            let rate = next(before.get(&name).copied(), sample);
            (name, rate)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(millis: i64, cpu_nanos: u64) -> Sample {
        Sample {
            at: Timestamp::from_millisecond(millis).unwrap(),
            cpu_nanos,
        }
    }

    #[test]
    fn a_rate_is_what_was_used_over_what_passed() {
        let first = next(None, sample(0, 1_000));
        assert_eq!(first.nano_cores, None);
        let second = next(Some(first), sample(10_000, 5_000_001_000));
        assert_eq!(second.nano_cores, Some(500_000_000));
        let too_soon = next(Some(second), sample(11_000, 9_000_000_000));
        assert_eq!(too_soon, second);
        let restarted = next(Some(second), sample(20_000, 3));
        assert_eq!((restarted.nano_cores, restarted.from), (None, sample(20_000, 3)));
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let both = advance(
            &Rates::new(),
            [("a".to_owned(), sample(0, 1)), ("b".to_owned(), sample(0, 1))],
        );
        let one = advance(&both, [("b".to_owned(), sample(10_000, 11))]);
        assert_eq!(one.keys().collect::<Vec<_>>(), ["b"]);
        assert_eq!(one["b"].nano_cores, Some(1));
    }
}
