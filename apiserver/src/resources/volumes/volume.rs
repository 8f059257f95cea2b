//! PersistentVolumes, and the volumes that a VolumeAttachment describes itself.

use serde_json::Value;
use timonel_api::quantity::Quantity;
use timonel_api::{FieldError, Path, names};

use super::super::common::{any_of, wrong};
use super::super::extension::volume_node_affinity;
use super::super::value::{at, each, entries, has, list, remove, text};
use super::{VOLUME_MODES, Within, access_modes, is_set, one_source, unchanged};

/// What a specification says besides its source.
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

/// Checks the specification of a PersistentVolume.
pub(crate) fn validate(spec: &Value, name: &str, path: &Path, errors: &mut Vec<FieldError>) {
    access_modes(spec, path, "", errors);
    capacity(spec, &path.child("capacity"), errors);
    let policy = "persistentVolumeReclaimPolicy";
    if is_set(spec, policy) {
        any_of(spec, policy, &["Delete", "Recycle", "Retain"], path, errors);
    }
    let (affinity, at_affinity) = (at(spec, "nodeAffinity"), path.child("nodeAffinity"));
    volume_node_affinity(affinity, &at_affinity, errors);
    let source = one_source(spec, Within::Volume(name), path, errors);
    if source == Some("local") && !has(affinity, "required") {
        let detail = "Local volume requires node affinity";
        errors.push(FieldError::required(&at_affinity, detail));
    }
    let folder = text(at(spec, "hostPath"), "path");
    let root = folder.starts_with('/') && folder.split('/').all(|part| matches!(part, "" | "."));
    if root && text(spec, policy) == "Recycle" {
        let detail = "may not be 'recycle' for a hostPath mount of '/'";
        errors.push(FieldError::forbidden(&path.child(policy), detail));
    }
    class(spec, "storageClassName", path, errors);
    any_of(spec, "volumeMode", &VOLUME_MODES, path, errors);
    attributes_class(spec, path, errors);
}

fn class(spec: &Value, field: &str, path: &Path, errors: &mut Vec<FieldError>) {
    let name = text(spec, field);
    if !name.is_empty() {
        wrong(&path.child(field), name, names::subdomain(name, false), errors);
    }
}

fn attributes_class(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let field = "volumeAttributesClassName";
    if !has(spec, field) {
        return;
    }
    if text(spec, field).is_empty() {
        let detail = "an empty string is disallowed";
        errors.push(FieldError::required(&path.child(field), detail));
    }
    class(spec, field, path, errors);
    if !has(spec, "csi") {
        let detail = "has to be specified when using volumeAttributesClassName";
        errors.push(FieldError::required(&path.child("csi"), detail));
    }
}

fn capacity(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let capacity = at(spec, "capacity");
    let count = entries(spec, "capacity").count();
    if count == 0 {
        errors.push(FieldError::required(path, ""));
    }
    if !has(capacity, "storage") || count > 1 {
        errors.push(FieldError::not_supported(path, capacity.clone(), &["storage"]));
    }
    for (name, value) in entries(spec, "capacity") {
        let amount = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let Ok(quantity) = Quantity::parse(&amount) else {
            continue;
        };
        let path = path.key(name);
        if quantity.sign() < 0 {
            let detail = "must be a valid resource quantity";
            errors.push(FieldError::invalid(&path, quantity.value(), detail));
        }
        if quantity.sign() <= 0 {
            errors.push(FieldError::invalid(&path, amount, "must be greater than zero"));
        }
    }
}

/// Checks the specification of a volume that is described where it is attached.
pub(crate) fn inline(spec: &Value, name: &str, path: &Path, errors: &mut Vec<FieldError>) {
    let forbid = |field: &str, detail: &str| FieldError::forbidden(&path.child(field), detail);
    let there = "may not be specified in the context of inline volumes";
    for field in ["claimRef", "capacity"] {
        if has(spec, field) {
            errors.push(forbid(field, there));
        }
    }
    if !has(spec, "csi") {
        let detail = "has to be specified in the context of inline volumes";
        errors.push(FieldError::required(&path.child("csi"), detail));
    }
    access_modes(spec, path, "", errors);
    let policy = "persistentVolumeReclaimPolicy";
    if is_set(spec, policy) && text(spec, policy) != "Retain" {
        errors.push(forbid(policy, "may only be Retain in the context of inline volumes"));
    }
    if has(spec, "nodeAffinity") {
        errors.push(forbid("nodeAffinity", there));
    }
    one_source(spec, Within::Volume(name), path, errors);
    if is_set(spec, "storageClassName") {
        errors.push(forbid("storageClassName", there));
    }
    if has(spec, "volumeMode") && text(spec, "volumeMode") != "Filesystem" {
        let detail = "may not specify volumeMode other than Filesystem in the context of inline volumes";
        errors.push(forbid("volumeMode", detail));
    }
    attributes_class(spec, path, errors);
}

fn source(object: &Value) -> Value {
    let mut spec = at(object, "spec").clone();
    for field in OTHER {
        remove(&mut spec, field);
    }
    spec
}

/// Checks an update of a PersistentVolume: what it stands for stays.
pub(crate) fn update(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let (mut now, before) = (source(new), source(old));
    // Whoever expands volumes may need a secret that nobody thought of.
    let secret = "controllerExpandSecretRef";
    if let Some(driver) = now.get_mut("csi")
        && before.get("csi").is_some_and(|driver| !has(driver, secret))
    {
        remove(driver, secret);
    }
    if now != before {
        let path = Path::new("spec").child("persistentvolumesource");
        let detail = "spec.persistentvolumesource is immutable after creation";
        errors.push(FieldError::forbidden(&path, detail));
    }
    let (new, old) = (at(new, "spec"), at(old, "spec"));
    unchanged(new, old, "volumeMode", errors);
    let affinity = at(new, "nodeAffinity");
    if has(old, "nodeAffinity") && modern(affinity, at(old, "nodeAffinity")) != modern(affinity, affinity) {
        let detail = "field is immutable, except for updating from beta label to GA";
        errors.push(FieldError::invalid(
            &Path::new("nodeAffinity"),
            affinity.clone(),
            detail,
        ));
    }
    let class = "volumeAttributesClassName";
    if has(old, class) && !has(new, class) {
        let detail = "update from non-nil value to nil is forbidden";
        errors.push(FieldError::forbidden(&Path::new("spec").child(class), detail));
    }
}

/// The affinity with the labels of today, where the new one has them too.
fn modern(new: &Value, affinity: &Value) -> Value {
    const NOW: [(&str, &str); 5] = [
        ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
        (
            "failure-domain.beta.kubernetes.io/region",
            "topology.kubernetes.io/region",
        ),
        ("beta.kubernetes.io/os", "kubernetes.io/os"),
        ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
        ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
    ];
    let mut affinity = affinity.clone();
    let wanted = list(at(new, "required"), "nodeSelectorTerms");
    if let Some(required) = affinity.get_mut("required") {
        let mut term = 0;
        each(required, "nodeSelectorTerms", |old| {
            let mut place = 0;
            each(old, "matchExpressions", |requirement| {
                let other = wanted.get(term).map_or(&[][..], |term| list(term, "matchExpressions"));
                let key = other.get(place).map_or("", |requirement| text(requirement, "key"));
                if NOW.contains(&(text(requirement, "key"), key)) {
                    super::super::value::set(requirement, "key", key);
                }
                place += 1;
            });
            term += 1;
        });
    }
    affinity
}
