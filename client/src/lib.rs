//! The one path from a component to an API server, and the ports (time, randomness) that let a simulation replay.
//!
//! ```text
//!              kubeconfig (HTTPS) or the API server's in-process client
//!                                  |
//!                             kube::Client
//!        +-------------------------+---------------------------+
//!     informer --changes--> runner (queue: observe, plan, apply) --> writes, events
//!        ^                    |
//!        +--- caught up? -----+          leader: who of several runs it
//! ```

pub mod accounts;
pub mod backoff;
pub mod events;
pub mod informer;
pub mod kubeconfig;
pub mod law;
pub mod leader;
pub mod ports;
pub mod queue;
mod reload;
pub mod runner;

pub use informer::Reader;
pub use ports::{Clock, OsRng, Rng, SeededRng, SystemClock, TokioClock};

/// Renders an error and all its sources in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        source = inner.source();
    }
    text
}
