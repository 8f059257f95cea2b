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

/// Which resource, told apart once for many nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource<'a> {
    /// `cpu`.
    Cpu,
    /// `memory`.
    Memory,
    /// `ephemeral-storage`.
    EphemeralStorage,
    /// `pods`.
    Pods,
    /// Any other, by its name.
    Other(&'a str),
}

impl<'a> Resource<'a> {
    /// Tells which resource has this name.
    pub fn named(name: &'a str) -> Self {
        match name {
            "cpu" => Self::Cpu,
            "memory" => Self::Memory,
            "ephemeral-storage" => Self::EphemeralStorage,
            "pods" => Self::Pods,
            other => Self::Other(other),
        }
    }

    /// Whether it is neither CPU, memory nor local storage.
    pub fn is_scalar(self) -> bool {
        matches!(self, Self::Other(_))
    }
}

/// An amount of each resource. CPU is in thousandths, everything else in whole units.
///
/// What nearly every pod asks for has a place of its own: it is read for hundreds of nodes per decision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    cpu: i64,
    memory: i64,
    ephemeral_storage: i64,
    pods: i64,
    other: BTreeMap<String, i64>,
}

impl Resources {
    /// Reads quantities as they stand on the wire.
    pub fn from_wire(amounts: Option<&BTreeMap<String, Wire>>) -> Self {
        let mut read = Self::default();
        for (name, amount) in amounts.into_iter().flatten() {
            *read.slot(name) = Self::scaled(name, &Quantity::lenient(amount));
        }
        read
    }

    /// Takes summed quantities.
    pub fn from_quantities<'a>(amounts: impl IntoIterator<Item = (&'a String, &'a Quantity)>) -> Self {
        let mut taken = Self::default();
        for (name, amount) in amounts {
            *taken.slot(name) = Self::scaled(name, amount);
        }
        taken
    }

    fn scaled(name: &str, amount: &Quantity) -> i64 {
        if name == "cpu" { amount.millis() } else { amount.value() }
    }

    fn slot(&mut self, name: &str) -> &mut i64 {
        match name {
            "cpu" => &mut self.cpu,
            "memory" => &mut self.memory,
            "ephemeral-storage" => &mut self.ephemeral_storage,
            "pods" => &mut self.pods,
            other => self.other.entry(other.to_owned()).or_default(),
        }
    }

    /// Returns the amount of one resource.
    pub fn get(&self, name: &str) -> i64 {
        self.of(Resource::named(name))
    }

    /// Returns the amount of one resource.
    pub fn of(&self, resource: Resource<'_>) -> i64 {
        match resource {
            Resource::Cpu => self.cpu,
            Resource::Memory => self.memory,
            Resource::EphemeralStorage => self.ephemeral_storage,
            Resource::Pods => self.pods,
            Resource::Other(name) => self.other.get(name).copied().unwrap_or(0),
        }
    }

    /// Tells whether this much is left of `all` when `used` of it is used.
    pub fn fits(&self, all: &Self, used: &Self) -> bool {
        // What is not asked for need not be left; more may be used than there is.
        let fits = |wanted: i64, all: i64, used: i64| wanted == 0 || wanted <= all - used;
        fits(self.cpu, all.cpu, used.cpu)
            && fits(self.memory, all.memory, used.memory)
            && fits(self.ephemeral_storage, all.ephemeral_storage, used.ephemeral_storage)
            && fits(self.pods, all.pods, used.pods)
            && self
                .other
                .iter()
                .all(|(name, wanted)| fits(*wanted, all.get(name), used.get(name)))
    }

    /// Visits every amount that is not nothing, in upstream's order: CPU, memory, local storage, then the others by name.
    pub fn each(&self) -> impl Iterator<Item = (&str, i64)> {
        let own = [
            ("cpu", self.cpu),
            ("memory", self.memory),
            ("ephemeral-storage", self.ephemeral_storage),
            ("pods", self.pods),
        ];
        let other = self.other.iter().map(|(name, amount)| (name.as_str(), *amount));
        own.into_iter().chain(other).filter(|(_, amount)| *amount != 0)
    }

    /// Adds another amount.
    pub fn add(&mut self, other: &Self) {
        for (name, amount) in other.each() {
            let sum = self.slot(name);
            *sum = sum.saturating_add(amount);
        }
    }

    /// Takes another amount away.
    pub fn sub(&mut self, other: &Self) {
        for (name, amount) in other.each() {
            let sum = self.slot(name);
            *sum = sum.saturating_sub(amount);
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
