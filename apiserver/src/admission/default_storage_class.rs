//! `DefaultStorageClass`: a claim that names no class gets the default one.

use super::{AdmissionRequest, Context, Plugin, text};
use crate::error::ApiError;

const ANNOTATIONS: [&str; 2] = [
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
];

pub(super) struct DefaultStorageClass;

impl Plugin for DefaultStorageClass {
    fn mutate(&self, request: &mut AdmissionRequest<'_>, context: &Context) -> Result<(), ApiError> {
        if !request.creates("", "persistentvolumeclaims") {
            return Ok(());
        }
        let Some(claim) = request.object.as_deref_mut() else {
            return Ok(());
        };
        let old_spelling = &claim["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"];
        // An empty class is a choice: no dynamic volume.
        if claim["spec"]["storageClassName"].is_string() || old_spelling.is_string() {
            return Ok(());
        }
        let mut defaults = context.reader.list("storageclasses.storage.k8s.io", None);
        defaults.retain(|class| {
            ANNOTATIONS
                .iter()
                .any(|annotation| class["metadata"]["annotations"][*annotation] == "true")
        });
        // Of several the newest counts, then the first by name.
        defaults.sort_by(|one, two| {
            let made = |class: &serde_json::Value| text(&class["metadata"]["creationTimestamp"]).to_owned();
            let name = |class: &serde_json::Value| text(&class["metadata"]["name"]).to_owned();
            made(two).cmp(&made(one)).then_with(|| name(one).cmp(&name(two)))
        });
        if let Some(class) = defaults.first() {
            claim["spec"]["storageClassName"] = class["metadata"]["name"].clone();
        }
        Ok(())
    }
}
