//! Validation of a pod's volumes: their names, and what each stands for.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use timonel_api::{FieldError, Path, names};

use super::super::common::wrong;
use super::super::value::{at, has, text};
use super::super::volumes::{Within, one_source};

/// Checks the volumes and returns those that are good, by name: mounts may use them. `pod` is the pod's name, empty in a template.
pub(super) fn validate<'a>(
    volumes: &'a [Value],
    pod: &str,
    path: &Path,
    errors: &mut Vec<FieldError>,
) -> BTreeMap<&'a str, &'a Value> {
    let (mut good, mut claims) = (BTreeMap::new(), BTreeSet::new());
    if !pod.is_empty() {
        let own = volumes.iter().filter(|volume| has(volume, "ephemeral"));
        claims.extend(own.map(|volume| format!("{pod}-{}", text(volume, "name"))));
    }
    for (index, volume) in volumes.iter().enumerate() {
        let (path, name, before) = (path.index(index), text(volume, "name"), errors.len());
        let kind = one_source(volume, Within::Pod(name), &path, errors);
        let at_name = path.child("name");
        if kind == Some("ephemeral") && !pod.is_empty() && !name.is_empty() {
            let claim = format!("{pod}-{name}");
            for sentence in names::subdomain(&claim, false) {
                let detail = format!("PVC name {claim:?}: {sentence}");
                errors.push(FieldError::invalid(&at_name, name, detail));
            }
        }
        if kind == Some("image") && !pod.is_empty() && text(at(volume, "image"), "reference").is_empty() {
            errors.push(FieldError::required(&path.child("image").child("reference"), ""));
        }
        if name.is_empty() {
            errors.push(FieldError::required(&at_name, ""));
        } else {
            wrong(&at_name, name, names::label(name, false), errors);
        }
        if good.contains_key(name) {
            errors.push(FieldError::duplicate(&at_name, name));
        }
        if errors.len() == before {
            good.insert(name, volume);
        }
        let claim = text(at(volume, "persistentVolumeClaim"), "claimName");
        if claims.contains(claim) {
            let path = path.child("persistentVolumeClaim").child("claimName");
            let detail = "must not reference a PVC that gets created for an ephemeral volume";
            errors.push(FieldError::invalid(&path, claim, detail));
        }
    }
    good
}
