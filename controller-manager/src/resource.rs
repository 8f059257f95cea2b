//! Every resource of the API as something that can be listed, watched and deleted without knowing its fields.

use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::PartialObjectMeta;
use timonel_api::resources::{self, ResourceInfo};

/// An object of which only the metadata is known.
pub(crate) type Metadata = PartialObjectMeta<DynamicObject>;

/// Returns the resources whose objects can be listed and deleted. Events are left out: they expire by themselves.
pub(crate) fn deletable() -> impl Iterator<Item = &'static ResourceInfo> {
    resources::all().iter().filter(|resource| {
        resource.storage && resource.has_verb("list") && resource.has_verb("delete") && resource.plural != "events"
    })
}

/// Describes a resource to the client.
pub(crate) fn describe(resource: &ResourceInfo) -> ApiResource {
    ApiResource {
        group: resource.group.into(),
        version: resource.version.into(),
        api_version: resource.api_version(),
        kind: resource.kind.into(),
        plural: resource.plural.into(),
    }
}

/// Returns the API of a resource, in a namespace where it has namespaces.
pub(crate) fn api(client: &kube::Client, resource: &ResourceInfo, namespace: &str) -> Api<DynamicObject> {
    let described = describe(resource);
    if resource.namespaced && !namespace.is_empty() {
        Api::namespaced_with(client.clone(), namespace, &described)
    } else {
        Api::all_with(client.clone(), &described)
    }
}
