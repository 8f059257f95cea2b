//! Which objects of a resource a list or watch is about.

use std::sync::Arc;

use timonel_api::selector::{FieldSelector, LabelSelector};

use super::object::Object;
use super::resource::{Objects, Trigger};
use crate::error::ApiError;

/// A namespace, a label selector and a field selector, all of which must match.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    namespace: Option<String>,
    name: Option<String>,
    labels: Option<LabelSelector>,
    fields: FieldSelector,
}

impl Filter {
    /// Everything in a namespace, or everywhere.
    pub fn in_namespace(namespace: Option<&str>) -> Self {
        Self {
            namespace: namespace.filter(|name| !name.is_empty()).map(str::to_owned),
            ..Self::default()
        }
    }

    /// Narrows by a label selector as requests write it.
    ///
    /// *Errors:* `BadRequest` with upstream's words.
    pub fn with_labels(mut self, text: &str) -> Result<Self, ApiError> {
        if !text.is_empty() {
            let selector = LabelSelector::parse(text)
                .map_err(|error| ApiError::bad_request(format!("unable to parse requirement: {error}")))?;
            self.labels = Some(selector);
        }
        Ok(self)
    }

    /// Narrows by a field selector as requests write it. `known` says which fields the kind offers.
    ///
    /// *Errors:* `BadRequest` with upstream's words.
    pub fn with_fields(mut self, text: &str, kind: &str, known: &[&str]) -> Result<Self, ApiError> {
        let selector = FieldSelector::parse(text).map_err(|error| ApiError::bad_request(error.to_string()))?;
        for requirement in selector.requirements() {
            if !known.contains(&requirement.field.as_str()) {
                return Err(ApiError::bad_request(format!(
                    "Unable to find {kind:?} that match label selector \"\", field selector {text:?}: field label not supported: {}",
                    requirement.field
                )));
            }
        }
        self.fields = selector;
        Ok(self)
    }

    /// Narrows to one name.
    #[must_use]
    pub fn with_name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Says whether an object is meant.
    pub fn matches(&self, object: &Object) -> bool {
        self.namespace
            .as_ref()
            .is_none_or(|namespace| *namespace == object.key.namespace)
            && self.labels.as_ref().is_none_or(|labels| labels.matches(&object.labels))
            && self.name.as_ref().is_none_or(|name| *name == object.key.name)
            && self.fields.matches_by(|name| {
                let field = object.fields.iter().find(|(known, _)| *known == name);
                field.map(|(_, value)| value.as_str())
            })
    }

    /// Whether labels or fields narrow it, so that counting what remains would mean looking at everything.
    pub fn is_selective(&self) -> bool {
        self.labels.is_some() || self.name.is_some() || !self.fields.is_everything()
    }

    /// The requirement by which a watcher can be found without asking it: `spec.nodeName=node-1`.
    pub fn trigger(&self) -> Option<Trigger> {
        if let Some(name) = &self.name {
            return Some(("metadata.name", name.clone()));
        }
        ["spec.nodeName", "metadata.name"]
            .iter()
            .find_map(|name| Some((*name, self.fields.required_value(name)?.to_owned())))
    }

    /// The objects that are meant, in key order.
    pub fn select<'a>(&'a self, objects: &'a Objects) -> impl Iterator<Item = &'a Arc<Object>> {
        self.select_after(objects, None)
    }

    /// The objects that are meant and come after a key.
    pub fn select_after<'a>(
        &'a self,
        objects: &'a Objects,
        after: Option<&timonel_api::ObjectKey>,
    ) -> impl Iterator<Item = &'a Arc<Object>> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        use timonel_api::ObjectKey;

        let start = match (after, &self.namespace) {
            (Some(key), _) => Excluded(key.clone()),
            (None, Some(namespace)) => Included(ObjectKey::new(namespace.as_str(), "")),
            (None, None) => Unbounded,
        };
        objects
            .range((start, Unbounded))
            .map(|(_, object)| object)
            .take_while(|object| self.namespace.as_ref().is_none_or(|ns| object.key.namespace == *ns))
            .filter(|object| self.matches(object))
    }
}
