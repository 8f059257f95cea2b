//! What nodes and pods use (`usage`); nothing of it is stored. The columns are metrics-server's.

use jiff::Timestamp;
use serde_json::{Value, json};
use timonel_api::quantity::{Format, Quantity};

use super::cells::name;
use super::strategy::{Column, Strategy};
use super::value::{list, text};

const fn quantity(name: &'static str) -> Column {
    Column {
        name,
        kind: "string",
        format: "quantity",
        priority: 0,
    }
}

const COLUMNS: &[Column] = &[
    Column::name(),
    quantity("cpu"),
    quantity("memory"),
    Column {
        name: "Window",
        kind: "string",
        format: "duration",
        priority: 0,
    },
];

/// `nodes.metrics.k8s.io`.
pub(super) struct NodeMetrics;

impl Strategy for NodeMetrics {
    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn row(&self, object: &Value, _now: Timestamp) -> Vec<Value> {
        let usage = &object["usage"];
        let cells = [&usage["cpu"], &usage["memory"], &object["window"]];
        std::iter::once(name(object))
            .chain(cells.into_iter().cloned())
            .collect()
    }
}

/// `pods.metrics.k8s.io`. A pod's row is the sum of its containers.
pub(super) struct PodMetrics;

impl Strategy for PodMetrics {
    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn row(&self, object: &Value, _now: Timestamp) -> Vec<Value> {
        let each = |resource: &str| -> Vec<Quantity> {
            list(object, "containers")
                .iter()
                .filter_map(|container| Quantity::parse(text(&container["usage"], resource)).ok())
                .collect()
        };
        let nanos: i128 = each("cpu").iter().map(Quantity::nanos).sum();
        let bytes: i64 = each("memory").iter().map(Quantity::value).sum();
        let memory = Quantity::from_units(bytes, Format::BinarySi).to_wire().0;
        vec![
            name(object),
            json!(crate::usage::cpu(u64::try_from(nanos).unwrap_or_default())),
            json!(memory),
            object["window"].clone(),
        ]
    }
}
