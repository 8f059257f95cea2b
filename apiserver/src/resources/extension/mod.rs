//! Kinds that extend the server or describe storage drivers: webhooks, policies, drivers, definitions.
//!
//! They are stored and served; what acts on them stands in the README's list.

mod aggregation;
mod bindings;
mod definition;
mod flow;
mod levels;
mod matching;
mod policies;
mod storage;
mod webhooks;

use jiff::Timestamp;
use serde_json::{Value, json};
use timonel_api::FieldError;

use super::cells::{age, name};
use super::strategy::{Column, Context, Strategy};
use super::value::{at, default, default_text, each, flag, int, list, text, within};

pub(super) use definition::CustomResourceDefinitions;
pub(super) use storage::{storage_class, storage_class_update, volume_node_affinity};

/// A kind whose rows are the name, some cells read straight from the object, and the age.
pub(super) struct Columns {
    /// Whether it has a status subresource.
    pub(super) status: bool,
    /// Whether `metadata.generation` counts its changes.
    pub(super) generation: bool,
    /// The header.
    pub(super) columns: &'static [Column],
    /// The cells between name and age.
    pub(super) cells: fn(&Value) -> Vec<Value>,
    /// The defaults.
    pub(super) default: fn(&mut Value),
    /// What a new object gets at its creation.
    pub(super) create: fn(&mut Value, &Context<'_>),
    /// What is wrong with an object.
    pub(super) validate: fn(&Value) -> Vec<FieldError>,
    /// What is wrong with an update; the same as with a new object where there is no such rule.
    pub(super) update: Option<Update>,
    /// What is wrong with an update of the status.
    pub(super) status_update: Option<Update>,
}

/// Finds what is wrong with a new object, given the old one.
type Update = fn(&Value, &Value) -> Vec<FieldError>;

/// What most of these kinds are.
const PLAIN: Columns = Columns {
    status: false,
    generation: true,
    columns: &[],
    cells: |_| Vec::new(),
    default: |_| {},
    create: |_, _| {},
    validate: |_| Vec::new(),
    update: None,
    status_update: None,
};

impl Strategy for Columns {
    fn has_status(&self) -> bool {
        self.status
    }

    fn has_generation(&self) -> bool {
        self.generation
    }

    fn default(&self, object: &mut Value) {
        (self.default)(object);
    }

    fn prepare_create(&self, object: &mut Value, context: &Context<'_>) {
        (self.create)(object, context);
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        (self.validate)(object)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        self.update
            .map_or_else(|| (self.validate)(new), |update| update(new, old))
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        self.status_update.map_or_else(Vec::new, |update| update(new, old))
    }

    fn columns(&self) -> &'static [Column] {
        self.columns
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let mut row = vec![name(object)];
        row.extend((self.cells)(object));
        // A few have no age to show.
        if row.len() < self.columns.len() {
            row.push(age(object, now));
        }
        row
    }
}

fn default_webhooks(object: &mut Value) {
    each(object, "webhooks", |webhook| {
        default_text(webhook, "failurePolicy", "Fail");
        default_text(webhook, "matchPolicy", "Equivalent");
        default(webhook, "namespaceSelector", json!({}));
        default(webhook, "objectSelector", json!({}));
        default(webhook, "timeoutSeconds", 10);
        each(webhook, "rules", |rule| default_text(rule, "scope", "*"));
        within(webhook, "clientConfig", |client| {
            within(client, "service", |service| default(service, "port", 443))
        });
    });
}

fn default_mutating(object: &mut Value) {
    default_webhooks(object);
    each(object, "webhooks", |webhook| {
        default_text(webhook, "reinvocationPolicy", "Never")
    });
}

fn webhook_count(object: &Value) -> Vec<Value> {
    vec![json!(list(object, "webhooks").len())]
}

const WEBHOOKS: &[Column] = &[Column::name(), Column::integer("Webhooks"), Column::new("Age")];

