//! How many nodes of each zone are lost, and how fast pods may therefore be driven from them.
//!
//! A zone that is mostly fine evicts from one node in ten seconds. One in which many fell silent evicts slower, or not at all: the
//! fault is more likely the network's than the nodes'. Where every zone is lost, it is most likely ours, and all eviction stops.
//! Upstream: `handleDisruption` of `pkg/controller/nodelifecycle`, `RateLimitedTimedQueue` of its `scheduler`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Node;

use crate::Timings;

/// Nodes with this label do not count when zones are judged.
const EXCLUDED: &str = "node.kubernetes.io/exclude-disruption";
const REGION: &str = "topology.kubernetes.io/region";
const ZONE: &str = "topology.kubernetes.io/zone";
/// Fewer lost nodes than this are never a partial disruption.
const FEW: usize = 3;

/// How a zone is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Normal,
    /// So many nodes are lost that something else than nodes may have failed.
    PartialDisruption,
    /// No node is ready.
    FullDisruption,
}

/// What a look at all nodes brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Every zone is lost now: eviction stops.
    Stopped,
    /// A zone is back: every node is given time again, as if just heard of.
    Resumed,
    Nothing,
}

/// Whether pods may be driven from a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Eviction {
    Allowed,
    /// Others come first; after this time it may be asked again, without one when the zone's state changes.
    Later(Option<Duration>),
    /// Nobody is driven away, and what was begun is called off.
    Stopped,
}

/// One node as its zone counts it.
pub(crate) struct Counted {
    pub(crate) zone: String,
    pub(crate) ready: bool,
}

/// Lets something happen so often, one at a time.
#[derive(Clone, Debug)]
struct Limiter {
    /// Per second; never where it is not above zero.
    rate: f64,
    next: Timestamp,
}

impl Limiter {
    fn every(&self) -> Option<Duration> {
        Duration::try_from_secs_f64(1.0 / self.rate)
            .ok()
            .filter(|_| self.rate > 0.0)
    }

    fn after(&self, now: Timestamp) -> Timestamp {
        let pause = self.every().and_then(|every| SignedDuration::try_from(every).ok());
        pause
            .and_then(|pause| now.checked_add(pause).ok())
            .unwrap_or(Timestamp::MAX)
    }

    /// Changes the rate. Who was waiting goes on waiting, by the new rate.
    fn swap(&mut self, rate: f64, now: Timestamp) {
        if (self.rate - rate).abs() < f64::EPSILON {
            return;
        }
        let waiting = self.rate <= 0.0 || self.next > now;
        self.rate = rate;
        self.next = if waiting { self.after(now) } else { now };
    }
}

#[derive(Clone, Debug)]
struct Zone {
    state: State,
    limiter: Limiter,
}

/// The states of all zones, and who was let through.
#[derive(Clone, Debug, Default)]
pub(crate) struct Zones {
    zones: BTreeMap<String, Zone>,
    granted: BTreeSet<String>,
    stopped: bool,
    looked: Option<Timestamp>,
}

/// Returns the zone that a node is in, by its region too.
pub(crate) fn of(node: &Node) -> String {
    let label = |key: &str| {
        let labels = node.metadata.labels.as_ref();
        labels.and_then(|labels| labels.get(key)).map_or("", String::as_str)
    };
    format!("{}/{}", label(REGION), label(ZONE))
}

/// Tells whether a node counts when its zone is judged.
pub(crate) fn counts(node: &Node) -> bool {
    let labels = node.metadata.labels.as_ref();
    !labels.is_some_and(|labels| labels.contains_key(EXCLUDED))
}

fn judge(ready: usize, lost: usize, threshold: f64) -> State {
    let share = |part: usize, whole: usize| {
        let number = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        number(part) / number(whole)
    };
    match (ready, lost) {
        (0, 1..) => State::FullDisruption,
        _ if lost >= FEW && share(lost, ready + lost) >= threshold => State::PartialDisruption,
        _ => State::Normal,
    }
}

