//! What is wrong with an object's metadata and with the selectors inside it, in upstream's words.
//!
//! Each kind's own rules live with its strategy in the API server; what all kinds share is here.

mod meta;
mod selector;
mod update;

pub use meta::{annotations, finalizers, labels, managed_fields, object_meta, owner_references};
pub use selector::{LabelSelectorOptions, label_selector};
pub use update::{immutable, object_meta_update};

#[cfg(test)]
mod tests;
