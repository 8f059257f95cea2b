//! Label and field selectors: parsed from a query string or from a typed object, then matched.
//!
//! ```text
//! "app in (a,b),!x" --parse--> LabelSelector --matches--> labels
//! metav1.LabelSelector --from_typed--^
//! "spec.nodeName=n1" ------> FieldSelector --matches--> a lookup of fields
//! ```

mod field;
mod label;
mod parse;

pub use field::{FieldRequirement, FieldSelector, FieldSelectorError};
pub use label::{LabelSelector, Operator, Requirement, SelectorError};
