//! Resources that are another resource in another shape: their objects are stored once, as those of the other one.

mod autoscaling;
mod events;

use std::sync::Arc;

use serde_json::Value;
use timonel_api::resources::ResourceInfo;

use super::{Answer, Target};
use crate::cache::Object;
use crate::error::ApiError;

/// A shape in which another resource's objects are served.
struct View {
    group: &'static str,
    version: &'static str,
    /// The group resource whose objects are stored.
    stored_as: &'static str,
    /// From the stored shape.
    outward: fn(&Value) -> Value,
    /// Into the stored shape; the error is for who sent the object.
    inward: fn(&Value) -> Result<Value, String>,
}

static VIEWS: &[View] = &[
    View {
        group: "events.k8s.io",
        version: "v1",
        stored_as: "events",
        outward: events::outward,
        inward: events::inward,
    },
    View {
        group: "autoscaling",
        version: "v1",
        stored_as: "horizontalpodautoscalers.autoscaling",
        outward: autoscaling::outward,
        inward: autoscaling::inward,
    },
];

fn view(info: &ResourceInfo) -> Option<&'static View> {
    VIEWS
        .iter()
        .find(|view| view.group == info.group && view.version == info.version)
}

/// Whether a resource's objects are kept as another's.
pub(crate) fn is_view(info: &ResourceInfo) -> bool {
    view(info).is_some()
}

/// The group resource under which a resource's objects are stored.
pub(super) fn stored_as(info: &ResourceInfo) -> String {
    view(info).map_or_else(|| info.group_resource(), |view| view.stored_as.to_owned())
}

/// Turns a stored object into the shape that was addressed.
pub(super) fn outward(target: &Target, object: Arc<Object>) -> Answer {
    match view(target.info) {
        Some(_) => Answer::Value(outward_value(target, &object.value())),
        None => Answer::Stored(object),
    }
}

/// Turns a stored value into the shape that was addressed.
pub(super) fn outward_value(target: &Target, value: &Value) -> Value {
    let Some(view) = view(target.info) else {
        return value.clone();
    };
    let mut shown = (view.outward)(value);
    shown["apiVersion"] = target.info.api_version().into();
    shown
}

/// Turns a value in the shape that was addressed into the stored one.
pub(super) fn inward(target: &Target, value: Value) -> Result<Value, ApiError> {
    let Some(view) = view(target.info) else {
        return Ok(value);
    };
    let mut stored = (view.inward)(&value).map_err(ApiError::bad_request)?;
    stored["apiVersion"] = target.slot.info.api_version().into();
    // What stood in annotations was looked at by nobody yet.
    if let Some(schema) = target.slot.info.schema() {
        timonel_api::decode::types(schema, &stored).map_err(|error| ApiError::bad_request(error.to_string()))?;
    }
    Ok(stored)
}

impl Target {
    /// Whether addressed and stored shape differ.
    pub fn is_view(&self) -> bool {
        is_view(self.info)
    }

    /// A stored object in the shape that was addressed.
    pub fn shown(&self, object: &Arc<Object>) -> Answer {
        outward(self, object.clone())
    }

    /// A stored value in the shape that was addressed.
    pub fn shown_value(&self, stored: &Value) -> Value {
        outward_value(self, stored)
    }

    /// A shown object in the stored shape.
    pub fn stored_value(&self, shown: &Arc<Value>) -> Arc<Value> {
        // What was shown was stored once, so there is nothing in it that has no stored shape.
        match self.is_view() {
            true => inward(self, (**shown).clone()).map_or_else(|_| shown.clone(), Arc::new),
            false => shown.clone(),
        }
    }
}