fn rate(state: State, size: usize, timings: &Timings) -> f64 {
    match state {
        State::Normal | State::FullDisruption => timings.node_eviction_rate,
        State::PartialDisruption if size > timings.large_cluster_threshold => timings.secondary_node_eviction_rate,
        State::PartialDisruption => 0.0,
    }
}

impl Zones {
    /// When all nodes were last looked at.
    pub(crate) fn looked(&self) -> Option<Timestamp> {
        self.looked
    }

    /// Takes in how all nodes that count are.
    pub(crate) fn look(&mut self, nodes: impl Iterator<Item = Counted>, timings: &Timings, now: Timestamp) -> Change {
        self.looked = Some(now);
        let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for node in nodes {
            let (ready, lost) = counts.entry(node.zone).or_default();
            *(if node.ready { ready } else { lost }) += 1;
        }
        self.zones.retain(|zone, _| counts.contains_key(zone));
        let mut all_lost = !counts.is_empty();
        for (name, (ready, lost)) in counts {
            let state = judge(ready, lost, timings.unhealthy_zone_threshold);
            all_lost &= state == State::FullDisruption;
            let zone = self.zone(name, timings, now);
            zone.state = state;
            zone.limiter.swap(rate(state, ready + lost, timings), now);
        }
        let was = std::mem::replace(&mut self.stopped, all_lost);
        match (was, all_lost) {
            (false, true) => {
                self.granted.clear();
                Change::Stopped
            }
            (true, false) => Change::Resumed,
            _ => Change::Nothing,
        }
    }

    fn zone(&mut self, name: String, timings: &Timings, now: Timestamp) -> &mut Zone {
        self.zones.entry(name).or_insert_with(|| Zone {
            state: State::Normal,
            limiter: Limiter {
                rate: timings.node_eviction_rate,
                next: now,
            },
        })
    }

    /// Tells whether a node would be let through without waiting.
    pub(crate) fn has_room(&self, zone: &str, now: Timestamp) -> bool {
        let zone = self.zones.get(zone);
        !self.stopped && zone.is_none_or(|zone| zone.limiter.rate > 0.0 && zone.limiter.next <= now)
    }

    /// Asks to drive the pods from a node. Who was let through once is not asked to wait again.
    pub(crate) fn admit(&mut self, zone: String, node: &str, timings: &Timings, now: Timestamp) -> Eviction {
        if self.stopped {
            return Eviction::Stopped;
        }
        if self.granted.contains(node) {
            return Eviction::Allowed;
        }
        let limiter = &mut self.zone(zone, timings, now).limiter;
        if limiter.rate <= 0.0 {
            return Eviction::Later(None);
        }
        if limiter.next > now {
            return Eviction::Later(Duration::try_from(limiter.next.duration_since(now)).ok());
        }
        limiter.next = limiter.after(now);
        self.granted.insert(node.to_owned());
        Eviction::Allowed
    }

    /// Tells whether all eviction is stopped.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Forgets that a node was let through: it is ready again, or gone.
    pub(crate) fn forget(&mut self, node: &str) {
        self.granted.remove(node);
    }

