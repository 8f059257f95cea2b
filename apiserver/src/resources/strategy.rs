//! The per-kind hooks that the generic registry calls.

use jiff::Timestamp;
use serde_json::{Value, json};
use timonel_api::{FieldError, Path};

use super::pod::template_warnings;
use super::value::at;
use super::warnings::pod_name_prefix;
use crate::identity::UserInfo;

/// What a hook may know beyond the object.
#[derive(Clone, Debug)]
pub struct Context<'a> {
    /// The time of the request.
    pub now: Timestamp,
    /// Who asks.
    pub user: &'a UserInfo,
}

/// A column of a server-side Table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// As the header shows it, in upstream's capitals: `Name`, `Ready`, `Age`.
    pub name: &'static str,
    /// `string`, `integer`, `date`, ...
    pub kind: &'static str,
    /// `name` for the name column, else empty.
    pub format: &'static str,
    /// 0 is always shown, 1 only with `-o wide`.
    pub priority: i32,
}

impl Column {
    /// A column that is always shown.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            kind: "string",
            format: "",
            priority: 0,
        }
    }

    /// A column that only `-o wide` shows.
    pub const fn wide(name: &'static str) -> Self {
        Self {
            name,
            kind: "string",
            format: "",
            priority: 1,
        }
    }

    /// The name column.
    pub const fn name() -> Self {
        Self {
            name: "Name",
            kind: "string",
            format: "name",
            priority: 0,
        }
    }

    /// A column of whole numbers.
    pub const fn integer(name: &'static str) -> Self {
        Self {
            name,
            kind: "integer",
            format: "",
            priority: 0,
        }
    }
}

/// What is particular to a kind. Objects are JSON values: the truth that is stored; hooks decode to typed structs where logic wants them.
///
/// The registry has already checked and set what every kind shares: apiVersion, kind, metadata (name rules through
/// [`Strategy::validate_name`], namespace, labels, annotations, ownerReferences, finalizers), uid, timestamps, managedFields.
pub trait Strategy: Send + Sync {
    /// Fills in defaults, as upstream's `SetDefaults_*`. Runs on every decoded object: create, update, patch.
    fn default(&self, _object: &mut Value) {}

    /// Whether `status` is a subresource, written only through it.
    fn has_status(&self) -> bool {
        true
    }

    /// Whether a new object may bring a status along although that is a subresource: nodes alone may.
    fn comes_with_status(&self) -> bool {
        false
    }

    /// Whether the registry keeps `metadata.generation` (1 at create, +1 whenever anything but metadata and status changes).
    fn has_generation(&self) -> bool {
        true
    }

    /// Readies an object for creation. The registry clears `status` first where it is a subresource, unless it may come along.
    fn prepare_create(&self, _object: &mut Value, _context: &Context<'_>) {}

    /// Works out what follows from the rest of a new object, once admission has changed it.
    fn settle_create(&self, _object: &mut Value) {}

    /// Readies an update through the main resource. The registry copies `status` from the old object first where it is a subresource.
    fn prepare_update(&self, _new: &mut Value, _old: &Value, _context: &Context<'_>) {}

    /// Readies an update of the status, or of what another subresource writes there.
    fn prepare_status(&self, _new: &mut Value, _old: &Value, _context: &Context<'_>) {}

    /// Checks a name; the default is an RFC 1123 subdomain. Returns upstream's sentences, one per broken rule.
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        timonel_api::names::subdomain(name, prefix)
    }

    /// Finds everything that is wrong with a new object.
    fn validate(&self, _object: &Value) -> Vec<FieldError> {
        Vec::new()
    }

    /// Finds what else is wrong with an object that is not there yet. The default is [`Strategy::validate`].
    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        self.validate(object)
    }

    /// Finds everything that is wrong with an update. The default validates the new object; kinds add immutable fields.
    fn validate_update(&self, new: &Value, _old: &Value) -> Vec<FieldError> {
        self.validate(new)
    }

    /// Finds what else is wrong with a new object that came in another group's shape, whose rules are stricter.
    fn validate_view_create(&self, _object: &Value) -> Vec<FieldError> {
        Vec::new()
    }

    /// Finds what else is wrong with an update that came in another group's shape.
    fn validate_view_update(&self, _new: &Value, _old: &Value) -> Vec<FieldError> {
        Vec::new()
    }

    /// Finds everything that is wrong with a status update.
    fn validate_status_update(&self, _new: &Value, _old: &Value) -> Vec<FieldError> {
        Vec::new()
    }

    /// Finds everything that is wrong with an update through a subresource that writes one part of an object: `approval`.
    fn validate_part_update(&self, _part: &str, _new: &Value, _old: &Value) -> Vec<FieldError> {
        Vec::new()
    }

    /// Where a workload keeps its pod template: `["spec", "template"]`. Empty for everything else.
    fn template(&self) -> &'static [&'static str] {
        &[]
    }

    /// Warnings for the client that creates an object, for `Warning` headers.
    fn warnings(&self, object: &Value) -> Vec<String> {
        workload_warnings(self.template(), object, true)
    }

    /// Warnings for the client that updates an object. Those of a pod template are told only when something that counts has changed.
    fn update_warnings(&self, new: &Value, old: &Value) -> Vec<String> {
        if self.template().is_empty() {
            return self.warnings(new);
        }
        if new["metadata"]["generation"] == old["metadata"]["generation"] {
            return Vec::new();
        }
        workload_warnings(self.template(), new, false)
    }

    /// Grace period in seconds that a deletion gets when the request names none; `None` deletes at once. Pods: `spec.terminationGracePeriodSeconds`.
    fn default_grace_period(&self, _object: &Value) -> Option<i64> {
        None
    }

    /// The fields that field selectors may name besides `metadata.name` and `metadata.namespace`, with this object's values.
    fn selectable_fields(&self, _object: &Value) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// The table's columns.
    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::name(),
            Column {
                name: "Created At",
                kind: "date",
                format: "",
                priority: 0,
            },
        ];
        COLUMNS
    }

    /// One row's cells, as many as there are columns.
    fn row(&self, object: &Value, _now: Timestamp) -> Vec<Value> {
        vec![
            object["metadata"]["name"].clone(),
            json!(object["metadata"]["creationTimestamp"]),
        ]
    }
}

/// Warnings for the pod template at `place`, and for the name that its pods will get theirs from.
fn workload_warnings(place: &[&str], object: &Value, new: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    let (Some(first), template) = (
        place.first(),
        place.iter().fold(object, |value, field| at(value, field)),
    ) else {
        return warnings;
    };
    // A template that is an object of its own, or a ReplicationController's, gives nobody its name.
    if new && place.len() > 1 && object["kind"] != "ReplicationController" {
        pod_name_prefix(object, &mut warnings);
    }
    let path = place[1..]
        .iter()
        .fold(Path::new(first), |path, field| path.child(field));
    warnings.extend(template_warnings(template, &path));
    warnings
}
