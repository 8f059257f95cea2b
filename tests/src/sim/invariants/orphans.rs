//! No orphan is left: whatever has owners has one that is there.
//!
//! This holds in the end, not at every moment: the garbage collector needs a while.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Violation;
use super::history::text;

/// Looks for objects all of whose owners are gone.
///
/// # Errors
/// Which object was left behind.
pub fn none(objects: &[Value]) -> Result<(), Violation> {
    let there: BTreeSet<&str> = objects.iter().map(|object| text(object, "/metadata/uid")).collect();
    for object in objects {
        let owners = object["metadata"]["ownerReferences"].as_array();
        let uids: Vec<&str> = owners.into_iter().flatten().map(|owner| text(owner, "/uid")).collect();
        if !uids.is_empty() && !uids.iter().any(|uid| there.contains(uid)) {
            let (kind, name) = (text(object, "/kind"), text(object, "/metadata/name"));
            return Err(format!("no orphan is left: {kind} {name} outlived its owners"));
        }
    }
    Ok(())
}
