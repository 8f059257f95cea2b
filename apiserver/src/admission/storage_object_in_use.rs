//! `StorageObjectInUseProtection`: claims and volumes carry the finalizer that keeps them while they are in use.

use super::{AdmissionRequest, Context, Plugin, list_mut};
use crate::error::ApiError;

pub(super) struct StorageObjectInUseProtection;

impl Plugin for StorageObjectInUseProtection {
    fn mutate(&self, request: &mut AdmissionRequest<'_>, _context: &Context) -> Result<(), ApiError> {
        let finalizer = if request.creates("", "persistentvolumeclaims") {
            "kubernetes.io/pvc-protection"
        } else if request.creates("", "persistentvolumes") {
            "kubernetes.io/pv-protection"
        } else if request.creates("storage.k8s.io", "volumeattributesclasses") {
            "kubernetes.io/vac-protection"
        } else {
            return Ok(());
        };
        if let Some(object) = request.object.as_deref_mut()
            && let Some(finalizers) = list_mut(&mut object["metadata"]["finalizers"])
            && !finalizers.iter().any(|present| present == finalizer)
        {
            finalizers.push(finalizer.into());
        }
        Ok(())
    }
}
