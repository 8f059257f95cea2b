//! Who manages which fields (`metadata.managedFields`).

use jiff::Timestamp;
use serde_json::Value;
use timonel_api::patch::apply;

use super::Target;

/// Records that `manager` has updated an object: the fields that differ from `old` are its own now.
pub(super) fn track(target: &Target, old: Option<&Value>, new: &mut Value, manager: &str, now: Timestamp) {
    let info = target.slot.info;
    let Some(schema) = info.schema() else { return };
    let subresource = target.subresource_name().unwrap_or_default();
    apply::update_managed_fields(
        schema,
        old,
        new,
        manager,
        "Update",
        subresource,
        &info.api_version(),
        now,
    );
}
