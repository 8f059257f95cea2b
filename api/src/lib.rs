//! What the Kubernetes API *is*, as pure functions and facts: no IO, no clock, no randomness.
//!
//! ```text
//! bytes --decode--> JSON value --patch/apply--> JSON value --typed--> k8s-openapi struct --pod, quantity, selector--> answers
//!                      ^                 ^
//!                      +---- facts ------+   (which fields exist, how lists merge, which resources there are)
//! ```

pub mod conditions;
pub mod cron;
pub mod decode;
pub mod duration;
pub mod facts;
pub mod field;
pub mod ids;
pub mod jsonpath;
pub mod names;
pub mod patch;
pub mod pod;
pub mod quantity;
pub mod quota;
pub mod resources;
pub mod selector;
pub mod storage;
pub mod validation;

pub use field::{FieldError, FieldErrorKind, Path};
pub use ids::{ObjectKey, Revision};
