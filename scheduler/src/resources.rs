//! Amounts of compute resources, as the scheduler adds and compares them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Wire;
use timonel_api::pod::ResourceList;
use timonel_api::quantity::{Format, Quantity};

/// What a container that requests no CPU counts for when nodes are scored (not when they are filtered): 100m, as upstream.
const DEFAULT_MILLI_CPU: i64 = 100;
/// The same for memory: 200 MiB, as upstream.
const DEFAULT_MEMORY: i64 = 200 * 1024 * 1024;

/// An amount of each resource. CPU is in thousandths, everything else in whole units.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources(pub BTreeMap<String, i64>);

impl Resources {
    /// Reads quantities as they stand on the wire.
    pub fn from_wire(amounts: Option<&BTreeMap<String, Wire>>) -> Self {
        let entries = amounts.into_iter().flatten();
        Self(
            entries
                .map(|(name, amount)| (name.clone(), Self::scaled(name, &Quantity::lenient(amount))))
                .collect(),
        )
    }

    /// Takes summed quantities.
    pub fn from_quantities<'a>(amounts: impl IntoIterator<Item = (&'a String, &'a Quantity)>) -> Self {
        let entries = amounts.into_iter();
        Self(
            entries
                .map(|(name, amount)| (name.clone(), Self::scaled(name, amount)))
                .collect(),
        )
    }

    fn scaled(name: &str, amount: &Quantity) -> i64 {
        if name == "cpu" { amount.millis() } else { amount.value() }
    }

    /// Returns the amount of one resource.
    pub fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Adds another amount.
    pub fn add(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let sum = self.0.entry(name.clone()).or_insert(0);
            *sum = sum.saturating_add(*amount);
        }
    }

    /// Takes another amount away.
    pub fn sub(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let sum = self.0.entry(name.clone()).or_insert(0);
            *sum = sum.saturating_sub(*amount);
        }
    }
}

/// What a pod counts for when nodes are scored: its requests, and upstream's defaults where a container has none.
pub fn scored_requests(pod: &Pod) -> Resources {
    let missing = ResourceList::from([
        (
            "cpu".to_owned(),
            Quantity::from_millis(DEFAULT_MILLI_CPU, Format::DecimalSi),
        ),
        (
            "memory".to_owned(),
            Quantity::from_units(DEFAULT_MEMORY, Format::BinarySi),
        ),
    ]);
    Resources::from_quantities(&timonel_api::pod::requests_or(pod, &missing))
}
