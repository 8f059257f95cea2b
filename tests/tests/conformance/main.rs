//! Our own conformance suite: one test per entry of upstream's catalogue that needs no node, written from the entry's description.
//!
//! ```text
//! server   the real binary on a free port: the API server alone, or with scheduler and controllers
//! client   statuses, headers and bodies as they come over the wire, in few words
//! watch    a watch, read with a deadline
//! hollow   a node that nobody stands behind, where an entry needs a pod to be running
//! kind     "must support create, get, list, watch, update, patch, delete, and deletecollection", once for all kinds
//! table    holds docs/conformance.md, the catalogue and these tests together
//! ```
//!
//! The line above `#[test]` is the entry's `testname`, and the function is named after it. `docs/conformance.md` says of each entry where it stands.

mod client;
mod hollow;
mod kind;
mod server;
mod table;
mod watch;

mod api_machinery;
mod apps;
mod auth;
mod cli;
mod instrumentation;
mod network;
mod node;
mod scheduling;
mod storage;
