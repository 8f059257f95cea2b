//! What the registry and the HTTP layer ask before they act: authorization and admission, in one place.

use std::sync::Arc;

use serde_json::Value;
use timonel_client::{Clock, Rng};

use crate::admission::{Admission, AdmissionConfig, AdmissionRequest, Permit};
use crate::authz::Authorizer;
use crate::error::ApiError;
use crate::reader::ObjectReader;
use crate::registry::{Caller, Registry, Target};

pub use crate::admission::Operation;

/// Authorization and admission.
pub struct Security {
    /// Decides who may do what.
    pub authorizer: Authorizer,
    /// Completes objects, and refuses what may not be.
    pub admission: Admission,
}

impl std::fmt::Debug for Security {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Security").finish_non_exhaustive()
    }
}

impl Security {
    /// Everything reads through the caches.
    pub fn new(
        config: AdmissionConfig,
        reader: &Arc<dyn ObjectReader>,
        clock: &Arc<dyn Clock>,
        rng: &Arc<dyn Rng>,
    ) -> Self {
        Self {
            authorizer: Authorizer::new(reader.clone()),
            admission: Admission::new(config, reader.clone(), clock.clone(), rng.clone()),
        }
    }
}

/// What is about to happen to an object.
#[derive(Debug)]
pub struct Act<'a> {
    /// Who asks.
    pub caller: &'a Caller,
    /// What for.
    pub operation: Operation,
    /// Whether nothing will be stored.
    pub dry_run: bool,
    /// The present object.
    pub old: Option<&'a Value>,
}

impl Act<'_> {
    fn request<'a>(&'a self, target: &'a Target, object: Option<&'a mut Value>) -> AdmissionRequest<'a> {
        AdmissionRequest {
            operation: self.operation,
            resource: target.slot.info,
            subresource: target.subresource_name(),
            namespace: &target.namespace,
            name: &target.name,
            user: &self.caller.user,
            object,
            old: self.old,
            dry_run: self.dry_run,
            now: self.caller.now,
            notes: &self.caller.notes,
        }
    }
}

impl Registry {
    /// Lets admission change an object.
    pub(crate) async fn mutate(
        &self,
        target: &Target,
        act: &Act<'_>,
        object: Option<&mut Value>,
    ) -> Result<(), ApiError> {
        self.security.admission.mutate(&mut act.request(target, object)).await
    }

    /// Lets admission refuse an object. The permit is kept until the write is answered.
    pub(crate) async fn admit(
        &self,
        target: &Target,
        act: &Act<'_>,
        object: Option<&mut Value>,
    ) -> Result<Permit, ApiError> {
        self.security.admission.validate(&act.request(target, object)).await
    }
}