pub(super) const MUTATING_WEBHOOKS: Columns = Columns {
    columns: WEBHOOKS,
    cells: webhook_count,
    default: default_mutating,
    validate: webhooks::validate,
    update: Some(webhooks::validate_update),
    ..PLAIN
};
pub(super) const VALIDATING_WEBHOOKS: Columns = Columns {
    default: default_webhooks,
    ..MUTATING_WEBHOOKS
};

fn param_kind(spec: &Value) -> Value {
    let kind = at(spec, "paramKind");
    json!(if kind.is_null() {
        "<unset>".to_owned()
    } else {
        format!("{}/{}", text(kind, "apiVersion"), text(kind, "kind"))
    })
}

pub(super) const VALIDATING_POLICIES: Columns = Columns {
    status: true,
    columns: &[
        Column::name(),
        Column::integer("Validations"),
        Column::new("ParamKind"),
        Column::new("Age"),
    ],
    cells: |object| {
        let spec = at(object, "spec");
        vec![json!(list(spec, "validations").len()), param_kind(spec)]
    },
    default: policies::default_policy,
    validate: policies::validating,
    update: Some(policies::validating_update),
    status_update: Some(policies::validating_status),
    ..PLAIN
};

pub(super) const MUTATING_POLICIES: Columns = Columns {
    columns: &[
        Column::name(),
        Column::integer("Mutations"),
        Column::new("ParamKind"),
        Column::new("Age"),
    ],
    cells: |object| {
        let spec = at(object, "spec");
        vec![json!(list(spec, "mutations").len()), param_kind(spec)]
    },
    default: policies::default_policy,
    validate: policies::mutating,
    update: Some(policies::mutating_update),
    ..PLAIN
};

pub(super) const VALIDATING_POLICY_BINDINGS: Columns = Columns {
    columns: &[
        Column::name(),
        Column::new("PolicyName"),
        Column::new("ParamRef"),
        Column::new("Age"),
    ],
    cells: |object| {
        let spec = at(object, "spec");
        let reference = at(spec, "paramRef");
        let shown = if reference.is_null() {
            "<unset>".to_owned()
        } else {
            text(reference, "name").to_owned()
        };
        vec![json!(text(spec, "policyName")), json!(shown)]
    },
    default: bindings::default_binding,
    validate: bindings::validating,
    ..PLAIN
};

pub(super) const MUTATING_POLICY_BINDINGS: Columns = Columns {
    validate: bindings::mutating,
    ..VALIDATING_POLICY_BINDINGS
};

