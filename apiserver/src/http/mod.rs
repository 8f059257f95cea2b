//! HTTP: what a request asks for, and how answers are written.
//!
//! ```text
//! Request --RequestInfo--> authentication --> authorization --> dispatch --> registry
//!                                                                  |
//! Response <--gzip, pretty, YAML, Table, PartialObjectMetadata-----+
//! ```

mod body;
mod dispatch;
mod handler;
mod health;
mod limits;
mod media;
mod metrics;
mod mount;
mod negotiate;
mod options;
mod protobuf;
mod request;
mod respond;
mod watch;

pub use body::{Body, BoxError, empty, full};
pub use handler::{Front, Identity};
pub(crate) use limits::{Delivery, InFlight};
pub use limits::{HEAD_BYTES, HEAD_FIELDS, Limits};
pub use mount::{Guest, MOUNT};
pub(crate) use options::delete_options as parse_delete_options;
pub use options::{InvalidDuration, parse_duration};
pub(crate) use protobuf::decode as decode_protobuf;
pub use request::RequestInfo;
