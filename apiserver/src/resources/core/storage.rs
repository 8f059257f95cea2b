//! Persistent volumes, claims and storage classes.

use jiff::Timestamp;
use serde_json::{Value, json};
use timonel_api::quantity::Quantity;
use timonel_api::{FieldError, Path};

use super::super::cells::{age, name};
use super::super::common::one_of;
use super::super::extension::{storage_class, storage_class_update, volume_node_affinity};
use super::super::pod;
use super::super::strategy::{Column, Context, Strategy};
use super::super::value::{at, default, default_text, ensure, flag, has, list, remove, text, within};
use super::super::warnings as odd;

const MODES: [(&str, &str); 4] = [
    ("ReadWriteOnce", "RWO"),
    ("ReadOnlyMany", "ROX"),
    ("ReadWriteMany", "RWX"),
    ("ReadWriteOncePod", "RWOP"),
];

fn short_modes(modes: &[Value]) -> String {
    let short = MODES
        .iter()
        .filter(|(long, _)| modes.iter().any(|mode| mode == long))
        .map(|(_, short)| *short);
    short.collect::<Vec<_>>().join(",")
}

/// An amount, in billionths.
fn size(amount: &Value) -> i128 {
    let amount = amount.as_str().and_then(|text| Quantity::parse(text).ok());
    amount.map_or(0, |amount| amount.nanos())
}

fn access_modes(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let path = path.child("accessModes");
    if list(spec, "accessModes").is_empty() {
        errors.push(FieldError::required(&path, "at least 1 access mode is required"));
    }
    for mode in list(spec, "accessModes") {
        if !MODES.iter().any(|(long, _)| mode == long) {
            let supported = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
            errors.push(FieldError::not_supported(&path, mode.clone(), &supported));
        }
    }
}

fn terminating_or(object: &Value, otherwise: &str) -> Value {
    json!(if has(at(object, "metadata"), "deletionTimestamp") {
        "Terminating"
    } else {
        otherwise
    })
}

fn class_or_unset(spec: &Value, field: &str) -> Value {
    json!(if has(spec, field) { text(spec, field) } else { "<unset>" })
}

/// Warns of annotations that fields have replaced.
fn annotation_warnings(object: &Value, annotations: &[(&str, &str)]) -> Vec<String> {
    let given = at(at(object, "metadata"), "annotations");
    let used = annotations.iter().filter(|(key, _)| has(given, key));
    used.map(|(key, words)| format!("metadata.annotations[{key}]: {words}"))
        .collect()
}

const OLD_CLASS: (&str, &str) = (
    "volume.beta.kubernetes.io/storage-class",
    "deprecated since v1.8; use \"storageClassName\" attribute instead",
);
const OLD_OPTIONS: (&str, &str) = (
    "volume.beta.kubernetes.io/mount-options",
    "deprecated since v1.31; use \"mountOptions\" attribute instead",
);

/// `persistentvolumes`.
pub(crate) struct PersistentVolumes;

impl Strategy for PersistentVolumes {
    fn has_generation(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        within(object, "spec", |spec| {
            default_text(spec, "persistentVolumeReclaimPolicy", "Retain");
            default(spec, "volumeMode", "Filesystem");
            within(spec, "hostPath", |source| default(source, "type", ""));
        });
    }

    fn prepare_create(&self, object: &mut Value, _context: &Context<'_>) {
        if let Some(status) = ensure(object, "status") {
            default_text(status, "phase", "Pending");
        }
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        let mut warnings = annotation_warnings(object, &[OLD_CLASS, OLD_OPTIONS]);
        let (path, spec) = (Path::new("spec"), at(object, "spec"));
        if text(spec, "persistentVolumeReclaimPolicy") == "Recycle" {
            warnings.push("spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.".to_owned());
        }
        let terms = list(at(at(spec, "nodeAffinity"), "required"), "nodeSelectorTerms");
        for (index, term) in terms.iter().enumerate() {
            let path = path.child("nodeAffinity").child("required").child("nodeSelectorTerms");
            odd::node_selector_term(term, &path.index(index), &mut warnings);
        }
        pod::volume_warnings(spec, &path, &mut warnings);
        warnings
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let (path, spec, mut errors) = (Path::new("spec"), at(object, "spec"), Vec::new());
        access_modes(spec, &path, &mut errors);
        if !has(at(spec, "capacity"), "storage") {
            errors.push(FieldError::required(&path.child("capacity"), ""));
        }
        let policies = ["Delete", "Recycle", "Retain"];
        one_of(spec, "persistentVolumeReclaimPolicy", &policies, &path, &mut errors);
        const OTHER: [&str; 9] = [
            "accessModes",
            "capacity",
            "claimRef",
            "mountOptions",
            "nodeAffinity",
            "persistentVolumeReclaimPolicy",
            "storageClassName",
            "volumeAttributesClassName",
            "volumeMode",
        ];
        let sources = spec
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(k, v)| !OTHER.contains(&k.as_str()) && !v.is_null());
        if sources.count() == 0 {
            errors.push(FieldError::required(&path, "must specify a volume type"));
        }
        volume_node_affinity(at(spec, "nodeAffinity"), &path.child("nodeAffinity"), &mut errors);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::name(),
            Column::new("Capacity"),
            Column::new("Access Modes"),
            Column::new("Reclaim Policy"),
            Column::new("Status"),
            Column::new("Claim"),
            Column::new("StorageClass"),
            Column::new("VolumeAttributesClass"),
            Column::new("Reason"),
            Column::new("Age"),
            Column::wide("VolumeMode"),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (at(object, "spec"), at(object, "status"));
        let claim = at(spec, "claimRef");
        let claim = if claim.is_null() {
            String::new()
        } else {
            format!("{}/{}", text(claim, "namespace"), text(claim, "name"))
        };
        vec![
            name(object),
            json!(text(at(spec, "capacity"), "storage")),
            json!(short_modes(list(spec, "accessModes"))),
            json!(text(spec, "persistentVolumeReclaimPolicy")),
            terminating_or(object, text(status, "phase")),
            json!(claim),
            json!(text(spec, "storageClassName")),
            class_or_unset(spec, "volumeAttributesClassName"),
            json!(text(status, "reason")),
            age(object, now),
            json!(text(spec, "volumeMode")),
        ]
    }
}

