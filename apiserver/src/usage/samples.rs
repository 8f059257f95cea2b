//! The last two samples of everything, and what was used between them. Pure; the rules are metrics-server's (`pkg/storage`).

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use timonel_api::ObjectKey;

/// How often nodes are asked; metrics-server's `--metric-resolution`.
pub(super) const RESOLUTION: Duration = Duration::from_secs(15);
/// A container that has run for less has used too little to tell a rate from its start.
const FRESH: SignedDuration = SignedDuration::from_secs(10);

/// A sample of a node or of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point {
    /// Since when it counts; nodes do not say.
    pub(super) started: Option<Timestamp>,
    pub(super) at: Timestamp,
    pub(super) cpu_nanos: u64,
    /// Bytes.
    pub(super) memory: u64,
}

/// What all nodes told at one time.
#[derive(Clone, Debug, Default)]
pub(super) struct Batch {
    pub(super) nodes: BTreeMap<String, Point>,
    pub(super) pods: BTreeMap<ObjectKey, BTreeMap<String, Point>>,
}

/// The last two batches, point by point.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples {
    last: Batch,
    before: Batch,
}

/// What was used between two points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Used {
    pub(super) at: Timestamp,
    pub(super) window: Duration,
    /// Thousand millionths of a core.
    pub(super) nano_cores: u64,
    /// Bytes.
    pub(super) memory: u64,
}

impl Samples {
    /// Goes on with a new batch. What is not in it is forgotten.
    pub(super) fn next(&self, batch: Batch) -> Self {
        let mut before = Batch::default();
        for (name, point) in &batch.nodes {
            let known = [&self.last, &self.before].map(|batch| batch.nodes.get(name).copied());
            let earlier = known.into_iter().flatten().find(|known| known.at < point.at);
            before.nodes.extend(earlier.map(|earlier| (name.clone(), earlier)));
        }
        for (pod, containers) in &batch.pods {
            let known = [&self.last, &self.before].map(|batch| batch.pods.get(pod));
            let earlier: BTreeMap<String, Point> = containers
                .iter()
                .filter_map(|(name, point)| {
                    let known = known.map(|pod| pod.and_then(|pod| pod.get(name)).copied());
                    Some((name.clone(), earlier(point, known)?))
                })
                .collect();
            if !earlier.is_empty() {
                before.pods.insert(pod.clone(), earlier);
            }
        }
        Self { last: batch, before }
    }

    /// What a node uses.
    pub(super) fn node(&self, name: &str) -> Option<Used> {
        used(self.last.nodes.get(name)?, self.before.nodes.get(name)?)
    }

    /// What each container of a pod uses; nothing unless all of them are known.
    pub(super) fn pod(&self, pod: &ObjectKey) -> Option<BTreeMap<String, Used>> {
        let (last, before) = (self.last.pods.get(pod)?, self.before.pods.get(pod)?);
        last.iter()
            .map(|(name, point)| Some((name.clone(), used(point, before.get(name)?)?)))
            .collect()
    }
}

/// The point from which a container's usage is counted: its start, if that was since the last round; else the sample before, unless
/// the container has been started anew since.
fn earlier(point: &Point, known: [Option<Point>; 2]) -> Option<Point> {
    if let Some(started) = point.started {
        let age = point.at.duration_since(started);
        let resolution = SignedDuration::try_from(RESOLUTION).unwrap_or(SignedDuration::MAX);
        if age >= FRESH && age < resolution {
            return Some(Point {
                at: started,
                cpu_nanos: 0,
                ..*point
            });
        }
    }
    let same = |known: &Point| point.started.is_none_or(|started| started < known.at);
    known
        .into_iter()
        .flatten()
        .find(|known| known.at < point.at && same(known))
}

fn used(last: &Point, before: &Point) -> Option<Used> {
    if last.started < before.started {
        return None;
    }
    let nanos = last.cpu_nanos.checked_sub(before.cpu_nanos)?;
    let window = Duration::try_from(last.at.duration_since(before.at)).ok()?;
    if window.is_zero() {
        return None;
    }
    let nano_cores = u128::from(nanos) * 1_000_000_000 / window.as_nanos();
    Some(Used {
        at: last.at,
        window,
        nano_cores: u64::try_from(nano_cores).ok()?,
        memory: last.memory,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn point(started: i64, seconds: i64, cpu_seconds: u64) -> Point {
        Point {
            started: Some(at(started)),
            at: at(seconds),
            cpu_nanos: cpu_seconds * 1_000_000_000,
            memory: 4096,
        }
    }

    fn pod(containers: &[(&str, Point)]) -> Batch {
        let containers = containers.iter().map(|(name, point)| ((*name).to_owned(), *point));
        Batch {
            pods: BTreeMap::from([(key(), containers.collect())]),
            ..Batch::default()
        }
    }

    fn key() -> ObjectKey {
        ObjectKey::new("default", "web-0")
    }

    fn web(samples: &Samples) -> Option<(u64, u64)> {
        let used = samples.pod(&key())?["web"];
        Some((used.nano_cores, used.window.as_secs()))
    }

    #[test]
    fn one_sample_tells_nothing_and_two_tell_a_rate() {
        let one = Samples::default().next(pod(&[("web", point(0, 100, 10))]));
        assert_eq!(web(&one), None);
        let two = one.next(pod(&[("web", point(0, 115, 25))]));
        assert_eq!(web(&two), Some((1_000_000_000, 15)));
        let gone = two.next(Batch::default());
        assert_eq!(web(&gone), None);
    }

    #[test]
    fn a_sample_told_twice_changes_nothing() {
        let two = Samples::default()
            .next(pod(&[("web", point(0, 100, 10))]))
            .next(pod(&[("web", point(0, 115, 25))]));
        let again = two.next(pod(&[("web", point(0, 115, 25))]));
        assert_eq!(web(&again), web(&two));
    }

    #[test]
    fn a_fresh_container_is_measured_from_its_start() {
        let fresh = Samples::default().next(pod(&[("web", point(88, 100, 6))]));
        assert_eq!(web(&fresh), Some((500_000_000, 12)));
        let too_fresh = Samples::default().next(pod(&[("web", point(95, 100, 5))]));
        assert_eq!(web(&too_fresh), None);
    }

    #[test]
    fn what_was_started_anew_is_not_measured_against_its_forerunner() {
        let samples = Samples::default()
            .next(pod(&[("web", point(0, 100, 10))]))
            .next(pod(&[("web", point(110, 115, 1))]));
        assert_eq!(web(&samples), None);
        let back = Samples::default()
            .next(pod(&[("web", point(0, 100, 10))]))
            .next(pod(&[("web", point(0, 115, 9))]));
        assert_eq!(web(&back), None, "a counter does not go back");
    }

    #[test]
    fn a_pod_is_told_of_only_whole() {
        let samples = Samples::default()
            .next(pod(&[("web", point(0, 100, 10))]))
            .next(pod(&[("web", point(0, 115, 25)), ("side", point(0, 115, 1))]));
        assert_eq!(samples.pod(&key()), None);
    }

    #[test]
    fn a_node_is_told_of_once_it_has_been_asked_twice() {
        let node = |seconds, cpu| Batch {
            nodes: BTreeMap::from([(
                "n".to_owned(),
                Point {
                    started: None,
                    ..point(0, seconds, cpu)
                },
            )]),
            ..Batch::default()
        };
        let one = Samples::default().next(node(0, 0));
        assert_eq!(one.node("n"), None);
        let two = one.next(node(15, 30));
        assert_eq!(two.node("n").map(|used| used.nano_cores), Some(2_000_000_000));
    }
}
