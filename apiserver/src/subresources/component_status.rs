//! `componentstatuses`: how those are that the API server stands on. Nothing is stored; each request looks anew.
//!
//! Upstream also asks a scheduler and a controller manager on this host for their health. This server knows nothing of them (they may
//! run elsewhere, or several times), so it does not list them: what is listed is true. It answers 404 for an unknown name, where
//! upstream's error has no reason and the code 500.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use timonel_api::resources::ResourceInfo;
use timonel_store::Txn;

use crate::cache::{Filter, Object, Slot, encode};
use crate::error::ApiError;
use crate::registry::{Answer, List, ListOptions, Registry, Target};

/// The store goes by the name of the one upstream has.
const STORE: &str = "etcd-0";
/// A store that has not answered by then is not well.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether a resource is `componentstatuses`.
pub(crate) fn is(resource: &ResourceInfo) -> bool {
    (resource.group, resource.plural) == ("", "componentstatuses")
}

/// What a request for component statuses is about.
pub(crate) fn target(info: &'static ResourceInfo, name: &str) -> Target {
    Target {
        info,
        slot: Arc::new(Slot::new(info)),
        subresource: None,
        namespace: String::new(),
        name: name.to_owned(),
    }
}

/// Looks at one component.
pub(crate) async fn get(registry: &Registry, target: &Target) -> Result<Answer, ApiError> {
    if target.name == STORE {
        return Ok(Answer::Value(store(registry).await));
    }
    Err(target.not_found())
}

/// Looks at all components that the selectors mean.
pub(crate) async fn list(registry: &Registry, target: &Target, options: &ListOptions) -> Result<List, ApiError> {
    let filter = Filter::in_namespace(None).with_labels(&options.labels)?.with_fields(
        &options.fields,
        target.info.kind,
        &["metadata.name"],
    )?;
    let internal = |error: &dyn std::fmt::Display| ApiError::internal(error.to_string());
    let revision = registry.caches.applied();
    let bytes = encode(&store(registry).await).map_err(|error| internal(&error))?;
    let object = Object::from_stored(&bytes, revision, &*target.slot).map_err(|error| internal(&error))?;
    let items = filter.matches(&object).then(|| Arc::new(object));
    Ok(List {
        revision,
        items: items.into_iter().collect(),
        continue_token: None,
        remaining: None,
    })
}

/// Asks the store for an empty commit: it goes the whole way to the writer and leaves nothing behind.
async fn store(registry: &Registry) -> Value {
    let empty = Txn {
        guards: Vec::new(),
        ops: Vec::new(),
    };
    let trouble = match tokio::time::timeout(PATIENCE, registry.caches.store().commit(empty)).await {
        Ok(Ok(_)) if registry.caches.is_fed() => None,
        Ok(Ok(_)) => Some("the store has ended its watches".to_owned()),
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("the store does not answer".to_owned()),
    };
    status(STORE, trouble.as_deref())
}

fn status(name: &str, trouble: Option<&str>) -> Value {
    let condition = match trouble {
        None => json!({"type": "Healthy", "status": "True", "message": "ok"}),
        Some(error) => json!({"type": "Healthy", "status": "False", "error": error}),
    };
    json!({
        "apiVersion": "v1",
        "kind": "ComponentStatus",
        "metadata": {"name": name},
        "conditions": [condition],
    })
}