pub(super) const CSI_DRIVERS: Columns = Columns {
    columns: &[
        Column::name(),
        Column::new("AttachRequired"),
        Column::new("PodInfoOnMount"),
        Column::new("StorageCapacity"),
        Column::new("TokenRequests"),
        Column::new("RequiresRepublish"),
        Column::new("Modes"),
        Column::new("Age"),
    ],
    cells: |object| {
        let spec = at(object, "spec");
        let list_or = |field: &str, part: &str| {
            let all: Vec<&str> = list(spec, field)
                .iter()
                .map(|v| v.as_str().unwrap_or_else(|| text(v, part)))
                .collect();
            json!(if all.is_empty() {
                "<unset>".to_owned()
            } else {
                all.join(",")
            })
        };
        vec![
            json!(flag(spec, "attachRequired")),
            json!(flag(spec, "podInfoOnMount")),
            json!(flag(spec, "storageCapacity")),
            list_or("tokenRequests", "audience"),
            json!(flag(spec, "requiresRepublish")),
            list_or("volumeLifecycleModes", ""),
        ]
    },
    default: |object| {
        within(object, "spec", |spec| {
            default(spec, "attachRequired", true);
            for field in ["podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"] {
                default(spec, field, false);
            }
            default_text(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
            if list(spec, "volumeLifecycleModes").is_empty() {
                super::value::set(spec, "volumeLifecycleModes", json!(["Persistent"]));
            }
        });
    },
    validate: storage::csi_driver,
    update: Some(storage::csi_driver_update),
    ..PLAIN
};

pub(super) const CSI_NODES: Columns = Columns {
    columns: &[Column::name(), Column::integer("Drivers"), Column::new("Age")],
    cells: |object| vec![json!(list(at(object, "spec"), "drivers").len())],
    generation: false,
    validate: storage::csi_node,
    update: Some(storage::csi_node_update),
    ..PLAIN
};

pub(super) const VOLUME_ATTACHMENTS: Columns = Columns {
    status: true,
    columns: &[
        Column::name(),
        Column::new("Attacher"),
        Column::new("PV"),
        Column::new("Node"),
        Column::new("Attached"),
        Column::new("Age"),
    ],
    cells: |object| {
        let spec = at(object, "spec");
        vec![
            json!(text(spec, "attacher")),
            json!(text(at(spec, "source"), "persistentVolumeName")),
            json!(text(spec, "nodeName")),
            json!(flag(at(object, "status"), "attached")),
        ]
    },
    default: |object| {
        if let Some(status) = super::value::ensure(object, "status") {
            default(status, "attached", false);
        }
    },
    generation: false,
    validate: storage::volume_attachment,
    update: Some(storage::volume_attachment_update),
    status_update: Some(storage::volume_attachment_update),
    ..PLAIN
};

pub(super) const VOLUME_ATTRIBUTES_CLASSES: Columns = Columns {
    generation: false,
    columns: &[Column::name(), Column::new("DriverName"), Column::new("Age")],
    cells: |object| vec![json!(text(object, "driverName"))],
    validate: storage::volume_attributes_class,
    update: Some(storage::volume_attributes_class_update),
    ..PLAIN
};

pub(super) const STORAGE_CAPACITIES: Columns = Columns {
    generation: false,
    columns: &[Column::name(), Column::new("StorageClassName"), Column::new("Capacity")],
    cells: |object| vec![json!(text(object, "storageClassName")), json!(text(object, "capacity"))],
    validate: storage::capacity,
    update: Some(storage::capacity_update),
    ..PLAIN
};

pub(super) const FLOW_SCHEMAS: Columns = Columns {
    status: true,
    columns: &[
        Column::name(),
        Column::new("PriorityLevel"),
        Column::integer("MatchingPrecedence"),
        Column::new("DistinguisherMethod"),
        Column::new("Age"),
    ],
    cells: |object| {
        let spec = at(object, "spec");
        let method = text(at(spec, "distinguisherMethod"), "type");
        vec![
            json!(text(at(spec, "priorityLevelConfiguration"), "name")),
            json!(int(spec, "matchingPrecedence").unwrap_or(0)),
            json!(if method.is_empty() { "<none>" } else { method }),
        ]
    },
    default: |object| within(object, "spec", |spec| default(spec, "matchingPrecedence", 1000)),
    validate: flow::flow_schema,
    status_update: Some(flow::status),
    ..PLAIN
};

pub(super) const PRIORITY_LEVELS: Columns = Columns {
    status: true,
    columns: &[
        Column::name(),
        Column::new("Type"),
        Column::new("NominalConcurrencyShares"),
        Column::new("Age"),
    ],
    cells: |object| {
        let spec = at(object, "spec");
        let shares = int(at(spec, "limited"), "nominalConcurrencyShares");
        vec![
            json!(text(spec, "type")),
            json!(shares.map_or("<none>".to_owned(), |n| n.to_string())),
        ]
    },
    default: levels::default,
    validate: levels::validate,
    status_update: Some(flow::status),
    ..PLAIN
};

pub(super) const API_SERVICES: Columns = Columns {
    status: true,
    columns: &[
        Column::name(),
        Column::new("Service"),
        Column::new("Available"),
        Column::new("Age"),
    ],
    cells: |object| {
        let service = at(at(object, "spec"), "service");
        let shown = if service.is_null() {
            "Local".to_owned()
        } else {
            format!("{}/{}", text(service, "namespace"), text(service, "name"))
        };
        let available =
            super::cells::condition(object, "Available").map_or("Unknown", |condition| text(condition, "status"));
        vec![json!(shown), json!(available)]
    },
    default: |object| {
        within(object, "spec", |spec| {
            within(spec, "service", |service| default(service, "port", 443))
        });
    },
    create: aggregation::prepare,
    generation: false,
    validate: aggregation::api_service,
    status_update: Some(aggregation::status),
    ..PLAIN
};