    #[cfg(test)]
    pub(crate) fn state(&self, zone: &str) -> Option<State> {
        self.zones.get(zone).map(|zone| zone.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    /// Zones by name with how many nodes are ready and lost.
    fn nodes(zones: &[(&str, usize, usize)]) -> impl Iterator<Item = Counted> + use<> {
        let zones: Vec<_> = zones
            .iter()
            .map(|(zone, ready, lost)| ((*zone).to_owned(), *ready, *lost))
            .collect();
        zones.into_iter().flat_map(|(zone, ready, lost)| {
            (0..ready + lost).map(move |at| Counted {
                zone: zone.clone(),
                ready: at < ready,
            })
        })
    }

    #[test]
    fn a_zone_is_judged_by_the_share_of_its_nodes_that_is_lost() {
        let timings = Timings::default();
        for (ready, lost, expected) in [
            (3, 0, State::Normal),
            (1, 2, State::Normal),
            (3, 3, State::Normal),
            (2, 3, State::PartialDisruption),
            (9, 11, State::PartialDisruption),
            (10, 11, State::Normal),
            (0, 1, State::FullDisruption),
        ] {
            let mut zones = Zones::default();
            zones.look(nodes(&[("a", ready, lost), ("other", 1, 0)]), &timings, at(0));
            assert_eq!(zones.state("a"), Some(expected), "{ready} ready, {lost} lost");
        }
    }

    #[test]
    fn one_node_in_ten_seconds_is_let_through_and_asks_only_once() {
        let (mut zones, timings) = (Zones::default(), Timings::default());
        zones.look(nodes(&[("a", 5, 2)]), &timings, at(0));
        let mut ask = |node: &str, seconds: i64| zones.admit("a".into(), node, &timings, at(seconds));
        assert_eq!(ask("n1", 0), Eviction::Allowed);
        assert_eq!(ask("n2", 4), Eviction::Later(Some(Duration::from_secs(6))));
        assert_eq!(ask("n1", 4), Eviction::Allowed);
        assert_eq!(ask("n2", 10), Eviction::Allowed);
    }

    #[test]
    fn a_small_zone_in_partial_disruption_evicts_nobody_and_a_large_one_slowly() {
        let (mut zones, timings) = (Zones::default(), Timings::default());
        zones.look(nodes(&[("small", 2, 3), ("large", 20, 31)]), &timings, at(0));
        assert_eq!(
            zones.admit("small".into(), "s1", &timings, at(500)),
            Eviction::Later(None)
        );
        assert_eq!(zones.admit("large".into(), "l1", &timings, at(500)), Eviction::Allowed);
        let later = Eviction::Later(Some(Duration::from_secs(100)));
        assert_eq!(zones.admit("large".into(), "l2", &timings, at(500)), later);
        // When the zone recovers, who waited goes on waiting by the usual rate.
        zones.look(nodes(&[("small", 4, 1), ("large", 50, 1)]), &timings, at(500));
        let later = Eviction::Later(Some(Duration::from_secs(10)));
        assert_eq!(zones.admit("small".into(), "s1", &timings, at(500)), later);
        assert_eq!(zones.admit("large".into(), "l2", &timings, at(500)), later);
    }

    #[test]
    fn a_zone_that_is_lost_wholly_evicts_as_usual_while_another_stands() {
        let (mut zones, timings) = (Zones::default(), Timings::default());
        assert_eq!(
            zones.look(nodes(&[("a", 0, 3), ("b", 1, 2)]), &timings, at(0)),
            Change::Nothing
        );
        assert_eq!(zones.admit("a".into(), "n", &timings, at(0)), Eviction::Allowed);
    }

    #[test]
    fn when_all_zones_are_lost_eviction_stops_until_one_is_back() {
        let (mut zones, timings) = (Zones::default(), Timings::default());
        zones.look(nodes(&[("a", 1, 0), ("b", 1, 0)]), &timings, at(0));
        assert_eq!(
            zones.look(nodes(&[("a", 0, 1), ("b", 0, 1)]), &timings, at(1)),
            Change::Stopped
        );
        assert_eq!(
            zones.look(nodes(&[("a", 0, 1), ("b", 0, 1)]), &timings, at(2)),
            Change::Nothing
        );
        assert_eq!(zones.admit("a".into(), "n", &timings, at(100)), Eviction::Stopped);
        assert_eq!(
            zones.look(nodes(&[("a", 0, 1), ("b", 1, 0)]), &timings, at(101)),
            Change::Resumed
        );
        assert_eq!(zones.admit("a".into(), "n", &timings, at(101)), Eviction::Allowed);
    }

    #[test]
    fn zones_are_named_by_region_and_zone() {
        let mut node = Node::default();
        assert_eq!(of(&node), "/");
        let labels = node.metadata.labels.get_or_insert_default();
        labels.insert(ZONE.into(), "z1".into());
        labels.insert(REGION.into(), "r".into());
        assert_eq!(of(&node), "r/z1");
        assert!(counts(&node));
        node.metadata
            .labels
            .get_or_insert_default()
            .insert(EXCLUDED.into(), String::new());
        assert!(!counts(&node));
    }
}
