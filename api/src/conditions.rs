//! Conditions: every kind has its own type of them, and all are read and set in the same way.

use jiff::Timestamp;
use k8s_openapi::api::{apps, autoscaling, batch, certificates, core};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition as MetaCondition, Time};

/// What all types of conditions have in common.
pub trait Condition {
    /// `Ready`, `Available`, ...
    fn kind(&self) -> &str;
    /// `True`, `False` or `Unknown`.
    fn status(&self) -> &str;
    /// One word in CamelCase, or nothing.
    fn reason(&self) -> &str;
    /// A sentence for people, or nothing.
    fn message(&self) -> &str;
    /// Since when the status is what it is.
    fn last_transition(&self) -> Option<Timestamp>;
    /// Sets since when the status is what it is.
    fn set_last_transition(&mut self, at: Option<Timestamp>);
}

macro_rules! conditions {
    ($($type:ty),+ $(,)?) => {$(
        impl Condition for $type {
            fn kind(&self) -> &str {
                &self.type_
            }
            fn status(&self) -> &str {
                &self.status
            }
            fn reason(&self) -> &str {
                self.reason.as_deref().unwrap_or_default()
            }
            fn message(&self) -> &str {
                self.message.as_deref().unwrap_or_default()
            }
            fn last_transition(&self) -> Option<Timestamp> {
                self.last_transition_time.as_ref().map(|time| time.0)
            }
            fn set_last_transition(&mut self, at: Option<Timestamp>) {
                self.last_transition_time = at.map(Time);
            }
        }
    )+};
}

conditions!(
    core::v1::PodCondition,
    core::v1::NodeCondition,
    core::v1::NamespaceCondition,
    core::v1::PersistentVolumeClaimCondition,
    core::v1::ReplicationControllerCondition,
    apps::v1::DeploymentCondition,
    apps::v1::ReplicaSetCondition,
    apps::v1::StatefulSetCondition,
    apps::v1::DaemonSetCondition,
    batch::v1::JobCondition,
    certificates::v1::CertificateSigningRequestCondition,
    autoscaling::v2::HorizontalPodAutoscalerCondition,
);

impl Condition for MetaCondition {
    fn kind(&self) -> &str {
        &self.type_
    }
    fn status(&self) -> &str {
        &self.status
    }
    fn reason(&self) -> &str {
        &self.reason
    }
    fn message(&self) -> &str {
        &self.message
    }
    fn last_transition(&self) -> Option<Timestamp> {
        Some(self.last_transition_time.0)
    }
    fn set_last_transition(&mut self, at: Option<Timestamp>) {
        if let Some(at) = at {
            self.last_transition_time = Time(at);
        }
    }
}

/// Finds the condition of a type.
pub fn find<'a, C: Condition>(conditions: &'a [C], kind: &str) -> Option<&'a C> {
    conditions.iter().find(|condition| condition.kind() == kind)
}

/// Finds the condition of a type in a list that may be missing.
pub fn find_in<'a, C: Condition>(conditions: Option<&'a Vec<C>>, kind: &str) -> Option<&'a C> {
    conditions.and_then(|conditions| find(conditions, kind))
}

/// Whether a condition is there and `True`.
pub fn is_true<C: Condition>(conditions: &[C], kind: &str) -> bool {
    find(conditions, kind).is_some_and(|condition| condition.status() == "True")
}

/// Whether a condition is there and `False`.
pub fn is_false<C: Condition>(conditions: &[C], kind: &str) -> bool {
    find(conditions, kind).is_some_and(|condition| condition.status() == "False")
}

/// Puts a condition in place of the one of its type. The time of the transition stays where the status stays, and is `now` where the
/// status changes or the condition is new. Returns whether anything but a time changed.
pub fn set<C: Condition>(conditions: &mut Vec<C>, mut new: C, now: Timestamp) -> bool {
    let Some(old) = conditions.iter_mut().find(|old| old.kind() == new.kind()) else {
        new.set_last_transition(Some(now));
        conditions.push(new);
        return true;
    };
    let same_status = old.status() == new.status();
    new.set_last_transition(if same_status {
        old.last_transition().or(Some(now))
    } else {
        Some(now)
    });
    let changed = !same_status || old.reason() != new.reason() || old.message() != new.message();
    *old = new;
    changed
}

/// Removes the condition of a type; returns whether there was one.
pub fn remove<C: Condition>(conditions: &mut Vec<C>, kind: &str) -> bool {
    let before = conditions.len();
    conditions.retain(|condition| condition.kind() != kind);
    conditions.len() != before
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_transition_moves_only_with_the_status() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let condition = |status: &str, reason: &str| core::v1::PodCondition {
            type_: "Ready".to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            ..Default::default()
        };
        let mut list = Vec::new();
        assert!(set(&mut list, condition("True", "a"), at(1)));
        assert!(!set(&mut list, condition("True", "a"), at(2)));
        assert!(set(&mut list, condition("True", "b"), at(3)));
        assert_eq!(list[0].last_transition(), Some(at(1)));
        assert!(is_true(&list, "Ready"));
        assert!(set(&mut list, condition("False", "b"), at(4)));
        assert_eq!(list[0].last_transition(), Some(at(4)));
        assert!(is_false(&list, "Ready") && remove(&mut list, "Ready") && !remove(&mut list, "Ready"));
    }
}