/// `persistentvolumeclaims`.
pub(crate) struct PersistentVolumeClaims;

impl Strategy for PersistentVolumeClaims {
    fn has_generation(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        within(object, "spec", pod::claim_spec);
    }

    fn prepare_create(&self, object: &mut Value, _context: &Context<'_>) {
        if let Some(status) = ensure(object, "status") {
            default_text(status, "phase", "Pending");
        }
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        let mut warnings = annotation_warnings(object, &[OLD_CLASS]);
        warnings.extend(pod::claim_warnings(at(object, "spec"), &Path::new("spec")));
        warnings
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let (path, spec, mut errors) = (Path::new("spec"), at(object, "spec"), Vec::new());
        access_modes(spec, &path, &mut errors);
        if !has(at(at(spec, "resources"), "requests"), "storage") {
            errors.push(FieldError::required(&path.child("resources").key("storage"), ""));
        }
        pod::validate_resources(at(spec, "resources"), &path.child("resources"), &mut errors);
        one_of(spec, "volumeMode", &["Block", "Filesystem"], &path, &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate(new);
        let bound = text(at(old, "status"), "phase") == "Bound";
        let fixed = |object: &Value| {
            let mut spec = at(object, "spec").clone();
            remove(&mut spec, "volumeAttributesClassName");
            let requests = spec.pointer_mut("/resources/requests").and_then(Value::as_object_mut);
            if let Some(requests) = requests.filter(|_| bound) {
                requests.remove("storage");
            }
            // The binder may set what was left open.
            for field in ["volumeName", "storageClassName"] {
                if !has(at(old, "spec"), field) {
                    remove(&mut spec, field);
                }
            }
            spec
        };
        if fixed(new) != fixed(old) {
            let detail = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
            errors.push(FieldError::forbidden(&Path::new("spec"), detail));
        }
        // A growth that failed may be taken back, but not below what there is.
        let asked = |object: &Value| size(&object["spec"]["resources"]["requests"]["storage"]);
        if asked(new) < asked(old) && asked(new) <= size(&old["status"]["capacity"]["storage"]) {
            let path = Path::new("spec").child("resources").child("requests").child("storage");
            errors.push(FieldError::forbidden(
                &path,
                "field can not be less than status.capacity",
            ));
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::name(),
            Column::new("Status"),
            Column::new("Volume"),
            Column::new("Capacity"),
            Column::new("Access Modes"),
            Column::new("StorageClass"),
            Column::new("VolumeAttributesClass"),
            Column::new("Age"),
            Column::wide("VolumeMode"),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (at(object, "spec"), at(object, "status"));
        let bound = !text(spec, "volumeName").is_empty();
        let (capacity, modes) = if bound {
            (
                text(at(status, "capacity"), "storage").to_owned(),
                short_modes(list(status, "accessModes")),
            )
        } else {
            (String::new(), String::new())
        };
        vec![
            name(object),
            terminating_or(object, text(status, "phase")),
            json!(text(spec, "volumeName")),
            json!(capacity),
            json!(modes),
            json!(text(spec, "storageClassName")),
            class_or_unset(spec, "volumeAttributesClassName"),
            age(object, now),
            json!(text(spec, "volumeMode")),
        ]
    }
}

/// `storageclasses.storage.k8s.io`.
pub(crate) struct StorageClasses;

impl Strategy for StorageClasses {
    fn has_status(&self) -> bool {
        false
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        default_text(object, "reclaimPolicy", "Delete");
        default_text(object, "volumeBindingMode", "Immediate");
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        let mut warnings = Vec::new();
        for (index, topology) in list(object, "allowedTopologies").iter().enumerate() {
            let path = Path::new("allowedTopologies")
                .index(index)
                .child("matchLabelExpressions");
            for (index, expression) in list(topology, "matchLabelExpressions").iter().enumerate() {
                if let Some(words) = odd::node_label(text(expression, "key")) {
                    warnings.push(format!("{}: {words}", path.index(index).child("key")));
                }
            }
        }
        warnings
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        storage_class(object)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        storage_class_update(new, old)
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::name(),
            Column::new("Provisioner"),
            Column::new("ReclaimPolicy"),
            Column::new("VolumeBindingMode"),
            Column::new("AllowVolumeExpansion"),
            Column::new("Age"),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let annotations = at(at(object, "metadata"), "annotations");
        let mut shown = name(object);
        if text(annotations, "storageclass.kubernetes.io/is-default-class") == "true" {
            shown = json!(format!("{} (default)", shown.as_str().unwrap_or("")));
        }
        let mut row = vec![shown];
        row.extend(["provisioner", "reclaimPolicy", "volumeBindingMode"].map(|field| json!(text(object, field))));
        row.push(json!(flag(object, "allowVolumeExpansion")));
        row.push(age(object, now));
        row
    }
}
